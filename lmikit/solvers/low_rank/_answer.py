"""From the method's own outcome to a `Solution` in the order and signs of the SDP."""

import time

import numpy as np

from ..._arrays import ArrayModule
from ...lmi import SDP, Dual, Solution, Status
from .._checks import checked_dual_ray, checked_primal_ray
from ._chain import Markov
from ._compile import Compiled, LevelLMI
from ._interior_point import InteriorOutcome
from ._scaling import Scaling

__all__ = ["solution_of"]

_COMPLETE_UP_TO = 1000  # rows: larger multipliers are returned on the pattern only
_RETURN_UP_TO = 4000  # rows: larger multipliers are not returned at all


def solution_of(
    sdp: SDP, problem: Compiled, scaling: Scaling, outcome: InteriorOutcome, started: float
) -> Solution:
    """Rays are checked; one that proves nothing makes the status FAILED."""
    status, dual = outcome.status, _multipliers(sdp, problem, scaling, outcome)
    y = None if outcome.y is None else scaling.y * problem.original(outcome.y)
    objective, bound = outcome.objective, outcome.bound
    if status is Status.INFEASIBLE:
        y, dual = None, None if dual is None else checked_dual_ray(sdp, dual)
        objective = bound = np.inf
        status = Status.FAILED if dual is None else status
    elif status is Status.UNBOUNDED:
        y, dual = None if y is None else checked_primal_ray(sdp, y), None
        objective = bound = -np.inf
        status = Status.FAILED if y is None else status
    elif status.has_point and y is not None:
        objective = sdp.objective(y)
    if status is Status.FAILED:
        y, dual, objective, bound = None, None, np.nan, np.nan
    return Solution(
        status=status,
        y=y,
        dual=dual,
        objective=objective,
        bound_on_optimum=bound,
        seconds=time.perf_counter() - started,
        iterations=outcome.iterations,
        solver="LowRank",
        native_status=outcome.reason,
    )


def _multipliers(sdp: SDP, problem: Compiled, scaling: Scaling, outcome: InteriorOutcome) -> Dual | None:
    """The dual, or None where there is none or it is too large to be worth its memory."""
    if outcome.dual is None or any(chain.order > _RETURN_UP_TO for chain in problem.chains):
        return None
    blocks = iter(zip(problem.chains, outcome.dual.X, strict=True))
    X = tuple(
        (_dense(problem.am, *next(blocks)) * d * d[:, None]) if lmi.size else np.zeros((0, 0))
        for lmi, d in zip(sdp.lmis, scaling.rows, strict=True)
    )
    complete = all(chain.order <= _COMPLETE_UP_TO for chain in problem.chains)
    return Dual(X=X, z=problem.am.to_numpy(outcome.dual.z), X_complete=complete)


def _dense(am: ArrayModule, chain: LevelLMI, X: Markov) -> np.ndarray:
    """X in the order of the LMI's rows: completed where it is small, on the pattern where it is not."""
    order = chain.order
    bounds = np.concatenate([[0], np.cumsum(chain.sizes)])
    result = np.zeros((order, order))
    for k in range(chain.sizes.size):
        here = slice(bounds[k], bounds[k + 1])
        diagonal = am.to_numpy(X.diag[k])
        result[here, here] = 0.5 * (diagonal + diagonal.T)
        if k:
            before = slice(bounds[k - 1], bounds[k])
            result[here, before] = am.to_numpy(X.low[k])
            if order <= _COMPLETE_UP_TO and k > 1:
                result[here, : bounds[k - 1]] = am.to_numpy(X.G[k]) @ result[before, : bounds[k - 1]]
            result[: bounds[k], here] = result[here, : bounds[k]].T
    inverse = np.empty(order, dtype=np.int64)
    inverse[chain.rows] = np.arange(order)
    return result[np.ix_(inverse, inverse)]
