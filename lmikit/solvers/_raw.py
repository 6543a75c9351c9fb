"""What a solver returns, and the solution that is made of it: its status is what the residuals allow."""

import dataclasses
import logging
import time

import numpy as np

from ..lmi import SDP, Dual, Solution, Status
from ..lmi._residuals import relative_violations
from ._checks import (
    bound_slack,
    checked_dual_ray,
    checked_primal_ray,
    dual_objective,
    gap_scale,
    solve_constant,
)

__all__ = ["Raw", "Tolerances", "better", "constant_raw", "finish"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Raw:
    """A native answer in lmikit's variables and signs, nothing checked.

    For INFEASIBLE `dual` is the proposed ray, for UNBOUNDED `y` is.
    """

    status: Status
    y: np.ndarray | None
    dual: Dual | None
    iterations: int
    native_status: str


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """Above these, both relative, lmikit does not repeat a claim of SOLVED."""

    violation: float
    gap: float


def constant_raw(sdp: SDP, tolerance: float) -> Raw:
    """The answer for an SDP without variables: its constraints hold, or a ray says which does not."""
    ray = solve_constant(sdp, tolerance)
    if ray is not None:
        return Raw(Status.INFEASIBLE, None, ray, 0, "no variables")
    X = tuple(np.zeros((lmi.size, lmi.size)) for lmi in sdp.lmis)
    s = tuple(np.zeros(soc.d.size) for soc in sdp.socs)
    dual = Dual(X, np.zeros(sdp.h.size), np.zeros(sdp.b.size), s)
    return Raw(Status.SOLVED, np.zeros(0), dual, 0, "no variables")


# of two answers to one problem, the one that comes first
_RANK = {
    Status.SOLVED: 0,
    Status.INFEASIBLE: 0,
    Status.UNBOUNDED: 0,
    Status.INACCURATE: 1,
    Status.LIMIT: 2,
    Status.FAILED: 3,
}


def better(first: Solution, second: Solution) -> Solution:
    """The second answer where its status says more, else the first."""
    return second if _RANK[second.status] < _RANK[first.status] else first


def finish(sdp: SDP, raw: Raw, allowed: Tolerances, name: str, started: float) -> Solution:
    """Check what can be checked and state objective and bound by formula."""
    status, y, dual = raw.status, raw.y, raw.dual
    objective = bound = np.nan
    if status is Status.INFEASIBLE:
        y, dual = None, None if dual is None else checked_dual_ray(sdp, dual)
        objective = bound = np.inf
        status = Status.FAILED if dual is None else status
    elif status is Status.UNBOUNDED:
        y, dual = None if y is None else checked_primal_ray(sdp, y), None
        objective = bound = -np.inf
        status = Status.FAILED if y is None else status
    elif status.has_point and y is not None and np.isfinite(y).all():
        objective = sdp.objective(y)
        bound = np.nan if dual is None else dual_objective(sdp, y, dual)
        if status is Status.SOLVED and not _as_claimed(sdp, y, dual, objective, bound, allowed):
            status = Status.INACCURATE
    else:
        status = Status.FAILED
    if status is Status.FAILED:
        y, dual, objective, bound = None, None, np.nan, np.nan
        _LOG.info("%s failed: native status %r", name, raw.native_status)
    seconds = time.perf_counter() - started
    return Solution(status, y, dual, objective, bound, seconds, raw.iterations, name, raw.native_status)


def _as_claimed(
    sdp: SDP, y: np.ndarray, dual: Dual | None, objective: float, bound: float, allowed: Tolerances
) -> bool:
    """Whether a point is feasible, and its multipliers stationary and near it in value, to the tolerances."""
    if max(relative_violations(sdp, y), default=0.0) > allowed.violation:
        return False
    if dual is None:
        return True
    gap = abs(objective - bound) / gap_scale(sdp, y)
    return gap <= allowed.gap and bound_slack(sdp, y, dual) <= allowed.gap
