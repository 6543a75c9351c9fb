"""Wiring: the few functions that most users need. Nothing here computes a bound itself."""

import dataclasses
import logging
import numbers
import os
import time
from collections.abc import Sequence
from typing import Any, overload

from . import methods as _methods
from ._comparison import Comparison, ComparisonRow
from ._errors import InputError, LmikitError, OptionError
from ._graph_api import graph_bound, implicit_bound
from ._image_api import image_bound, image_plan, product_bound
from ._local import local_lipschitz
from ._progress import ProgressCallback
from ._proving import least_proven
from .certificates import Certificate
from .certificates.graph import GraphCertificate, ImplicitCertificate
from .certificates.local import LocalCertificate
from .certificates.torus import TorusCertificate
from .claims import AbstractRegion
from .graph import Graph, chain_graph, graph_lower_bound
from .graph._witness import as_norm
from .lmi import SDP, ConicProgram, Problem, Solution, Status
from .methods import AbstractMethod, LipSDP, SpectralProduct
from .network import LinearFractional, LowerBound, Network
from .network import lower_bound as chain_lower_bound
from .solvers import AbstractSolver, Clarabel, choose
from .solvers._base import check_time_limit

__all__ = ["DEFAULT", "compare", "default_methods", "lipschitz", "lower_bound", "methods_for", "solve"]

_log = logging.getLogger("lmikit")
DEFAULT = "default"  # the label of what `lipschitz` does by itself


@overload
def lipschitz(
    network: Network | Graph,
    method: AbstractMethod | None = None,
    *,
    norm: tuple[float, float] | None = None,
    region: None = None,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> Certificate | GraphCertificate | TorusCertificate: ...


@overload
def lipschitz(
    network: Network,
    method: AbstractMethod | None = None,
    *,
    norm: None = None,
    region: AbstractRegion,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> LocalCertificate: ...


@overload
def lipschitz(
    network: LinearFractional,
    method: AbstractMethod | None = None,
    *,
    norm: None = None,
    region: None = None,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> ImplicitCertificate: ...


def lipschitz(
    network: Network | Graph | LinearFractional,
    method: AbstractMethod | None = None,
    *,
    norm: tuple[float, float] | None = None,
    region: AbstractRegion | None = None,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> Certificate | GraphCertificate | TorusCertificate | ImplicitCertificate | LocalCertificate:
    """Prove a global Lipschitz bound L of a network or graph: ||f(x) - f(x')||_q <= L ||x - x'||_p.

    `norm` (p, q), each of 1, 2, math.inf, is (2, 2) where it is not given. A `Graph` gets a
    `GraphCertificate`, and so does any network with `norm` given. With `region` (`lmikit.claims`: Ball, Box,
    BallAndBox) the bound holds for all x, x' in it and is never above the global one: a `LocalCertificate`.
    A `LinearFractional` may be implicit (N_vw any matrix, as in equilibrium networks): the
    `ImplicitCertificate` says too that its equations have exactly one solution.

    `method` proposes the multipliers (None: exact LipSDP, one multiplier per neuron). A network of
    convolutions that is too large for that gets, with None, the least of the product of norms, of
    `torus_lipschitz` (a `TorusCertificate`) and, up to 8,000 neurons, of one multiplier per neuron found by a
    truncated Newton method (as the product a `GraphCertificate`), where these are within reach:
    `lmikit inspect` says which; `SpectralProduct()` is that product.
    There norms that are left at `time_limit` are bounded by sqrt(||W||_1 ||W||_inf) instead.
    `solver` is for methods that solve SDPs (None: the method's own default; a named solver is
    never replaced by another); `time_limit` is in seconds and asks the solver for its best
    point so far. The bound is of the real-arithmetic function that the float64 weights define.
    Where the proposal loses more than 1e-6 in its proof, or cannot be proven, the closed form that the
    method started from is proven as well, and the least proven bound is returned: `produced_by` says whose.

    Raises InputError (not a Network), OptionError (not a method, or a solver for a method
    that uses none), SolveFailed (infeasible, unbounded or failed solve) and NotCertified.
    """
    _require_limit(time_limit)
    default = method is None
    method = LipSDP() if method is None else method
    if isinstance(network, LinearFractional):
        _require_method(method, solver)
        if norm is not None or region is not None:
            raise OptionError("norm or region is given with an implicit network; its bound is l2 and global.")
        return implicit_bound(network, method, solver=solver, time_limit=time_limit, progress=progress)
    require_network(network)
    _require_method(method, solver)
    if region is not None:
        if not isinstance(network, Network) or norm is not None:
            raise OptionError("region is given with a graph or a norm; expected a Network and the l2 norm.")
        return local_lipschitz(
            network, region, method, solver=solver, time_limit=time_limit, progress=progress
        )
    if norm is None and (default or isinstance(method, SpectralProduct)):
        plan = image_plan(network)
        if plan is not None and default and solver is None:
            return image_bound(network, plan, time_limit=time_limit, progress=progress)
        if plan is not None and not default:
            return product_bound(network, time_limit, progress)
    if isinstance(network, Network) and norm is None:
        return least_proven(network, method, solver=solver, time_limit=time_limit, progress=progress)
    graph = chain_graph(network) if isinstance(network, Network) else network
    norms = as_norm((2.0, 2.0) if norm is None else norm)
    return graph_bound(graph, method, norms, solver=solver, time_limit=time_limit, progress=progress)


def lower_bound(
    network: Network | Graph,
    *,
    starts: int = 128,
    steps: int = 80,
    seed: int = 0,
    time_limit: float | None = None,
) -> LowerBound:
    """max_x ||J(x)||_2 over the points that an ascent from `starts` random points visits.

    A lower bound of the l2 Lipschitz constant up to rounding (Rademacher), no bound from above. Points
    within rounding of a kink are rejected, and the value found is compared with difference quotients.
    Equal arguments give equal results unless `time_limit` (seconds) cuts the search short. Raises
    InputError for slope classes, which have no forward pass, and for narrowed slopes.
    """
    require_network(network)
    _require_limit(time_limit)
    search = graph_lower_bound if isinstance(network, Graph) else chain_lower_bound
    return search(network, starts=starts, steps=steps, seed=seed, time_limit=time_limit)  # type: ignore[arg-type]


def default_methods() -> tuple[AbstractMethod, ...]:
    """One of every method there is, with default options."""
    found = (getattr(_methods, name) for name in _methods.__all__)
    classes = [
        m for m in found if isinstance(m, type) and issubclass(m, AbstractMethod) and m is not AbstractMethod
    ]
    instances = [cls() for cls in classes]
    extra = [LipSDP(multipliers="layer")]
    return (*instances, *extra)


def methods_for(network: Network | Graph) -> tuple[AbstractMethod | None, ...]:
    """The methods, with default options, that take this network; None for what `lipschitz` does by itself.

    A network of convolutions that is not unrolled takes these two: the product and the default.
    """
    if image_plan(network) is not None:
        return SpectralProduct(), None
    methods = default_methods()
    if isinstance(network, Network):
        return methods
    own = [m for m in methods if type(m).propose_graph is not AbstractMethod.propose_graph]
    return tuple(m for m in own if not isinstance(m, LipSDP) or m.multipliers == "neuron")


def compare(
    network: Network | Graph,
    methods: Sequence[AbstractMethod | None] | None = None,
    *,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    lower: bool = True,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Every method's proven bound on one network, with seconds (proposal and proof together).

    Without `methods` all that take the network (`None` among them is the default of `lipschitz`).
    A method that fails or is not certified becomes a row with its reason and no bound.
    `solver` and `time_limit` go to the methods that use a solver; `lower` adds the sampled
    lower bound.
    """
    require_network(network)
    rows = []
    for method in methods_for(network) if methods is None else methods:
        if method is not None:
            _require_method(method, None)
        own = solver if method is not None and method.uses_solver else None
        rows.append(_row(network, method, own, time_limit, progress))
    value = None
    if lower:
        try:
            value = lower_bound(network, time_limit=time_limit).value
        except InputError as error:  # slope classes have no forward pass
            _log.info("no lower bound: %s", error)
    return Comparison(Comparison.sorted_rows(rows), value, network.dims)


def solve(
    problem: SDP | Problem,
    solver: AbstractSolver | None = None,
    *,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
    warm_start: Solution | None = None,
) -> Solution:
    """Solve an SDP, or an LMI problem written by hand, with `solver`.

    None chooses by structure and size, and `Solution.solver` names the choice: LowRank for large LMIs with
    few terms, Dense for dense blocks, SCS for what no interior point can hold, else Clarabel. A named
    solver is never replaced. The solution is a proposal in floating point; read `status` before using `y`.
    After `maximise` the values are those of the maximised objective. `warm_start` is an earlier solution of a
    problem of these sizes; SCS begins at its point and multipliers, other solvers take of it what they can.
    Raises InputError for anything but an SDP, a ConicProgram or a Problem, OptionError for anything but a
    solver object and for a solver that lacks a cone of the problem.
    """
    program = problem.compile_cones() if isinstance(problem, Problem) else problem
    if isinstance(program, ConicProgram) and not (program.exponentials or program.powers):
        program = program.sdp
    if not isinstance(program, (SDP, ConicProgram)):
        raise InputError(
            f"problem is {type(problem).__name__}; expected lmikit.lmi.SDP or lmikit.lmi.Problem."
        )
    if solver is not None and not isinstance(solver, AbstractSolver):
        raise OptionError(
            f"solver is {solver!r}; expected a solver object such as lmikit.solvers.Clarabel()."
        )
    check_time_limit("solve", time_limit)
    if isinstance(program, ConicProgram):
        chosen = Clarabel() if solver is None else solver
        solution = chosen.solve_cones(
            program, warm_start=warm_start, time_limit=time_limit, progress=progress
        )
    else:
        solution = _solved(program, solver, time_limit, progress, warm_start)
    if not isinstance(problem, Problem):
        return solution
    if problem.sign > 0:
        return dataclasses.replace(solution, own=problem.size)
    return dataclasses.replace(
        solution,
        objective=-solution.objective,
        bound_on_optimum=-solution.bound_on_optimum,
        maximised=True,
        own=problem.size,
    )


def _solved(
    sdp: SDP,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
    warm_start: Solution | None,
) -> Solution:
    if solver is not None:
        start = _start(warm_start, solver, sdp)
        return solver.solve(sdp, warm_start=start, time_limit=time_limit, progress=progress)
    started = time.perf_counter()
    solution = None
    for candidate, reason in choose(sdp):
        left = None if time_limit is None else time_limit - (time.perf_counter() - started)
        if solution is not None and left is not None and left <= 0:
            break
        _log.info("solve: %s, because of %s", type(candidate).__name__, reason)
        start = _start(warm_start, candidate, sdp)
        solution = candidate.solve(sdp, warm_start=start, time_limit=left, progress=progress)
        if solution.status is not Status.FAILED:
            break
    assert solution is not None
    return solution


def _start(warm_start: Solution | None, solver: AbstractSolver, sdp: SDP) -> Any:
    """What of an earlier solution the solver takes."""
    if warm_start is None:
        return None
    return warm_start.start(sdp.variables, with_dual=solver.takes_dual_start)


def _row(
    network: Network | Graph,
    method: AbstractMethod | None,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> ComparisonRow:
    start = time.perf_counter()
    try:
        certificate = lipschitz(network, method, solver=solver, time_limit=time_limit, progress=progress)
        bound, reason = certificate.bound, ""
    except LmikitError as error:
        bound, reason = None, f"{type(error).__name__}: {error}"
    label = DEFAULT if method is None else method.label
    return ComparisonRow(label, bound, time.perf_counter() - start, reason)


def require_network(network: Any) -> None:
    if not isinstance(network, (Network, Graph)):
        how = "Build one with Network.from_arrays(weights, biases, activation)."
        if isinstance(network, str | os.PathLike):
            how = "Read a file with lmikit.load_network."
        elif callable(network):
            how = "Read a model of a framework with lmikit.adapters (from_torch and others)."
        raise InputError(
            f"network is {type(network).__name__}; expected lmikit.Network or lmikit.Graph. {how}"
        )


def _require_limit(time_limit: Any) -> None:
    number = isinstance(time_limit, numbers.Real) and not isinstance(time_limit, bool)
    if time_limit is not None and not (number and time_limit >= 0.0):
        raise OptionError(f"time_limit is {time_limit!r}; expected seconds >= 0 or None.")


def _require_method(method: Any, solver: AbstractSolver | None) -> None:
    if not isinstance(method, AbstractMethod):
        raise OptionError(f"method is {method!r}; expected a method object such as lmikit.LipSDP().")
    if solver is not None and not method.uses_solver:
        raise OptionError(f"{type(method).__name__} uses no solver; drop solver={solver!r}.")
