"""`LowRank`: our own interior-point method for LMIs that are sums of few rank-one terms."""

import contextlib
import dataclasses
import math
import time
from typing import ClassVar

import numpy as np

from ..._arrays import ArrayModule, array_module, blas_threads
from ..._errors import InputError, OptionError
from ..._progress import ProgressCallback
from ...lmi import SDP, Dual, Solution
from .._base import AbstractSolver
from ._chain import Markov
from ._compile import Chain, Compiled, compile_sdp
from ._interior_point import Limits, Outcome, solve_dense
from ._start import starting_point

__all__ = ["LowRank"]

_COMPLETE_UP_TO = 1000  # rows: larger multipliers are returned on the pattern only
_RETURN_UP_TO = 4000  # rows: larger multipliers are not returned at all


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(AbstractSolver):
    """Interior-point method for F0 + sym(P diag(E y) Q') PSD with few terms, and G y <= h.

    `tol` is the relative gap to reach, (c'y - bound) / max(|c'y|, |bound|); y is strictly feasible from
    the first iteration (or from the first full step), so that a limit returns a usable point.
    `memory_limit` in bytes (None: half of what is free), `array_module` names where to compute.
    """

    module: ClassVar[str] = "numpy"
    extra: ClassVar[str] = ""

    tol: float = 1e-7
    max_iterations: int = 100
    array_module: str = "numpy"
    memory_limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.tol, (int, float)) and 1e-12 <= self.tol < 1):
            raise OptionError(f"tol is {self.tol!r}; expected a number in [1e-12, 1).")
        if not (isinstance(self.max_iterations, int) and self.max_iterations >= 0):
            raise OptionError(f"max_iterations is {self.max_iterations!r}; expected an integer >= 0.")

    def suits(self, sdp: SDP) -> str | None:
        """None where this solver takes the problem, else why not and which solver does."""
        if sdp.socs:
            return "it has second-order cones; use Clarabel() or SCS()."
        if sdp.H is not None and sdp.H.nnz:
            return "its objective is quadratic; use Clarabel() or SCS()."
        if sdp.b is not None and sdp.b.size:
            return "it has equality constraints A y = b; eliminate them or use Clarabel()."
        if not sdp.lmis or not any(lmi.size for lmi in sdp.lmis):
            return "it has no LMI; use Clarabel()."
        return None

    def solve(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; raises InputError where `suits` has an objection.

        A strictly feasible `warm_start` is where the method starts; one that is not is first drawn
        back by shrinking the variables that pay for the objective.
        """
        objection = self.suits(sdp)
        if objection is not None:
            raise InputError(f"LowRank does not solve this problem: {objection}")
        if warm_start is not None and np.shape(warm_start) != (sdp.variables,):
            raise InputError(f"warm_start has shape {np.shape(warm_start)}; expected ({sdp.variables},).")
        started = time.perf_counter()
        deadline = math.inf if time_limit is None else started + time_limit
        am = array_module(self.array_module)
        limits = Limits(self.tol, self.max_iterations, deadline, started, progress)
        with blas_threads(1 if self.threads is None else self.threads), np.errstate(all="ignore"):
            problem = compile_sdp(am, sdp)
            point = starting_point(problem, sdp, warm_start)
            outcome = solve_dense(problem, point, limits, lambda: self._wide(problem))
        return _solution(problem, outcome, time.perf_counter() - started)

    def _wide(self, problem: Compiled) -> contextlib.AbstractContextManager[None]:
        """All threads for the large matrices; on blocks of 80 two were 30 times slower than one."""
        if self.threads is not None or problem.c.size < 1000:
            return contextlib.nullcontext()
        return blas_threads(_cores())


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _solution(problem: Compiled, outcome: Outcome, seconds: float) -> Solution:
    dual = None
    if outcome.dual is not None:
        X = tuple(
            _dense(problem.am, chain, x) for chain, x in zip(problem.chains, outcome.dual.X, strict=True)
        )
        if all(x.size or chain.order == 0 for x, chain in zip(X, problem.chains, strict=True)):
            complete = all(chain.order <= _COMPLETE_UP_TO for chain in problem.chains)
            dual = Dual(X=X, z=problem.am.to_numpy(outcome.dual.z), X_complete=complete)
    return Solution(
        status=outcome.status,
        y=problem.original(outcome.y),
        dual=dual,
        objective=outcome.objective,
        bound_on_optimum=outcome.bound,
        seconds=seconds,
        iterations=outcome.iterations,
        solver="LowRank",
        native_status=outcome.reason,
    )


def _dense(am: ArrayModule, chain: Chain, X: Markov) -> np.ndarray:
    """X in the order of the LMI's rows: completed where it is small, on the pattern where it is not."""
    order = chain.order
    if order > _RETURN_UP_TO:
        return np.zeros((0, 0))
    bounds = np.concatenate([[0], np.cumsum(chain.sizes)])
    result = np.zeros((order, order))
    for k in range(chain.sizes.size):
        here = slice(bounds[k], bounds[k + 1])
        result[here, here] = am.to_numpy(X.diag[k])
        if k:
            before = slice(bounds[k - 1], bounds[k])
            result[here, before] = am.to_numpy(X.low[k])
            if order <= _COMPLETE_UP_TO and k > 1:
                result[here, : bounds[k - 1]] = am.to_numpy(X.G[k]) @ result[before, : bounds[k - 1]]
            result[: bounds[k], here] = result[here, : bounds[k]].T
    inverse = np.empty(order, dtype=np.int64)
    inverse[chain.rows] = np.arange(order)
    return result[np.ix_(inverse, inverse)]
