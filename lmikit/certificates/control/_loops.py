"""Claims about a linear system with a network in the loop: gain, region of attraction.

The network is v = V z, w = phi(v), z = (x, w, d); slopes or sectors alpha <= w_i/v_i <= beta of every
neuron enter as q = 2 (w - alpha v)'T (beta v - w) >= 0, T diagonal and nonnegative.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..._errors import InputError
from ...network import Network
from ...systems import NetworkLoop
from ._arithmetic import AbstractArithmetic, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric
from ._sectors import enclose_equilibrium, sectors

__all__ = ["LoopGain", "RegionOfAttraction", "chain_maps", "loop_maps", "neuron_terms", "storage_change"]

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def _loop(subject: Any) -> NetworkLoop:
    if isinstance(subject, NetworkLoop):
        return subject
    raise InputError(f"the subject is a {type(subject).__name__}; expected a NetworkLoop.")


def loop_maps(
    ops: AbstractArithmetic[Matrix], loop: NetworkLoop, *, inputs: bool
) -> tuple[Matrix, Matrix, Matrix]:
    """(F, E, V): next state or derivative, outputs, preactivations as maps of z = (x, w, d), or (x, w)."""
    plant, wired = loop.plant, loop.wiring
    free = wired.free_inputs if inputs else np.zeros(0, dtype=np.int64)
    z, u = wired.free_outputs, list(loop.control)
    seen, direct = wired.measurement()
    direct = direct if inputs else direct[:, :0]
    N, n = loop.network.hidden_neurons, plant.states
    V, control = chain_maps(ops, loop.network, ops.of(seen), ops.of(direct))
    F = ops.block([[ops.of(plant.A), ops.zeros(n, N), ops.of(plant.B[:, free])]])
    F = F + ops.of(plant.B[:, u]) @ control
    E = ops.block([[ops.of(plant.C[z]), ops.zeros(z.size, N), ops.of(plant.D[z][:, free])]])
    return F, E + ops.of(plant.D[z][:, u]) @ control, V


def chain_maps(
    ops: AbstractArithmetic[Matrix], network: Network, seen: Matrix, direct: Matrix
) -> tuple[Matrix, Matrix]:
    """(V, U): preactivations and outputs, without biases, as maps of z = (x, w, d); the input is
    seen x + direct d."""
    weights, sizes = network.weights, network.dims[1:-1]
    N, n, m = sum(sizes), seen.shape[1], direct.shape[1]
    first = ops.block([[seen, ops.zeros(seen.shape[0], N), direct]])
    rows: list[list[Matrix]] = []
    for k, W in enumerate(weights[:-1]):
        before = sum(sizes[: max(k - 1, 0)])
        part = ops.of(W)
        if k == 0:
            rows.append([part @ first])
        else:
            left, right = n + before, N - before - sizes[k - 1] + m
            rows.append([ops.block([[ops.zeros(W.shape[0], left), part, ops.zeros(W.shape[0], right)]])])
    last = ops.of(weights[-1])
    if not rows:
        return ops.zeros(0, n + m), last @ first
    tail = last.shape[1]
    ahead = ops.zeros(last.shape[0], n + N - tail)
    return ops.block(rows), ops.block([[ahead, last, ops.zeros(last.shape[0], m)]])


def neuron_terms(
    ops: AbstractArithmetic[Matrix], V: Matrix, slopes: Pairs, T: np.ndarray, states: int
) -> Matrix:
    """q as a matrix of z; raises nothing, T >= 0 is checked by the claims."""
    N, size = V.shape
    J = ops.of(np.hstack([np.zeros((N, states)), np.eye(N), np.zeros((N, size - states - N))]))
    alpha = np.concatenate([np.zeros(0), *(a for a, _ in slopes)])
    beta = np.concatenate([np.zeros(0), *(b for _, b in slopes)])
    low, high = J - ops.of(np.diag(alpha)) @ V, ops.of(np.diag(beta)) @ V - J
    half = low.T @ ops.of(np.diag(T)) @ high
    return half + half.T


def storage_change(ops: AbstractArithmetic[Matrix], loop: NetworkLoop, F: Matrix, P: Matrix) -> Matrix:
    """The difference, or the derivative, of x'P x as a matrix of z."""
    n, size = F.shape
    X = ops.of(np.eye(n, size))
    if loop.discrete:
        return F.T @ P @ F - X.T @ P @ X
    half = X.T @ P @ F
    return half + half.T


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class LoopGain(AbstractControlClaim):
    """Any two trajectories from one initial state have |e - e'| <= gain |d - d'| in l2 (L2).

    P > 0, T >= 0 with (change of x'P x) + E'E - gain^2 D'D + q <= 0 for the slopes of the activations:
    summed along the difference of the trajectories it is the claim, which holds for every bias of the
    network.
    Source: Pauli, Koehler, Berberich, Koch, Allgoewer, IEEE L-CSS 2021 (the loop with a network); Boyd et al.
    (1994), section 8.1 (the S-procedure for diagonal nonlinearities).
    """

    kind: ClassVar[str] = "loop-gain"
    gain: float

    def statement(self) -> str:
        return (
            "for any two inputs and one initial state the l2 (L2) norm of the difference of the outputs "
            "is at "
            f"most {self.gain!r} times that of the inputs"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        loop = _loop(subject)
        return {"P": (loop.plant.states,) * 2, "T": (loop.network.hidden_neurons,)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        loop, T = _loop(subject), witness["T"]
        F, E, V = loop_maps(ops, loop, inputs=True)
        P, n, m = ops.of(symmetric(witness, "P")), loop.plant.states, loop.wiring.free_inputs.size
        yield "T >= 0", bool((T >= 0.0).all())
        yield "the gain is positive", self.gain > 0.0
        yield "P > 0", ops.definite(P)
        D = ops.scaled(self.gain, ops.of(np.eye(F.shape[1])[F.shape[1] - m :]))
        q = neuron_terms(ops, V, loop.network.slopes, T, n)
        total = storage_change(ops, loop, F, P) + E.T @ E - D.T @ D + q
        yield "the dissipation inequality", ops.definite(-total, strict=False)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class RegionOfAttraction(AbstractControlClaim):
    """The ellipsoid (x - x*)'P (x - x*) <= 1 around an equilibrium x* is invariant and attracted to x*.

    Without inputs. On the ellipsoid the first preactivations differ from those at x* by at most delta, since
    [[delta_i^2, r_i], [r_i', P]] >= 0, r_i their rows; intervals carry that through the layers, and there the
    activations satisfy sectors around x*. With T >= 0 and (change of x'P x) + q < 0 for these sectors, x'P x
    decreases. Source: Yin, Seiler, Arcak, IEEE Trans. Automat. Control 67 (2022), Theorem 1.
    """

    kind: ClassVar[str] = "region-of-attraction"
    P: np.ndarray
    center: np.ndarray
    radius: float

    def statement(self) -> str:
        return (
            "without inputs the loop has an equilibrium x*, every entry of which is within "
            f"{self.radius!r} of the center of this file; every trajectory that starts in the ellipsoid "
            "(x - x*)'P(x - x*) <= 1, with the P of this file, stays in it and converges to x*"
        )

    def shapes(self, subject: Any) -> dict[str, tuple[int, ...]]:
        loop = _loop(subject)
        if loop.network.hidden_layers < 1:
            raise InputError("the network is linear; expected hidden layers. Use Feedback and lyapunov.")
        n = loop.plant.states
        if self.P.shape != (n, n) or self.center.shape != (n,):
            raise InputError(
                f"P has shape {self.P.shape} and the center {self.center.shape}; the loop has {n} states."
            )
        return {"T": (loop.network.hidden_neurons,), "delta": (loop.network.dims[1],)}

    def conditions(self, ops: AbstractArithmetic[Matrix], subject: Any, witness: Arrays) -> Conditions:
        loop, T, delta = _loop(subject), witness["T"], witness["delta"]
        yield "P is symmetric", bool(np.array_equal(self.P, self.P.T))
        yield "the radius is positive", 0.0 < self.radius < np.inf
        yield "T >= 0, delta > 0", bool((T >= 0.0).all() and (delta > 0.0).all())
        found = local_sectors(loop, self.center, self.radius, delta)
        yield "there is one equilibrium near the center", found is not None
        if found is None:
            return
        P = ops.of(self.P)
        yield "P > 0", ops.definite(P)
        seen, _ = loop.wiring.measurement()
        rows = ops.of(loop.network.weights[0]) @ ops.of(seen)
        eye = np.eye(delta.size)
        for i, d in enumerate(delta.tolist()):
            r = ops.of(eye[[i]]) @ rows
            matrix = ops.block([[ops.number(d) @ ops.number(d), r], [r.T, P]])
            yield f"preactivation {i} stays within delta", ops.definite(matrix, strict=False)
        F, _, V = loop_maps(ops, loop, inputs=False)
        q = neuron_terms(ops, V, found, T, loop.plant.states)
        yield "x'Px decreases", ops.definite(-(storage_change(ops, loop, F, P) + q))


def local_sectors(loop: NetworkLoop, center: np.ndarray, radius: float, delta: np.ndarray) -> Pairs | None:
    """Sectors of all hidden layers around x* for |v_1 - v_1*| <= delta; None where no x* is proven."""
    equilibrium = enclose_equilibrium(loop, center, radius)
    if equilibrium is None:
        return None
    found = []
    reach = delta
    layers, weights = loop.network.layers[:-1], loop.network.weights
    for k, (layer, (low, high)) in enumerate(zip(layers, equilibrium.preactivations, strict=True)):
        if k:
            reach = np.nextafter((np.abs(weights[k]) @ reach) * (1.0 + 1e-9), np.inf)
        alpha, beta = sectors(layer, low, high, reach)
        found.append((alpha, beta))
        reach = np.nextafter(np.maximum(np.abs(alpha), np.abs(beta)) * reach, np.inf)
    return found
