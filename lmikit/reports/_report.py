"""`report`: everything that lmikit can say about one network, as data and as a page."""

import dataclasses
import hashlib
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._api import DEFAULT, lipschitz, lower_bound, methods_for
from .._comparison import Comparison, ComparisonRow
from .._errors import InputError, LmikitError, OptionError
from .._files import write_bytes
from .._progress import ProgressCallback
from ..attacks import attack_margins
from ..certificates import AbstractLipschitzCertificate
from ..claims import Ball
from ..graph import Graph
from ..methods import AbstractMethod, SpectralProduct
from ..network import AbstractLinearMap, Network
from ..solvers import AbstractSolver
from ._describe import describe, maps_of
from ._page import page_of
from ._radii import ProvenRadii, labelled, proven_radii

__all__ = ["MethodResult", "Report", "report"]

_MOST_NORMS = 64  # layers whose norms are proven


@dataclasses.dataclass(frozen=True, eq=False)
class MethodResult:
    """One method's outcome: a certificate, or None with the reason; `seconds` of proposal and proof.

    `sha256` is that of the certificate's text, the file that `Certificate.save` writes.
    """

    method: str
    certificate: AbstractLipschitzCertificate | None
    seconds: float
    reason: str = ""

    @property
    def bound(self) -> float | None:
        """The proven bound, or None."""
        return None if self.certificate is None else self.certificate.bound

    @property
    def sha256(self) -> str | None:
        """Of the certificate's text, in hex."""
        if self.certificate is None:
            return None
        return hashlib.sha256(self.certificate.to_text().encode()).hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A network described, bounded by every method and, with data, certified and attacked.

    `results` are sorted, the tightest bound first; `norms` holds a proven bound of each linear map's spectral
    norm (None where it was not proven); `lower` is a sampled lower bound of the true constant; `points` has
    the proven radius of every input and how it was proven, `attacked` the accuracy under attack per radius,
    an estimate.
    """

    title: str
    description: dict[str, Any]
    norms: tuple[tuple[str, float | None], ...]
    results: tuple[MethodResult, ...]
    lower: float | None
    points: ProvenRadii | None = None
    attacked: dict[float, float] = dataclasses.field(default_factory=dict)

    @property
    def best(self) -> MethodResult | None:
        """The tightest proven result."""
        return next((r for r in self.results if r.certificate is not None), None)

    def comparison(self, dims: tuple[int, ...]) -> Comparison:
        """The results as `lmikit.compare` gives them."""
        rows = tuple(ComparisonRow(r.method, r.bound, r.seconds, r.reason) for r in self.results)
        return Comparison(rows, self.lower, dims)

    def to_html(self) -> str:
        """One self-contained page: no script, no access to a network; pictures need the extra `plot`."""
        return page_of(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all; raises InputError where `path` cannot be written."""
        write_bytes(path, self.to_html().encode())


def report(
    network: Network | Graph,
    data: tuple[Any, Any] | None = None,
    *,
    title: str = "A network",
    methods: Sequence[AbstractMethod] | None = None,
    solver: AbstractSolver | None = None,
    time_limit: float | None = None,
    lower: bool = True,
    progress: ProgressCallback | None = None,
) -> Report:
    """Describe, bound and, with `data` = (X, y), certify and attack a network.

    `methods` are those to compare (None: all that take the network). `time_limit` is in seconds for each
    method and for each input of the data, and for the sampling. A method that fails becomes a row with its
    reason. `lower` adds the sampled lower bound. Data are X (n, ...) with labels y (n,); every input of a
    chain gets its largest provable l2 radius, those of other graphs the radius that the proven global bounds
    of the differences of outputs give; attacks are tried at radii up to 1.5 (4) times the largest.

    Raises InputError for what is no network and for data that do not fit, OptionError for what is no method.
    """
    if not isinstance(network, (Network, Graph)):
        raise InputError(f"network is {type(network).__name__}; expected lmikit.Network or lmikit.Graph.")
    chosen = methods_for(network) if methods is None else list(methods)
    for method in chosen:
        if method is not None and not isinstance(method, AbstractMethod):
            raise OptionError(f"method is {method!r}; expected a method object such as lmikit.LipSDP().")
    given = None if data is None else labelled(network, *data)
    runs = [(m, _result(network, m, solver, time_limit, progress)) for m in chosen]
    runs.sort(key=lambda run: (np.inf if run[1].bound is None else run[1].bound, run[1].seconds))
    points, attacked = None, {}
    if given is not None:
        proven = ((m, r.certificate, r.seconds) for m, r in runs if r.certificate is not None)
        points = proven_radii(network, *given, next(proven, None), solver, time_limit, progress)
        attacked = _attacked(network, *given, points)
    norms = tuple((where, _norm(linear)) for where, linear in maps_of(network)[:_MOST_NORMS])
    value = _lower(network, time_limit) if lower else None
    return Report(str(title), describe(network), norms, tuple(r for _, r in runs), value, points, attacked)


def _result(
    network: Network | Graph,
    method: AbstractMethod | None,
    solver: AbstractSolver | None,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> MethodResult:
    start = time.perf_counter()
    certificate, reason = None, ""
    try:
        certificate = lipschitz(
            network,
            method,
            solver=solver if method is not None and method.uses_solver else None,
            time_limit=time_limit,
            progress=progress,
        )
    except LmikitError as error:
        reason = f"{type(error).__name__}: {error}"
    label = DEFAULT if method is None else method.label
    return MethodResult(label, certificate, time.perf_counter() - start, reason)


def _norm(linear: AbstractLinearMap) -> float | None:
    """A proven bound of the spectral norm: the Lipschitz constant of the map alone."""
    try:
        return lipschitz(Network.from_arrays([linear]), SpectralProduct()).bound
    except LmikitError:
        return None


def _lower(network: Network | Graph, time_limit: float | None) -> float | None:
    try:
        return lower_bound(network, time_limit=time_limit).value
    except InputError:  # slope classes have no forward pass
        return None


def _attacked(
    network: Network | Graph, inputs: np.ndarray, labels: np.ndarray, points: ProvenRadii
) -> dict[float, float]:
    """Accuracy under attack at six radii up to 1.5 times the largest proven one: an estimate from above.

    Radii by global bounds are looser: up to 4 times the largest.
    """
    found = points.radii[np.isfinite(points.radii)]
    top = (4.0 if points.table is None else 1.5) * float(found.max(initial=0.0))
    if not top > 0.0:
        return {}
    outputs = network.output_dim
    others = np.array([[j for j in range(outputs) if j != label] for label in labels])
    rows = np.eye(outputs)[labels][:, None, :] - np.eye(outputs)[others]
    zero = np.zeros(rows.shape[:2])
    radii = [float(f"{top * k / 6.0:.3g}") for k in range(1, 7)]
    balls = ((r, [Ball(x, r) for x in inputs]) for r in radii)
    return {r: float((attack_margins(network, b, rows, zero).margins > 0.0).mean()) for r, b in balls}
