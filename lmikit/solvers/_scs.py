"""SCS: first-order splitting on the CPU; large problems to modest accuracy, with warm start.

SCS solves  min 1/2 x'P x + c'x  s.t.  A x + s = b, s in K,  rows ordered zero, nonnegative,
second-order, PSD (lower triangles) [1]; `ConicForm` is that form. It knows nothing of chordal
sparsity. [1] B. O'Donoghue, "Operator splitting for a homogeneous embedding of the linear
complementarity problem", SIAM J. Optim. 31 (2021); cvxgrp.org/scs.
"""

import dataclasses
import threading
from typing import Any, ClassVar

import numpy as np

from .._arrays import blas_threads
from .._errors import OptionError, SolveFailed
from .._progress import ProgressCallback
from ..lmi import SDP, ConicProgram, Solution, Status, decompose
from ..lmi._svec import SvecOrder
from ._cone_solver import AbstractConeSolver
from ._conic import ConicForm
from ._external import Start
from ._interrupt import run_interruptibly
from ._raw import Raw

__all__ = ["SCS"]

_STATUS = {  # anything absent is FAILED
    1: Status.SOLVED,
    2: Status.LIMIT,  # "solved (inaccurate)" is what SCS calls its iterate at a limit
    -1: Status.UNBOUNDED,
    -6: Status.UNBOUNDED,  # inaccurate: stands only if the ray passes our check
    -2: Status.INFEASIBLE,
    -7: Status.INFEASIBLE,
}
_INTERRUPTED = -5
_SMALL = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class SCS(AbstractConeSolver):
    """Splitting: cheap iterations, modest accuracy, warm start from y and multipliers.

    Options as in `AbstractExternalSolver`; `tol` is both eps_abs and eps_rel. `chordal` splits PSD blocks
    over the cliques of their sparsity first (networkx for patterns that no partition names); X then holds
    for the pattern only, save for rays of infeasibility, which are completed. Progress is reported
    once, at the end: SCS has no callback.
    """

    module: ClassVar[str] = "scs"
    extra: ClassVar[str] = "scs"

    takes_dual_start: ClassVar[bool] = True

    tol: float | None = 1e-6
    max_iterations: int | None = 100_000
    chordal: bool = False

    def _run(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        if not self.chordal:
            return self._once(ConicForm.of(sdp, SvecOrder.LOWER), warm_start, time_limit)
        split = decompose(sdp)
        if isinstance(warm_start, Solution):
            warm_start = warm_start.y
        if warm_start is not None:
            overlaps = np.zeros(split.sdp.variables - sdp.variables)
            warm_start = np.concatenate([warm_start, overlaps])
        raw = self._once(ConicForm.of(split.sdp, SvecOrder.LOWER), warm_start, time_limit)
        whole = split.recover(
            Solution(raw.status, raw.y, raw.dual, np.nan, np.nan, 0.0, raw.iterations),
            completed=raw.status is Status.INFEASIBLE,
        )
        return dataclasses.replace(raw, y=whole.y, dual=whole.dual)

    def _predicted_seconds(self, sdp: SDP) -> float:
        """SCS looks at its clock between iterations, not while it factors or decomposes."""
        m, rows = float(sdp.variables), sum(0.5 * lmi.size**2 for lmi in sdp.lmis)
        largest = float(max((lmi.size for lmi in sdp.lmis), default=0))
        return 5e-9 * (m * m * min(rows, 1e3 * m) + 100.0 * largest**3)

    def _run_cones(
        self,
        program: ConicProgram,
        warm_start: Solution | None,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        return self._once(ConicForm.of(program, SvecOrder.LOWER), warm_start, time_limit)

    def _once(self, form: ConicForm, warm_start: Start, time_limit: float | None) -> Raw:
        scs = self._import()
        threads = self.threads or (1 if max(form.psds, default=0) < _SMALL else None)
        with blas_threads(threads):
            # SCS swallows Ctrl-C while it sets up, and reports it while it iterates
            solver = run_interruptibly(lambda stop: self._setup(scs, form, time_limit, stop))
            start: dict[str, np.ndarray] = {}
            if warm_start is not None:
                x = np.array(warm_start.y if isinstance(warm_start, Solution) else warm_start)
                z = np.zeros(form.b.size)
                if isinstance(warm_start, Solution) and warm_start.dual is not None:
                    z = form.multipliers(warm_start.dual)
                start = {"x": x, "y": z, "s": form.b - form.A @ x}
            raw = solver.solve(warm_start=bool(start), **start)
        info = raw["info"]
        if info["status_val"] == _INTERRUPTED:
            raise KeyboardInterrupt
        status = _STATUS.get(int(info["status_val"]), Status.FAILED)
        return Raw(
            status,
            np.asarray(raw["x"]),
            form.dual(np.asarray(raw["y"])),
            int(info["iter"]),
            str(info["status"]),
        )

    def _setup(self, scs: Any, form: ConicForm, time_limit: float | None, stop: threading.Event) -> Any:
        data = {"A": form.A, "b": form.b, "c": form.q}
        if form.P is not None:
            data["P"] = form.P
        cone = {"z": form.zero, "l": form.nonneg, "q": list(form.socs), "s": [int(n) for n in form.psds]}
        cone |= {"ep": form.exponentials, "p": list(form.powers)}
        own: dict[str, Any] = {"verbose": self.verbose, "linear_solver": scs.LinearSolver.AUTO}
        if self.tol is not None:
            own["eps_abs"] = own["eps_rel"] = self.tol
        if self.max_iterations is not None:
            own["max_iters"] = self.max_iterations
        if time_limit is not None:
            own["time_limit_secs"] = float(time_limit)
        try:
            return scs.SCS(data, cone, **{**own, **self.native})
        except (TypeError, ValueError) as error:
            if self.native:
                raise OptionError(f"SCS refuses native={dict(self.native)!r}: {error}.") from error
            raise SolveFailed(f"SCS refused the problem: {error}.") from error
