"""Clarabel: interior point on the CPU, no licence; the default for SDPs given by hand.

Clarabel solves  min 1/2 x'P x + q'x  s.t.  A x + s = b, s in K  [1, eq. (1)], with the multiplier
of the equation in the dual cone; `ConicForm` is that form, PSD blocks as upper triangles. It
decomposes chordal blocks itself and completes their multipliers to PSD matrices.
[1] P. J. Goulart, Y. Chen, "Clarabel: An interior-point solver for conic programs with quadratic
objectives", arXiv:2405.12762.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._arrays import blas_threads
from .._errors import OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from ..lmi import SDP, ConicProgram, Solution, Status
from ..lmi._svec import SvecOrder
from ._cone_solver import AbstractConeSolver
from ._conic import ConicForm
from ._cost import dense_blocks, free_bytes, rows_bytes
from ._external import Start
from ._interrupt import run_interruptibly
from ._raw import Raw

__all__ = ["Clarabel"]

_STATUS = {  # anything absent is FAILED
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.INACCURATE,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,  # stands only if the ray passes our check
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
    "MaxIterations": Status.LIMIT,
    "MaxTime": Status.LIMIT,
    "InsufficientProgress": Status.LIMIT,  # stopped short of the reduced tolerances, with a point
    "CallbackTerminated": Status.LIMIT,
}
_SMALL = 200  # order below which several BLAS threads cost more than they bring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clarabel(AbstractConeSolver):
    """Interior point: accurate, and fast on blocks that are small or chordal.

    `chordal`: whether Clarabel decomposes PSD blocks over the cliques of their sparsity. None does,
    and solves again without where that failed or its claim does not pass lmikit's checks: on SDPLIB's
    control1 Clarabel 0.11.1 stops 1.5 % above the optimum as "Solved" with decomposition and at it
    without. The last attempt is on scaled data.
    Other options as in `AbstractExternalSolver`. No warm start.
    """

    module: ClassVar[str] = "clarabel"
    extra: ClassVar[str] = ""

    chordal: bool | None = None

    def _run(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        chordal = True if self.chordal is None else self.chordal
        return self._once(ConicForm.of(sdp, SvecOrder.UPPER), chordal, time_limit, progress)

    def _run_cones(
        self,
        program: ConicProgram,
        warm_start: Solution | None,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        chordal = True if self.chordal is None else self.chordal
        return self._once(ConicForm.of(program, SvecOrder.UPPER), chordal, time_limit, progress)

    def suits(self, sdp: SDP) -> str | None:
        """None, or that the memory will not do."""
        free = free_bytes()
        need = rows_bytes(sdp, enough=free)
        if need <= free:
            return None
        return (
            f"Clarabel would need about {need / 1e9:.0f} GB for dense blocks of order "
            f"{max(dense_blocks(sdp))}, and {free / 1e9:.0f} GB are free; use Dense()."
        )

    def _attempts(self, sdp: SDP) -> Iterator[tuple[Any, bool]]:
        yield self, False
        whole = self
        if self.chordal is None and len(dense_blocks(sdp)) < sum(lmi.size > 1 for lmi in sdp.lmis):
            whole = dataclasses.replace(self, chordal=False)  # the first attempt decomposed a block
            yield whole, False
        yield whole, True

    def _once(
        self, form: ConicForm, chordal: bool, time_limit: float | None, progress: ProgressCallback | None
    ) -> Raw:
        clarabel = self._import()
        clarabel.force_load_blas_lapack()  # an interrupt during the lazy load would disable it for good
        settings = self._settings(clarabel.DefaultSettings(), chordal, time_limit)
        threads = self.threads or (1 if max(form.psds, default=0) < _SMALL else None)
        with blas_threads(threads):
            raw = run_interruptibly(lambda stop: _call(clarabel, form, settings, stop, progress))
        status = _STATUS.get(str(raw.status), Status.FAILED)
        dual = form.dual(np.asarray(raw.z), X_complete=bool(settings.chordal_decomposition_complete_dual))
        return Raw(status, np.asarray(raw.x), dual, int(raw.iterations), str(raw.status))

    def _settings(self, settings: Any, chordal: bool, time_limit: float | None) -> Any:
        # Clarabel's test of a ray scales with the diverging iterates; 1e-8 let rays through with
        # relative residuals of 5e-6
        own: dict[str, Any] = {"verbose": self.verbose, "tol_infeas_rel": 1e-10}
        own["chordal_decomposition_enable"] = chordal
        if self.tol is not None:
            own.update(dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), self.tol))
        if self.max_iterations is not None:
            own["max_iter"] = self.max_iterations
        if self.threads is not None:
            own["max_threads"] = self.threads
        if time_limit is not None:
            own["time_limit"] = float(time_limit)
        for name, value in {**own, **self.native}.items():
            if not hasattr(settings, name):
                raise OptionError(f"Clarabel has no setting {name!r}; see clarabel.DefaultSettings.")
            try:
                setattr(settings, name, value)
            except (TypeError, ValueError, OverflowError) as error:
                raise OptionError(f"Clarabel refuses {name}={value!r}: {error}.") from error
        return settings


def _call(
    clarabel: Any, form: ConicForm, settings: Any, stop: threading.Event, progress: ProgressCallback | None
) -> Any:
    cones = [clarabel.ZeroConeT(form.zero)] if form.zero else []
    cones += [clarabel.NonnegativeConeT(form.nonneg)] if form.nonneg else []
    cones += [clarabel.SecondOrderConeT(k) for k in form.socs]
    cones += [clarabel.PSDTriangleConeT(n) for n in form.psds]
    cones += [clarabel.ExponentialConeT() for _ in range(form.exponentials)]
    cones += [clarabel.PowerConeT(a) for a in form.powers]
    m = form.q.size
    P = sp.csc_array((m, m)) if form.P is None else form.P
    failed: list[BaseException] = []
    try:
        solver = clarabel.DefaultSolver(P, form.q, form.A, form.b, cones, settings)
        solver.set_termination_callback(_watch(stop, progress, failed))
        solution = solver.solve()
    except Exception as error:  # the binding raises plain Exception
        if "settings" in str(error):
            raise OptionError(f"Clarabel refuses its settings: {error}.") from error
        raise SolveFailed(f"Clarabel refused the problem: {error}.") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust panics derive from BaseException
            raise
        raise SolveFailed(
            f"Clarabel panicked: {error}. Try native={{'chordal_decomposition_enable': False}} or SCS."
        ) from error
    if failed:
        raise failed[0]
    return solution


def _watch(
    stop: threading.Event, progress: ProgressCallback | None, failed: list[BaseException]
) -> Callable[[Any], bool]:
    """Called at each iteration; True stops the solver."""

    def callback(info: Any) -> bool:
        if progress is not None:
            try:
                progress(
                    Progress(
                        "Clarabel", info.iterations, None, info.cost_primal, info.cost_dual, info.solve_time
                    )
                )
            except BaseException as error:
                failed.append(error)
                return True
        return stop.is_set()

    return callback
