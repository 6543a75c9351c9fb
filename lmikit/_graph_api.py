"""Wiring for graphs and implicit networks: a chain goes the way of chains, the rest through one LMI."""

import logging
import time

import numpy as np

from ._errors import InputError, LmikitError, NotCertified, OptionError, SolveFailed
from ._progress import ProgressCallback
from ._proving import least_proven
from ._witness import Witness
from .certificates.graph import GraphCertificate, ImplicitCertificate, verify_graph, verify_implicit
from .graph import Affine, Graph, GraphWitness, Part
from .graph._chain import chain_with_layers
from .methods import AbstractMethod, LipSDP, SpectralProduct
from .methods._graph import for_norms, solved_implicit
from .network import LinearFractional, is_wide
from .reductions import as_stored, gains_along_paths
from .solvers import AbstractSolver, LowRank

__all__ = ["graph_bound", "implicit_bound"]

_log = logging.getLogger("lmikit")
_L2 = (2.0, 2.0)
_BELOW = 0.999  # of the product of norms: its proof is not looked for
_NEAR = 1.02  # of the square that was proposed: what is proven beyond it may be worse than another norm's


def graph_bound(
    graph: Graph,
    method: AbstractMethod,
    norm: tuple[float, float],
    *,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphCertificate:
    """The least bound proven: the method's, or for l2 that of norms along paths where it is below.

    For other norms the l2 gain stands in where the method's own proof is not found, or only far from it.
    """
    if norm != _L2 and not isinstance(method, SpectralProduct):
        return _in_norms(graph, method, norm, solver=solver, time_limit=time_limit, progress=progress)
    if norm == _L2 and not isinstance(method, SpectralProduct):
        try:
            chain, place = chain_with_layers(graph)
        except InputError:
            pass
        else:
            proven = least_proven(chain, method, solver=solver, time_limit=time_limit, progress=progress)
            return _of_chain(graph, place, proven.witness)
    if norm == _L2 and any(is_wide(m) for n in graph.nodes if isinstance(n, Affine) for m in n.maps):
        if not isinstance(method, SpectralProduct):
            _log.warning("%s needs dense blocks; norms along paths are proven instead", method.label)
        return _along_paths(graph)
    certificate = _proven(graph, method, norm, solver, time_limit, progress)
    if norm != _L2 or certificate.witness.kind == "norms":
        return certificate
    if certificate.bound <= _BELOW * gains_along_paths(graph)[-1]:
        return certificate
    return min(certificate, _along_paths(graph), key=lambda c: c.bound)


def _proven(
    graph: Graph,
    method: AbstractMethod,
    norm: tuple[float, float],
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphCertificate:
    """The method's bound; for l2, if its proof fails, that of an interior point, else norms along paths.

    An interior point's multipliers are never at the boundary.
    """
    started = time.perf_counter()
    failure: LmikitError | None = None
    again = norm == _L2 and solver is None and method.uses_solver
    for chosen in (solver, LowRank()) if again else (solver,):
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - started), 1e-3)
        try:
            return verify_graph(
                graph,
                method.propose_graph(graph, norm=norm, solver=chosen, time_limit=left, progress=progress),
            )
        except NotCertified as error:
            failure = failure or error
        except SolveFailed as error:
            if solver is not None or norm != _L2:
                raise
            failure = failure or error
            break
    assert failure is not None
    if norm != _L2:
        raise failure
    _log.warning("%s gave no bound (%s); norms along paths are proven instead", method.label, failure)
    return _along_paths(graph)


def _along_paths(graph: Graph) -> GraphCertificate:
    return verify_graph(graph, GraphWitness("norms", produced_by="norms along paths"))


def _in_norms(
    graph: Graph,
    method: AbstractMethod,
    norm: tuple[float, float],
    *,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphCertificate:
    """The method's bound in these norms, or what its l2 gain says in them."""
    started = time.perf_counter()
    found: GraphCertificate | None = None
    try:
        witness = method.propose_graph(
            graph, norm=norm, solver=solver, time_limit=time_limit, progress=progress
        )
        own = verify_graph(graph, witness)
    except (NotCertified, SolveFailed) as error:
        if isinstance(error, SolveFailed) and solver is not None:
            raise
        reason: Exception = error
    else:
        pairs = zip(witness.parts, own.witness.parts, strict=True)
        grown = max(float((proven.d_in / proposed.d_in).max()) for proposed, proven in pairs)
        if grown <= _NEAR:
            return own
        found = own
        reason = NotCertified(f"the square of a proposed bound had to grow by a factor {grown:.3g}")
    left = None if time_limit is None else max(time_limit - (time.perf_counter() - started), 1e-3)
    gain = graph_bound(graph, method, _L2, solver=solver, time_limit=left, progress=progress)
    if gain.witness.kind != "dissipation":
        if found is None:
            raise reason
        return found
    other = verify_graph(graph, for_norms(graph, gain.witness, norm))
    if found is not None and found.bound <= other.bound:
        return found
    _log.warning(
        "%s found no good proof in the norms %s (%s); its l2 gain is taken", method.label, norm, reason
    )
    return other


def _of_chain(graph: Graph, place: tuple[int, ...], witness: Witness) -> GraphCertificate:
    """The chain's proven witness, proven for the graph."""
    if witness.kind == "layerwise":
        return verify_graph(graph, GraphWitness("norms", produced_by=witness.produced_by))
    witness = as_stored(witness)
    rho = witness.rho or 1.0  # 0 is a constant function, whose proof reads no multipliers
    part = Part(np.array([rho]), np.ones(1), tuple(witness.multipliers[k] for k in place))
    found = GraphWitness(
        "dissipation",
        parts=(part,),
        produced_by=witness.produced_by,
        optimum_at_least=witness.optimum_at_least,
    )
    try:
        return verify_graph(graph, found, repair=False)
    except NotCertified:
        return verify_graph(graph, found)


def implicit_bound(
    form: LinearFractional,
    method: AbstractMethod,
    *,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> ImplicitCertificate:
    """The bound of an implicit network by one multiplier per neuron."""
    if not form.neurons:
        raise InputError("the form has no neurons; take Network.from_arrays([N_yx]).")
    if not isinstance(method, LipSDP) or method.multipliers != "neuron":
        raise OptionError(f"{method.label} is for chains and graphs; implicit networks need LipSDP().")
    chosen = solver or (None if method.tol is None else LowRank(tol=method.tol))
    rho, T, lowest = solved_implicit(form, solver=chosen, time_limit=time_limit, progress=progress)
    label = f"{method.label}, {type(chosen or LowRank()).__name__}"
    return verify_implicit(form, rho, T, produced_by=label, optimum_at_least=lowest)
