"""A smaller network with the same Lipschitz bounds, and the way back for its witnesses.

In this order:
1. exact normalisation of each layer by a power of two;
2. removal, to a fixed point, of neurons that carry no increment: a zero row into it, a zero column
   out of it, or alpha = beta = 0;
3. hidden layers in which every neuron is linear (alpha = beta) become part of the next map;
4. compression: W_0 is replaced by R' where W_0' = QR, if that has fewer columns, and the last map by
   its R, if that has fewer rows. ||W_0 x|| and ||W_L w|| keep their ranges: the constant is the same.

Steps 1 and 2 are exact. 3 and 4 round, which is harmless: a witness for the smaller network is only
a proposal for the original one, for which it is proven.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.linalg

from .._arrays import blas_threads
from .._errors import InputError
from .._witness import Witness
from ._activation_base import Slopes
from ._layer import Layer
from ._maps import AbstractLinearMap, DenseMap, SparseMap
from ._network import Network
from ._piecewise import Identity
from ._scaling import normalise

__all__ = ["Reduction", "reduce"]

_LARGEST_COMPRESSED = 50_000_000  # entries; beyond that a dense QR costs more than it saves
_WORTH_THREADS = 4_000_000  # entries; on 784 x 50 two busy threads were 400 times slower than one
_LARGEST_RANKED = 250_000  # entries; where only a lack of rank could shrink the map


@dataclasses.dataclass(frozen=True, eq=False)
class Reduction:
    """`network`, smaller than `original`, and what was done to get there.

    `network` is for bounds only: its activations are slope classes, so it has no forward pass.
    Its constant times 2**sum(layer_pow2) is that of `original` up to rounding. `kept` holds the
    indices of the neurons that carry increments, per hidden layer of `original` (all empty for
    a constant function); `groups` holds, per map of `network`, the maps of `original` in it.
    """

    original: Network
    network: Network
    layer_pow2: tuple[int, ...]
    kept: tuple[np.ndarray, ...]
    groups: tuple[tuple[int, ...], ...]
    keeps_norms: bool

    def lift(self, witness: Witness) -> Witness:
        """The witness for `original` that says what `witness` says for `network`; rho is unchanged.

        Dropped neurons get multiplier 0 (they are dropped by the same exact rule when the witness is
        proven), and so do neurons of merged layers, which are eliminated there. A layerwise witness is
        lifted only where every spectral norm is that of the original map; otherwise propose it for the
        original network. Raises InputError for that, and for a witness that does not fit `network`.
        """
        if witness.kind == "layerwise":
            return self._lift_layerwise(witness)
        _check_fits(witness, self.network)
        pow2 = self._lifted_pow2(witness)
        multipliers = [np.zeros(n) for n in self.original.dims[1:-1]]
        for group, t in zip(self.groups[:-1], witness.multipliers, strict=bool(self.groups)):
            multipliers[group[-1]][self.kept[group[-1]]] = t
        return self._lifted(witness, tuple(multipliers), pow2)

    def _lift_layerwise(self, witness: Witness) -> Witness:
        if not self.keeps_norms:
            raise InputError(
                "this reduction merged layers or dropped neurons, so the spectral norms are not those of the "
                "original maps; propose a layerwise witness for the original network."
            )
        _check_count("multipliers", witness.multipliers, self.network)
        return self._lifted(witness, witness.multipliers, self._lifted_pow2(witness))

    def _lifted(
        self, witness: Witness, multipliers: tuple[np.ndarray, ...], pow2: tuple[int, ...]
    ) -> Witness:
        optimum = witness.optimum_at_least
        if optimum is not None:
            with np.errstate(over="ignore"):
                optimum = float(np.ldexp(optimum, sum(self.layer_pow2)))
            optimum = optimum if math.isfinite(optimum) else None
        return dataclasses.replace(
            witness, multipliers=multipliers, layer_pow2=pow2, optimum_at_least=optimum
        )

    def _lifted_pow2(self, witness: Witness) -> tuple[int, ...]:
        pow2 = list(self.layer_pow2)
        if witness.layer_pow2:
            _check_count("powers of two", witness.layer_pow2, self.network)
        for group, extra in zip(self.groups, witness.layer_pow2, strict=False):
            pow2[group[-1]] += extra
        return tuple(pow2)


def reduce(network: Network) -> Reduction:
    """The smaller network that has the same Lipschitz bounds; see the top of this file."""
    scaled, pow2 = normalise(network)
    kept = _neurons_with_increments(scaled)
    if kept is None:
        empty = tuple(np.zeros(0, dtype=np.intp) for _ in network.layers[:-1])
        zero = Network.from_arrays([np.zeros((1, 1))])
        return Reduction(network, zero, pow2, empty, (), not network.hidden_layers)
    chain = _restricted(scaled, kept)
    groups = _groups(chain)
    maps = [_merged_map(chain, group) for group in groups]
    maps[0] = _with_fewer_columns(maps[0])
    maps[-1] = _with_fewer_rows(maps[-1])
    phis = [chain.layers[group[-1]] for group in groups[:-1]]
    layers = [_layer(linear, phi.alpha, phi.beta) for linear, phi in zip(maps[:-1], phis, strict=True)]
    layers.append(_last_layer(maps[-1]))
    reduced = Network(tuple(layers), maps[0].shape[1])
    same_norms = len(groups) == len(network.layers) and chain.dims[1:-1] == network.dims[1:-1]
    return Reduction(network, reduced, pow2, kept, groups, same_norms)


def _neurons_with_increments(network: Network) -> tuple[np.ndarray, ...] | None:
    """Indices of the neurons left by step 2, per hidden layer; None if the function is constant."""
    supports = [_support(layer.linear) for layer in network.layers]
    hidden = network.hidden_layers
    keep = [(layer.alpha != 0.0) | (layer.beta != 0.0) for layer in network.layers[:-1]]
    changed = True
    while changed:
        changed = False
        for k in [*range(hidden), *reversed(range(hidden))]:
            before = np.ones(network.input_dim, bool) if k == 0 else keep[k - 1]
            after = np.ones(network.output_dim, bool) if k == hidden - 1 else keep[k + 1]
            alive = keep[k] & (supports[k] @ before) & (supports[k + 1].T @ after)
            changed = changed or not np.array_equal(alive, keep[k])
            keep[k] = alive
    if not all(alive.any() for alive in keep) or (
        not hidden and network.layers[0].linear.largest_entry() == 0.0
    ):
        return None
    return tuple(np.flatnonzero(alive) for alive in keep)


def _support(linear: AbstractLinearMap) -> Any:
    """Where the matrix is not zero; dense for a dense map, whose sparse form costs more than a bound."""
    return linear.to_dense() != 0.0 if isinstance(linear, DenseMap) else linear.to_sparse() != 0


def _restricted(network: Network, kept: tuple[np.ndarray, ...]) -> Network:
    """The chain of the kept neurons, as slope classes."""
    ends = [np.arange(network.input_dim), *kept, np.arange(network.output_dim)]
    layers = []
    for k, layer in enumerate(network.layers):
        rows, columns = ends[k + 1], ends[k]
        linear = layer.linear
        if (rows.size, columns.size) != linear.shape:
            linear = linear.restricted(rows, columns)
        layers.append(_layer(linear, layer.alpha[rows], layer.beta[rows]))
    return Network((*layers[:-1], _last_layer(layers[-1].linear)), network.input_dim)


def _layer(linear: AbstractLinearMap, alpha: np.ndarray, beta: np.ndarray) -> Layer:
    return Layer(linear, np.zeros(linear.shape[0]), Slopes(alpha, beta), alpha, beta)


def _last_layer(linear: AbstractLinearMap) -> Layer:
    return Layer.of(linear, np.zeros(linear.shape[0]), Identity(), "last layer")


def _groups(chain: Network) -> tuple[tuple[int, ...], ...]:
    """Consecutive maps, split after every hidden layer that is not wholly linear."""
    groups: list[list[int]] = [[]]
    for k, layer in enumerate(chain.layers):
        groups[-1].append(k)
        if k < chain.hidden_layers and (layer.alpha != layer.beta).any():
            groups.append([])
    return tuple(tuple(group) for group in groups)


def _merged_map(chain: Network, group: tuple[int, ...]) -> AbstractLinearMap:
    """W_b A_{b-1} W_{b-1} ... A_a W_a for the maps a..b of the group, A_k = diag(alpha_k)."""
    first, *rest = group
    result = chain.layers[first].linear
    for k in rest:
        alpha, linear = chain.layers[k - 1].alpha, chain.layers[k].linear
        if isinstance(result, DenseMap) or isinstance(linear, DenseMap):
            result = DenseMap(linear.to_dense() @ (alpha[:, None] * result.to_dense()))
        else:
            result = SparseMap(linear.to_sparse() @ (result.to_sparse() * alpha[:, None]).tocsr())
    return result


def _with_fewer_rows(linear: AbstractLinearMap) -> AbstractLinearMap:
    """R of W = QR without its zero rows, where that has fewer rows than W."""
    rows, columns = linear.shape
    if rows * columns > (_LARGEST_COMPRESSED if rows > columns else _LARGEST_RANKED):
        return linear
    with blas_threads(1 if rows * columns < _WORTH_THREADS else None):
        factor, order = scipy.linalg.qr(linear.to_dense(), mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diagonal(factor))
    rank = int((diagonal > np.finfo(float).eps * max(rows, columns) * diagonal[0]).sum())
    if rank >= rows:
        return linear
    result = np.zeros((max(rank, 1), columns))
    result[:, order] = factor[: max(rank, 1)]
    return DenseMap(result)


def _with_fewer_columns(linear: AbstractLinearMap) -> AbstractLinearMap:
    rows, columns = linear.shape
    if rows * columns > (_LARGEST_COMPRESSED if columns > rows else _LARGEST_RANKED):
        return linear  # before anything dense is made of a sparse map
    transposed = DenseMap(np.ascontiguousarray(linear.to_dense().T))
    smaller = _with_fewer_rows(transposed)
    if smaller is transposed:
        return linear
    return DenseMap(np.ascontiguousarray(smaller.to_dense().T))


def _check_count(what: str, given: tuple[object, ...], network: Network) -> None:
    if len(given) != len(network.layers):
        raise InputError(f"the witness has {len(given)} {what}; expected {len(network.layers)}, one per map.")


def _check_fits(witness: Witness, network: Network) -> None:
    shapes = [t.size for t in witness.multipliers]
    if shapes != list(network.dims[1:-1]):
        raise InputError(
            f"the witness has multipliers of sizes {shapes}; expected {list(network.dims[1:-1])}, the hidden "
            "layers of the reduced network."
        )
