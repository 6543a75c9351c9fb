"""Mehrotra's predictor-corrector on the HKM direction, with a strictly feasible y throughout.

Helmberg, Rendl, Vanderbei, Wolkowicz, SIAM J. Optim. 6 (1996); Kojima, Shindoh, Hara, SIAM J.
Optim. 7 (1997); Monteiro, SIAM J. Optim. 7 (1997). X is kept on the pattern and completed.
"""

import dataclasses
import math
import time
from typing import Any

from ..._errors import SolveFailed
from ..._progress import Progress, ProgressCallback
from ...lmi import Status
from .._interrupt import OutOfTime
from ._chain import Markov, inner
from ._compile import Compiled
from ._direction import Iterate, SchurFactor
from ._iterative import IterativeSchur
from ._pair import Precision
from ._start import Start
from ._state import DualPoint, complementarity, dual_at, dual_objective
from ._step import BracketedStep, Neighbourhood, corrected_step

__all__ = ["INTERRUPTED", "TIME_LIMIT", "InteriorLimits", "InteriorOutcome", "solve_interior"]

INTERRUPTED, TIME_LIMIT = "interrupted", "time limit"
_FRACTION, _FRACTION_SHORT = 0.95, 0.6  # of the way to the boundary: of full steps, and of tiny ones
_BACK = (1.0, 0.9, 0.7, 0.4, 0.1)  # of the step lengths, until the step succeeds
_STALL = 5  # iterations without progress
_STALL_INFEASIBLE = 25  # the same while X or y is not feasible: plateaus of 15 are normal on deep chains
_UNMET = 1e-2  # of the first residual: above it the dual objective bounds nothing
_CAUTIOUS = 0.1  # of mu, the least target until then: 2 x 1200 takes half the iterations
_CAUTIOUS_FROM = 500  # rows, in residual networks: with levels of 192 they would take 20 iterations, not 13
_NEAR = 10.0  # the optimum is thought to be within so many times the last step of y, relative to y
_FAR = 1e7  # times the data and the first objective: no optimum is there, it runs to minus infinity
_RAY = 1e-8  # relative residual of a certificate of infeasibility
_LATE = 1e-4  # relative gap below which solves with the Schur complement are refined
_EXACT = 1e-3  # of the gap: what the residual of a refined solve may be worth
_EARLY = 2e-2  # relative gap above which single precision does; below it X's least eigenvalues suffer
_LARGE, _WIDE = 300, 100  # variables, rows of a level: from these on single precision pays,
_MANY = 1500  # or from so many variables on
_REDUCED = 1e-3  # relative gap up to which an early end is INACCURATE and not LIMIT


@dataclasses.dataclass(frozen=True)
class InteriorLimits:
    """When to stop: relative gap, iterations, the clock (`time.perf_counter` value)."""

    tol: float
    iterations: int
    deadline: float
    started: float
    progress: ProgressCallback | None


@dataclasses.dataclass
class InteriorOutcome:
    """The best point found, its multipliers and the bound that they give."""

    status: Status
    reason: str
    y: Any
    dual: DualPoint | None
    objective: float
    bound: float
    iterations: int
    limited: bool = False  # ended by the user's limits


@dataclasses.dataclass
class _InteriorMeasures:
    objective: float
    bound: float  # dual objective less what its residual may be worth
    scale: float
    mu: float
    residual: float  # |F*(X) - G'z - c| weighted by |y|
    ray: bool  # X proves infeasibility up to rounding


def solve_interior(
    problem: Compiled,
    start: Start,
    limits: InteriorLimits,
    schur: SchurFactor | IterativeSchur,
) -> InteriorOutcome:
    """Run from the start's point; the answer is never worse than its incumbent."""
    run = _InteriorRun(problem, start, limits, schur)
    for known in (start.point, start.incumbent):
        if known is not None and known.feasible:
            run.best = min(run.best, (float(problem.c @ known.y), known.y), key=lambda best: best[0])
    return run.run()


def _single_pays(problem: Compiled) -> bool:
    """By the orders of the matrices."""
    return bool(problem.c.size >= (_LARGE if _widest(problem) >= _WIDE else _MANY))


def _widest(problem: Compiled) -> int:
    return max(int(chain.sizes.max()) for chain in problem.chains)


def _shortened(length: float) -> float:
    """The step for a length to the boundary: a short one that went near it would lose centrality."""
    fraction = _FRACTION_SHORT + (_FRACTION - _FRACTION_SHORT) * math.sqrt(min(1.0, length))
    return min(1.0, fraction * length)


class _InteriorRun:
    def __init__(
        self,
        problem: Compiled,
        start: Start,
        limits: InteriorLimits,
        schur: SchurFactor | IterativeSchur,
    ) -> None:
        self.problem, self.point, self.limits, self.schur = problem, start.point, limits, schur
        self.dominance, self.interrupted = start.dominance, start.interrupted
        self.dual: DualPoint | None = None
        self.best: tuple[float, Any] = (math.inf, start.point.y)
        self.best_bound = -math.inf
        self.history: list[tuple[float, ...]] = []
        self.objectives: list[float] = []
        first = abs(float(problem.c @ start.point.y)) if start.point.feasible else 1.0
        self.data = max(1.0, first, *(math.sqrt(inner(c.F0, c.F0)) for c in problem.chains))
        self.iteration = 0
        self.lengths = (1.0, 1.0)  # of the last step: where to look for the next one's
        self.floor = 1e-300  # of the scale of the objective: an optimum of zero is never met relatively
        self.precision = Precision(_single_pays(problem) and isinstance(schur, SchurFactor))
        self.cautious = _widest(problem) >= _CAUTIOUS_FROM or not any(c.skips for c in problem.chains)
        self.nearness = math.inf  # largest |dy_i / y_i| of the last direction
        self.unmet = 1.0  # what is left of the first residual of F*(X) - G'z = c

    def run(self) -> InteriorOutcome:
        try:
            while True:
                outcome = self._step()
                if outcome is not None:
                    return outcome
                self.iteration += 1
        except KeyboardInterrupt:
            return self._outcome(Status.LIMIT, INTERRUPTED, limited=True)
        except OutOfTime:
            return self._outcome(Status.LIMIT, TIME_LIMIT, limited=True)
        except SolveFailed as error:
            return self._stopped(str(error))

    def _step(self) -> InteriorOutcome | None:
        problem, point = self.problem, self.point
        R = point.inverses(problem)
        if self.dual is None:
            self.dual = self._first_dual(R)
        measures = self._measure()
        finished = self._finished(measures)
        if finished is not None:
            return finished
        gap = measures.mu * problem.degree
        late = self.unmet <= _UNMET and gap <= _LATE * measures.scale
        self.precision.single &= point.feasible and gap > _EARLY * measures.scale
        exact = _EXACT * gap if late else None
        iterate = Iterate(problem, point, self.dual, R, gap, self.precision, exact)
        iterate.form(self.schur)
        around = Neighbourhood(problem, point, self.dual, self.precision.single)
        least = _CAUTIOUS if self.unmet > _UNMET and self.cautious else 0.0
        step = corrected_step(around, iterate, self.schur, measures.mu, self.lengths, least)
        return self._move(around, step)

    def _first_dual(self, R: list[Markov]) -> DualPoint:
        """X = mu R, z = mu / s with mu the objective's own size: large, as infeasible starts need.

        (A start must dominate the solution for the steps to be long; Newton's best mu does not.)
        """
        problem, point = self.problem, self.point
        mu = float(abs(problem.c * point.y).sum()) * self.dominance
        if not (mu > 0 and math.isfinite(mu)):
            mu = 1.0
        dual = dual_at(problem, [r.times(mu) for r in R], mu / point.s)
        if dual is None:
            raise SolveFailed("the first multipliers are not positive definite in floating point.")
        return dual

    def _measure(self) -> _InteriorMeasures:
        problem, point, dual = self.problem, self.point, self.dual
        assert dual is not None
        xp = problem.am.xp
        objective = float(problem.c @ point.y)
        gradient = problem.adjoint(dual.X, dual.z)
        residual = problem.c - gradient
        value = dual_objective(problem, dual)
        doubt = float(xp.abs(residual * point.y).sum())
        scale = max(abs(objective), abs(value), float(xp.abs(problem.c * point.y).sum()))
        self.floor = max(self.floor, 1e-12 * scale if self.iteration == 0 else 0.0)
        scale = max(scale, self.floor)
        ray = value > 0 and float(xp.abs(gradient).max()) <= _RAY * value
        mu = complementarity(point.Z, point.s, list(dual.X), dual.z) / problem.degree
        bound = -math.inf
        if self.unmet <= _UNMET and doubt <= 1e-3 * scale:
            bound = value - 2.0 * doubt
            if point.feasible:  # c'y* >= value + r'y* for the residual r, and y* is near y
                bound = max(bound, value + float(residual @ point.y) - _NEAR * self.nearness * doubt)
        if point.feasible and objective < self.best[0]:
            self.best = (objective, point.y)
        if self.best_bound > self.best[0] + 1e-9 * scale:  # refuted by what was found since
            self.best_bound = -math.inf
        if bound <= self.best[0] + 1e-9 * scale:  # above any feasible objective it is rounding
            self.best_bound = max(self.best_bound, bound)
        return _InteriorMeasures(objective, bound, scale, mu, doubt, ray)

    def _finished(self, measures: _InteriorMeasures) -> InteriorOutcome | None:
        limits, point = self.limits, self.point
        gap = (self.best[0] - self.best_bound) / measures.scale if point.feasible else math.inf
        if limits.progress is not None:
            limits.progress(
                Progress(
                    "interior point",
                    self.iteration,
                    limits.iterations,
                    self.best[0],
                    self.best_bound,
                    time.perf_counter() - limits.started,
                )
            )
        if gap <= limits.tol:
            return self._outcome(Status.SOLVED, f"relative gap {max(gap, 0.0):.1e}")
        if measures.ray and not point.feasible:
            return self._outcome(Status.INFEASIBLE, "the multipliers are a ray")
        if self._diverges(measures):
            return self._outcome(Status.UNBOUNDED, "the point runs along a ray")
        if not math.isfinite(measures.mu) or measures.mu <= 0:
            return self._stopped("the complementarity lost its sign")
        if self.interrupted:
            return self._outcome(Status.LIMIT, INTERRUPTED, limited=True)
        if time.perf_counter() >= limits.deadline:
            return self._outcome(Status.LIMIT, TIME_LIMIT, limited=True)
        if self.iteration >= limits.iterations:
            return self._outcome(Status.LIMIT, "iteration limit", limited=True)
        return self._stalled(measures)

    def _diverges(self, measures: _InteriorMeasures) -> bool:
        """Whether y grows so fast, without any bound in sight, that it can only be a ray."""
        self.objectives.append(measures.objective)
        if len(self.objectives) < 5 or measures.objective >= 0 or math.isfinite(self.best_bound):
            return False
        grown = self.objectives[-1] < 1e3 * min(-1e-300, self.objectives[-5])
        return grown and -measures.objective > _FAR * self.data

    def _stalled(self, measures: _InteriorMeasures) -> InteriorOutcome | None:
        """Stop where neither the objective, nor mu, nor a residual has moved for some iterations."""
        scale = measures.scale  # it falls with mu from a dominant start: both mu and mu / scale count
        state = (measures.mu / scale, measures.residual / scale, self.best[0], measures.mu)
        self.history.append(state)
        window = _STALL if self.unmet <= _UNMET and self.point.feasible else _STALL_INFEASIBLE
        if len(self.history) <= window:
            return None
        old = self.history[-1 - window]
        # the objective counts only where it moves by more than the gap that remains
        gained = old[2] - state[2] > 1e-2 * max(state[0] * self.problem.degree, 1e-9) * scale
        fallen = any(state[k] < 0.7 * old[k] for k in (0, 1, 3))
        if gained or fallen:
            return None
        return self._stopped("no further progress in floating point")

    def _stopped(self, reason: str) -> InteriorOutcome:
        """An early end: honest about the gap that is left."""
        objective, bound = self.best[0], self.best_bound
        if not math.isfinite(objective):
            return self._outcome(Status.FAILED, reason)
        if self.unmet > _UNMET and -objective > _FAR * self.data:
            return self._outcome(Status.UNBOUNDED, "the point runs along a ray")
        close = math.isfinite(bound) and objective - bound <= _REDUCED * max(abs(objective), abs(bound))
        return self._outcome(Status.INACCURATE if close else Status.LIMIT, reason)

    def _outcome(self, status: Status, reason: str, *, limited: bool = False) -> InteriorOutcome:
        objective, y = self.best
        if status is Status.UNBOUNDED:
            y = self.point.y
        if status.has_point and not math.isfinite(objective):
            status = Status.FAILED
        return InteriorOutcome(
            status, reason, y, self.dual, objective, self.best_bound, self.iteration, limited
        )

    def _move(self, around: Neighbourhood, step: BracketedStep) -> InteriorOutcome | None:
        self.lengths = around.lengths(step)
        ahead, above = (_shortened(length) for length in self.lengths)
        for back in _BACK:  # at the edge of the cone, rounding may refuse what a longer step passed
            dual = around.dual_after(step.direction, back * ahead)
            point = None if dual is None else around.point_after(step.direction, back * above, exact=True)
            if dual is not None and point is not None:
                self.nearness = float(abs(step.direction.y / point.y).max())
                self.dual, self.point = dual, point
                self.unmet *= 1.0 - back * ahead
                return None
        return self._stopped("the step left the cone in floating point")
