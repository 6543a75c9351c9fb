"""`verify_graph`: the only door from a `GraphWitness` to a `GraphCertificate`."""

import dataclasses
import math
import os

import numpy as np

from ..._arrays import blas_threads
from ..._errors import InputError, NotCertified
from ..._progress import ProgressCallback
from ...graph import Graph, chain_graph, without_groups
from ...graph._witness import GraphWitness
from ...network import Network
from .._float_environment import require_ieee
from .._kinds import AbstractLipschitzCertificate
from ._format import graph_record, read_graph, recorded_outputs, render_graph
from ._proofs import GraphProof, claimed_squares, prove_graph, repair_graph

__all__ = ["GraphCertificate", "verify_graph"]

_THEOREMS = {
    "dissipation": (
        "S-procedure with static multipliers on the graph (Megretski, Rantzer, IEEE TAC 1997, Theorem 1; "
        "Fazlyab et al., NeurIPS 2019, Theorem 2): the lifted matrix is positive definite"
    ),
    "norms": "triangle inequality and composition: sums over parents, products of norms along paths",
    "zero": "exact-zero rule: the output is exactly independent of the input",
}
_FROM_VERIFY = object()  # made here only, so that no other code constructs a certificate by accident


@dataclasses.dataclass(frozen=True, eq=False)
class GraphCertificate(AbstractLipschitzCertificate):
    """A proven bound: ||f(x) - f(x')||_q <= bound ||x - x'||_p for all x, x', (p, q) = `norm`.

    Built by `verify_graph` and `GraphCertificate.load` only. `witness` is the one that was proven;
    `margin` is the largest amount subtracted from the equilibrated matrix's diagonal before Cholesky
    succeeded. `lower`, if present, is a sampled lower bound of the true constant, no part of the proof.
    """

    bound: float
    witness: GraphWitness
    network_digest: str
    margin: float
    theorem: str
    graph_record: tuple[object, ...] = dataclasses.field(repr=False)
    produced_by: str = ""
    lower: float | None = None
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a GraphCertificate is made by verify_graph, which proves it first.")

    @property
    def norm(self) -> tuple[float, float]:
        """(p, q)."""
        return self.witness.norm

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        q, p = ("inf" if math.isinf(n) else f"{n:g}" for n in reversed(self.norm))
        return (
            f"||f(x) - f(x')||_{q} <= L ||x - x'||_{p} for all x and x', for the real-arithmetic function "
            "that the float64 weights define"
        )

    @property
    def outputs(self) -> int:
        """m."""
        return recorded_outputs(self.graph_record)

    def with_lower(self, lower: float | None) -> "GraphCertificate":
        """The same certificate with a sampled lower bound of the true constant beside it."""
        if lower is not None and not (math.isfinite(lower) and lower >= 0.0):
            raise InputError(f"lower is {lower}; expected a finite number, zero or more, or None.")
        return dataclasses.replace(self, lower=lower, token=_FROM_VERIFY)

    def to_text(self) -> str:
        """The JSON text of the file (docs/graphs.md)."""
        return render_graph(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], graph: Graph | Network) -> "GraphCertificate":
        """Read a certificate file and prove its claim again; raises InputError or NotCertified."""
        if isinstance(graph, Network):
            graph = chain_graph(graph)
        document = read_graph(path)
        if document.record != graph_record(graph):
            raise NotCertified(f"{os.fspath(path)} is a certificate for another graph.")
        certificate = verify_graph(graph, document.witness, repair=False)
        if certificate.bound > document.bound:
            raise NotCertified(f"{os.fspath(path)} claims L={document.bound!r}, below {certificate.bound!r}.")
        return dataclasses.replace(
            certificate, bound=document.bound, lower=document.lower, token=_FROM_VERIFY
        )


def verify_graph(
    graph: Graph,
    witness: GraphWitness,
    *,
    repair: bool = True,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> GraphCertificate:
    """Prove a witness for a graph: with `repair` the best provable one near it, else exactly what it says.

    `progress` hears of each norm that a proof by norms looks for with `repair`; norms that are left after
    `time_limit` seconds are bounded by sqrt(||W||_1 ||W||_inf), looser and at once.
    Raises InputError for a witness of another graph, NotCertified where nothing could be proven.
    """
    if not isinstance(graph, Graph) or not isinstance(witness, GraphWitness):
        raise InputError(
            f"got {type(graph).__name__} and {type(witness).__name__}; expected a Graph and a GraphWitness."
        )
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        subject = without_groups(graph) if witness.rewritten else graph
        proof = (
            repair_graph(subject, witness, progress, time_limit) if repair else prove_graph(subject, witness)
        )
    require_ieee()
    if not math.isfinite(proof.bound):
        raise NotCertified("the bound overflows float64; nothing finite can be claimed.")
    if not proof.constant and max(claimed_squares(subject, proof.witness)) <= 0:
        raise NotCertified("L = 0 does not follow from a dissipation; nothing was proven.")
    return _certificate(graph, proof)


def _certificate(graph: Graph, proof: GraphProof) -> GraphCertificate:
    return GraphCertificate(
        bound=proof.bound,
        witness=proof.witness,
        network_digest=graph.digest,
        margin=proof.shift,
        theorem=_THEOREMS["zero" if proof.constant else proof.witness.kind],
        graph_record=graph_record(graph),
        produced_by=proof.witness.produced_by,
        token=_FROM_VERIFY,
    )
