"""`certify_point`: is the class of this input safe on this region? Proven, refuted or undecided."""

import dataclasses
import logging
import math
import time
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ._arrays import blas_threads
from ._convert import as_number, floats
from ._errors import InputError, NotCertified, OptionError, SolveFailed
from ._point_semantics import Inference
from ._progress import ProgressCallback
from .attacks import Attack, attack_margins, upper_values
from .certificates.point import PointCertificate, PointWitness, point_network, require_semantics, verify_point
from .claims import AbstractRegion, Ball, Box, PointClaim, linf_ball
from .graph import Graph
from .margins import (
    CurvedChain,
    PieceChain,
    Search,
    problem_of,
    propose_best,
    propose_curve_radius,
    propose_curves,
    propose_radius,
    with_enclosures,
)
from .network import Network

__all__ = ["Counterexample", "PointResult", "certify_point", "class_rows", "region_of"]

_log = logging.getLogger("lmikit")
REAL = Inference("real")
Verdict = Literal["proven", "refuted", "undecided"]


@dataclasses.dataclass(frozen=True, eq=False)
class Counterexample:
    """An input of the region at which `row` of the claim is not positive, decided in rationals.

    `value` is the float nearest to that row's exact value (for curved activations, whose values are
    not rational, to an upper bound by outward-rounded intervals), `output` the class index that the
    row compares the label with.
    """

    x: np.ndarray
    row: int
    output: int
    value: float


@dataclasses.dataclass(frozen=True, eq=False)
class PointResult:
    """What became of one input.

    "proven": `certificate` says that no input of the region (strictly inside, for a radius) has
    another class. "refuted": `counterexample` has one, exactly. "undecided": neither was found.
    `margin` is the proven lower bound of the least margin on the region, also where it is negative
    (NaN where nothing was proven, and for radii); `radius` the proven l2 radius (0 where there is
    none, NaN for boxes). `attack_margin` is the least margin that the attack found: an estimate.
    `error` says what befell the worker that should have searched, in a table made on an executor.
    """

    verdict: Verdict
    label: int
    margin: float
    radius: float
    certificate: PointCertificate | None = None
    counterexample: Counterexample | None = None
    attack_margin: float = math.nan
    seconds: float = 0.0
    error: str = ""

    def __str__(self) -> str:
        shown = {"margin": self.margin, "radius": self.radius}
        numbers = ", ".join(f"{k} {v:.6g}" for k, v in shown.items() if not math.isnan(v))
        parts = [f"{self.verdict}: class {self.label}", numbers, self.error]
        return ", ".join(p for p in parts if p)


def class_rows(outputs: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows e_label - e_j for all j != label, shape (m - 1, m), and those j."""
    others = np.array([j for j in range(outputs) if j != label])
    rows = np.zeros((outputs - 1, outputs))
    rows[:, label] = 1.0
    rows[np.arange(outputs - 1), others] = -1.0
    return rows, others


def certify_point(
    network: Network | Graph,
    x: Any,
    label: int | None = None,
    eps: float | None = None,
    region: AbstractRegion | None = None,
    time_limit: float | None = None,
    semantics: str = "real",
    *,
    norm: Literal["l2", "linf"] = "l2",
    attack: Attack | None = None,
    search: Search | None = None,
    progress: ProgressCallback | None = None,
) -> PointResult:
    """Decide whether f_label(x') > f_j(x') for every x' of a region around x and every j != label.

    `label` None is the class predicted at x. The region is ||x' - x|| <= eps in `norm`, or `region`
    (`lmikit.claims`: Ball, Box, BallAndBox), or, with neither, an l2 ball as large as can be proven.
    An attack comes first where there is a region; then multipliers of the margin dual are
    searched for within `time_limit` seconds and proven. Known are Identity, ReLU, LeakyReLU, PReLU,
    Abs, Tanh, Sigmoid, GELU, SiLU, Softplus, ELU, Mish, Hardtanh and Hardswish; graphs with MaxMin and
    max-pooling, and skips beside the first five.
    `semantics` says whose class it is: "real", the real function of the weights, or "float16",
    "bfloat16", "float32", "float64", any forward pass in that format. Its worst rounding on the region
    (`lmikit.intervals.rounding_bound`) is taken off the margin; a counterexample refutes only if every pass
    has it, and without eps the result is a margin on a slightly smaller ball.

    Raises InputError (shapes, a label out of range, other activations),
    OptionError (unknown semantics, eps together with region).
    """
    start = time.perf_counter()
    inference = Inference(semantics)
    require_semantics(network, semantics)
    network = point_network(network)
    x, label = checked_point(network, x, label)
    place = region_of(x, eps, region, norm)
    chain = problem_of(network)
    options = dataclasses.replace(search or Search(), time_limit=time_limit, progress=progress)
    rows, _ = class_rows(network.output_dim, label)
    found: np.ndarray | None = x
    attack_margin = math.nan
    with blas_threads(1):
        if place is not None:
            attacked = attack_margins(network, [place], rows[None], np.zeros((1, len(rows))), attack)
            found, attack_margin = attacked.points[0], float(attacked.margins[0])
        real = refutation(network, found, label)
        refuted = counts(network, real, label, inference)
        witness = None if real is not None else propose(chain, x, label, place, options, None, inference)
    seconds = time.perf_counter() - start
    return settled(network, label, place, witness, refuted, attack_margin, seconds)


def checked_point(network: Network, x: Any, label: Any) -> tuple[np.ndarray, int]:
    """x (n_0,) float64 and a label in range; raises InputError."""
    if network.output_dim < 2:
        raise InputError(f"the network has {network.output_dim} output; expected at least 2 classes.")
    value = floats("x", x).ravel()
    if value.size != network.input_dim:
        raise InputError(f"x has shape {np.shape(x)}; expected ({network.input_dim},).")
    chosen = int(np.argmax(network(value))) if label is None else int(label)
    if not 0 <= chosen < network.output_dim:
        raise InputError(f"label is {label}; expected 0 to {network.output_dim - 1}.")
    return value, chosen


def region_of(
    x: np.ndarray, eps: float | None, region: AbstractRegion | None, norm: str
) -> AbstractRegion | None:
    """The region that the arguments mean; None asks for a radius."""
    if norm not in ("l2", "linf"):
        raise OptionError(f"norm is {norm!r}; expected 'l2' or 'linf'.")
    if eps is not None and region is not None:
        raise OptionError("eps and region are both given; expected one of them, or neither for a radius.")
    if region is not None:
        if not isinstance(region, AbstractRegion) or region.dim != x.size:
            raise InputError(f"region is {region!r}; expected a region of dimension {x.size}.")
        return region
    if eps is None:
        if norm == "linf":
            raise OptionError("a radius without eps is an l2 radius; give eps for norm='linf'.")
        return None
    size = as_number("eps", eps)
    return Ball(x, size) if norm == "l2" else linf_ball(x, size)


def propose(
    chain: PieceChain | CurvedChain,
    x: np.ndarray,
    label: int,
    place: AbstractRegion | None,
    search: Search,
    box: Box | None = None,
    inference: Inference = REAL,
) -> PointWitness | None:
    """Multipliers for one point; None where the search found nothing to prove."""
    rows, _ = class_rows(chain.original.output_dim, label)
    offsets = np.zeros(len(rows))
    start = time.monotonic()

    def margins(region: AbstractRegion, loss: float) -> PointWitness | None:
        left = search.time_limit
        if left is not None:
            left = max(left - (time.monotonic() - start), 0.0)
        if not math.isfinite(loss) or (place is None and left is not None and left <= 0.0):
            _log.info("no search: rounding loss %s, seconds left %s", loss, left)
            return None
        wanted = dataclasses.replace(search, target=search.target + loss, time_limit=left)
        found: PointWitness | None = None
        try:
            if isinstance(chain, CurvedChain):
                found = propose_curves(chain, region, rows, offsets, wanted)
            else:
                found = propose_best(chain, region, rows, offsets, wanted)
        except SolveFailed as error:
            _log.info("no multipliers for a point: %s", error)
        return with_enclosures(chain.original, region, rows, offsets, found, wanted.target)

    try:
        if place is not None:
            found = margins(place, inference.loss(chain.original, place, rows))
            return None if found is None else inference.about(found)
        if isinstance(chain, CurvedChain):
            witness = propose_curve_radius(chain, x, rows, offsets, search, box)
        else:
            witness = propose_radius(chain, x, rows, offsets, search, box)
        if inference.real or witness is None:
            return witness
        return inference.within(chain.original, verify_point(chain.original, witness), margins)
    except (SolveFailed, NotCertified) as error:
        _log.info("no multipliers for a point: %s", error)
        return None


def counts(
    network: Network, found: Counterexample | None, label: int, inference: Inference
) -> Counterexample | None:
    """`found` if it refutes for every forward pass of these semantics, else None."""
    if found is None:
        return None
    row = class_rows(network.output_dim, label)[0][found.row]
    return found if inference.refuted_at(network, found.x, row) else None


def refutation(network: Network, x: np.ndarray | None, label: int) -> Counterexample | None:
    """x as a counterexample if some row is not positive there, decided in rationals or enclosures."""
    if x is None:
        return None
    rows, others = class_rows(network.output_dim, label)
    values = network(x)
    margins = rows @ values
    if margins.min() > 1e-6 * (1.0 + float(np.abs(values).max())):
        return None
    exact = upper_values(network, x, rows)
    row = min(range(len(exact)), key=lambda r: exact[r])
    if exact[row] > Fraction(0):
        return None
    kept = np.array(x)
    kept.setflags(write=False)
    return Counterexample(kept, row, int(others[row]), float(exact[row]))


def _without_multipliers(network: Network, claim: PointClaim) -> PointCertificate | None:
    """What enclosures alone prove of a claim of margins whose multipliers failed; None for nothing."""
    if claim.kind != "margin":
        return None
    crown = with_enclosures(network, claim.region, claim.rows, claim.offsets, None, math.inf)
    if crown is None:
        return None
    try:
        return verify_point(network, Inference(claim.semantics).about(crown))
    except NotCertified as error:
        _log.info("nor do enclosures alone prove it: %s", error)
        return None


def settled(
    network: Network,
    label: int,
    place: AbstractRegion | None,
    witness: PointWitness | None,
    refuted: Counterexample | None,
    attack_margin: float,
    seconds: float,
) -> PointResult:
    """The verdict: proofs are made here, whoever proposed."""
    ball = place is None or place.ball is not None
    nothing = 0.0 if ball else math.nan
    if refuted is not None:
        return PointResult("refuted", label, math.nan, nothing, None, refuted, attack_margin, seconds)
    certificate = None
    if witness is not None:
        try:
            certificate = verify_point(network, witness)
        except NotCertified as error:
            _log.warning("the multipliers of a point were not proven: %s", error)
            certificate = _without_multipliers(network, witness.claim)
    if certificate is None:
        return PointResult("undecided", label, math.nan, nothing, None, None, attack_margin, seconds)
    margin = math.nan if certificate.claim.kind == "radius" else certificate.margin
    verdict: Verdict = "proven" if certificate.safe else "undecided"
    radius = certificate.radius if certificate.safe else nothing
    return PointResult(verdict, label, margin, radius, certificate, None, attack_margin, seconds)
