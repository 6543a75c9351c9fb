"""`verify_torus`: the only door from a `TorusWitness` to a `TorusCertificate`."""

import dataclasses
import math
import os

import numpy as np

from ..._arrays import blas_threads
from ..._errors import InputError, NotCertified
from ...graph import Graph, chain_graph
from ...network import Network
from ...torus import TorusForm, TorusWitness, torus_form
from .._float_environment import require_ieee
from .._kinds import AbstractLipschitzCertificate, read_text
from ..graph._format import recorded_outputs
from ._format import admissibility, parse_torus, render_torus, torus_record
from ._proofs import TorusProof, prove_torus, repair_torus

__all__ = ["TorusCertificate", "as_graph", "verify_torus"]

_THEOREM = (
    "images embedded in a torus (zero padding as circular, alpha <= 0 <= beta, one multiplier per channel), "
    "S-procedure per frequency (Megretski, Rantzer, IEEE TAC 1997, Theorem 1; Fazlyab et al., NeurIPS 2019, "
    "Theorem 2): the lifted matrix of every frequency is positive definite"
)
_FROM_VERIFY = object()  # made here only, so that no other code constructs a certificate by accident


@dataclasses.dataclass(frozen=True, eq=False)
class TorusCertificate(AbstractLipschitzCertificate):
    """A proven bound of a convolutional network: ||f(x) - f(x')||_2 <= bound ||x - x'||_2 for all x, x'.

    Built by `verify_torus` and `TorusCertificate.load` only. `witness` is the one that was proven, on a torus
    of `witness.cells` cells; `margin` is the largest amount subtracted from the equilibrated diagonals before
    Cholesky succeeded. `lower`, if present, is a sampled lower bound, no part of the proof.
    """

    bound: float
    witness: TorusWitness
    network_digest: str
    margin: float
    record: tuple[object, ...] = dataclasses.field(repr=False)
    admissibility: str = dataclasses.field(repr=False)
    produced_by: str = ""
    lower: float | None = None
    theorem: str = _THEOREM
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a TorusCertificate is made by verify_torus, which proves it first.")

    @property
    def norm(self) -> tuple[float, float]:
        """(2, 2)."""
        return 2.0, 2.0

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        return (
            "||f(x) - f(x')||_2 <= L ||x - x'||_2 for all x and x', for the real-arithmetic function "
            "that the float64 weights define"
        )

    @property
    def outputs(self) -> int:
        """m."""
        return recorded_outputs(self.record)

    def with_lower(self, lower: float | None) -> "TorusCertificate":
        """The same certificate with a sampled lower bound of the true constant beside it."""
        if lower is not None and not (math.isfinite(lower) and lower >= 0.0):
            raise InputError(f"lower is {lower}; expected a finite number, zero or more, or None.")
        return dataclasses.replace(self, lower=lower, token=_FROM_VERIFY)

    def to_text(self) -> str:
        """The JSON text of the file (docs/convolutions.md)."""
        return render_torus(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network | Graph) -> "TorusCertificate":
        """Read a certificate file and prove its claim again; raises InputError or NotCertified."""
        document = parse_torus(read_text(path))
        form = torus_form(as_graph(network), document.witness.cells)
        if document.record != torus_record(form) or document.admissibility != admissibility(form):
            raise NotCertified(f"{os.fspath(path)} is a certificate for another network.")
        certificate = _verified(form, document.witness, repair=False)
        if certificate.bound > document.bound:
            raise NotCertified(f"{os.fspath(path)} claims L={document.bound!r}, below {certificate.bound!r}.")
        return dataclasses.replace(
            certificate, bound=document.bound, lower=document.lower, token=_FROM_VERIFY
        )


def as_graph(network: object) -> Graph:
    """A network as a graph; raises InputError for anything else."""
    if isinstance(network, Network):
        return chain_graph(network)
    if not isinstance(network, Graph):
        raise InputError(f"got a {type(network).__name__}; expected a Network or a Graph.")
    return network


def verify_torus(network: Network | Graph, witness: TorusWitness, *, repair: bool = True) -> TorusCertificate:
    """Prove a torus witness for a network: with `repair` the best provable one near it, else what it says.

    Raises InputError for a witness of another network, an inadmissible torus, or a network to which the torus
    does not apply; NotCertified where nothing could be proven.
    """
    if not isinstance(witness, TorusWitness):
        raise InputError(f"got a {type(witness).__name__}; expected a TorusWitness.")
    return _verified(torus_form(as_graph(network), witness.cells), witness, repair)


def _verified(form: TorusForm, witness: TorusWitness, repair: bool) -> TorusCertificate:
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        proof: TorusProof = (repair_torus if repair else prove_torus)(form, witness)
    require_ieee()
    if not math.isfinite(proof.bound):
        raise NotCertified("the bound overflows float64; nothing finite can be claimed.")
    return TorusCertificate(
        bound=proof.bound,
        witness=proof.witness,
        network_digest=form.source.digest,
        margin=proof.shift,
        record=torus_record(form),
        admissibility=admissibility(form),
        produced_by=proof.witness.produced_by,
        token=_FROM_VERIFY,
    )
