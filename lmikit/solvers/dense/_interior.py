"""The homogeneous embedding and Mehrotra's predictor-corrector in Nesterov-Todd scaling.

Unknowns y, v, S_k, Z_k in the cones, tau > 0, kappa > 0, with residuals

    d = H y + c tau - sum F_k*(Z_k) + A'v,     p_k = F_k(y) + F0_k tau - S_k,     e = A y - b tau,
    t = kappa + y'H y / tau + c'y + sum <F0_k, Z_k> + b'v

that shrink together; tau > 0 in the limit gives a solution y / tau, tau = 0 a ray. Sources: Y. Ye,
M. Todd, S. Mizuno, "An O(sqrt(n) L)-iteration homogeneous and self-dual linear programming algorithm"
(1994); P. J. Goulart, Y. Chen, arXiv:2405.12762, sections 2 and 3 (the quadratic objective).
"""

import dataclasses
import math
import time
from typing import Any, NamedTuple

import numpy as np

from ..._progress import Progress, ProgressCallback
from ...lmi import Status
from .._interrupt import OutOfTime
from ._program import Normal, Program
from ._system import EmbeddingState, EmbeddingSystem

__all__ = ["EmbeddingLimits", "EmbeddingOutcome", "solve_program"]

_RAY = 1e-9  # relative residual from which an iterate is proposed as a ray
_BOUNDARY = 0.99  # of the step to the boundary
_SHORT = 1e-6  # steps below this are no progress
_NEAR = 10.0  # times the tolerance, which counts as solved where there is no more progress
_PATIENCE = 15  # iterations without a better iterate
_LITTLE = 4  # the same where the best one is near the tolerance


@dataclasses.dataclass(frozen=True)
class EmbeddingLimits:
    """When to stop."""

    tol: float
    iterations: int
    deadline: float
    started: float
    progress: ProgressCallback | None = None

    def check(self) -> None:
        """Raise OutOfTime after the deadline."""
        if time.perf_counter() > self.deadline:
            raise OutOfTime


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingOutcome:
    """What the method found, in the variables of the program."""

    status: Status
    y: np.ndarray | None
    v: np.ndarray | None
    Z: list | None
    iterations: int
    reason: str


class _Values(NamedTuple):
    """What the equations need of one iterate, computed once."""

    curved: np.ndarray  # H y
    pulled: np.ndarray  # sum F_k*(Z_k)
    lifted: np.ndarray  # A'v
    linear: list  # F_k(y)
    equal: np.ndarray  # A y
    offset: float  # sum <F0_k, Z_k> + b'v


@dataclasses.dataclass(frozen=True)
class _Measures:
    primal: float
    dual: float
    gap: float
    small_gap: float  # relative to the sizes of the terms, where the optimum is near 0
    slack: float  # what the residual of stationarity may hide: |r|'|y|, relative like the small gap
    objective: float
    bound: float

    def worst(self, tol: float) -> float:
        """What must be `tol` at most; the point is checked row by row afterwards, the slack with 100 tol."""
        gap = min(self.gap, 100.0 * self.small_gap)
        hidden = 0.1 * self.slack if self.slack > 50.0 * tol else 0.0
        return max(4.0 * self.primal, self.dual, gap, hidden)


def solve_program(program: Program, limits: EmbeddingLimits) -> EmbeddingOutcome:
    """Iterate to the tolerance, a ray, a limit, or the end of progress."""
    return _Method(program, limits).run()


class _Method:
    def __init__(self, program: Program, limits: EmbeddingLimits) -> None:
        self.p, self.limits = program, limits
        self.best: tuple[float, EmbeddingState, _Measures] | None = None

    def run(self) -> EmbeddingOutcome:
        iteration = 0
        try:
            self.limits.check()
            state = self._start()
            if state is None:
                return EmbeddingOutcome(Status.FAILED, None, None, None, 0, "no start")
            stale = 0
            for iteration in range(self.limits.iterations + 1):
                values = self._values(state)
                measures = self._measure(state, values)
                self._report(iteration, measures)
                worst = math.inf if measures is None else measures.worst(self.limits.tol)
                if measures is not None and (self.best is None or worst < 0.9 * self.best[0]):
                    self.best, stale = (worst, _copy(state), measures), 0
                else:
                    stale += 1
                if self.best is not None and self.best[0] <= self.limits.tol:
                    return self._outcome(Status.SOLVED, iteration, "solved")
                ray = self._ray(state, values, iteration)
                if ray is not None:
                    return ray
                if iteration == self.limits.iterations:
                    return self._outcome(Status.LIMIT, iteration, "iteration limit")
                near = self.best is not None and self.best[0] <= _NEAR * self.limits.tol
                if stale > (_LITTLE if near else _PATIENCE) or not self._step(state, values):
                    return self._end(state, iteration)
        except OutOfTime:
            return self._outcome(Status.LIMIT, iteration, "time limit")
        raise AssertionError

    def _end(self, state: EmbeddingState, iteration: int) -> EmbeddingOutcome:
        """No progress: the best iterate where it is worth something, else a rough ray, else nothing."""
        if self.best is not None:
            _, _, m = self.best
            reached = max(m.primal, m.dual, min(m.gap, m.small_gap), 0.1 * m.slack)
            if reached <= _NEAR * self.limits.tol:
                return self._outcome(Status.SOLVED, iteration, "solved, near the tolerance")
            if reached <= 1e-4:
                return self._outcome(Status.INACCURATE, iteration, "insufficient progress")
        ray = self._ray(state, self._values(state), iteration, 1e-6)
        return ray or self._outcome(Status.LIMIT, iteration, "insufficient progress")

    def _outcome(self, status: Status, iteration: int, reason: str) -> EmbeddingOutcome:
        if self.best is None:
            return EmbeddingOutcome(Status.LIMIT, None, None, None, iteration, reason)
        s = self.best[1]
        return EmbeddingOutcome(status, s.y / s.tau, s.v / s.tau, [Z / s.tau for Z in s.Z], iteration, reason)

    def _report(self, iteration: int, measures: _Measures | None) -> None:
        if self.limits.progress is not None:
            objective, bound = (None, None) if measures is None else (measures.objective, measures.bound)
            seconds = time.perf_counter() - self.limits.started
            self.limits.progress(Progress("Dense", iteration, None, objective, bound, seconds))

    # the start: least-squares points, moved into the cones

    def _start(self) -> EmbeddingState | None:
        p = self.p
        normal = Normal(p, self.limits.check)
        if not normal.factored:
            return None
        pull = sum((cone.adjoint(cone.F0) for cone in p.cones), np.zeros(p.c.size))
        y, _ = normal.solve(-pull, p.b)
        other, v = normal.solve(-p.c, np.zeros(p.b.size))
        S = [_inside(cone, cone.linear(y) + cone.F0) for cone in p.cones]
        Z = [_inside(cone, -cone.linear(other)) for cone in p.cones]
        return EmbeddingState(y, v, S, Z, 1.0, 1.0)

    # measures of the iterate

    def _values(self, s: EmbeddingState) -> _Values:
        p = self.p
        linear = [cone.linear(s.y) for cone in p.cones]
        equal = p.A @ s.y if p.b.size else p.b
        return _Values(p.curved(s.y), p.adjoint(s.Z), p.lifted(s.v), linear, equal, p.offset(s.Z, s.v))

    def _measure(self, s: EmbeddingState, values: _Values) -> _Measures | None:
        p, tau = self.p, s.tau
        if not (tau > 0 and np.isfinite(s.y).all()):
            return None
        y = s.y / tau
        curved, pulled, lifted = values.curved / tau, values.pulled / tau, values.lifted / tau
        residual = curved + p.c - pulled + lifted
        size = max(1e-3 * _largest(p.c), *(_largest(part) for part in (p.c, curved, lifted)))
        dual = _largest(residual) / (size or 1.0)
        primal = 0.0
        for cone, S, line in zip(p.cones, s.S, values.linear, strict=True):
            primal = max(primal, cone.relative((line - S) / tau + cone.F0, y))
        if p.b.size:
            scale = np.abs(p.b) + np.abs(p.A) @ np.abs(y)
            primal = max(primal, _largest((values.equal / tau - p.b) / np.where(scale > 0, scale, 1.0)))
        quadratic = 0.5 * float(y @ curved)
        objective = float(p.c @ y) + quadratic
        bound = -values.offset / tau - quadratic
        gap = abs(objective - bound)
        large = max(abs(objective), abs(bound))
        terms = float(np.abs(p.c) @ np.abs(y)) + _largest(p.c)
        slack = float(np.abs(residual) @ np.abs(y)) / (max(large, terms) or 1.0)
        relative = gap / large if large else gap
        return _Measures(primal, dual, relative, gap / (terms or 1.0), slack, objective, bound)

    def _ray(
        self, s: EmbeddingState, values: _Values, iteration: int, tolerance: float = _RAY
    ) -> EmbeddingOutcome | None:
        p = self.p
        value = values.offset
        if value < 0 and _largest(values.lifted - values.pulled) <= tolerance * -value:
            Z = [part / -value for part in s.Z]
            return EmbeddingOutcome(
                Status.INFEASIBLE, None, s.v / -value, Z, iteration, "the multipliers are a ray"
            )
        slope = float(p.c @ s.y)
        if slope < 0:
            y = s.y / -slope
            worst = max(_largest(values.equal), _largest(values.curved)) / -slope
            for line, S in zip(values.linear, s.S, strict=True):
                worst = max(worst, float(np.linalg.norm(line - S)) / -slope)
            if worst <= tolerance * max(1.0, float(np.abs(y).max())):
                return EmbeddingOutcome(Status.UNBOUNDED, y, None, None, iteration, "the point is a ray")
        return None

    # one iteration

    def _step(self, s: EmbeddingState, values: _Values) -> bool:
        p = self.p
        pairs = zip(p.cones, s.S, s.Z, strict=True)
        if not all(cone.rescale(S, Z) for cone, S, Z in pairs):
            return False
        self.limits.check()
        normal = Normal(p, self.limits.check)
        if not normal.factored:
            return False
        residuals = self._residuals(s, values)
        system = EmbeddingSystem(p, s, normal, residuals)
        mu = (sum(float(np.vdot(S, Z)) for S, Z in zip(s.S, s.Z, strict=True)) + s.tau * s.kappa) / (
            p.degree + 1.0
        )
        squares = [-cone.square() for cone in p.cones]
        affine = system.direction(1.0, squares, -s.tau * s.kappa)
        length = min(1.0, system.longest(affine))
        sigma = (1.0 - length) ** 3
        corrected = [
            square - cone.product(a, b) + sigma * mu * cone.identity()
            for cone, square, a, b in zip(p.cones, squares, affine.slacks, affine.multipliers, strict=True)
        ]
        kappa_term = -s.tau * s.kappa - affine.tau * affine.kappa + sigma * mu
        step = system.direction(1.0 - sigma, corrected, kappa_term)
        length = min(1.0, _BOUNDARY * system.longest(step))
        if not (length > _SHORT and np.isfinite(step.y).all() and math.isfinite(step.tau)):
            return False
        s.y, s.v = s.y + length * step.y, s.v + length * step.v
        s.S = [
            S + length * (cone.linear(step.y) + step.tau * cone.F0 + (1.0 - sigma) * r)
            for cone, S, r in zip(p.cones, s.S, residuals[1], strict=True)
        ]
        s.Z = [Z + length * d for Z, d in zip(s.Z, step.Z, strict=True)]
        s.tau, s.kappa = s.tau + length * step.tau, s.kappa + length * step.kappa
        self._normalise(s)
        return s.tau > 0 and s.kappa > 0

    def _normalise(self, s: EmbeddingState) -> None:
        """The embedding is homogeneous: keep max(tau, kappa) at 1."""
        size = max(s.tau, s.kappa)
        s.y, s.v, s.tau, s.kappa = s.y / size, s.v / size, s.tau / size, s.kappa / size
        s.S, s.Z = [S / size for S in s.S], [Z / size for Z in s.Z]

    def _residuals(self, s: EmbeddingState, values: _Values) -> tuple[np.ndarray, list, np.ndarray, float]:
        p = self.p
        d = values.curved + p.c * s.tau - values.pulled + values.lifted
        primal = [
            line + cone.F0 * s.tau - S for cone, line, S in zip(p.cones, values.linear, s.S, strict=True)
        ]
        e = values.equal - p.b * s.tau
        t = s.kappa + float(s.y @ values.curved) / s.tau + float(p.c @ s.y) + values.offset
        return d, primal, e, t


def _largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0.0))


def _copy(s: EmbeddingState) -> EmbeddingState:
    return dataclasses.replace(s)  # arrays are replaced, never changed


def _inside(cone: Any, x: Any) -> Any:
    least = cone.least(x)
    return x if least > 1e-3 else x + (1.0 - min(least, 0.0)) * cone.identity()
