"""The checker of `lmikit-torus-cert` files: geometry, admissibility, symbols and proofs from the start."""

from fractions import Fraction

from ..._errors import InputError, NotCertified
from ...graph import Graph
from ...torus import torus_form
from .._float_environment import require_ieee
from .._kinds import CheckResult, guarded, register
from ._certificate import as_graph
from ._check_exact import exact_torus_margin
from ._format import FORMAT, TorusDocument, admissibility, parse_torus, torus_record
from ._proofs import fault, prove_torus

__all__ = ["check_torus"]


def check_torus(text: str, network: object, exact: bool) -> CheckResult:
    """Prove the claim of a file for `network`; raises InputError for what is no Network or Graph."""
    graph = as_graph(network)
    return guarded(
        lambda: parse_torus(text),
        lambda document: _checked(document, graph, exact),
        (NotCertified, InputError),
    )


def _checked(document: TorusDocument, graph: Graph, exact: bool) -> CheckResult:
    require_ieee()
    form = torus_form(graph, document.witness.cells)  # refuses what is not admissible
    if document.record != torus_record(form):
        return CheckResult(False, "it is for another network")
    if document.admissibility != admissibility(form):
        return CheckResult(False, "its list of what the torus must hold is not this network's")
    wrong = fault(form, document.witness)
    if wrong:
        return CheckResult(False, wrong)
    square = Fraction(document.witness.d_in) * Fraction(document.witness.d_out)
    if square > Fraction(document.bound) ** 2:
        return CheckResult(False, f"L={document.bound!r} is below what the proof shows")
    if exact:
        margin = exact_torus_margin(form, document.witness)
        said = "the matrices of all frequencies are positive semidefinite, in exact integers with radii"
        return CheckResult(margin >= 0.0, said if margin >= 0.0 else f"not proven that {said}", margin)
    proof = prove_torus(form, document.witness)
    return CheckResult(
        True,
        "the matrices of all frequencies are positive definite, with radii for every rounding",
        proof.shift,
    )


register(FORMAT, check_torus)
