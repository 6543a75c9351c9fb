"""First-order barrier method in O(sum n_k^3) work and O(sum n_k^2) memory per step.

For problems whose Schur complement does not fit: minimise, for growing weights w,

    w c'y / |c'y_0| - sum_k log det F_k(y) - sum log(h - G y)

over u with y = y_0 exp(u), by L-BFGS (Nocedal, Math. Comp. 35, 1980) with the exact gradient
y o (w c / |c'y_0| - F*(R) + G'(1/s)). u is split into steps from level to level and a remainder
per variable: a factor on all levels from k on is what moves a deep network's bound. The points
are strictly feasible; there is no bound on the optimum, and the accuracy is that of the last weight.
"""

import dataclasses
import math
import time
from collections import deque
from typing import Any

from ..._progress import Progress
from ...lmi import Status
from ._chain import log_determinant
from ._compile import Compiled
from ._interior_point import Limits, Outcome
from ._state import Point, point_at

__all__ = ["solve_matrix_free"]

_WEIGHTS = (
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
)  # times the degree: relative gaps 1 .. 1e-3 if solved exactly
_STEPS = 80  # L-BFGS steps per weight
_MEMORY = 20  # pairs
_LONGEST = 1.0  # step in any log variable
_GRADIENT = 1e-2  # relative to the barrier's own terms, which are of size one per variable


@dataclasses.dataclass
class _Value:
    point: Point
    value: float
    gradient: Any
    x: Any


def solve_matrix_free(problem: Compiled, start: tuple[Point, Point | None], limits: Limits) -> Outcome:
    """Run from start[0]; start[1] is the incumbent. Needs y > 0 there and c'y < 0 or > 0."""
    run = _Run(problem, start, limits)
    try:
        reason = run.run()
    except KeyboardInterrupt:
        reason = "interrupted"
    objective, y = run.best
    status = Status.LIMIT if math.isfinite(objective) else Status.FAILED
    return Outcome(status, f"matrix-free: {reason}", y, None, objective, -math.inf, run.steps)


class _Run:
    def __init__(self, problem: Compiled, start: tuple[Point, Point | None], limits: Limits) -> None:
        self.problem, self.limits = problem, limits
        self.base = start[0].y
        self.best: tuple[float, Any] = (math.inf, start[0].y)
        for point in start:
            if point is not None and point.feasible:
                self._keep(point)
        self.steps = 0
        self.level = _levels(problem)
        self.count = int(self.level.max()) + 1
        self.price = 0.0

    def _keep(self, point: Point) -> None:
        objective = float(self.problem.c @ point.y)
        if objective < self.best[0]:
            self.best = (objective, point.y)

    def run(self) -> str:
        xp, problem = self.problem.am.xp, self.problem
        if not bool(xp.all(self.base > 0)) or float(problem.c @ self.base) == 0.0:
            return "it needs a start y > 0 with an objective that is not 0"
        x = xp.zeros(self.count + self.base.size)
        for weight in _WEIGHTS:
            before = self.best[0]
            current = float(problem.c @ (self.base * xp.exp(self._expanded(x))))
            self.price = weight * problem.degree / max(abs(current), 1e-300)
            x, stopped = self._minimise(x)
            if stopped:
                return stopped
            if abs(before - self.best[0]) <= self.limits.tol * abs(self.best[0]):
                break
        return "the last weight was reached"

    def _expanded(self, x: Any) -> Any:
        """log(y / y_0): sums of level steps up to the variable's level, plus its own."""
        return self.problem.am.xp.cumsum(x[: self.count])[self.level] + x[self.count :]

    def _collected(self, g: Any) -> Any:
        """The adjoint of `_expanded`."""
        xp = self.problem.am.xp
        levels = xp.zeros(self.count)
        self.problem.am.add_at(levels, (self.level,), g)
        return xp.concatenate([xp.cumsum(levels[::-1])[::-1], g])

    def _value(self, x: Any) -> _Value | None:
        problem = self.problem
        xp = problem.am.xp
        y = self.base * xp.exp(self._expanded(x))
        if not bool(xp.isfinite(y).all()):
            return None
        point = point_at(problem, y)
        if point is None:
            return None
        value = self.price * float(problem.c @ y)
        value -= sum(log_determinant(problem.am, factor) for factor in point.factors)
        value -= float(xp.log(point.s).sum())
        R = point.inverses(problem)
        gradient = y * (self.price * problem.c - problem.adjoint(list(R), 1.0 / point.s))
        return _Value(point, value, self._collected(gradient), x)

    def _minimise(self, x: Any) -> tuple[Any, str]:
        """L-BFGS from x: the last point, and why everything must stop ("" to go on)."""
        at = self._value(x)
        if at is None:
            return x, "the start is not feasible in floating point"
        pairs: deque[tuple[Any, Any, float]] = deque(maxlen=_MEMORY)
        for _ in range(_STEPS):
            self._keep(at.point)
            stopped = self._limit()
            if stopped or float(abs(at.gradient[self.count :]).max()) < _GRADIENT:
                return at.x, stopped
            moved = self._line_search(at, _descent(at.gradient, pairs))
            if moved is None:
                return at.x, ""
            s, d = moved.x - at.x, moved.gradient - at.gradient
            curvature = float(s @ d)
            if curvature > 1e-12 * float(s @ s) ** 0.5 * float(d @ d) ** 0.5:
                pairs.append((s, d, curvature))
            at = moved
            self.steps += 1
        self._keep(at.point)
        return at.x, ""

    def _limit(self) -> str:
        limits, now = self.limits, time.perf_counter()
        if limits.progress is not None:
            limits.progress(
                Progress("matrix-free", self.steps, None, self.best[0], -math.inf, now - limits.started)
            )
        return "time limit" if now >= limits.deadline else ""

    def _line_search(self, at: _Value, step: Any) -> _Value | None:
        slope = float(at.gradient @ step)
        if slope >= 0:
            step = -at.gradient
            slope = float(at.gradient @ step)
        change = self._expanded(step)
        t = min(1.0, _LONGEST / max(float(abs(change).max()), 1e-300))
        while t > 1e-10:
            trial = self._value(at.x + t * step)
            if trial is not None and trial.value <= at.value + 1e-4 * t * slope:
                return trial
            t *= 0.5
        return None


def _levels(problem: Compiled) -> Any:
    """The level of each variable; those without a term of their own take the last."""
    last = max(len(chain.levels) for chain in problem.chains) - 1
    level = problem.am.xp.zeros(problem.c.size, dtype=int) + last
    for chain in problem.chains:
        for k, here in enumerate(chain.levels):
            level[here.simple_variables] = k
    return level


def _descent(gradient: Any, pairs: Any) -> Any:
    """-H gradient with the two-loop recursion."""
    q = gradient.copy()
    kept = []
    for s, d, curvature in reversed(pairs):
        alpha = float(s @ q) / curvature
        kept.append(alpha)
        q -= alpha * d
    if pairs:
        _, d, curvature = pairs[-1]
        q *= curvature / float(d @ d)
    for (s, d, curvature), alpha in zip(pairs, reversed(kept), strict=True):
        q += s * (alpha - float(d @ q) / curvature)
    return -q
