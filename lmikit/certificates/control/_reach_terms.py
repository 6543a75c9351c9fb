"""Quadratic facts about a set of states and the network's neurons on it, as matrices of z = (x, w, 1).

Every fact is a product of two affine functions that are nonnegative on the set, times a multiplier >= 0:

domain    1, x - lower, upper - x, offsets - rows x: any two of them
ball      1 - |shape x - shift|^2
neurons   for each neuron v, w = phi(v): 1, v - l, u - v, w - phi_l, phi_u - w and w less lines below phi,
          lines above phi less w, on [l, u]: any two of them
sector    (w - a v)(b v - w) where phi(0) = 0 exactly, a and b the slopes on the hull of [l, u] and 0
coupling  (dw - a dv)(b dv - dw) for two neurons with one phi, a and b the slopes on the hull of both
          intervals

Sources: Fazlyab, Morari, Pappas, IEEE Trans. Automat. Control 67 (2022), sections III and IV (domain,
neurons, coupling); Sherali and Adams (1999) for products of the facets.
"""

import dataclasses
import functools
import itertools

import numpy as np

from ...intervals import profile_of
from ...intervals._relaxation import intercept, local_slopes, relaxation
from ...network import Activation, Network
from ...systems import StateSet
from ._arithmetic import AbstractArithmetic, Matrix

__all__ = ["FACETS", "PAIRS", "NeuronFacts", "neuron_matrix", "set_matrix"]

FACETS = 11  # the affine functions of one neuron, the constant 1 first
PAIRS = tuple(itertools.combinations(range(FACETS), 2))


def _one_function(activation: Activation) -> bool:
    """Whether all neurons of a layer have the same phi."""
    return not any(isinstance(value, np.ndarray) for value in activation.parameters().values())


def _same(a: Activation, b: Activation) -> bool:
    return type(a) is type(b) and _one_function(a) and a.parameters() == b.parameters()


@dataclasses.dataclass(frozen=True, eq=False)
class NeuronFacts:
    """Proven for the preactivations lower <= v <= upper (N,), the hidden layers one after another."""

    network: Network
    lower: np.ndarray
    upper: np.ndarray

    @functools.cached_property
    def _places(self) -> list[slice]:
        ends = np.cumsum([0, *self.network.dims[1:-1]]).tolist()
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    @functools.cached_property
    def facets(self) -> np.ndarray:
        """(3, FACETS, N): coefficients of v, w and 1 in each of the affine functions that are >= 0."""
        found = np.zeros((3, FACETS, self.lower.size))
        found[2, 0] = 1.0
        for layer, at in zip(self.network.layers[:-1], self._places, strict=False):
            low, high, profile = self.lower[at], self.upper[at], profile_of(layer.activation)
            bounds = layer.activation.slopes_for(low.size, "reach sets")
            alpha, beta = local_slopes(profile, bounds, low, high)
            best = relaxation(profile, low, high)
            one, zero = np.ones_like(low), np.zeros_like(low)
            below = [(s, intercept(profile, low, high, s, -1.0)) for s in (alpha, beta)]
            above = [(s, intercept(profile, low, high, s, 1.0)) for s in (alpha, beta)]
            below, above = [*below, (best.low_slope, best.low)], [*above, (best.up_slope, best.up)]
            rows = [(one, zero, -low), (-one, zero, high)]
            rows += [(zero, one, -best.range_lower), (zero, -one, best.range_upper)]
            rows += [(-s, one, -c) for s, c in below] + [(s, -one, c) for s, c in above]
            found[:, 1:, at] = np.transpose(np.array(rows), (1, 0, 2))
        return found

    @functools.cached_property
    def sectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, usable) of the sectors through 0, (N,)."""
        a, b, usable = np.zeros_like(self.lower), np.zeros_like(self.lower), np.zeros(self.lower.shape, bool)
        for layer, at in zip(self.network.layers[:-1], self._places, strict=False):
            low, high, profile = self.lower[at], self.upper[at], profile_of(layer.activation)
            zero = profile.value(np.zeros_like(low))
            usable[at] = (zero.lo == 0.0) & (zero.hi == 0.0)
            bounds = layer.activation.slopes_for(low.size, "reach sets")
            a[at], b[at] = local_slopes(profile, bounds, np.minimum(low, 0.0), np.maximum(high, 0.0))
        return a, b, usable

    @functools.cached_property
    def couplings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(i, j, a, b) for all pairs i < j of neurons with one phi."""
        layers, parts = self.network.layers[:-1], []
        for p, q in itertools.combinations_with_replacement(range(len(layers)), 2):
            if not _same(layers[p].activation, layers[q].activation):
                continue
            first, second = (np.arange(self._places[k].start, self._places[k].stop) for k in (p, q))
            i, j = (m.ravel() for m in np.meshgrid(first, second, indexing="ij"))
            i, j = i[i < j], j[i < j]
            low = np.minimum(self.lower[i], self.lower[j])
            high = np.maximum(self.upper[i], self.upper[j])
            activation = layers[p].activation
            bounds = activation.slopes_for(i.size, "reach sets")
            parts.append((i, j, *local_slopes(profile_of(activation), bounds, low, high)))
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return none, none, np.zeros(0), np.zeros(0)
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def set_matrix(
    ops: AbstractArithmetic[Matrix], given: StateSet, size: int, theta: np.ndarray, ball: float
) -> Matrix:
    """The domain's products, theta symmetric (f + 1, f + 1) with the constant 1 first, plus `ball` times the
    ellipsoid's, as a matrix of z."""
    n = given.dim
    facets = np.zeros((1 + 2 * n + given.offsets.size, size))
    facets[0, -1] = 1.0
    facets[1:, :n] = np.vstack([np.eye(n), -np.eye(n), -given.rows])
    facets[1:, -1] = np.concatenate([-given.lower, given.upper, given.offsets])
    G = ops.of(facets)
    total = G.T @ ops.of(theta) @ G
    if ball == 0.0:
        return total
    curve = ops.of(np.hstack([given.shape, np.zeros((n, size - n - 1)), -given.shift[:, None]]))
    one = ops.of(np.eye(size)[[-1]])
    return total + ops.times(ops.number(ball), one.T @ one - curve.T @ curve)


def neuron_matrix(
    ops: AbstractArithmetic[Matrix],
    facts: NeuronFacts,
    V: Matrix,
    neurons: np.ndarray,
    sector: np.ndarray,
    coupling: np.ndarray,
) -> Matrix:
    """The neurons' products (PAIRS, N), sectors (N,) and couplings (C,), each with its multipliers.

    V (N, size) holds the preactivations as maps of z."""
    N, size = V.shape
    total = ops.zeros(size, size)
    if N == 0:
        return total
    J = ops.of(np.hstack([np.zeros((N, size - 1 - N)), np.eye(N), np.zeros((N, 1))]))
    one, ones = ops.of(np.eye(size)[[-1]]), ops.of(np.ones((1, N)))
    maps = (V, J, one)
    half, c = np.full(N, 0.5), facts.facets
    used = [k for k in range(len(PAIRS)) if neurons[k].any()]
    a, b, _ = facts.sectors
    for p, q in itertools.combinations_with_replacement(range(3), 2):
        terms: list[tuple[np.ndarray, ...]] = []
        for k in used:
            g, h = PAIRS[k]
            terms.append((neurons[k], c[p, g], c[q, h], half))
            terms.append((neurons[k], c[q, g], c[p, h], half))
        if p == q == 0:
            terms.append((-sector, a, b))
        elif (p, q) == (0, 1):
            terms += [(sector, a, half), (sector, b, half)]
        elif p == q == 1:
            terms.append((-sector,))
        D = ops.diagonal(terms, N)
        if q == 2:
            D = ones @ D
        part = maps[q].T @ (D if p < 2 else D @ ones.T) @ maps[p]
        total = total + part if p == q else total + part + part.T
    return total + _coupled(ops, facts, V, J, coupling)


def _coupled(
    ops: AbstractArithmetic[Matrix], facts: NeuronFacts, V: Matrix, J: Matrix, coupling: np.ndarray
) -> Matrix:
    i, j, a, b = facts.couplings
    keep = coupling != 0.0
    i, j, a, b, weight = i[keep], j[keep], a[keep], b[keep], coupling[keep]
    if not i.size:
        return ops.zeros(V.shape[1], V.shape[1])
    differences = np.zeros((i.size, V.shape[0]))
    differences[np.arange(i.size), i], differences[np.arange(i.size), j] = 1.0, -1.0
    D = ops.of(differences)
    dv, dw, half = D @ V, D @ J, np.full(i.size, 0.5)
    low = dw - ops.diagonal([(a,)], i.size) @ dv
    high = ops.diagonal([(b,)], i.size) @ dv - dw
    part = low.T @ ops.diagonal([(weight, half)], i.size) @ high
    return part + part.T
