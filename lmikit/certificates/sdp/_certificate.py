"""`verify_sdp` and `SDPCertificate`: what is proven of one SDP, with the witness that proves it."""

import dataclasses
import os

import numpy as np

from ..._arrays import blas_threads
from ..._errors import InputError, NotCertified
from ...lmi import SDP
from .._float_environment import require_ieee
from .._kinds import AbstractCertificate, read_text
from ._format import parse, render
from ._proofs import prove_witness, require_witness
from ._records import SDPWitness, digest, statement

__all__ = ["SDPCertificate", "load", "verify_sdp"]

_FROM_VERIFY = object()


@dataclasses.dataclass(frozen=True, eq=False)
class SDPCertificate(AbstractCertificate):
    """A proven statement on an SDP: min c'y + 1/2 y'Hy, F_k(y) PSD, G y <= h, A y = b, cones.

    status "optimum": lower <= infimum <= upper; "feasible": infimum <= upper, a feasible y lies near
    `witness.primal.y` (it is that y where there are no equalities); "bounded": lower <= infimum;
    "infeasible": there is no feasible y; "unbounded": the infimum is -inf. Of the
    real-arithmetic problem that the floats define. Built by `verify_sdp` and `load` only.
    """

    status: str
    lower: float | None
    upper: float | None
    witness: SDPWitness = dataclasses.field(repr=False)
    sdp_digest: str
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("an SDPCertificate is made by verify_sdp, which proves it first.")

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        return statement(self.status, self.lower, self.upper, self.witness.bounds is not None)

    def to_text(self) -> str:
        """The JSON text of the file (docs/sdp_certificate_format.md)."""
        return render(self.status, self.lower, self.upper, self.witness, self.sdp_digest)

    @classmethod
    def load(cls, path: str | os.PathLike[str], sdp: SDP) -> "SDPCertificate":
        """Read a certificate and prove it again for `sdp`; raises InputError or NotCertified."""
        return load(path, sdp)

    def __str__(self) -> str:
        return f"SDPCertificate ({self.status}, proven): {self.claim}"


def verify_sdp(sdp: SDP, witness: SDPWitness) -> SDPCertificate:
    """Prove what a witness says of an SDP: both bounds where it can, infeasibility, unboundedness.

    Raises InputError where the witness does not fit, NotCertified with the reasons where nothing at
    all is proven, also where the floating-point environment is not IEEE 754's default.
    Nothing is assumed of y but |y_i| <= bounds_i where the witness has bounds.
    Source: Jansson, Chaykin, Keil, Rigorous error bounds for the optimal value in semidefinite
    programming, SIAM J. Numer. Anal. 46 (2007), Theorems 3.1 and 3.2.
    """
    if not isinstance(sdp, SDP):
        raise InputError(f"sdp is a {type(sdp).__name__}; expected an lmikit.lmi.SDP.")
    require_witness(sdp, witness)
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        proof = prove_witness(sdp, witness)
    require_ieee()
    if proof.status == "undecided":
        raise NotCertified("nothing is proven of this SDP; " + "; ".join(proof.reasons or ("no sides",)))
    kept = _proven_part(witness, proof.status, proof.lower, proof.upper)
    return SDPCertificate(proof.status, proof.lower, proof.upper, kept, digest(sdp), token=_FROM_VERIFY)


def _proven_part(witness: SDPWitness, status: str, lower: float | None, upper: float | None) -> SDPWitness:
    """The witness without the sides that the claim does not rest on, which its file must not hold."""
    return dataclasses.replace(
        witness,
        primal=witness.primal if upper is not None else None,
        dual=witness.dual if lower is not None else None,
        primal_ray=witness.primal_ray if status == "unbounded" else None,
        dual_ray=witness.dual_ray if status == "infeasible" else None,
    )


def load(path: str | os.PathLike[str], sdp: SDP) -> SDPCertificate:
    """See `SDPCertificate.load`."""
    if not isinstance(sdp, SDP):
        raise InputError(f"sdp is a {type(sdp).__name__}; expected an lmikit.lmi.SDP.")
    document = parse(read_text(path), sdp)
    proven = verify_sdp(sdp, document.witness)
    if document.sha256 != proven.sdp_digest:
        raise NotCertified(f"{os.fspath(path)} is for another SDP: the SHA-256 of the data differs.")
    fault = document.exceeds(proven.status, proven.lower, proven.upper)
    if fault:
        raise NotCertified(f"{os.fspath(path)}: {fault}")
    return dataclasses.replace(
        proven, status=document.status, lower=document.lower, upper=document.upper, token=_FROM_VERIFY
    )
