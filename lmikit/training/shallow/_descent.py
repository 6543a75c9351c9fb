"""The descent loop of convex shallow training: solve, move where the objective falls, repeat."""

import dataclasses
import time

import numpy as np

from ..._errors import SolveFailed
from ..._progress import ProgressCallback
from ...network import Network
from ...solvers import AbstractSolver
from ._cones import PatternCone
from ._interior import interior_point
from ._model import ShallowModel
from ._outer import free_outputs
from ._program import pattern_rows
from ._result import ShallowResult, ShallowStep
from ._rows import solve_with_rows
from ._tasks import AbstractTask, Joint, Point

__all__ = ["Descent"]

_GAP = 0.1  # of the first objective: a program left with more is not called solved
_SHRINK = (1.0, 0.99, 0.9, 0.5)  # of the way to the solver's point, until the true objective does not rise


@dataclasses.dataclass(eq=False)
class Descent:
    """One call: the task, the model with its present patterns, the clock and the history.

    `iterations` programs are solved at most, fewer where one gains less than `tol` of the objective or
    `deadline` (of time.perf_counter) has passed. With `cross` the patterns change in between: rows that
    hold a unit back change sides, and the point stays feasible, since it lies on the border.
    """

    task: AbstractTask
    model: ShallowModel
    solver: AbstractSolver | None
    iterations: int
    tol: float
    cross: bool
    free_outputs: bool = False
    working_set: float | None = None
    deadline: float = np.inf
    progress: ProgressCallback | None = None
    history: list[ShallowStep] = dataclasses.field(default_factory=list)
    started: float = dataclasses.field(default_factory=time.perf_counter)

    def run(self, network: Network) -> ShallowResult:
        """Descend from `network`, whose patterns the model holds."""
        penalty, point = self.task.start(self.model, network)
        self._record("start", self.model.loss(point.V), penalty)
        reason = "no unit is active on the data"
        if self.model.units:
            # idle units are at zero now, and the units at their best scaling: equal or better; far above
            # the zero network's loss, Newton's method on cross-entropy would not come back
            while self.model.loss(point.V) > 2.0 * self.model.loss(0.0 * point.V):
                point = Point(0.5 * point.V, point.p)
            best = min(self.task.penalty(self.model, point), penalty)
            self._record("restricted", self.model.loss(point.V), best)
            point, reason = self._iterate(point)
        network, certificate = self.task.result(self.model, point)
        if not self.model.units:
            self._record("restricted", self.model.loss(point.V), 0.0)
        return ShallowResult(
            network=network,
            objective=self.history[-1].objective,
            initial_objective=self.history[0].objective,
            certificate=certificate,
            history=tuple(self.history),
            reason=reason,
            seconds=time.perf_counter() - self.started,
        )

    def _iterate(self, point: Point) -> tuple[Point, str]:
        for k in range(self.iterations):
            before, zero = self.history[-1].objective, Point(np.zeros_like(point.V), point.p)
            if self.task.vanishes(self.model):
                return self._move(
                    "zero", point, zero
                ), "the zero network is optimal: no gradient exceeds the penalty's"
            try:
                y, z, gap = self._solve(point)
            except SolveFailed as error:
                if k == 0:
                    raise
                return (point, f"the solver failed; the last good weights are kept: {error}")
            slack = self._slack(y[: point.V.size])
            held = z > slack
            point = self._move(self.task.stage, point, self.task.target(self.model, point, y), gap)
            if self.model.loss(zero.V) < self.history[-1].objective:  # its penalty is 0
                return self._move("zero", point, zero), "no network found is better than the zero network"
            better = self.task.polished(self.model, point)
            if better is not None:
                point = self._move("multipliers", point, better)
            if self.free_outputs:
                point = self._free_outputs(point)
            if time.perf_counter() > self.deadline:
                return point, "the time limit was reached"
            if k + 1 < self.iterations and before - self.history[-1].objective <= self.tol * before:
                return (point, f"an iteration gained less than {self.tol:g} of the objective")
            if self.cross:
                # a unit that the outer layer revived has left the border
                border = 10.0 * float(slack[held].max(initial=0.0))
                self.model = self.model.crossed(held & (self._slack(point.V.ravel()) <= border))
        return (point, "the program was solved" if self.iterations == 1 else f"{self.iterations} were solved")

    def _solve(self, point: Point) -> tuple[np.ndarray, np.ndarray, float | None]:
        X, _ = self._rows()
        return solve_with_rows(
            lambda mask, left: (self._by_interior_point if self.solver is None else self._by_solver)(
                point, mask, left
            ),
            self._slack,
            np.linalg.norm(X, axis=1),
            point.V.ravel(),
            start=self.working_set,
            whole=self.solver is None,
            time_limit=None if np.isinf(self.deadline) else max(self.deadline - time.perf_counter(), 1e-3),
        )

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct rows of the data and the patterns of the units on them."""
        first, _ = self.model.distinct
        return self.model.X[first], self.model.patterns[:, first]

    def _slack(self, v: np.ndarray) -> np.ndarray:
        """(2 D_ji - 1) x_i'v_j, (n, distinct rows)."""
        X, patterns = self._rows()
        return np.where(patterns, 1.0, -1.0) * (v.reshape(self.model.units, -1) @ X.T)

    def _by_interior_point(
        self, point: Point, mask: np.ndarray, left: float | None
    ) -> tuple[np.ndarray, np.ndarray, float | None]:
        rows = mask.any(axis=0)
        X, patterns = self._rows()
        cones, rest, linear = self.task.cones(self.model, point)
        x = np.append(point.V, rest)
        cones = [PatternCone(X[rows], patterns[:, rows], x.size), *cones]
        found = interior_point(
            self.model.fit,
            np.append(np.zeros(point.V.size), linear),
            cones,
            x,
            time_limit=left,
            progress=self.progress,
        )
        if (
            not found.solved
            and time.perf_counter() < self.deadline
            and found.gap > _GAP * self.history[0].objective
        ):
            raise SolveFailed(
                f"the interior point method stopped with a gap of {found.gap:.3g}; scale the columns of X "
                "and y to unit variance, or give a solver."
            )
        z = np.zeros(mask.shape)
        z[:, rows] = found.multipliers[0]
        return found.x, z, found.gap

    def _by_solver(
        self, point: Point, mask: np.ndarray, left: float | None
    ) -> tuple[np.ndarray, np.ndarray, float | None]:
        assert self.solver is not None
        program = self.task.program(self.model, point, pattern_rows(self.model)[mask.ravel()])
        solution = self.solver.solve(program, time_limit=left, progress=self.progress)
        if solution.y is None or not solution.status.has_point:
            raise SolveFailed(
                f"{type(self.solver).__name__} ended with {solution.status.name} ({solution.native_status}); "
                "try another solver, or scale the columns of X and y to unit variance."
            )
        z = np.zeros(mask.shape)
        if solution.dual is not None and solution.dual.z.size:
            z[mask] = solution.dual.z
        return solution.y, z, None

    def _free_outputs(self, point: Point) -> Point:
        """The outer layer's program; its point where the true objective falls."""
        assert isinstance(self.task, Joint)
        left = None if np.isinf(self.deadline) else max(self.deadline - time.perf_counter(), 1e-3)
        model, found, gap = free_outputs(self.task, self.model, point, left)
        loss, penalty = model.loss(found.V), self.task.penalty(model, found)
        if loss + self.task.weight * penalty > self.history[-1].objective:
            return point
        self.model = model
        self._record("outputs", loss, penalty, gap)
        better = self.task.by_lipsdp(model, found)
        return found if better is None else self._move("multipliers", found, better)

    def _move(self, stage: str, point: Point, target: Point, gap: float | None = None) -> Point:
        """The longest listed step towards `target` at which the true objective does not rise, or none."""
        for share in _SHRINK:
            at = point.towards(target, share)
            loss, penalty = self.model.loss(at.V), self.task.penalty(self.model, at)
            if loss + self.task.weight * penalty <= self.history[-1].objective:
                self._record(stage, loss, penalty, gap)
                return at
        seconds = time.perf_counter() - self.started
        self.history.append(
            dataclasses.replace(self.history[-1], stage=stage, seconds=seconds, accepted=False, gap=gap)
        )
        return point

    def _record(self, stage: str, loss: float, penalty: float, gap: float | None = None) -> None:
        seconds = time.perf_counter() - self.started
        objective = loss + self.task.weight * penalty
        self.history.append(ShallowStep(stage, loss, penalty, objective, seconds, gap=gap))
