"""Claims about a linear system with a network in the loop: gain, region of attraction.

The network is v = V z, w = phi(v), z = (x, w, d); slopes or sectors alpha <= w_i/v_i <= beta of every
neuron enter as q = 2 (w - alpha v)'T (beta v - w) >= 0, T diagonal and nonnegative.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..._errors import InputError
from ...systems import NetworkLoop
from ._arithmetic import AbstractArithmetic, Floats, Matrix
from ._claims import AbstractControlClaim, Arrays, Conditions, register_claim, symmetric
from ._sectors import enclose_equilibrium, sectors
from ._walk import network_maps, neurons_of, reading_neurons

__all__ = ["LoopGain", "RegionOfAttraction", "loop_maps", "neuron_terms", "slopes_of", "storage_change"]

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
    V, control = network_maps(ops, loop.network, ops.of(seen), ops.of(direct))
    F = ops.block([[ops.of(plant.A), ops.zeros(n, N), ops.of(plant.B[:, free])]])
    F = F + ops.of(plant.B[:, u]) @ control
    E = ops.block([[ops.of(plant.C[z]), ops.zeros(z.size, N), ops.of(plant.D[z][:, free])]])
    return F, E + ops.of(plant.D[z][:, u]) @ control, V


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
        q = neuron_terms(ops, V, slopes_of(loop), T, n)
        total = storage_change(ops, loop, F, P) + E.T @ E - D.T @ D + q
        yield "the dissipation inequality", ops.definite(-total, strict=False)


@register_claim
@dataclasses.dataclass(frozen=True, eq=False)
class RegionOfAttraction(AbstractControlClaim):
    """The ellipsoid (x - x*)'P (x - x*) <= 1 around an equilibrium x* is invariant and attracted to x*.

    Without inputs. On the ellipsoid the parts of preactivations that are linear in x, r_i x (in a chain only
    the first layer has them), differ from those at x* by at most delta_i, since
    [[delta_i^2, r_i], [r_i', P]] >= 0; intervals carry that through the network, and there the activations
    satisfy sectors around x*. With T >= 0 and (change of x'P x) + q < 0 for these sectors, x'P x
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
        if not loop.network.hidden_neurons:
            raise InputError("the network is linear; expected hidden layers. Use Feedback and lyapunov.")
        n = loop.plant.states
        if self.P.shape != (n, n) or self.center.shape != (n,):
            raise InputError(
                f"P has shape {self.P.shape} and the center {self.center.shape}; the loop has {n} states."
            )
        read = int(reading_neurons(loop.network).sum())
        return {"T": (loop.network.hidden_neurons,), "delta": (read,)}

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
        F, _, V = loop_maps(ops, loop, inputs=False)
        reading = np.eye(V.shape[0])[reading_neurons(loop.network)]
        rows = ops.of(reading) @ V @ ops.of(np.eye(V.shape[1], loop.plant.states))
        eye = np.eye(delta.size)
        for i, d in enumerate(delta.tolist()):
            r = ops.of(eye[[i]]) @ rows
            matrix = ops.block([[ops.number(d) @ ops.number(d), r], [r.T, P]])
            yield f"preactivation {i} stays within delta", ops.definite(matrix, strict=False)
        q = neuron_terms(ops, V, found, T, loop.plant.states)
        yield "x'Px decreases", ops.definite(-(storage_change(ops, loop, F, P) + q))


def slopes_of(loop: NetworkLoop) -> Pairs:
    """The slopes of the neurons, one pair for each step of neurons."""
    return [(step.alpha, step.beta) for step in neurons_of(loop.network)]


def local_sectors(loop: NetworkLoop, center: np.ndarray, radius: float, delta: np.ndarray) -> Pairs | None:
    """Sectors of all neurons around x*, where the part of each preactivation that is linear in x differs by
    at most `delta` (those that have one, in their order) from that at x*; None where no x* is proven.

    |v_i - v_i*| <= delta_i + sum_j |V_ij| |w_j - w_j*|, one step of neurons after another.
    """
    equilibrium = enclose_equilibrium(loop, center, radius)
    if equilibrium is None:
        return None
    ops, n = Floats(), loop.plant.states
    size = np.abs(ops.magnitudes(loop_maps(ops, loop, inputs=False)[2])[:, n:])
    own = np.zeros(size.shape[0])
    own[reading_neurons(loop.network)] = delta
    found, moved, start = [], np.zeros(size.shape[0]), 0
    for step, (low, high) in zip(neurons_of(loop.network), equilibrium.preactivations, strict=True):
        at = slice(start, start + step.alpha.size)
        start = at.stop
        reach = own[at]
        if size[at].any():
            reach = np.nextafter((reach + size[at] @ moved) * (1.0 + 1e-9), np.inf)
        alpha, beta = sectors(step, low, high, reach)
        found.append((alpha, beta))
        moved[at] = np.nextafter(np.maximum(np.abs(alpha), np.abs(beta)) * reach, np.inf)
    return found
