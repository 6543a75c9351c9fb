"""`Dense`: our own interior point with the dense m x m Schur complement (the class of SDPA, CSDP, CVXOPT)."""

import dataclasses
import math
import time
from typing import ClassVar

import numpy as np

from ..._arrays import blas_threads
from ..._errors import OptionError
from ..._progress import ProgressCallback
from ...lmi import SDP, Solution, Status
from .._base import AbstractSolver
from .._child import solve_in_child
from .._cost import dense_bytes, dense_seconds, free_bytes
from .._equilibrate import Factors, block_factors
from .._external import reduced_run
from .._geometric import geometric
from .._raw import Raw, Tolerances, better, constant_raw, finish
from ._interior import EmbeddingLimits, EmbeddingOutcome, solve_program
from ._program import Program

__all__ = ["Dense"]

_SMALL = 150  # order of the largest matrix below which several threads only cost time
_SHARE = 0.2  # of a time limit: what is predicted to take more runs where it can be ended


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense(AbstractSolver):
    """Interior point for dense blocks: homogeneous embedding, Nesterov-Todd scaling, Mehrotra's corrector.

    `tol` bounds the relative gap and the residuals relative to the data. Takes every SDP: quadratic
    objectives, second-order cones and equalities too. Work per iteration: to form the Schur complement
    of m x m numbers (by the cheaper of three ways per block), m^3 / 3 for its Cholesky factor, 20 n^3 per
    block. `memory_limit` in bytes (None: three quarters of what is free); a problem predicted to need
    more is refused before anything is allocated. `threads` is for the BLAS (None: one where all matrices
    are small, else all). No warm start.
    """

    module: ClassVar[str] = "numpy"
    extra: ClassVar[str] = ""

    tol: float = 1e-8
    max_iterations: int = 200
    memory_limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.tol, (int, float)) and 1e-12 <= self.tol < 1):
            raise OptionError(f"Dense: tol is {self.tol!r}; expected a number in [1e-12, 1).")
        for option in ("max_iterations", "memory_limit", "threads"):
            value = getattr(self, option)
            if value is None and option != "max_iterations":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"Dense: {option} is {value!r}; expected a positive integer.")

    def suits(self, sdp: SDP) -> str | None:
        """None, or that the memory will not do."""
        need = dense_bytes(sdp)
        limit = 0.75 * free_bytes() if self.memory_limit is None else self.memory_limit
        if need <= limit:
            return None
        return (
            f"Dense would need about {need / 1e9:.2g} GB for {sdp.variables} variables, of "
            f"{limit / 1e9:.2g} GB; use SCS(), or LowRank() where the LMIs have few terms."
        )

    def solve(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; `warm_start` is checked and has no use. Raises OptionError where memory would not do.

        With a `time_limit` that the set-up or a few iterations may exceed, the work is done in a process of
        its own, which is ended soon after the limit; its steps are not reported then.
        """
        started = time.perf_counter()
        self._check_call(sdp, warm_start, time_limit)
        if time_limit is not None and dense_seconds(sdp) > _SHARE * time_limit:
            answer = solve_in_child(self, sdp, warm_start, float(time_limit), started)
            if answer is not None:
                return answer
        return self.solve_here(sdp, warm_start=warm_start, time_limit=time_limit, progress=progress)

    def solve_here(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """`solve` in this process; the clock is looked at between pieces of work."""
        started = time.perf_counter()
        self._check_call(sdp, warm_start, time_limit)
        if sdp.variables == 0:
            return finish(sdp, constant_raw(sdp, self.tol), self._tolerances(), "Dense", started)
        deadline = math.inf if time_limit is None else started + time_limit
        limits = EmbeddingLimits(self.tol, self.max_iterations, deadline, started, progress)
        with blas_threads(self._threads(sdp)), np.errstate(all="ignore"):
            raw = reduced_run(sdp, None, lambda problem, _: self._once(problem, limits), scaled=False)
            solution = finish(sdp, raw, self._tolerances(), "Dense", started)
            if solution.status in (Status.INACCURATE, Status.FAILED) and time.perf_counter() < deadline:
                raw = reduced_run(sdp, None, lambda problem, _: self._once(problem, limits), scaled=True)
                solution = better(solution, finish(sdp, raw, self._tolerances(), "Dense", started))
            if solution.status is Status.FAILED and time.perf_counter() < deadline:
                raw = reduced_run(sdp, None, lambda problem, _: self._once(problem, limits), scaled=geometric)
                solution = better(solution, finish(sdp, raw, self._tolerances(), "Dense", started))
        return solution

    def _tolerances(self) -> Tolerances:
        return Tolerances(max(self.tol, 1e-8), max(1e-6, 10 * self.tol))

    def _once(self, sdp: SDP, limits: EmbeddingLimits) -> Raw:
        scaling = block_factors(sdp)
        program = Program(sdp, scaling)
        if program.contradiction is not None:
            X = [np.zeros((part.order, part.order)) for part in program.parts.psd]
            s = [np.zeros(soc.d.size) for soc in sdp.socs]
            dual = program.parts.dual(X, np.zeros(program.parts.f0.size), program.contradiction, s)
            return Raw(Status.INFEASIBLE, None, scaling.dual(dual), 0, "the equalities contradict themselves")
        return _raw(sdp, program, scaling, solve_program(program, limits))

    def _threads(self, sdp: SDP) -> int | None:
        largest = max([sdp.variables, *(lmi.size for lmi in sdp.lmis)])
        return self.threads or (1 if largest < _SMALL else None)


def _raw(sdp: SDP, program: Program, scaling: Factors, outcome: EmbeddingOutcome) -> Raw:
    y = None if outcome.y is None else scaling.point(outcome.y)
    dual = None
    if outcome.Z is not None and outcome.v is not None:
        X, z, socs = program.multipliers(outcome.Z)
        rest = iter(socs)
        s = [next(rest) if soc.d.size else np.zeros(0) for soc in sdp.socs]
        dual = scaling.dual(program.parts.dual(X, z, program.all_equalities(outcome.v), s))
    return Raw(outcome.status, y, dual, outcome.iterations, outcome.reason)
