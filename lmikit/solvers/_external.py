"""What the solvers written by others share: typed options, one path from raw answer to `Solution`."""

import abc
import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import OptionError
from .._progress import Progress, ProgressCallback
from ..lmi import SDP, Dual, Solution, Status
from ._base import AbstractSolver
from ._checks import bound_slack, checked_dual_ray, checked_primal_ray, dual_objective, solve_constant

__all__ = ["ExternalSolver", "Raw"]

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalSolver(AbstractSolver):
    """A solver that lmikit calls.

    `tol` bounds residuals and gap, absolute and relative. None leaves the solver's own value
    of `tol`, `max_iterations` and `threads`. `verbose` lets the solver write to stdout.
    `native` holds options under the solver's own names; they win over the typed ones, and a
    name that the solver does not know raises OptionError.
    """

    tol: float | None = 1e-8
    max_iterations: int | None = None
    threads: int | None = None
    verbose: bool = False
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.tol is not None and not 0 < self.tol < 1:
            raise OptionError(f"{name}: tol is {self.tol!r}; expected a number between 0 and 1.")
        for option in ("max_iterations", "threads"):
            value = getattr(self, option)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}: {option} is {value!r}; expected a positive integer or None.")

    def solve(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; a solver that has no use for `warm_start` ignores it.

        Raises OptionError (options, a problem that the solver does not take), BackendMissing,
        SolveFailed where the native code fails without an answer.
        """
        started = time.perf_counter()
        name = type(self).__name__
        self._check_call(sdp, warm_start, time_limit)
        constant = sdp.variables == 0
        raw = self._constant(sdp) if constant else self._run(sdp, warm_start, time_limit, progress)
        solution = _finish(sdp, raw, self._allowed_slack(), name, started)
        if progress is not None:
            progress(
                Progress(
                    name,
                    raw.iterations,
                    None,
                    solution.objective,
                    solution.bound_on_optimum,
                    solution.seconds,
                )
            )
        return solution

    def _allowed_slack(self) -> float:
        """Above this `bound_slack` lmikit does not repeat a solver's claim of SOLVED."""
        return max(1e-5, 100 * (self.tol or 1e-8))

    @abc.abstractmethod
    def _run(
        self,
        sdp: SDP,
        warm_start: np.ndarray | None,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        """Call the solver on an SDP with at least one variable."""

    def _constant(self, sdp: SDP) -> Raw:
        ray = solve_constant(sdp, self.tol or 1e-8)
        if ray is not None:
            return Raw(Status.INFEASIBLE, None, ray, 0, "no variables")
        X = tuple(np.zeros((lmi.size, lmi.size)) for lmi in sdp.lmis)
        s = tuple(np.zeros(soc.d.size) for soc in sdp.socs)
        dual = Dual(X, np.zeros(sdp.h.size), np.zeros(sdp.b.size), s)
        return Raw(Status.SOLVED, np.zeros(0), dual, 0, "no variables")


def _finish(sdp: SDP, raw: Raw, allowed_slack: float, name: str, started: float) -> Solution:
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
        if status is Status.SOLVED and dual is not None and bound_slack(sdp, y, dual) > allowed_slack:
            status = Status.INACCURATE
    else:
        status = Status.FAILED
    if status is Status.FAILED:
        y, dual, objective, bound = None, None, np.nan, np.nan
        _LOG.info("%s failed: native status %r", name, raw.native_status)
    seconds = time.perf_counter() - started
    return Solution(status, y, dual, objective, bound, seconds, raw.iterations, name, raw.native_status)
