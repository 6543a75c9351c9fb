"""The contract that every SDP solver keeps: `SDP` in, `Solution` out, no Lipschitz bound."""

import abc
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._errors import BackendMissing, InputError, OptionError
from .._progress import ProgressCallback
from .._version import __version__
from ..lmi import SDP, ConicProgram, Solution

__all__ = ["AbstractSolver", "check_time_limit", "each_end"]


def check_time_limit(name: str, time_limit: Any) -> None:
    """Raise OptionError unless the limit is None or a positive number of seconds."""
    number = isinstance(time_limit, (int, float, np.integer, np.floating)) and not isinstance(
        time_limit, bool
    )
    if time_limit is not None and not (number and time_limit > 0):
        raise OptionError(f"{name}: time_limit is {time_limit!r}; expected seconds > 0 or None.")


def each_end(
    sdp: SDP, ends: np.ndarray, time_limit: float | None
) -> Iterator[tuple[SDP, np.ndarray, float | None]]:
    """The problem with each column of `ends` as p = q of its last term, the column, the seconds left."""
    (lmi,) = sdp.lmis
    P, Q = lmi.P[:, :-1], lmi.Q[:, :-1]
    deadline = None if time_limit is None else time.perf_counter() + time_limit
    for end in ends.T:
        column = sp.csc_array(end[:, None])
        last = dataclasses.replace(
            lmi, P=sp.hstack([P, column], format="csc"), Q=sp.hstack([Q, column], format="csc")
        )
        left = None if deadline is None else max(deadline - time.perf_counter(), 1e-3)
        yield dataclasses.replace(sdp, lmis=(last,)), end, left


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractSolver(abc.ABC):
    """A solver with its options; immutable, reusable, thread-safe.

    Laws, tested for every registered solver: a point with status SOLVED satisfies the
    constraints to `tol` relative to the data; an unknown native status is FAILED; an
    infeasible or unbounded problem is never SOLVED, and comes with a ray that was checked.
    """

    module: ClassVar[str]  # what to import; numpy for our own
    extra: ClassVar[str]  # the pip extra that brings it, "" when required
    finds_rays: ClassVar[bool] = True  # False: INFEASIBLE and UNBOUNDED come out as FAILED or LIMIT
    # what the solver takes, as data: tests and users read it
    takes_cones: ClassVar[bool] = True  # second-order cones
    takes_equalities: ClassVar[bool] = True  # A y = b
    takes_quadratic: ClassVar[bool] = True  # y'H y in the objective
    needs_lmi: ClassVar[bool] = False  # at least one LMI, of order 1 or more
    takes_exponential: ClassVar[bool] = False  # exponential cones, in `solve_cones`
    takes_power: ClassVar[bool] = False  # power cones, in `solve_cones`
    takes_dual_start: ClassVar[bool] = False  # multipliers in `warm_start`

    @abc.abstractmethod
    def solve(
        self,
        sdp: SDP,
        *,
        warm_start: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """Minimise; `warm_start` is a y (m,) that the solver may use, `time_limit` is in seconds."""

    def solve_ends(
        self,
        sdp: SDP,
        ends: np.ndarray,
        *,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Iterator[Solution]:
        """The solutions with p = q = e in the last term of the one LMI, for each column e of `ends` (D, k).

        The last variable t has that term alone, with the weight -1: M(y) - t e e'. What does not depend on
        e may be done once; `time_limit` is for all of them.
        """
        for one, _, left in each_end(sdp, ends, time_limit):
            yield self.solve(one, time_limit=left, progress=progress)

    def solve_cones(
        self,
        program: ConicProgram,
        *,
        warm_start: Solution | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Solution:
        """`solve` with exponential and power cones; raises OptionError where the solver has them not."""
        missing = [
            kind
            for kind, cones, taken in (
                ("exponential", program.exponentials, self.takes_exponential),
                ("power", program.powers, self.takes_power),
            )
            if cones and not taken
        ]
        if missing:
            raise OptionError(
                f"{type(self).__name__} takes no {' and no '.join(missing)} cones; Clarabel() and SCS() do. "
                "log_det may be replaced by det_rootn, which needs second-order cones only."
            )
        return self.solve(
            program.sdp,
            warm_start=None if warm_start is None else warm_start.y,
            time_limit=time_limit,
            progress=progress,
        )

    def suits(self, sdp: SDP) -> str | None:
        """None if the solver takes this problem, else why not and which solver does.

        `solve` raises OptionError with that text where it is not None.
        """
        return None

    def _check_call(
        self, sdp: SDP, warm_start: np.ndarray | Solution | None, time_limit: float | None
    ) -> None:
        """Refuse arguments of `solve` that are out of range, and problems that do not suit."""
        name = type(self).__name__
        check_time_limit(name, time_limit)
        if isinstance(warm_start, Solution):
            warm_start = warm_start.y
        if warm_start is not None and np.shape(warm_start) != (sdp.variables,):
            raise InputError(f"warm_start has shape {np.shape(warm_start)}; expected ({sdp.variables},).")
        reason = self.suits(sdp)
        if reason is not None:
            raise OptionError(reason)

    @classmethod
    def installed(cls) -> bool:
        """Whether the module can be found (it is not imported)."""
        return importlib.util.find_spec(cls.module) is not None

    @classmethod
    def version(cls) -> str | None:
        """The installed version of the module, or None; our own solvers have lmikit's."""
        if cls.module == "numpy":
            return __version__
        try:
            return importlib.metadata.version(cls.module)
        except importlib.metadata.PackageNotFoundError:
            return None

    @classmethod
    def licensed(cls) -> bool:
        """Whether the solver may run here; solvers that need a licence look for it when called."""
        return True

    @classmethod
    def _import(cls) -> Any:
        try:
            return importlib.import_module(cls.module)
        except ImportError as error:
            raise BackendMissing(
                f"{cls.__name__} needs the module {cls.module!r}, which cannot be imported ({error}); "
                f"pip install 'lmikit[{cls.extra}]'."
            ) from error
