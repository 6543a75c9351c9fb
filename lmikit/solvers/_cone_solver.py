"""Exponential and power cones: the path from a `ConicProgram` to a `Solution`, checked as for SDPs.

A multiplier e of an exponential or power cone lies in the dual cone and adds - e'(C y + d) to the
Lagrangian, so gradient and offset of `_checks` get - C'e and d'e more.
"""

import abc
import dataclasses
import time

import numpy as np

from .._errors import OptionError
from .._progress import Progress, ProgressCallback
from ..lmi import ConicProgram, Dual, Solution, Status
from ..lmi._cones import cone_violation, dual_cone_violation
from ..lmi._residuals import relative_violations
from ._checks import RAY_TOLERANCE, checked_primal_ray, gap_scale, offset_and_gradient
from ._external import AbstractExternalSolver
from ._raw import Raw, Tolerances, better

__all__ = ["AbstractConeSolver"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractConeSolver(AbstractExternalSolver):
    """An external solver that has exponential and power cones too."""

    takes_exponential = True
    takes_power = True

    @abc.abstractmethod
    def _run_cones(
        self,
        program: ConicProgram,
        warm_start: Solution | None,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        """Call the solver."""

    def solve_cones(
        self,
        program: ConicProgram,
        *,
        warm_start: Solution | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise over all cones of the program; a time limit holds as well as the native code keeps it.

        Raises what `solve` raises.
        """
        started = time.perf_counter()
        self._check_call(program.sdp, None, time_limit)
        if program.sdp.variables == 0:
            raise OptionError("the problem has no variables; expected at least one beside cones.")
        start = None if warm_start is None else warm_start.start(program.sdp.variables, with_dual=True)
        kept = start if isinstance(start, Solution) else None
        best: Solution | None = None
        for solver, scaled in self._attempts(program.sdp):
            left = None if time_limit is None else time_limit - (time.perf_counter() - started)
            if scaled or (best is not None and left is not None and left <= 0):
                continue
            raw = solver._run_cones(program, kept, left, progress)
            found = _finished(program, raw, self._tolerances(), type(self).__name__, started)
            best = found if best is None else better(best, found)
            if best.status not in (Status.INACCURATE, Status.FAILED):
                break
        assert best is not None
        if progress is not None:
            step = (best.iterations, None, best.objective, best.bound_on_optimum, best.seconds)
            progress(Progress(type(self).__name__, *step))
        return best


def _finished(program: ConicProgram, raw: Raw, allowed: Tolerances, name: str, started: float) -> Solution:
    status, y, dual = raw.status, raw.y, raw.dual
    objective = bound = np.nan
    if status is Status.INFEASIBLE:
        y, dual = None, None if dual is None else _checked_ray(program, dual)
        objective = bound = np.inf
        status = Status.FAILED if dual is None else status
    elif status is Status.UNBOUNDED:
        y, dual = None if y is None else _checked_direction(program, y), None
        objective = bound = -np.inf
        status = Status.FAILED if y is None else status
    elif status.has_point and y is not None and dual is not None and np.isfinite(y).all():
        objective = program.sdp.objective(y)
        offset, _ = _terms(program, dual)
        H = program.sdp.H
        bound = -offset - (0.0 if H is None else 0.5 * float(y @ (H @ y)))
        if status is Status.SOLVED and not _as_claimed(program, y, dual, objective, bound, allowed):
            status = Status.INACCURATE
    else:
        status = Status.FAILED
    if status is Status.FAILED:
        y, dual, objective, bound = None, None, np.nan, np.nan
    seconds = time.perf_counter() - started
    return Solution(status, y, dual, objective, bound, seconds, raw.iterations, name, raw.native_status)


def _terms(program: ConicProgram, dual: Dual) -> tuple[float, np.ndarray]:
    """Offset and gradient of the multipliers' terms."""
    offset, gradient = offset_and_gradient(program.sdp, dual)
    for cone, w in zip(program.cones, (*dual.e, *dual.p), strict=True):
        offset, gradient = offset + float(cone.d @ w), gradient - cone.C.T @ w
    return offset, gradient


def _dual_violation(program: ConicProgram, dual: Dual) -> float:
    pairs = zip(program.cones, (*dual.e, *dual.p), strict=True)
    return max((dual_cone_violation(cone, w) for cone, w in pairs), default=0.0)


def _as_claimed(
    program: ConicProgram, y: np.ndarray, dual: Dual, objective: float, bound: float, allowed: Tolerances
) -> bool:
    sdp = program.sdp
    points = [(cone, cone.C @ y + cone.d) for cone in program.cones]
    worst = max(
        (cone_violation(cone, x) / max(1.0, float(np.abs(x).max())) for cone, x in points), default=0.0
    )
    if max(worst, *relative_violations(sdp, y), 0.0) > 10 * allowed.violation:
        return False
    scale = gap_scale(sdp, y)
    gradient = _terms(program, dual)[1]
    gradient = gradient + sdp.c + (0.0 if sdp.H is None else sdp.H @ y)
    slack = float(np.abs(gradient) @ np.abs(y)) / scale
    size = max(1.0, *(float(np.abs(w).max()) for w in (*dual.e, *dual.p)))
    wrong = _dual_violation(program, dual) / size
    return abs(objective - bound) / scale <= allowed.gap and slack <= allowed.gap and wrong <= allowed.gap


def _checked_ray(program: ConicProgram, dual: Dual) -> Dual | None:
    """The ray scaled to offset -1 if it proves infeasibility up to `RAY_TOLERANCE`, else None."""
    offset, gradient = _terms(program, dual)
    if not np.isfinite(offset) or offset >= 0:
        return None
    ray = dataclasses.replace(
        dual,
        X=tuple(X / -offset for X in dual.X),
        z=dual.z / -offset,
        v=dual.v / -offset,
        s=tuple(s / -offset for s in dual.s),
        e=tuple(w / -offset for w in dual.e),
        p=tuple(w / -offset for w in dual.p),
    )
    parts = (*ray.X, ray.z, ray.v, *ray.s, *ray.e, *ray.p)
    size = max(1.0, *(float(np.abs(part).max(initial=0.0)) for part in parts))
    lowest = min(
        [float(ray.z.min(initial=0.0)), -_dual_violation(program, ray)]
        + [float(np.linalg.eigvalsh(X)[0]) for X in ray.X if X.size]
        + [float(s[0] - np.linalg.norm(s[1:])) for s in ray.s if s.size]
    )
    small = float(np.abs(gradient).max(initial=0.0)) / -offset <= RAY_TOLERANCE * size
    return ray if small and lowest >= -RAY_TOLERANCE * size else None


def _checked_direction(program: ConicProgram, y: np.ndarray) -> np.ndarray | None:
    """The direction scaled to c'y = -1 if the cones hold along it, up to `RAY_TOLERANCE`, else None."""
    ray = checked_primal_ray(program.sdp, y)
    if ray is None:
        return None
    size = max(1.0, float(np.abs(ray).max()))
    cones = program.cones
    good = all(cone_violation(cone, cone.C @ ray) <= RAY_TOLERANCE * size for cone in cones)
    return ray if good else None
