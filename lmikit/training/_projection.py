"""The nearest weights that provably meet a target: min sum_k |W_k - W^_k|_F^2 s.t. L <= target by LipSDP.

For fixed multipliers T the LMI of LipSDP is convex in the weights, and for fixed weights in T; together it
is not. Rounds of both start from weights that meet the target and never move further away: with T
fixed at a feasible point, that point stays feasible. A joint convex step in (T W, T), in the metric
|T^^-1 (T W - T W^)|_F with T^ from the round before, proposes the T of each round.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import blas_threads
from .._errors import NotCertified, OptionError, SolveFailed
from ..certificates import Certificate
from ..network import Network
from ..solvers import AbstractSolver
from ._callback import Arrays, distance
from ._certify import Certified, certified, check_target, within_target
from ._checks import whole
from ._lip_loop_conditions import ChainCondition
from ._weights import Layout

__all__ = ["ProjectionResult", "project_weights"]


@dataclasses.dataclass(frozen=True, eq=False)
class ProjectionResult:
    """Weights with a proven bound of at most the target, and how far they are from the given ones.

    `distance` = sqrt(sum_k |W_k - W^_k|_F^2) over the matrices (biases are kept); `distances` holds it after
    each round, never rising, its first entry that of the feasible start. A local optimum at best.
    """

    weights: tuple[np.ndarray, ...]
    network: Network
    certificate: Certificate
    distance: float
    distances: tuple[float, ...]
    reason: str


def project_weights(
    weights: Sequence[Any],
    activation: Any = "relu",
    *,
    target: float,
    solver: AbstractSolver | None = None,
    rounds: int = 10,
    tol: float = 1e-3,
) -> ProjectionResult:
    """Weights near the given ones, in the Frobenius metric, whose network provably has L <= target.

    `weights` = [W0, b0, W1, b1, ...] or [W0, W1, ...]; biases do not matter and stay. `solver` takes a
    quadratic objective or a second-order cone (None: Clarabel). Stops after `rounds`, or where a round
    brings less than `tol` relatively. Weights that meet the target already come back unchanged. One LMI of
    order min(n_0, n_1) + 2N + m with sum_k n_k n_{k-1} variables per step: for up to some thousands of them.

    Raises InputError for a target that is not positive, NotCertified, OptionError, SolveFailed.
    """
    check_target(target)
    whole("rounds", rounds)
    if not 0.0 < tol < 1.0:
        raise OptionError(f"tol={tol!r}; expected a number in (0, 1).")
    layout = Layout.of(weights, activation)
    own = layout.own(weights)
    found = certified(layout.network(own))
    if found.certificate.bound <= target:
        return ProjectionResult(
            own, found.network, found.certificate, 0.0, (0.0,), "the target is met already"
        )
    if found.network.hidden_layers < 1:
        return _clipped(layout, own, target)
    with blas_threads(1):
        return _Search(own, layout, target, solver).run(found.certificate.bound, rounds, tol)


def _clipped(layout: Layout, own: Arrays, target: float) -> ProjectionResult:
    """One matrix: singular values are cut, the exact answer."""
    weights = layout.clipped(own, np.array([target]))
    found, weights = within_target(certified(layout.network(weights)), weights, layout, target)
    moved = distance(layout.maps(weights), layout.maps(own))
    return ProjectionResult(weights, found.network, found.certificate, moved, (moved,), "exact: one matrix")


class _Search:
    """The rounds; `goal` are the given matrices."""

    def __init__(self, own: Arrays, layout: Layout, target: float, solver: AbstractSolver | None) -> None:
        self.own, self.layout, self.target, self.solver = own, layout, target, solver
        self.goal = [w.astype(np.float64) for w in layout.maps(own)]
        self.condition = ChainCondition(layout, layout.network(own), target)

    def run(self, bound: float, rounds: int, tol: float) -> ProjectionResult:
        # slopes are a cone's business: scaling a layer scales the bound, whatever the activation
        factor = (self.target / bound) ** (1.0 / len(self.goal)) * (1.0 - 1e-9)
        best = self._proven([w * factor for w in self.goal])
        distances, reason = [best[2]], f"all {rounds} rounds were taken"
        for _ in range(rounds):
            try:
                better = self._round(best[1], distances[-1] * (1.0 - tol))
            except SolveFailed as error:
                reason = f"a projection failed: {error}"
                break
            if better is None:
                reason = f"a round brought less than tol={tol:g}"
                break
            best = better
            distances.append(best[2])
        found, weights, moved = best
        return ProjectionResult(weights, found.network, found.certificate, moved, tuple(distances), reason)

    def _round(self, weights: Arrays, below: float) -> tuple[Certified, Arrays, float] | None:
        """Weights nearer than `below`: by the multipliers of a joint step, or else by LipSDP's own."""
        condition = self.condition
        own = condition.start(weights)
        ideal = condition.image(self.own, own)
        joint, _ = condition.project(ideal, condition.metric(own), self.solver, None)
        for t in (joint[condition.hidden + 1 :], own):
            point, _ = condition.nearest(ideal, own, t, self.solver)
            moved = condition.recover(self.own, point)
            try:
                found = self._proven(self.layout.maps(moved))
            except NotCertified:
                continue
            if found[2] < below:
                return found
        return None

    def _proven(self, maps: Sequence[np.ndarray]) -> tuple[Certified, Arrays, float]:
        layout = self.layout
        weights = list(self.own)
        for i, w in zip(layout.matrices, maps, strict=True):
            weights[i] = w
        own = layout.own(weights)
        found, own = self._scaled(certified(self.layout.network(own)), own)
        return found, own, distance(layout.maps(own), self.goal)

    def _scaled(self, found: Certified, weights: Arrays) -> tuple[Certified, Arrays]:
        """The output matrix is scaled by what the solver's tolerance leaves; its bias stays."""
        before = weights
        found, weights = within_target(found, weights, self.layout, self.target)
        bias = self.layout.biases[-1]
        if bias is not None and weights is not before:
            weights = tuple(before[bias] if i == bias else w for i, w in enumerate(weights))
            found = dataclasses.replace(found, network=self.layout.network(weights))
        return found, weights
