"""What the solvers written by others share: typed options, one path from raw answer to `Solution`."""

import abc
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .._errors import OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from ..lmi import SDP, Solution, Status
from ._base import AbstractSolver
from ._child import solve_in_child
from ._cost import rows_seconds
from ._equilibrate import Equilibration, equilibrate
from ._geometric import geometric
from ._presolve import Presolved, presolve
from ._raw import Raw, Tolerances, better, constant_raw, finish

__all__ = ["AbstractExternalSolver", "Start", "reduced_run"]

Scale = bool | Callable[[SDP], Equilibration | None]  # whether to equilibrate, or another scaling

_LOG = logging.getLogger(__name__)
_QUICK = 0.5  # seconds; what is predicted to end sooner needs no process that can be ended

Start = np.ndarray | Solution | None  # a y, or a solution with multipliers


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractExternalSolver(AbstractSolver):
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
        warm_start: Start = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; a solver that has no use for `warm_start` ignores it.

        Raises OptionError (options, a problem that the solver does not take), BackendMissing,
        SolveFailed where the native code fails without an answer. With a `time_limit` and a problem that
        will take long, the solver runs in a process of its own, which is ended soon after the limit; its
        steps are not reported then.
        """
        started = time.perf_counter()
        if time_limit is not None and self._predicted_seconds(sdp) > _QUICK:
            self._check_call(sdp, warm_start, time_limit)
            answer = solve_in_child(self, sdp, warm_start, float(time_limit), started)
            if answer is not None:
                return answer
        return self.solve_here(sdp, warm_start=warm_start, time_limit=time_limit, progress=progress)

    def _predicted_seconds(self, sdp: SDP) -> float:
        """About how long the native code takes, without looking at any limit."""
        return rows_seconds(sdp, enough=_QUICK)

    def solve_here(
        self,
        sdp: SDP,
        *,
        warm_start: Start = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """`solve` in this process, whatever it takes."""
        started = time.perf_counter()
        name = type(self).__name__
        self._check_call(sdp, warm_start, time_limit)
        if sdp.variables == 0:
            solution = finish(sdp, constant_raw(sdp, self.tol or 1e-8), self._tolerances(), name, started)
        else:
            solution = self._settle(sdp, warm_start, time_limit, progress, started)
        if progress is not None:
            progress(
                Progress(
                    name,
                    solution.iterations,
                    None,
                    solution.objective,
                    solution.bound_on_optimum,
                    solution.seconds,
                )
            )
        return solution

    def _settle(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
        started: float,
    ) -> Solution:
        """The first attempt whose claim passes the checks, else the best of them."""
        best: Solution | None = None
        last: tuple[Any, Scale] = (self, geometric)
        attempts: Iterable[tuple[Any, Scale]] = itertools.chain(self._attempts(sdp), [last])
        for solver, scaled in attempts:
            left = None if time_limit is None else time_limit - (time.perf_counter() - started)
            if best is not None and left is not None and left <= 0:
                break
            if scaled is geometric and best is not None and best.status is not Status.FAILED:
                break
            if best is not None:
                how = "with scaled data" if scaled else "with other options"
                _LOG.info("%s: %s; again %s", best.solver, best.native_status, how)

            def run(problem: SDP, y: Start, attempt: Any = solver, limit: Any = left) -> Raw:
                raw: Raw = attempt._run(problem, y, limit, progress)
                return raw

            try:
                raw = reduced_run(sdp, warm_start, run, scaled=scaled)
            except SolveFailed:
                if best is None:
                    raise
                continue
            found = finish(sdp, raw, self._tolerances(), type(self).__name__, started)
            best = found if best is None else better(best, found)
            if best.status not in (Status.INACCURATE, Status.FAILED):
                break
        assert best is not None
        return best

    def _attempts(self, sdp: SDP) -> Iterator[tuple[Any, bool]]:
        """(solver, whether on scaled data), tried in turn while the answer is INACCURATE or FAILED."""
        yield self, False
        yield self, True

    def _tolerances(self) -> Tolerances:
        tol = self.tol or 1e-8
        return Tolerances(tol, max(1e-5, 100 * tol))

    @abc.abstractmethod
    def _run(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        """Call the solver on an SDP with at least one variable."""


def reduced_run(
    sdp: SDP,
    warm_start: Start,
    run: Callable[[SDP, Start], Raw],
    *,
    scaled: Scale,
) -> Raw:
    """`run` on the problem without rows that must vanish, scaled if asked for; in the terms of the whole.

    `scaled` may be a scaling of its own; where that gives None there is nothing to run, which is FAILED.
    """
    small = presolve(sdp)
    inner = sdp if small is None else small.sdp
    if inner.variables == 0:
        raw = constant_raw(inner, 1e-8)
    else:
        start = warm_start
        if isinstance(start, Solution) and (small is not None or scaled):
            start = start.y  # its multipliers belong to the problem as it is
        if small is not None and start is not None:
            assert isinstance(start, np.ndarray)
            start = start[small.kept]
        if scaled:
            assert not isinstance(start, Solution)
            scaling = scaled(inner) if callable(scaled) else equilibrate(inner)
            if scaling is None:
                return Raw(Status.FAILED, None, None, 0, "no other scaling")
            factors = scaling.factors
            raw = run(scaling.sdp, None if start is None else factors.scaled(start))
            y = None if raw.y is None else factors.point(raw.y)
            raw = dataclasses.replace(raw, y=y, dual=None if raw.dual is None else factors.dual(raw.dual))
        else:
            raw = run(inner, start)
    if small is None:
        return raw
    y = None if raw.y is None else _whole(small, raw)
    dual = None
    if raw.dual is not None and raw.dual.X_complete:
        dual = small.dual(None if raw.status is Status.INFEASIBLE else y, raw.dual)
    return dataclasses.replace(raw, y=y, dual=dual)


def _whole(small: Presolved, raw: Raw) -> np.ndarray:
    assert raw.y is not None
    y = small.point(raw.y)
    if raw.status is Status.UNBOUNDED:
        y[np.setdiff1d(np.arange(y.size), small.kept)] = 0.0
    return y
