"""CVXPY: a bridge to every solver that CVXPY reaches, and a test oracle; not for large problems.

CVXPY compiles the problem again, in time and memory that outgrow the solve for large LMIs. Its
multipliers have lmikit's signs. It hands out no rays: where it says infeasible or unbounded,
lmikit solves for the ray as an SDP of its own (`_rays`) through the same solver.
"""

import dataclasses
import threading
import warnings
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._errors import BackendMissing, OptionError
from .._progress import ProgressCallback
from ..lmi import LMI, SDP, Dual, Solution, Status
from ..lmi._svec import SvecOrder, svec_pairs, to_svec
from ._cost import rows_seconds
from ._external import AbstractExternalSolver, Start
from ._interrupt import run_interruptibly
from ._raw import Raw
from ._rays import dual_ray_problem, primal_ray_problem

__all__ = ["CVXPY"]

_STATUS = {  # anything absent is FAILED
    "optimal": Status.SOLVED,
    "optimal_inaccurate": Status.INACCURATE,
    "user_limit": Status.LIMIT,
    "infeasible": Status.INFEASIBLE,
    "infeasible_inaccurate": Status.INFEASIBLE,  # stands only if a ray is found and passes our check
    "unbounded": Status.UNBOUNDED,
    "unbounded_inaccurate": Status.UNBOUNDED,
}
# how each solver spells the typed options
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "CLARABEL": {
        "tol": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
        "max_iterations": ("max_iter",),
        "threads": ("max_threads",),
        "time_limit": ("time_limit",),
    },
    "SCS": {
        "tol": ("eps_abs", "eps_rel"),
        "max_iterations": ("max_iters",),
        "time_limit": ("time_limit_secs",),
    },
    "CVXOPT": {"tol": ("abstol", "reltol", "feastol"), "max_iterations": ("max_iters",)},
    "MOSEK": {
        "tol": tuple(f"MSK_DPAR_INTPNT_CO_TOL_{name}" for name in ("PFEAS", "DFEAS", "REL_GAP")),
        "max_iterations": ("MSK_IPAR_INTPNT_MAX_ITERATIONS",),
        "threads": ("MSK_IPAR_NUM_THREADS",),
        "time_limit": ("MSK_DPAR_OPTIMIZER_MAX_TIME",),
    },
}
_CVXOPT = frozenset(  # CVXOPT itself ignores what it does not know
    {"abstol", "reltol", "feastol", "max_iters", "maxiters", "refinement", "kktsolver"}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CVXPY(AbstractExternalSolver):
    """The solver that CVXPY knows by the name `solver`, as in `cvxpy.installed_solvers()`.

    Options as in `AbstractExternalSolver`; those left at None are the solver's own. One whose spelling
    lmikit does not know for this solver raises OptionError: pass it through `native`, whose
    names are checked for CLARABEL, SCS, CVXOPT and MOSEK, and by the solver itself for others.
    After Ctrl-C the native solver may run on in its thread until it ends.
    """

    module: ClassVar[str] = "cvxpy"
    extra: ClassVar[str] = "cvxpy"

    solver: str = "CLARABEL"
    tol: float | None = None

    def _run(
        self,
        sdp: SDP,
        warm_start: Start,
        time_limit: float | None,
        progress: ProgressCallback | None,
    ) -> Raw:
        options = self._options(time_limit)

        def work(stop: threading.Event) -> Raw:
            raw = self._once(sdp, warm_start, options)
            if raw.status in (Status.INFEASIBLE, Status.UNBOUNDED) and not stop.is_set():
                return self._with_ray(sdp, raw, options)
            return raw

        return run_interruptibly(work)

    def _once(self, sdp: SDP, warm_start: Start, options: dict[str, Any]) -> Raw:
        cp = self._import()
        y = cp.Variable(sdp.variables)
        if warm_start is not None:
            y.value = np.asarray(
                warm_start.y if isinstance(warm_start, Solution) else warm_start, dtype=np.float64
            )
        constraints = _constraints(cp, sdp, y)
        objective = sdp.c @ y
        if sdp.H is not None:
            objective = objective + 0.5 * cp.quad_form(y, sdp.H, assume_PSD=True)
        problem = cp.Problem(cp.Minimize(objective), [part for group in constraints for part in group])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what they say is in the status
                problem.solve(
                    solver=self.solver, warm_start=warm_start is not None, verbose=self.verbose, **options
                )
        except cp.error.SolverError as error:
            if "not installed" in str(error) or "not available" in str(error):
                raise BackendMissing(
                    f"CVXPY cannot reach the solver {self.solver!r}: {error} "
                    f"Installed: {', '.join(cp.installed_solvers())}."
                ) from error
            return Raw(Status.FAILED, None, None, 0, str(error))
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            if self.native:
                raise OptionError(
                    f"CVXPY with {self.solver} refuses native={dict(self.native)!r}: {error}"
                ) from error
            raise
        status = _STATUS.get(problem.status, Status.FAILED)
        if status is Status.INACCURATE and self.solver == "SCS":
            status = Status.LIMIT  # what SCS calls its iterate at a limit
        stats = problem.solver_stats
        iterations = int(stats.num_iters or 0) if stats is not None else 0
        dual = _dual(sdp, constraints) if status.has_point else None
        return Raw(status, None if y.value is None else np.array(y.value), dual, iterations, problem.status)

    def _predicted_seconds(self, sdp: SDP) -> float:
        """CVXPY compiles for as long as it takes, and some of its solvers know no limit."""
        entries = sum(lmi.size**2 for lmi in sdp.lmis)
        return rows_seconds(sdp) + 1e-6 * entries * (1.0 + 0.1 * sdp.variables)

    def _with_ray(self, sdp: SDP, raw: Raw, options: dict[str, Any]) -> Raw:
        if raw.status is Status.UNBOUNDED:
            found = self._once(primal_ray_problem(sdp), None, options)
            return dataclasses.replace(raw, y=found.y if found.status.has_point else None)
        auxiliary = dual_ray_problem(sdp)
        found = self._once(auxiliary.problem, None, options)
        if found.y is None or not found.status.has_point:
            return raw
        return dataclasses.replace(raw, dual=auxiliary.ray(found.y))

    def _options(self, time_limit: float | None) -> dict[str, Any]:
        spelling = _NAMES.get(self.solver, {})
        options: dict[str, Any] = {}
        typed = {"tol": self.tol, "max_iterations": self.max_iterations, "threads": self.threads}
        for option, value in {**typed, "time_limit": time_limit}.items():
            if value is None:
                continue
            if option not in spelling:
                raise OptionError(
                    f"CVXPY(solver={self.solver!r}) has no {option} that lmikit can spell; "
                    "pass the solver's own name for it in native."
                )
            options.update(dict.fromkeys(spelling[option], value))
        unknown = set(self.native) - _CVXOPT
        if self.solver == "CVXOPT" and unknown:
            raise OptionError(f"CVXOPT has no option {sorted(unknown)[0]!r}; it has {sorted(_CVXOPT)}.")
        if self.solver == "MOSEK" and options:
            options = {"mosek_params": options}
        return {**options, **self.native}


def _constraints(cp: Any, sdp: SDP, y: Any) -> tuple[list, list, list, list]:
    """Groups in the order LMIs, inequalities, equalities, cones; empty ones left out."""
    lmis = [_matrix(cp, lmi, y) >> 0 for lmi in sdp.lmis if lmi.size]
    inequalities = [sdp.G @ y <= sdp.h] if sdp.h.size else []
    equalities = [sdp.A @ y == sdp.b] if sdp.b.size else []
    cones = []
    for soc in sdp.socs:
        point = soc.C @ y + soc.d if soc.d.size else None
        if point is not None:
            cones.append(cp.SOC(point[0], point[1:]) if soc.d.size > 1 else point >= 0)
    return lmis, inequalities, equalities, cones


def _matrix(cp: Any, lmi: LMI, y: Any) -> Any:
    """F(y) as a CVXPY expression (n, n): one sparse map on y, reshaped."""
    n = lmi.size
    F0, F = to_svec(lmi, SvecOrder.TRIPLETS)
    i, j = svec_pairs(n, SvecOrder.TRIPLETS)
    off = np.flatnonzero(i != j)
    each = np.arange(i.size)
    rows, columns = np.concatenate([i + j * n, j[off] + i[off] * n]), np.concatenate([each, each[off]])
    spread = sp.csc_array((np.ones(rows.size), (rows, columns)), (n * n, i.size))
    return cp.reshape((spread @ F) @ y + spread @ F0, (n, n), order="F")


def _dual(sdp: SDP, constraints: tuple[list, list, list, list]) -> Dual | None:
    lmis, inequalities, equalities, cones = constraints
    if any(part.dual_value is None for group in constraints for part in group):
        return None
    blocks, points = iter(lmis), iter(cones)
    X = [np.zeros((0, 0)) if lmi.size == 0 else _symmetric(next(blocks).dual_value) for lmi in sdp.lmis]
    z = np.concatenate([np.zeros(0), *(np.atleast_1d(part.dual_value) for part in inequalities)])
    v = np.concatenate([np.zeros(0), *(np.atleast_1d(part.dual_value) for part in equalities)])
    s = [np.zeros(0) if soc.d.size == 0 else _cone_multiplier(next(points).dual_value) for soc in sdp.socs]
    return Dual(tuple(X), z, v, tuple(s))


def _symmetric(value: Any) -> np.ndarray:
    matrix = np.atleast_2d(np.asarray(value, dtype=np.float64))
    return (matrix + matrix.T) / 2


def _cone_multiplier(value: Any) -> np.ndarray:
    """CVXPY gives [scalar, vector] for a cone and an array for the cone of dimension 1."""
    if isinstance(value, list):
        return np.concatenate([np.ravel(part) for part in value])
    return np.ravel(np.asarray(value, dtype=np.float64))
