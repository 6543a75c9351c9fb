"""What methods propose for graphs: the exact SDP by levels, norms along paths."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable

import numpy as np

from .._errors import SolveFailed
from .._progress import ProgressCallback
from ..formulations._point import lowest_gain, positive_theta
from ..formulations.graph import GraphGain, GraphNorms
from ..formulations.iqc import Dissipation, SlopeRestricted
from ..graph import Apply, Graph, GraphWitness, Part
from ..graph._form import eliminate
from ..graph._witness import as_norm
from ..lmi import SDP, Status
from ..network import LinearFractional
from ..reductions import FOR_GAINS, FOR_NORMS, prepare
from ..solvers import AbstractSolver, Clarabel, LowRank
from ._graph_factored import dual_gain, factored_witness, gap_of_graph
from ._proposal import Run

__all__ = ["factored_gain", "for_norms", "norm_product", "solved_gain", "solved_implicit", "solved_norms"]

_TOL_FEEDBACK = 1e-6  # relative gap that the coordinates reach: their norm costs digits of the gap, not of L
_CONSTANT = 2.0**-40  # of the squared gain of another output, claimed for one that is constant
_SMALL = 600  # channels up to which Clarabel is tried
_FACTORED_GAP = 0.2  # times the tolerance: the last digits cost the dual in factored form little
_PASSES = 320  # of the lower end of what other solvers found
_NEAR_ENOUGH = 4.0  # times the tolerance: a gap from which no other solver is asked


def norm_product(graph: Graph) -> GraphWitness:
    """The proof by norms; the gains of the maps are found where it is proven."""
    return GraphWitness("norms", produced_by="norms along paths")


def solved_gain(
    graph: Graph,
    label: str,
    *,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """The l2 gain by the LMI with levels; raises SolveFailed where the solver has no usable point."""
    prepared = prepare(graph, FOR_GAINS, thorough=False)
    problem = GraphGain(prepared.network)
    if not problem.form.Y:
        return norm_product(graph)
    left, factored = _left(time_limit), None
    if solver is None:
        accuracy = LowRank().tol if tol is None else tol
        factored = factored_witness(
            problem.form,
            f"{label}, BurerMonteiro",
            gap=_FACTORED_GAP * accuracy,
            time_limit=time_limit,
            progress=progress,
        )
        if factored is not None and gap_of_graph(factored) <= _NEAR_ENOUGH * accuracy:
            return prepared.undo(factored)
    try:
        witness = _by_levels(problem, label, solver=solver, tol=tol, time_limit=left(), progress=progress)
    except SolveFailed:
        if factored is None:
            raise
        witness = factored
    return prepared.undo(_nearer(witness, factored))


def factored_gain(
    graph: Graph,
    label: str,
    *,
    gap: float,
    passes: int,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """The l2 gain by the dual in factored form alone; raises SolveFailed where that has no multipliers."""
    prepared = prepare(graph, FOR_GAINS, thorough=False)
    form = eliminate(prepared.network)
    if not form.Y:
        return norm_product(graph)
    found = factored_witness(form, label, gap=gap, passes=passes, time_limit=time_limit, progress=progress)
    if found is None:
        raise SolveFailed(
            "no multipliers were found: sorted groups, more rows than one dense matrix holds, or "
            "no tilt that is feasible in floating point. Take LipSDP()."
        )
    return prepared.undo(found)


def _by_levels(
    problem: GraphGain,
    label: str,
    *,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """By a solver of SDPs; LowRank's unfinished work on small graphs is Clarabel's."""
    sdp = problem.sdp()
    started = time.perf_counter()
    chosen = solver or _default(problem, tol)
    solution = chosen.solve(sdp, time_limit=time_limit, progress=progress)
    left = None if time_limit is None else time_limit - (time.perf_counter() - started)
    again = solver is None and isinstance(chosen, LowRank) and problem.graph.hidden_neurons <= _SMALL
    if again and solution.status is not Status.SOLVED and (left is None or left > 0.0):
        second = Clarabel().solve(sdp, time_limit=left, progress=progress)
        if second.status is Status.SOLVED:
            solution = second
    witness = problem.witness(solution)
    if solution.solver != LowRank.__name__:
        left = None if time_limit is None else time_limit - (time.perf_counter() - started)
        witness = dataclasses.replace(witness, optimum_at_least=_lower_end(problem, witness, left))
    return dataclasses.replace(witness, produced_by=f"{label}, {solution.solver or type(chosen).__name__}")


def _lower_end(problem: GraphGain, witness: GraphWitness, time_limit: float | None) -> float | None:
    """By the gates: other solvers' tolerances are absolute as well, which says nothing of a small 1/rho."""
    lowest = dual_gain(problem.graph, Run("lower end", time_limit, None), _PASSES)
    claimed = math.sqrt(float(witness.parts[0].d_in[0] * witness.parts[0].d_out[0]))
    return None if lowest is None else min(lowest, claimed)


def _nearer(witness: GraphWitness, other: GraphWitness | None) -> GraphWitness:
    """The one with the smaller bound, and the larger of the two lower ends."""
    if other is None:
        return witness
    ends = [w.optimum_at_least for w in (witness, other) if w.optimum_at_least is not None]
    best = min(witness, other, key=lambda w: float(w.parts[0].d_in[0] * w.parts[0].d_out[0]))
    return dataclasses.replace(best, optimum_at_least=max(ends, default=None))


def solved_implicit(
    form: LinearFractional,
    *,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> tuple[float, np.ndarray, float | None]:
    """(rho, T, optimum at least) of an implicit network; raises SolveFailed, also where no bound exists."""
    problem = Dissipation(form, [SlopeRestricted(form.alpha, form.beta)])
    solution = (solver or LowRank()).solve(problem.sdp(), time_limit=time_limit, progress=progress)
    y = positive_theta(solution)
    T = 0.5 * y[:-1] / y[-1]
    return 1.0 / y[-1], np.maximum(T, 1e-10 * T.max()), lowest_gain(solution.bound_on_optimum)


def _default(problem: GraphGain, tol: float | None) -> AbstractSolver:
    """LowRank; Clarabel for small graphs with groups, whose free multipliers LowRank takes badly."""
    graph = problem.graph
    if _grouped(graph) and graph.hidden_neurons <= _SMALL:
        return Clarabel() if tol is None else Clarabel(tol=tol)
    if tol is None and problem.feedback is not None:
        tol = _TOL_FEEDBACK
    return LowRank() if tol is None else LowRank(tol=tol)


def _grouped(graph: Graph) -> bool:
    return any(isinstance(node, Apply) and node.grouped for node in graph.nodes)


def solved_norms(
    graph: Graph,
    norm: tuple[float, float],
    label: str,
    *,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """Other norms, one LMI per output where q is infinity and per input where p is 1."""
    p, q = as_norm(norm)
    prepared = prepare(graph, FOR_NORMS)
    graph = prepared.network
    rows: tuple[int | None, ...] = tuple(range(graph.output_dim)) if q == math.inf else (None,)
    columns = range(graph.input_dim) if p == 1.0 else (None,)
    left = _left(time_limit)
    start = _shared_start(graph) if p == math.inf or q == 1.0 else None
    found: dict[tuple[int | None, int | None], tuple[Part, str] | None] = {}
    if p != math.inf and q != 1.0:
        for column in columns:
            if q == math.inf:
                parts = _gains_by_rows(graph, column, solver, tol, left(), progress)
                found |= {(row, column): part for row, part in zip(rows, parts, strict=True)}
            else:
                found[None, column] = _gain(graph, column, solver, tol, left(), progress)
    ends = itertools.product(rows, columns)
    known = [
        found.get(end) or _lifted(graph, (p, q), *end, start, solver, tol, left(), progress) for end in ends
    ]
    found_parts = tuple(part for part, _ in known)
    witness = GraphWitness("dissipation", (p, q), found_parts, produced_by=f"{label}, {known[0][1]}")
    return prepared.undo(witness)


def for_norms(graph: Graph, gain: GraphWitness, norm: tuple[float, float]) -> GraphWitness:
    """The dissipation of an l2 gain, of parts for each row and column of other norms: sqrt(n_0 m) L at most.

    Its matrix without other rows and columns is one of `norm` as it stands.
    """
    p, q = as_norm(norm)
    rows = range(graph.output_dim) if q == math.inf else (None,)
    columns = range(graph.input_dim) if p == 1.0 else (None,)
    (part,) = gain.parts
    parts = tuple(dataclasses.replace(part, row=r, column=c) for r in rows for c in columns)
    return dataclasses.replace(gain, norm=(p, q), parts=parts, optimum_at_least=None)


def _left(time_limit: float | None) -> Callable[[], float | None]:
    """Seconds left of a limit that begins now; never less than a millisecond."""
    if time_limit is None:
        return lambda: None
    deadline = time.perf_counter() + time_limit
    return lambda: max(deadline - time.perf_counter(), 1e-3)


def _gains_by_rows(
    graph: Graph,
    column: int | None,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> list[tuple[Part, str] | None]:
    """The l2 gains to single outputs, whose LMIs share all but one term; None where one was not solved."""
    gain = GraphGain(graph, column=column, each_output=True)
    result: list[tuple[Part, str] | None] = [None] * graph.output_dim
    if not gain.moves:
        return result
    sdp, ends = gain.by_rows()
    moving = np.flatnonzero(ends.any(axis=0))
    chosen = solver or _default(gain, tol)
    solutions = chosen.solve_ends(sdp, ends[:, moving], time_limit=time_limit, progress=progress)
    for row, solution in zip(moving.tolist(), solutions, strict=True):
        if solver is not None or solution.status is Status.SOLVED:
            result[row] = gain.witness(solution, row).parts[0], type(chosen).__name__
    known = next((found for found in result if found is not None), None)
    if known is not None:
        for row in np.flatnonzero(~ends.any(axis=0)).tolist():
            result[row] = _of_constant(known[0], row), known[1]
    return result


def _of_constant(part: Part, row: int) -> Part:
    """For an output that is constant, from another: without |dy|^2 every multiple of a proof is one."""
    scaled = tuple(_CONSTANT * t for t in part.multipliers)
    return dataclasses.replace(part, d_in=_CONSTANT * part.d_in, multipliers=scaled, row=row)


def _shared_start(graph: Graph) -> Part | None:
    """A dissipation of the l2 gain, without an iteration: a start for LowRank in all norms and ends."""
    gain = GraphGain(graph)
    if not gain.moves or not isinstance(_default(gain, None), LowRank):
        return None
    sdp = gain.sdp()
    if LowRank().suits(sdp) is not None:
        return None
    solution = LowRank(max_iterations=0).solve(sdp)
    if not solution.status.has_point or solution.y is None or solution.y[-1] <= 0.0:
        return None
    return gain.witness(solution).parts[0]


def _gain(
    graph: Graph,
    column: int | None,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> tuple[Part, str] | None:
    """The l2 gain from one input to all outputs; None where it was not solved."""
    gain = GraphGain(graph, column=column)
    if not gain.moves:
        return None
    chosen = solver or _default(gain, tol)
    solution = chosen.solve(gain.sdp(), time_limit=time_limit, progress=progress)
    if solver is None and solution.status is not Status.SOLVED:
        return None
    return gain.witness(solution).parts[0], type(chosen).__name__


def _lifted(
    graph: Graph,
    norm: tuple[float, float],
    row: int | None,
    column: int | None,
    start: Part | None,
    solver: AbstractSolver | None,
    tol: float | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> tuple[Part, str]:
    """One matrix with the output lifted, which any ends may have, and who solved it."""
    problem = GraphNorms(graph, norm, row, column)
    sdp = problem.sdp()
    for chosen in (solver,) if solver is not None else _for_norms(graph, sdp, tol):
        warm = problem.start(start) if start is not None and isinstance(chosen, LowRank) else None
        solution = chosen.solve(sdp, warm_start=warm, time_limit=time_limit, progress=progress)
        if solution.status is Status.SOLVED:
            break
    if solution.status in (Status.INFEASIBLE, Status.UNBOUNDED, Status.FAILED):
        raise SolveFailed(f"the solver stopped with {solution.status} at output {row}, input {column}.")
    return problem.part(solution), type(chosen).__name__


def _for_norms(graph: Graph, sdp: SDP, tol: float | None) -> tuple[AbstractSolver, ...]:
    """LowRank where it takes the problem, and Clarabel where that does not solve it, or for groups."""
    first, last = (LowRank(), Clarabel()) if tol is None else (LowRank(tol=tol), Clarabel(tol=tol))
    if _grouped(graph) or first.suits(sdp) is not None:
        return (last,)
    return (first, last) if graph.hidden_neurons <= _SMALL else (first,)
