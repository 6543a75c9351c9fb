"""The checker of `lmikit-graph-cert` files.

Float mode assembles and factors the matrix again as the proof does. Exact mode (`_check_exact`) shares
neither elimination nor theorem with it and needs no theory of rounding.
"""

import math
from fractions import Fraction

from ..._errors import InputError, NotCertified
from ...graph import Graph, chain_graph, without_groups
from ...network import AbstractLinearMap, Network
from .._kinds import CheckResult, guarded, register
from ._check_exact import exact_part_margin
from ._exact_balls import exact_convolution_margin
from ._exact_dominance import exact_norm_margin
from ._format import FORMAT, GraphDocument, graph_record, parse_graph
from ._norms import as_sparse, known_square, large_convolution, maps_of
from ._proofs import claimed_squares, fault, prove_graph
from ._sparse_norms import exact_sparse_margin

__all__ = ["check_graph"]


def check_graph(text: str, graph: Graph | Network, exact: bool) -> CheckResult:
    """Prove the claim of a file for `graph`; raises InputError for what is neither Graph nor Network."""
    if not isinstance(graph, Graph | Network):
        raise InputError(f"the certificate is one of a Graph; got a {type(graph).__name__}.")
    return guarded(
        lambda: parse_graph(text),
        lambda document: _checked(document, _as_graph(graph), exact),
        (NotCertified, InputError),
    )


def _as_graph(subject: Graph | Network) -> Graph:
    return chain_graph(subject) if isinstance(subject, Network) else subject


def _checked(document: GraphDocument, graph: Graph, exact: bool) -> CheckResult:
    ours = graph_record(graph)
    if document.record != ours:
        if len(ours) != len(document.record):
            return CheckResult(False, f"it is for a graph of {len(document.record)} nodes, not {len(ours)}")
        first = next(k for k, (a, b) in enumerate(zip(ours, document.record, strict=True)) if a != b)
        return CheckResult(False, f"node {first} is not this graph's")
    witness = document.witness
    graph = without_groups(graph) if witness.rewritten else graph
    wrong = fault(graph, witness)
    if wrong:
        return CheckResult(False, wrong)
    largest = max(claimed_squares(graph, witness))
    claimed = Fraction(document.bound) ** 2
    if not exact:
        proof = prove_graph(graph, witness)
        if proof.constant:
            return CheckResult(True, "the output is exactly independent of the input", 0.0)
        if largest > claimed:
            return CheckResult(False, f"L={document.bound!r} is below what the proof shows")
        return CheckResult(
            True, "the matrix is positive definite, with radii for every rounding", proof.shift
        )
    margins = _exact_margins(document, graph)
    if margins and all(m is None for m in margins):  # a graph without maps has no margins
        return CheckResult(True, "the output is exactly independent of the input", 0.0)
    margin = min((m for m in margins if m is not None), default=math.inf)
    if margin < 0.0:
        return CheckResult(
            False, "not proven that the matrix is positive semidefinite, in exact integers", margin
        )
    if largest > claimed:
        return CheckResult(False, f"L={document.bound!r} is below what the proof shows", margin)
    return CheckResult(True, "the matrix is positive semidefinite, in exact integers", margin)


def _exact_margins(document: GraphDocument, graph: Graph) -> list[float | None]:
    """One per part or per map, a part at a time; None for an output that is exactly constant."""
    witness = document.witness
    if witness.kind == "dissipation":
        return [exact_part_margin(graph, part) for part in witness.parts]
    return [_exact_norm(m, gain) for m, gain in zip(maps_of(graph), witness.gains, strict=True)]


def _exact_norm(linear: AbstractLinearMap, gain: float) -> float:
    square = known_square(linear)
    if square is not None:
        room = Fraction(gain) ** 2 - square
        return float(room) if room >= 0 else min(float(room), -5e-324)
    conv = large_convolution(linear)
    if conv is not None:
        return exact_convolution_margin(conv, gain)
    sparse = as_sparse(linear)
    if sparse is not None:
        return exact_sparse_margin(sparse, gain)
    entries = linear.to_dense()
    return exact_norm_margin(entries, gain) if entries.any() else 0.0


register(FORMAT, check_graph)
