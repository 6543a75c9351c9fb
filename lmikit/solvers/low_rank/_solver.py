"""`LowRank`: our own interior-point method for LMIs that are sums of few rank-one terms."""

import contextlib
import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ..._arrays import ArrayModule, array_module, blas_threads
from ..._errors import InputError, OptionError
from ..._progress import ProgressCallback
from ...lmi import SDP, Solution, Status
from .._base import AbstractSolver, check_time_limit, each_end
from .._geometric import geometric
from .._interrupt import OutOfTime
from .._raw import Raw, Tolerances, finish
from ._answer import solution_of
from ._compile import Compiled, compile_sdp
from ._direction import SchurFactor
from ._ends import SharedPoint
from ._interior_point import INTERRUPTED, TIME_LIMIT, InteriorLimits, InteriorOutcome, solve_interior
from ._iterative import IterativeSchur
from ._scaling import Scaling
from ._small import is_small, solve_small
from ._start import Start, levelwise, starting_point, warm_point
from ._state import point_at

__all__ = ["LowRank"]

_ROUGH, _ROUGH_TOL = 4, 1e-2  # iterations and relative gap for the segments of a deep start
_GRACE = 0.25  # seconds that an iteration under way at the limit gets beside the limit once more
_PROBE = 600  # order of the product that tells whether threads help; not asked for smaller matrices
_WIDE = 300  # level from which all steps use all threads
_SLACKS = (10.0, 1e3)  # of an infeasible start, relative to the data; the next where one jams
_MOST_TERMS = 6000  # per LMI, not counting terms with a variable of their own


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank(AbstractSolver):
    """Interior-point method for F0 + sym(P diag(E y) Q') PSD with few terms, and G y <= h.

    `tol` is the relative gap to reach, (c'y - bound) / max(|c'y|, |bound|); y is strictly feasible from
    the first iteration (or from the first full step), so that a limit returns a usable point.
    `array_module` names where to compute. Where the Schur complement of m^2 numbers would not fit
    `memory_limit` bytes (None: half of what is free), the same method solves with it by preconditioned
    conjugate gradients, in memory O(sum n_k^2) and with work per product linear in the number of levels.
    Far from the optimum large problems are solved in single precision, which does not change the answer.
    `threads` is for the BLAS (None: one on small blocks, all cores on large matrices where they are
    found to help).
    """

    module: ClassVar[str] = "numpy"
    extra: ClassVar[str] = ""
    takes_cones: ClassVar[bool] = False
    takes_equalities: ClassVar[bool] = False
    takes_quadratic: ClassVar[bool] = False
    needs_lmi: ClassVar[bool] = True

    tol: float = 1e-7
    max_iterations: int = 200
    array_module: str = "numpy"
    memory_limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.tol, (int, float)) and 1e-12 <= self.tol < 1):
            raise OptionError(f"tol is {self.tol!r}; expected a number in [1e-12, 1).")
        if not (isinstance(self.max_iterations, int) and self.max_iterations >= 0):
            raise OptionError(f"max_iterations is {self.max_iterations!r}; expected an integer >= 0.")
        for option in ("memory_limit", "threads"):
            value = getattr(self, option)
            if value is not None and not (isinstance(value, int) and value > 0):
                raise OptionError(f"{option} is {value!r}; expected a positive integer or None.")

    def suits(self, sdp: SDP) -> str | None:
        """None where this solver takes the problem, else why not and which solver does."""
        if sdp.socs:
            return "it has second-order cones; use Clarabel() or SCS()."
        if sdp.H is not None and sdp.H.nnz:
            return "its objective is quadratic; use Clarabel() or SCS()."
        if sdp.b is not None and sdp.b.size:
            return "it has equality constraints A y = b; eliminate them or use Clarabel()."
        if not any(lmi.size for lmi in sdp.lmis):
            return "it has no LMI; use Clarabel()."
        if sdp.variables == 0:
            return "it has no variables; use Clarabel()."
        largest = max(_sizes(sdp))
        if largest > _MOST_TERMS:
            return f"one of its LMIs has {largest} terms, which are not few; use Clarabel() or SCS()."
        return None

    def solve(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; raises OptionError where `suits` has an objection.

        `warm_start` is drawn back to strict feasibility by shrinking the variables that pay for the
        objective. It is the incumbent, so that the answer is never worse, and the start where the
        method finds none of its own (points near the boundary make poor starts).
        """
        if warm_start is not None and np.shape(warm_start) != (sdp.variables,):
            raise InputError(f"warm_start has shape {np.shape(warm_start)}; expected ({sdp.variables},).")
        check_time_limit("LowRank", time_limit)
        objection = self.suits(sdp)
        if objection is not None:
            raise OptionError(f"LowRank does not solve this problem: {objection}")
        started = time.perf_counter()
        deadline = math.inf if time_limit is None else started + time_limit
        limits = InteriorLimits(self.tol, self.max_iterations, deadline, started, progress)
        solution = self._once(sdp, warm_start, time_limit, limits)
        if solution.status is Status.FAILED and time.perf_counter() < deadline:
            return self._rescaled(sdp, limits) or solution
        return solution

    def solve_ends(
        self,
        sdp: SDP,
        ends: np.ndarray,
        *,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Iterator[Solution]:
        shared = None
        for one, end, left in each_end(sdp, ends, time_limit):
            start = None
            if is_small(one):
                shared = shared or SharedPoint.of(array_module("numpy"), one)
                start = None if shared is None else shared.start(end)
            yield self.solve(one, warm_start=start, time_limit=left, progress=progress)

    def _rescaled(self, sdp: SDP, limits: InteriorLimits) -> Solution | None:
        """Again with data scaled so that feasible points are near 1; None where that does not help."""
        scaling = geometric(sdp)
        if scaling is None:
            return None
        found = self._once(scaling.sdp, None, None, limits)
        y = None if found.y is None else scaling.factors.point(found.y)
        dual = None if found.dual is None else scaling.factors.dual(found.dual)
        raw = Raw(found.status, y, dual, found.iterations, found.native_status)
        allowed = Tolerances(max(self.tol, 1e-8), max(1e-6, 10 * self.tol))
        solution = finish(sdp, raw, allowed, "LowRank", limits.started)
        return None if solution.status is Status.FAILED else solution

    def _once(
        self, sdp: SDP, warm_start: np.ndarray | None, time_limit: float | None, limits: InteriorLimits
    ) -> Solution:
        am, started = array_module(self.array_module), limits.started
        with blas_threads(1 if self.threads is None else self.threads), np.errstate(all="ignore"):
            small, inside = self._small(am, sdp, warm_start, limits), None
            if small is None:
                inside = levelwise(am, sdp)
                small = self._small(am, sdp, inside if warm_start is None else None, limits)
            if small is not None:
                return small
            scaling = Scaling.of(sdp, inside)
            scaled = scaling.apply(sdp)
            latest = math.inf if time_limit is None else limits.deadline + time_limit + _GRACE
            problem = compile_sdp(am, scaled, deadline=latest)
            warm = None if warm_start is None else warm_start / scaling.y
            with self._many_threads() if _widest(problem) >= _WIDE else contextlib.nullcontext():
                outcome = self._outcome(problem, scaled, warm, limits, inside if scaled is sdp else None)
        return solution_of(sdp, problem, scaling, outcome, started)

    def _small(
        self, am: ArrayModule, sdp: SDP, start: np.ndarray | None, limits: InteriorLimits
    ) -> Solution | None:
        dense = self.memory_limit is None and am.name == "numpy"
        return solve_small(am, sdp, start, limits) if dense else None

    def _outcome(
        self,
        problem: Compiled,
        sdp: SDP,
        warm: np.ndarray | None,
        limits: InteriorLimits,
        inside: np.ndarray | None,
    ) -> InteriorOutcome:
        """Of the first start that leads somewhere; the warm start itself where time runs out before."""
        schur = self._schur(problem)
        try:
            for size in _SLACKS:
                start = starting_point(problem, sdp, warm, size, self._improver(limits), inside)
                outcome = solve_interior(problem, start, limits, schur)
                if start.point.feasible or outcome.status is not Status.FAILED or outcome.limited:
                    break
        except OutOfTime:
            known = warm_point(problem, warm)
            if known is None:
                return InteriorOutcome(Status.FAILED, TIME_LIMIT, None, None, math.nan, -math.inf, 0, True)
            objective = float(problem.c @ known.y)
            return InteriorOutcome(Status.LIMIT, TIME_LIMIT, known.y, None, objective, -math.inf, 0, True)
        return outcome

    def _schur(self, problem: Compiled) -> SchurFactor | IterativeSchur:
        if self._fits(problem):
            large = problem.c.size > _PROBE
            return SchurFactor(problem, self._many_threads if large else contextlib.nullcontext)
        return IterativeSchur(problem)

    def _improver(self, limits: InteriorLimits) -> Callable[[Compiled, Any], Any]:
        """What improves a segment of a deep chain: a few iterations from a y inside the cone."""
        rough = dataclasses.replace(
            limits, tol=_ROUGH_TOL, iterations=min(_ROUGH, limits.iterations), progress=None
        )

        def solve(problem: Compiled, y: Any) -> Any:
            point = point_at(problem, y)
            if point is None:
                return None
            outcome = solve_interior(problem, Start(point, None, 1.0), rough, self._schur(problem))
            if outcome.reason == INTERRUPTED:
                raise KeyboardInterrupt
            return outcome.y

        return solve

    def _fits(self, problem: Compiled) -> bool:
        """Whether the Schur complement and the panels that form it fit the memory limit."""
        m = problem.c.size
        widest = _widest(problem)
        limit = self.memory_limit or _half_of_free(problem)
        return 8 * m * (m + 12 * min(widest, m)) <= limit

    def _many_threads(self) -> contextlib.AbstractContextManager[None]:
        """Threads for large matrices; on blocks of 80 two were 30 times slower than one."""
        return blas_threads(self.threads or 1, kernels=self.threads or _helpful_threads())


def _sizes(sdp: SDP) -> list[int]:
    """Terms per LMI that share their variable with other terms."""
    uses = sum((np.diff(lmi.E.indptr) for lmi in sdp.lmis), np.zeros(sdp.variables))
    counts = []
    for lmi in sdp.lmis:
        shared = lmi.E[:, np.flatnonzero(uses > 1)]
        counts.append(int((np.diff(shared.tocsr().indptr) > 0).sum()))
    return counts


def _widest(problem: Compiled) -> int:
    return max(int(chain.sizes.max()) for chain in problem.chains)


def _half_of_free(problem: Compiled) -> float:
    free = problem.am.free_bytes()
    if free is None and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return math.inf if free is None else 0.5 * free


@functools.lru_cache(maxsize=1)
def _probed(minute: int) -> int:
    """All cores if a product runs faster on them, else 1: on a busy machine threads wait for each other."""
    cores = _cores()
    if cores == 1:
        return 1
    a = np.ones((_PROBE, _PROBE))
    seconds = []
    for threads in (1, cores):
        with blas_threads(1, kernels=threads):
            _timed(a)  # starts the threads
            seconds.append(sorted(_timed(a) for _ in range(5))[3])  # on a busy machine some are fast
    return cores if seconds[1] < 0.8 * seconds[0] else 1


def _timed(a: np.ndarray) -> float:
    started = time.perf_counter()
    array_module().product(a, a)
    return time.perf_counter() - started


def _helpful_threads() -> int:
    """How many BLAS threads large products want now, looked at anew every minute."""
    return _probed(int(time.monotonic() // 60.0))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
