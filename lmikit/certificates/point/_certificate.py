"""`verify_point`: the only door from a `PointWitness` to a `PointCertificate`."""

import dataclasses
import math
import os

import numpy as np

from ..._arrays import blas_threads
from ..._errors import InputError, NotCertified
from ...claims import Ball, BallAndBox, PointClaim
from ...graph import Graph
from ...network import Network
from .._float_environment import require_ieee
from .._kinds import AbstractCertificate
from ._enclosed_rows import enclosed_bounds, enclosed_fault
from ._inference import inference_loss
from ._proof import GroupProof, fault_of, prove_group
from ._subject import point_network, require_semantics
from ._terms import term_of_kind
from ._witness import PointWitness, point_digest

__all__ = ["PointCertificate", "verify_point"]

_FROM_VERIFY = object()


@dataclasses.dataclass(frozen=True, eq=False)
class PointCertificate(AbstractCertificate):
    """A proven `claim` about the outputs of one network on one region of inputs.

    Built by `verify_point` and `PointCertificate.load` only. `witness` is the one that was proven,
    `network_digest` covers weights, biases and activations. `shift` is the largest amount that
    was subtracted from an equilibrated diagonal before Cholesky succeeded.
    """

    claim: PointClaim
    witness: PointWitness
    network_digest: str
    shift: float
    produced_by: str = ""
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _FROM_VERIFY:
            raise TypeError("a PointCertificate is made by lmikit's verify_point, which proves it first.")

    @property
    def margin(self) -> float:
        """The least proven lower bound of all rows on the region."""
        return float(self.claim.lower.min())

    @property
    def radius(self) -> float:
        """The radius of the claim's ball; NaN where the region has none."""
        ball = self.claim.region.ball
        return math.nan if ball is None else ball.radius

    @property
    def safe(self) -> bool:
        """Whether the claim says that every row stays positive (strictly inside, for a radius)."""
        return self.claim.kind == "radius" or self.margin > 0.0

    def to_text(self) -> str:
        """The JSON text of the file (docs/point_certificate_format.md)."""
        from ._format_write import render_point

        return render_point(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], network: Network | Graph) -> "PointCertificate":
        """Read a certificate and prove it again for `network`, precisely as it stands.

        Raises InputError where the file cannot be read or is malformed, NotCertified where it
        belongs to another network or its proof fails.
        """
        from ._format_read import read_point

        return verify_point(network, read_point(path), repair=False)

    def __str__(self) -> str:
        what = f"radius {self.radius:.9g}" if self.claim.kind == "radius" else f"margin {self.margin:.9g}"
        by = f" by {self.produced_by}" if self.produced_by else ""
        return f"PointCertificate: {what} (proven){by}\n  {self.claim.sentence}"


def verify_point(network: Network | Graph, witness: PointWitness, *, repair: bool = True) -> PointCertificate:
    """Prove rows[r].f(x) + offsets[r] >= lower[r] for every x of the region and every row r.

    A graph is proven as the chain that `point_network` makes of it, exactly.
    A claim about float inferences is what is proven of the real function less the largest rounding of
    a forward pass on the region (`lmikit.intervals.rounding_bound`).

    With `repair` the claim's lower bounds are hints: the best that the multipliers prove is
    claimed, rounded downwards, be it negative; for a claim of kind "radius" likewise the largest
    radius for which they prove every row, at most the claim's own where a term holds on that ball only.
    Without it, precisely the claim is proven.

    Raises InputError for other types and sizes that do not fit, NotCertified where the digest is
    another network's, a term is not valid, a sign is wrong or no proof was found. Assumed, not
    checked: LAPACK's Cholesky and triangular solves divide by diagonal entries only.
    """
    if not isinstance(witness, PointWitness):
        raise InputError(f"witness is a {type(witness).__name__}; expected a PointWitness.")
    claim = witness.claim
    require_semantics(network, claim.semantics)
    network = point_network(network)
    if claim.region.dim != network.input_dim or claim.rows.shape[1] != network.output_dim:
        raise InputError(
            f"the claim is about {claim.region.dim} inputs and {claim.rows.shape[1]} outputs; "
            f"the network has {network.input_dim} and {network.output_dim}."
        )
    if witness.digest != point_digest(network):
        raise NotCertified("the witness is for another network: weights, biases or activations differ.")
    require_ieee()
    with blas_threads(1), np.errstate(all="ignore"):
        proofs = _proofs(network, witness)
        loss = inference_loss(network, claim)
        if claim.kind == "radius":
            proven = _radius_claim(witness, proofs)
        else:
            proven = _margin_claim(network, witness, proofs, loss, spare=repair)
    require_ieee()
    if not repair:
        _require(claim, proven)
        proven = claim
    final = dataclasses.replace(witness, claim=proven)
    shift = max((proof.shift for proof in proofs), default=0.0)
    return PointCertificate(proven, final, witness.digest, shift, witness.produced_by, _FROM_VERIFY)


def _proofs(network: Network, witness: PointWitness) -> list[GroupProof]:
    served = {r for group in witness.groups for r in group.rows} | set(witness.enclosed)
    missing = set(range(len(witness.claim.rows))) - served
    fault = enclosed_fault(witness.claim, witness.enclosed)
    if fault:
        raise NotCertified(f"{fault}.")
    if missing:
        raise NotCertified(f"no multipliers serve rows {sorted(missing)} of the claim.")
    proofs = []
    for k, group in enumerate(witness.groups):
        reason: GroupProof | str = fault_of(network, witness.claim, group)
        if not reason:
            reason = prove_group(network, witness.claim, group)
        if isinstance(reason, str):
            raise NotCertified(f"multiplier group {k}: {reason}.")
        proofs.append(reason)
    return proofs


def _best(witness: PointWitness, values: list[np.ndarray]) -> np.ndarray:
    """The largest value per row over the groups that serve it; NaN loses."""
    best = np.full(len(witness.claim.rows), -np.inf)
    for group, found in zip(witness.groups, values, strict=True):
        for r, value in zip(group.rows, found, strict=True):
            if value > best[r]:
                best[r] = value
    return best


def _margin_claim(
    network: Network, witness: PointWitness, proofs: list[GroupProof], loss: np.ndarray, *, spare: bool
) -> PointClaim:
    lower = _best(witness, [proof.bounds for proof in proofs])
    if witness.enclosed:
        rows = list(witness.enclosed)
        bounds = enclosed_bounds(network, witness.claim, witness.enclosed, spare=spare)
        np.maximum.at(lower, rows, np.where(np.isnan(bounds), -np.inf, bounds))
    if witness.claim.semantics != "real":
        if not np.isfinite(loss).all():
            raise NotCertified(f"a {witness.claim.semantics} inference on this region may overflow.")
        lower = np.nextafter(lower - loss, -np.inf)
    if not np.isfinite(lower).all():
        raise NotCertified("a bound is not finite; nothing can be claimed.")
    return witness.claim.with_lower(lower)


def _radius_claim(witness: PointWitness, proofs: list[GroupProof]) -> PointClaim:
    region = witness.claim.region
    square = float(_best(witness, [proof.squares for proof in proofs]).min())
    if not (math.isfinite(square) and square > 0.0):
        raise NotCertified("the multipliers prove no positive radius.")
    radius = math.sqrt(square) * (1.0 - 2.0**-50)
    assert region.ball is not None, "PointClaim has seen to it"
    if _rests_on_region(witness):  # its terms were proven on the claim's ball, and hold on no wider one
        radius = min(radius, region.ball.radius)
    ball = Ball(region.ball.x0, radius)
    wider = ball if region.box is None else BallAndBox(ball, region.box)
    return dataclasses.replace(witness.claim, region=wider)


def _rests_on_region(witness: PointWitness) -> bool:
    """Whether some multiplier is one of a term that holds on the region only."""
    items = (item for group in witness.groups for layer in group.layers for item in layer)
    terms = ((term_of_kind(item.kind), item.values) for item in items)
    return any((term is None or term.regional) and values.any() for term, values in terms)


def _require(claim: PointClaim, proven: PointClaim) -> None:
    if claim.kind == "radius":
        assert claim.region.ball is not None
        assert proven.region.ball is not None
        if not claim.region.ball.radius <= proven.region.ball.radius:
            raise NotCertified(
                f"the claim's radius is {claim.region.ball.radius!r}; the multipliers prove "
                f"{proven.region.ball.radius!r}."
            )
        return
    short = np.flatnonzero(~(claim.lower <= proven.lower))
    if short.size:
        r = int(short[0])
        raise NotCertified(
            f"row {r} claims {float(claim.lower[r])!r}; the multipliers prove {float(proven.lower[r])!r}."
        )
