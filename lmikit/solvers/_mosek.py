"""MOSEK: commercial interior point. An LMI goes in as the dual of a barvar problem.

MOSEK's semidefinite variables X sit in  min <C, X> s.t. <A_i, X> = b_i  and it does not dualise
SDPs, so the Task is lmikit's dual, one barvar per LMI and one row per variable y_i:

    minimise   sum_k <F0_k, X_k> + h'z + b'v + sum_j d_j's_j
    subject to -sum_k <F_ik, X_k> + G_i'z + A_i'v - sum_j C_ji's_j = -c_i     (multiplier y_i)
               X_k PSD, z >= 0, v free, s_j in the second-order cone.

Entries are lower triplets without sqrt(2). A quadratic objective enters as a second-order cone.
Source: MOSEK Optimizer API for Python, sections "Semidefinite Optimization" and "Duality".
"""

import dataclasses
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._errors import BackendMissing, OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from ..lmi import SDP, Dual, Status, epigraph_form
from ..lmi._svec import SvecOrder, smat, svec_pairs, svec_size, to_svec
from ._available import available
from ._external import AbstractExternalSolver, Start
from ._interrupt import run_interruptibly
from ._raw import Raw

__all__ = ["MOSEK"]

_LICENCE = (
    "MOSEK has no licence here ({error}). Put the licence file at ~/mosek/mosek.lic, or name it in the "
    "environment variable MOSEKLM_LICENSE_FILE; ready without one: {ready}."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MOSEK(AbstractExternalSolver):
    """Interior point with a licence. `native` takes MOSEK's parameter names (MSK_DPAR_..., MSK_IPAR_...).

    Options as in `AbstractExternalSolver`. No warm start. Raises BackendMissing without a licence.
    """

    module: ClassVar[str] = "mosek"
    extra: ClassVar[str] = "mosek"

    @classmethod
    def licensed(cls) -> bool:
        """Whether MOSEK hands out a licence for conic problems now."""
        mosek = cls._import()
        try:
            with mosek.Env() as env:
                env.checkoutlicense(mosek.feature.pton)
        except mosek.Error:
            return False
        return True

    def task(self, sdp: SDP, env: Any, time_limit: float | None = None) -> Any:
        """The native Task, built and parametrised, not optimised: for export with `writedata`."""
        mosek = self._import()
        task = env.Task(0, 0)
        _build(mosek, task, epigraph_form(sdp))
        self._parametrise(mosek, task, time_limit)
        return task

    def _run(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        # the thread owns the Task: after an interrupt it may still be running
        return run_interruptibly(lambda stop: self._optimize(sdp, time_limit, progress, stop))

    def _optimize(
        self, sdp: SDP, time_limit: float | None, progress: ProgressCallback | None, stop: threading.Event
    ) -> Raw:
        mosek = self._import()
        failed: list[BaseException] = []
        with mosek.Env() as env, self.task(sdp, env, time_limit) as task:
            task.set_InfoCallback(_watch(mosek, stop, progress, failed))
            try:
                termination = task.optimize()
            except mosek.Error as error:
                raise _explain(error) from error
            if failed:
                raise failed[0]
            status = _status(mosek, task, termination)
            return recover(task, sdp, status, f"{task.getprosta(mosek.soltype.itr)}, {termination}")

    def _parametrise(self, mosek: Any, task: Any, time_limit: float | None) -> None:
        own: dict[str, Any] = {}
        if self.tol is not None:
            own = {f"MSK_DPAR_INTPNT_CO_TOL_{name}": self.tol for name in ("PFEAS", "DFEAS", "REL_GAP")}
        if self.max_iterations is not None:
            own["MSK_IPAR_INTPNT_MAX_ITERATIONS"] = self.max_iterations
        if self.threads is not None:
            own["MSK_IPAR_NUM_THREADS"] = self.threads
        if time_limit is not None:
            own["MSK_DPAR_OPTIMIZER_MAX_TIME"] = float(time_limit)
        for name, value in {**own, **self.native}.items():
            try:
                task.putparam(name, str(value))
            except mosek.Error as error:
                raise OptionError(f"MOSEK refuses the parameter {name}={value!r}: {error}.") from error
        if self.verbose:
            task.set_Stream(mosek.streamtype.log, sys.stdout.write)


def _build(mosek: Any, task: Any, sdp: SDP) -> None:
    m = sdp.variables
    task.appendcons(m)
    task.putconboundslice(0, m, [mosek.boundkey.fx] * m, -sdp.c, -sdp.c)
    task.putobjsense(mosek.objsense.minimize)
    blocks = [lmi for lmi in sdp.lmis if lmi.size]
    if blocks:
        task.appendbarvars([lmi.size for lmi in blocks])
    for k, lmi in enumerate(blocks):
        F0, F = to_svec(lmi, SvecOrder.TRIPLETS)
        rows, columns = (side.astype(np.int32) for side in svec_pairs(lmi.size, SvecOrder.TRIPLETS))
        at = np.flatnonzero(F0)
        task.putbarcblocktriplet(np.full(at.size, k, np.int32), rows[at], columns[at], F0[at])
        entries = F.tocoo()
        variable, block = entries.col.astype(np.int32), np.full(entries.nnz, k, np.int32)
        task.putbarablocktriplet(variable, block, rows[entries.row], columns[entries.row], -entries.data)
    _build_vectors(mosek, task, sdp)


def _build_vectors(mosek: Any, task: Any, sdp: SDP) -> None:
    """z, v and all s_j, in this order, as MOSEK's scalar variables."""
    p, q = sdp.h.size, sdp.b.size
    cones = [soc for soc in sdp.socs if soc.d.size]
    columns = sp.coo_array(sp.hstack([sdp.G.T, sdp.A.T, *(-soc.C.T for soc in cones)], format="coo"))
    cost = np.concatenate([sdp.h, sdp.b, *(soc.d for soc in cones)])
    task.appendvars(cost.size)
    if cost.size == 0:
        return
    task.putclist(np.arange(cost.size, dtype=np.int32), cost)
    task.putaijlist(columns.row.astype(np.int32), columns.col.astype(np.int32), columns.data)
    task.putvarboundsliceconst(0, p, mosek.boundkey.lo, 0.0, np.inf)
    task.putvarboundsliceconst(p, cost.size, mosek.boundkey.fr, -np.inf, np.inf)
    dimension = cost.size - p - q
    task.appendafes(dimension)
    if dimension:
        each = np.arange(dimension, dtype=np.int64)
        task.putafefentrylist(each, (p + q + each).astype(np.int32), np.ones(dimension))
    start = 0
    for soc in cones:
        domain = task.appendquadraticconedomain(soc.d.size)
        task.appendaccseq(domain, start, None)
        start += soc.d.size


def recover(task: Any, sdp: SDP, status: Status, native_status: str) -> Raw:
    """lmikit's y and multipliers out of a Task that holds an interior-point solution."""
    mosek = MOSEK._import()
    itr = mosek.soltype.itr
    if status is Status.FAILED:
        return Raw(status, None, None, 0, native_status)
    y = np.asarray(task.gety(itr))[: sdp.variables]
    scalars = np.asarray(task.getxx(itr))
    X, k = [], 0
    for lmi in sdp.lmis:
        if lmi.size == 0:
            X.append(np.zeros((0, 0)))
            continue
        values = np.asarray(task.getbarxj(itr, k))
        assert values.size == svec_size(lmi.size)
        X.append(smat(values, SvecOrder.TRIPLETS))
        k += 1
    p, q = sdp.h.size, sdp.b.size
    ends = p + q + np.cumsum([soc.d.size for soc in sdp.socs], dtype=int)
    s = tuple(scalars[end - soc.d.size : end] for end, soc in zip(ends, sdp.socs, strict=True))
    iterations = task.getintinf(mosek.iinfitem.intpnt_iter)
    return Raw(status, y, Dual(tuple(X), scalars[:p], scalars[p : p + q], s), int(iterations), native_status)


def _status(mosek: Any, task: Any, termination: Any) -> Status:
    itr = mosek.soltype.itr
    if not task.solutiondef(itr):
        return Status.FAILED
    solution = task.getsolsta(itr)
    known = {
        mosek.solsta.optimal: Status.SOLVED,
        mosek.solsta.prim_infeas_cer: Status.UNBOUNDED,  # of the Task, which is lmikit's dual
        mosek.solsta.dual_infeas_cer: Status.INFEASIBLE,
    }
    if solution in known:
        return known[solution]
    limits = (mosek.rescode.trm_max_iterations, mosek.rescode.trm_max_time, mosek.rescode.trm_user_callback)
    return Status.LIMIT if termination in limits else Status.FAILED


def _explain(error: Any) -> Exception:
    if "license" in str(error.errno) or "license" in str(error).lower():
        ready = ", ".join(info.name for info in available() if info.ready)
        return BackendMissing(_LICENCE.format(error=str(error).strip(), ready=ready))
    return SolveFailed(f"MOSEK failed: {error}. Rescale the data or use another solver.")


def _watch(
    mosek: Any, stop: threading.Event, progress: ProgressCallback | None, failed: list[BaseException]
) -> Callable[..., int]:
    """MOSEK's callback at each step; a value other than 0 stops it. Its primal is lmikit's dual."""

    def callback(code: Any, doubles: Any, integers: Any, longs: Any) -> int:
        if progress is not None and code == mosek.callbackcode.intpnt:
            objective = -doubles[mosek.dinfitem.intpnt_dual_obj]
            bound = -doubles[mosek.dinfitem.intpnt_primal_obj]
            seconds = doubles[mosek.dinfitem.intpnt_time]
            try:
                progress(
                    Progress("MOSEK", integers[mosek.iinfitem.intpnt_iter], None, objective, bound, seconds)
                )
            except BaseException as error:
                failed.append(error)
                return 1
        return int(stop.is_set())

    return callback
