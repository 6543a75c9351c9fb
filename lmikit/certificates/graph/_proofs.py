"""The two proofs of a graph, and the repair that looks for a provable witness near a proposed one.

dissipation. Every sigma is <= 0 on the increments of the network, so the assembled matrix PSD gives
2 s'dy <= dx'D_in dx + s'D_out s for all s (`lmikit.graph._witness`): the S-procedure with static
multipliers (Megretski, Rantzer, IEEE TAC 1997, Theorem 1; for networks Fazlyab et al., NeurIPS 2019).
norms. `_norms`.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from ..._errors import InputError, NotCertified
from ..._progress import Progress, ProgressCallback
from ...graph import Apply, Graph
from ...graph._form import EliminatedForm, eliminate, reaches_output
from ...graph._witness import GraphWitness, Part
from ...nonlinear import AbstractGroups
from .._verified_cholesky import Verdict, verified_cholesky
from ._assemble import Assembled, assemble
from ._norms import large_convolution, maps_of, norm_bound, norm_by_sums, norm_is_below, total_gain

Proven = Callable[[float], Verdict]

__all__ = ["GraphProof", "claimed_squares", "fault", "prove_graph", "repair_graph"]

_HEADROOM = 6.0  # room for other checkers' margins
_INFLATIONS = (0.0, *(10.0**k for k in range(-14, 1)), 3.0, 10.0)
_LARGEST_ROWS = 2**24  # entries of the eliminated rows of all nodes
_TILTS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.3)


@dataclasses.dataclass(frozen=True)
class GraphProof:
    """The witness as proven, the bound that follows, and the largest rounding shift it survived."""

    witness: GraphWitness
    bound: float
    shift: float
    constant: bool = False


def claimed_squares(graph: Graph, witness: GraphWitness) -> list[Fraction]:
    """L^2 = c_in c_out of each part, exactly; for "norms" the one square of the total gain."""
    if witness.kind == "norms":
        return [total_gain(graph, witness.gains) ** 2]
    p, q = witness.norm
    result = []
    for part in witness.parts:
        c_in = _size(part.d_in, p == math.inf, graph.input_dim)
        result.append(c_in * _size(part.d_out, q == 1.0, graph.output_dim))
    return result


def _size(d: np.ndarray, summed: bool, full: int) -> Fraction:
    if not summed:
        return Fraction(float(d.max()))
    values = np.broadcast_to(d, (full,)) if d.size == 1 else d
    return sum((Fraction(float(v)) for v in values), start=Fraction(0))


def fault(graph: Graph, witness: GraphWitness) -> str:
    """Why the witness is no admissible one for the graph and its norm; the empty string if it is."""
    p, q = witness.norm
    if witness.kind == "norms":
        count = sum(1 for _ in maps_of(graph))
        if (p, q) != (2.0, 2.0) or len(witness.gains) != count or witness.parts:
            return f"a proof by norms has {len(witness.gains)} gains; expected {count} and the norms (2, 2)"
        if not all(math.isfinite(gain) and gain >= 0.0 for gain in witness.gains):
            return "a gain is negative or not finite"
        return ""
    if witness.gains:
        return "a dissipation has gains of maps"
    wanted = _rows_and_columns(graph, witness.norm)
    if [(part.row, part.column) for part in witness.parts] != wanted:
        return f"the parts are not one for each of {len(wanted)} rows and columns of the norms {witness.norm}"
    for part in witness.parts:
        found = _part_fault(graph, part)
        if found:
            return found
    return ""


def _rows_and_columns(graph: Graph, norm: tuple[float, float]) -> list[tuple[int | None, int | None]]:
    """What each part looks at."""
    rows = range(graph.output_dim) if norm[1] == math.inf else (None,)
    columns = range(graph.input_dim) if norm[0] == 1.0 else (None,)
    return [(r, c) for r in rows for c in columns]


def _part_fault(graph: Graph, part: Part) -> str:
    sizes = [(part.d_in, graph.input_dim if part.column is None else 1, "d_in")]
    sizes.append((part.d_out, graph.output_dim if part.row is None else 1, "d_out"))
    for d, full, name in sizes:
        if d.size not in (1, full) or not (np.isfinite(d).all() and (d > 0.0).all()):
            return (
                f"{name} has {d.size} entries or one that is not positive; expected 1 or {full} positive ones"
            )
    nodes = [graph.nodes[k] for k in graph.applied]
    if [t.size for t in part.multipliers] != [n.multipliers for n in nodes if isinstance(n, Apply)]:
        return "the multipliers do not have the sizes of the graph's nonlinear nodes"
    for node, t in zip(nodes, part.multipliers, strict=True):
        assert isinstance(node, Apply)
        signed = t
        if isinstance(node.function, AbstractGroups):
            signed = t.reshape(-1, node.function.multipliers_per_group)[:, 0]
        if not np.isfinite(t).all() or (signed < 0.0).any():
            return "a multiplier is NaN, infinite, or negative where it must not be"
    return ""


def prove_graph(graph: Graph, witness: GraphWitness) -> GraphProof:
    """Prove exactly what the witness says; raises NotCertified, InputError for one of another graph."""
    wrong = fault(graph, witness)
    if wrong:
        raise InputError(f"the witness does not fit the graph: {wrong}.")
    if witness.kind == "norms":
        if _is_constant(graph):
            return GraphProof(witness, 0.0, 0.0, constant=True)
        return _proven_norms(graph, witness)
    form = eliminate(graph)
    if not form.Y:
        return GraphProof(witness, 0.0, 0.0, constant=True)
    shift = 0.0
    for part in witness.parts:
        verdict = verified_cholesky(assemble(form, part).at(part.d_in, part.d_out))
        if not verdict.ok:
            raise NotCertified(
                f"the matrix of the dissipation is not proven positive semidefinite ({verdict.reason}). "
                "Verify with repair=True, or solve more accurately."
            )
        shift = max(shift, verdict.shift)
    return GraphProof(witness, _root(claimed_squares(graph, witness)), shift)


def _proven_norms(graph: Graph, witness: GraphWitness) -> GraphProof:
    proven: set[tuple[str, float]] = set()
    for linear, gain in zip(maps_of(graph), witness.gains, strict=True):
        if (linear.digest, gain) in proven:
            continue
        if not norm_is_below(linear, gain):
            raise NotCertified(f"{gain!r} is not proven to reach the norm of a map of shape {linear.shape}.")
        proven.add((linear.digest, gain))
    return _of_norms(graph, witness)


def _of_norms(graph: Graph, witness: GraphWitness) -> GraphProof:
    square = claimed_squares(graph, witness)
    return GraphProof(witness, _root(square), 0.0, constant=square == [0])


def _least_gains(
    graph: Graph, progress: ProgressCallback | None, time_limit: float | None
) -> tuple[float, ...]:
    """The least norm bound found of every map; of those left after the limit (seconds) one by sums."""
    begin, maps = time.perf_counter(), list(maps_of(graph))
    found: dict[str, float] = {}
    for k, linear in enumerate(maps):
        if linear.digest not in found:
            late = time_limit is not None and time.perf_counter() - begin >= time_limit
            found[linear.digest] = norm_by_sums(linear) if late else norm_bound(linear)
        if progress is not None:
            seconds = time.perf_counter() - begin
            progress(Progress("norms of maps", k + 1, len(maps), found[linear.digest], seconds=seconds))
    return tuple(found[linear.digest] for linear in maps)


def repair_graph(
    graph: Graph,
    witness: GraphWitness,
    progress: ProgressCallback | None = None,
    time_limit: float | None = None,
) -> GraphProof:
    """The best proof found near the witness; raises NotCertified."""
    if witness.kind == "norms":
        if _is_constant(graph):
            return GraphProof(_for_constant(graph, witness), 0.0, 0.0, constant=True)
        gains = _least_gains(graph, progress, time_limit)
        if not all(map(math.isfinite, gains)):
            raise NotCertified("the norm of a map could not be enclosed; rescale the weights.")
        return _of_norms(graph, dataclasses.replace(witness, gains=gains))
    form = eliminate(graph)
    if not form.Y:
        return GraphProof(_for_constant(graph, witness), 0.0, 0.0, constant=True)
    parts, shift = [], 0.0
    for part in witness.parts:
        repaired, found = _repaired(form, part)
        parts.append(repaired)
        shift = max(shift, found)
    witness = dataclasses.replace(witness, parts=tuple(parts))
    wrong = fault(graph, witness)
    if wrong:
        raise InputError(f"the witness does not fit the graph: {wrong}.")
    return GraphProof(witness, _root(claimed_squares(graph, witness)), shift)


def _is_constant(graph: Graph) -> bool:
    """Whether the output is exactly constant: by its rows where they are small, else by paths alone.

    Large convolutions are not taken apart for it: the product of norms is then claimed, which is no less.
    """
    if any(large_convolution(linear) is not None for linear in maps_of(graph)):
        return False
    sources = graph.input_dim + graph.hidden_neurons
    if sum(node.size for node in graph.nodes) * sources > _LARGEST_ROWS:
        return not reaches_output(graph)
    return not eliminate(graph).Y


def _for_constant(graph: Graph, witness: GraphWitness) -> GraphWitness:
    """A witness of the right shape; the proof of an exactly constant output reads nothing of it."""
    nodes = [graph.nodes[k] for k in graph.applied]
    zeros = tuple(np.zeros(n.multipliers) for n in nodes if isinstance(n, Apply))
    parts = tuple(
        Part(np.ones(1), np.ones(1), zeros, r, c) for r, c in _rows_and_columns(graph, witness.norm)
    )
    return dataclasses.replace(witness, kind="dissipation", parts=parts, gains=())


def _root(squares: list[Fraction]) -> float:
    """The least float found at or above the square root of the largest."""
    largest = max(squares)
    try:
        bound = math.sqrt(float(largest))
    except OverflowError:
        return math.inf
    while Fraction(bound) ** 2 < largest:
        bound = math.nextafter(bound, math.inf)
        if bound == math.inf:
            return math.inf
    return bound


def _repaired(form: EliminatedForm, part: Part) -> tuple[Part, float]:
    """The part with D_in multiplied by the least factor found, perhaps with tilted multipliers."""
    part = dataclasses.replace(part, multipliers=_clipped(form, part))
    best: tuple[float, Part, float] | None = None
    for tilt in _TILTS:
        tilted = _tilted(form, part, tilt)
        found = _least(assemble(form, tilted), tilted)
        if found is not None and (best is None or found[0] < best[0]):
            best = found[0], dataclasses.replace(tilted, d_in=tilted.d_in * (1.0 + found[0])), found[1]
        if best is not None and best[0] <= max(1e-6, 10.0 * tilt):
            break
    if best is None:
        raise NotCertified(
            "no multiple of D_in made the matrix of the dissipation provably positive semidefinite; solve "
            "more accurately, or take SpectralProduct()."
        )
    return best[1], best[2]


def _clipped(form: EliminatedForm, part: Part) -> tuple[np.ndarray, ...]:
    result = []
    for k, t in zip(form.graph.applied, part.multipliers, strict=True):
        node = form.graph.nodes[k]
        assert isinstance(node, Apply)
        t = np.where(np.isfinite(t), t, 0.0)
        if isinstance(node.function, AbstractGroups):
            t = t.reshape(-1, node.function.multipliers_per_group).copy()
            t[:, 0] = np.maximum(t[:, 0], 0.0)
            result.append(t.reshape(-1))
        else:
            result.append(np.maximum(t, 1e-10 * t.max(initial=0.0)))
    return tuple(result)


def _tilted(form: EliminatedForm, part: Part, e: float) -> Part:
    """T_k (1 + e)^(L - k), which turns >= 0 into > 0 along a chain, and D_in along with it."""
    depth = len(part.multipliers)
    multipliers = tuple(t * (1.0 + e) ** (depth - k) for k, t in enumerate(part.multipliers))
    return dataclasses.replace(part, d_in=part.d_in * (1.0 + e) ** (depth + 1), multipliers=multipliers)


def _least(matrix: Assembled, part: Part) -> tuple[float, float] | None:
    """(inflation, shift): the matrix is proven at D_in (1 + inflation), which may be slightly negative."""

    def proven(e: float) -> Verdict:
        return verified_cholesky(matrix.at(part.d_in * (1.0 + e), part.d_out), _HEADROOM)

    failed = -math.inf
    for e in _INFLATIONS:
        verdict = proven(e)
        if verdict.ok:
            return _bisected(proven, failed, e, verdict)
        failed = e
    return None


def _bisected(proven: Proven, failed: float, passed: float, verdict: Verdict) -> tuple[float, float]:
    for middle in _between(failed, passed):
        if not failed < middle < passed:
            continue
        attempt = proven(middle)
        if attempt.ok:
            passed, verdict = middle, attempt
        else:
            failed = middle
    return passed, verdict.shift


def _between(failed: float, passed: float) -> Iterator[float]:
    """Where to try: a solver's point is feasible with room to spare, or fails by little."""
    if passed <= 0.0:
        yield from (-1e-4, -1e-6, -1e-7, -3e-8, -1e-8, -1e-9, -1e-10)
    else:
        yield from (passed * f for f in (0.3, 0.6, 0.8))
