"""`verify`: the only door from a `Witness` to a `Certificate`."""

import dataclasses
import math
import os

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError, NotCertified
from .._witness import Witness
from ..network import Network
from ._float_environment import require_ieee
from ._format_read import read
from ._format_write import render
from ._kinds import AbstractLipschitzCertificate
from ._proofs import Proof, prove, repair
from ._rational import bound_covers, root_upward
from ._records import STATEMENT, NetworkRecord, mismatch, network_record

__all__ = ["Certificate", "load", "verify"]

ARITHMETIC = (
    "binary64 Cholesky with proven rounding margin (Rump), entries with radii, rho <= L^2 in rationals"
)
_THEOREMS = {
    "lipsdp": "LipSDP, Fazlyab et al., NeurIPS 2019, Theorem 2, diagonal multipliers, lifted LMI > 0",
    "eliminated": "LipSDP, Fazlyab et al., NeurIPS 2019, Theorem 2, diagonal multipliers, lifted LMI > 0 of "
    "the neurons with alpha < beta; those with alpha = beta are folded into the maps",
    "layerwise": "product over layers of sqrt(tau_k) max|slope_k| with tau_k I - W_k'W_k > 0",
    "zero": "exact-zero rule: the output is exactly independent of the input",
}
_FROM_VERIFY = object()  # made here only, so that no other code constructs a Certificate by accident


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate(AbstractLipschitzCertificate):
    """A proven bound: ||f(x) - f(x')|| <= bound ||x - x'|| for all x, x' in R^n_0.

    Built by `verify` and `Certificate.load` only. `witness` is the one that was proven; with
    s = sum(witness.layer_pow2), 4**s * rho <= bound**2 exactly. `margin` is the largest amount
    subtracted from the equilibrated matrix's diagonal before Cholesky succeeded. In format
    version 2 neurons with alpha = beta were eliminated; their entries of `witness` are 0. `lower` is a
    sampled lower bound of the true constant, no part of the proof: None unless `with_lower` put it there
    (as `lmikit bound --lower` does), since `lipschitz` samples nothing.
    """

    bound: float
    rho: float
    witness: Witness
    network_digest: str
    margin: float
    theorem: str
    network_record: NetworkRecord = dataclasses.field(repr=False)
    arithmetic: str = ARITHMETIC
    produced_by: str = ""
    format_version: int = 1
    lower: float | None = None
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a Certificate is made by lmikit.certificates.verify, which proves it first.")

    @property
    def norm(self) -> tuple[float, float]:
        """(2, 2)."""
        return 2.0, 2.0

    @property
    def claim(self) -> str:
        """What is proven, in words."""
        return STATEMENT

    @property
    def outputs(self) -> int:
        """m."""
        return self.network_record.dims[-1]

    def with_lower(self, lower: float | None) -> "Certificate":
        """The same certificate with a sampled lower bound of the true constant beside it."""
        if lower is not None and not (math.isfinite(lower) and lower >= 0.0):
            raise InputError(f"lower is {lower}; expected a finite number, zero or more, or None.")
        return dataclasses.replace(self, lower=lower, token=_FROM_VERIFY)

    def to_text(self) -> str:
        """The JSON text of the file (docs/certificate_format.md)."""
        return render(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network) -> "Certificate":
        """Read a certificate and prove it again for `network`, without repair.

        Raises InputError where the file cannot be read or is malformed, NotCertified where it
        belongs to another network or its proof fails.
        """
        return load(path, network)


def verify(network: Network, witness: Witness, *, repair: bool = True) -> Certificate:
    """Prove a Lipschitz bound from a proposal: ||f(x) - f(x')|| <= L ||x - x'||.

    With `repair` the witness is a hint: it is normalised exactly, its multipliers are clipped,
    tilted, scaled or mixed with an always feasible point where that helps, and the least
    provable rho is used, so any multipliers whatsoever lead to a proven bound or to
    NotCertified. Without it, precisely (rho, multipliers, layer_pow2) are proven. Raises
    InputError where sizes do not fit, NotCertified with the margin where no proof was found,
    also where this thread's floating-point environment is not IEEE 754's default.

    Neurons with an exactly zero incoming row or outgoing column, or with both slopes 0, are
    dropped first, whatever their multiplier; L = 0 is claimed only where that leaves nothing. Neurons
    with alpha = beta are then folded into the maps, and their multipliers do not matter either.
    Assumed, not checked: slopes hold globally (alpha, beta of each layer), LAPACK's Cholesky
    and triangular solves divide by diagonal entries only (see `_verified_cholesky`).
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if not isinstance(witness, Witness):
        raise InputError(f"witness is a {type(witness).__name__}; expected an lmikit.Witness.")
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        proof = _repair(network, witness) if repair else prove(network, witness)
    require_ieee()
    pow2 = sum(proof.witness.layer_pow2)
    bound = 0.0 if proof.zero_rule and proof.witness.rho == 0.0 else root_upward(proof.witness.rho, pow2)
    return _certificate(network, proof, bound)


_repair = repair  # `verify` has an argument of that name


def load(path: str | os.PathLike[str], network: Network) -> Certificate:
    """See `Certificate.load`."""
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    document = read(path)
    difference = mismatch(document, network)
    if difference:
        raise NotCertified(f"{os.fspath(path)} is a certificate for another network: {difference}.")
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        proof = prove(network, document.witness, eliminate=document.version == 2)
    require_ieee()
    certificate = _certificate(network, proof, document.bound)
    return certificate.with_lower(document.lower)


def _certificate(network: Network, proof: Proof, bound: float) -> Certificate:
    witness = proof.witness
    if not math.isfinite(bound):
        raise NotCertified("the bound overflows float64; nothing finite can be claimed.")
    if (bound == 0.0 and not proof.zero_rule) or not bound_covers(
        bound, witness.rho, sum(witness.layer_pow2)
    ):
        raise NotCertified(
            f"L={bound!r} is below sqrt(rho) for rho={witness.rho!r}; the claim does not follow."
        )
    name = "zero" if proof.zero_rule else "eliminated" if proof.eliminates else witness.kind
    return Certificate(
        bound=bound,
        rho=witness.rho,
        witness=witness,
        network_digest=network.digest,
        margin=proof.shift,
        theorem=_THEOREMS[name],
        network_record=network_record(network),
        produced_by=witness.produced_by,
        format_version=2 if proof.eliminates else 1,
        token=_FROM_VERIFY,
    )
