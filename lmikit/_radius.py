"""Certified radii of classifiers from proven Lipschitz bounds, one bound per pair of classes.

Class i is predicted at x with margin f_i(x) - f_j(x) over class j. If |f_i - f_j| has Lipschitz
constant at most L_ij, then no x' with ||x' - x||_2 < (f_i(x) - f_j(x)) / L_ij makes j win. L_ij is bounded
for the network whose last weight is the row w_i - w_j; sqrt(2) L, with L for all outputs at once,
bounds it too, but loosely.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._api import lipschitz
from ._convert import as_number, floats
from ._errors import InputError
from ._proving import least_proven
from ._witness import Witness
from .certificates import AbstractLipschitzCertificate, Certificate, require_ieee, rows_proven, verify
from .certificates.graph import GraphCertificate, combinations_proven
from .graph import Graph, GraphWitness, chain_graph, output_difference
from .methods import AbstractMethod, LipSDP, SpectralProduct
from .network import Network
from .solvers import AbstractSolver

__all__ = ["CertifiedAccuracy", "PairwiseBounds", "certified_accuracy", "certified_radius", "pairwise_bounds"]


_PROVEN = object()  # as for Certificate: no other code makes one by accident


@dataclasses.dataclass(frozen=True, eq=False)
class PairwiseBounds:
    """`bounds[i, j]` >= the Lipschitz constant of f_i - f_j, proven; (m, m), symmetric, zero diagonal.

    Built by `pairwise_bounds` only. `certificate` is the one for all outputs at once. `witnesses`, where they
    come from one factorisation for a graph, are of the graphs `lmikit.graph.output_difference(graph, i, j)`,
    in the order (0, 1), (0, 2), ...: `verify_graph` makes a certificate of each that `check` proves again.
    None stands where sqrt(2) L alone is proven.
    """

    bounds: np.ndarray
    certificate: AbstractLipschitzCertificate
    witnesses: tuple[GraphWitness | None, ...] = ()
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _PROVEN:
            raise TypeError("PairwiseBounds are made by lmikit.pairwise_bounds, which proves them first.")


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedAccuracy:
    """How much of a data set is classified rightly and provably stays so.

    `radii` (n,) are certified l2 radii, 0 where the prediction is wrong or tied. `certified` holds
    for each of `epsilons` the fraction of samples with radius > epsilon; `accuracy` is the
    fraction that is predicted rightly.
    """

    accuracy: float
    epsilons: np.ndarray
    certified: np.ndarray
    radii: np.ndarray

    def __str__(self) -> str:
        lines = [f"accuracy {self.accuracy:.4f}, median certified radius {np.median(self.radii):.4g}"]
        lines += [
            f"  within l2 distance {eps:<10.4g} certified accuracy {value:.4f}"
            for eps, value in zip(self.epsilons, self.certified, strict=True)
        ]
        return "\n".join(lines)


def pairwise_bounds(
    network: Network | Graph,
    method: AbstractMethod | None = None,
    *,
    certificate: AbstractLipschitzCertificate | None = None,
    solver: AbstractSolver | None = None,
    each_pair: bool = False,
    witnesses: Sequence[Witness] | None = None,
) -> PairwiseBounds:
    """Prove |(f_i - f_j)(x) - (f_i - f_j)(x')| <= L_ij ||x - x'|| for every pair of outputs.

    The multipliers of one certificate for all outputs (`certificate`, or a new one by `method`) are
    proven again for each pair, with the least provable L_ij among a few changes of them (of a large graph
    the given ones alone): no further solve, and one factorisation per change for all pairs where no linear
    neurons of a chain are eliminated. With `each_pair`
    the method solves for each of the m (m - 1) / 2 pairs instead, which is tighter. `witnesses` gives each
    pair its own multipliers, in the order (0, 1), (0, 2), ..., of the network whose last matrix is the row
    w_i - w_j: they are proven without any solve (without `method`, the product of norms is the certificate).
    In every case L_ij <= sqrt(2) L is kept, and is all that certificates on a torus and by norms give. With
    `each_pair` the graph of each difference f_i - f_j is bounded by itself. The differences
    of a network's rows round; where they are not exact, L_ij includes the rounding times a bound of the last
    hidden layer.

    Raises InputError for a certificate of another network, fewer than two outputs or witnesses that do not
    fit, and what `lipschitz` raises.
    """
    pairs_count = network.output_dim * (network.output_dim - 1) // 2
    if witnesses is not None:
        if isinstance(network, Graph):
            raise InputError("witnesses of pairs are for networks; a graph takes each_pair=True.")
        if each_pair or len(witnesses) != pairs_count:
            raise InputError(
                f"got {len(witnesses)} witnesses, each_pair={each_pair}; expected {pairs_count}, one per "
                "pair of outputs, or each_pair=True, and not both."
            )
        method = SpectralProduct() if method is None else method
    if certificate is None:
        certificate = _proven_now(network, method, solver)
    elif certificate.network_digest != _digest(network, certificate):
        raise InputError("the certificate belongs to another network; expected one for this network.")
    outputs = network.output_dim
    if outputs < 2:
        raise InputError(f"the network has {outputs} output; expected at least 2, one per class.")
    _require_l2(certificate)
    if isinstance(network, Graph) and each_pair:
        return PairwiseBounds(
            _sealed(_graph_pairs(network, certificate, method, solver)), certificate, token=_PROVEN
        )
    if isinstance(network, Graph) or not isinstance(certificate, Certificate):
        return _shared_pairs(network, certificate)
    pairs = _Pairs(network, certificate, method, solver if each_pair else None, each_pair, witnesses)
    bounds = np.zeros((outputs, outputs))
    for (i, j), bound in zip(itertools.combinations(range(outputs), 2), pairs.bounds(), strict=True):
        bounds[i, j] = bounds[j, i] = bound
    return PairwiseBounds(_sealed(bounds), certificate, token=_PROVEN)


def certified_radius(
    bounds: PairwiseBounds | AbstractLipschitzCertificate, logits: Any, *, logit_error: float = 0.0
) -> np.ndarray:
    """r >= 0 such that the prediction is the same for all ||x' - x||_2 < r; logits (n, m) or (m,).

    r = min_j (f_i - f_j) / L_ij for the largest logit i, rounded downwards; 0 where it is tied. With a
    certificate L_ij = sqrt(2) L, or |f| / L for a single output whose sign is the class; pairwise
    bounds are never worse. `logits` are taken as the exact values f(x) of the network in real
    arithmetic: give `logit_error` >= the absolute error of each where they are computed.

    Raises InputError for logits that do not fit, NaN, infinity and numbers that float64 does not
    hold, NotCertified where this thread's floating-point environment is not IEEE 754's default.
    """
    outputs = _outputs(bounds)
    if isinstance(logits, (PairwiseBounds, AbstractLipschitzCertificate)):
        raise InputError(f"logits is a {type(logits).__name__}; expected numbers: pass (bounds, logits).")
    values = floats("logits", logits)
    if values.ndim not in (1, 2) or values.shape[-1] != outputs:
        raise InputError(f"logits have shape {values.shape}; expected (n, {outputs}) or ({outputs},).")
    logit_error = as_number("logit_error", logit_error)
    if logit_error < 0.0:
        raise InputError(f"logit_error is {logit_error}; expected a finite number, zero or more.")
    require_ieee()
    rows = np.atleast_2d(values)
    if outputs == 1:
        margins, lipschitz_bounds = np.abs(rows), np.array([[_bound(bounds)]])
        error = logit_error
    else:
        winner = rows.argmax(axis=1)
        margins = _down(rows[np.arange(len(rows)), winner][:, None] - rows)
        lipschitz_bounds = _pair_matrix(bounds)[winner]
        others = np.arange(outputs)[None, :] != winner[:, None]
        margins = np.where(others, margins, np.inf)
        error = 2.0 * logit_error
    if error:
        margins = _down(margins - error)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        radii = np.where(lipschitz_bounds > 0.0, _down(margins / lipschitz_bounds), np.inf)
    radii = np.where(margins > 0.0, np.maximum(radii, 0.0), 0.0).min(axis=1)
    return np.asarray(radii[0] if values.ndim == 1 else radii)


def certified_accuracy(
    bounds: PairwiseBounds | AbstractLipschitzCertificate,
    logits: Any,
    labels: Any,
    epsilons: Any = (0.0,),
    *,
    logit_error: float = 0.0,
) -> CertifiedAccuracy:
    """The fraction of samples that are right and provably keep their class within each epsilon.

    `logits` (n, m), `labels` (n,) class indices, `epsilons` l2 distances; for one output the class is
    1 where the logit is positive. See `certified_radius` for what is assumed of the logits.
    """
    radii = np.atleast_1d(certified_radius(bounds, logits, logit_error=logit_error))
    rows, given = np.atleast_2d(floats("logits", logits)), np.asarray(labels)
    if np.ma.isMaskedArray(labels):
        raise InputError("labels is a masked array; expected plain class indices.")
    if given.shape != (len(rows),) or given.dtype.kind not in "iub" or not len(rows):
        raise InputError(f"labels have shape {given.shape}; expected ({len(rows)},) class indices.")
    distances = np.atleast_1d(floats("epsilons", epsilons))
    if not (distances >= 0.0).all():
        raise InputError(f"epsilons are {distances}; expected distances, zero or more.")
    predicted = rows.argmax(axis=1) if rows.shape[1] > 1 else (rows[:, 0] > 0.0).astype(int)
    right = predicted == given
    radii = np.where(right, radii, 0.0)
    certified = (radii[None, :] > distances[:, None]).mean(axis=1)
    return CertifiedAccuracy(float(right.mean()), distances, certified, radii)


def _digest(network: Network | Graph, certificate: AbstractLipschitzCertificate) -> str:
    """That of the network in the form that such a certificate is about."""
    chain = isinstance(network, Network) and not isinstance(certificate, Certificate)
    return chain_graph(network).digest if chain else network.digest  # type: ignore[arg-type]


def _shared_pairs(network: Network | Graph, certificate: AbstractLipschitzCertificate) -> PairwiseBounds:
    """By the multipliers of one certificate of a graph; sqrt(2) L where it has none for that."""
    bounds = _pair_matrix(certificate)
    if not isinstance(certificate, GraphCertificate):
        return PairwiseBounds(_sealed(bounds), certificate, token=_PROVEN)
    graph = chain_graph(network) if isinstance(network, Network) else network
    first, second = np.triu_indices(network.output_dim, 1)
    eye = np.eye(network.output_dim)
    found = combinations_proven(graph, certificate.witness, eye[first] - eye[second])
    for i, j, own in zip(first, second, found, strict=True):
        if own is not None:
            bounds[i, j] = bounds[j, i] = min(bounds[i, j], own.bound)
    witnesses = tuple(None if own is None else own.witness for own in found)
    return PairwiseBounds(_sealed(bounds), certificate, witnesses, _PROVEN)


def _graph_pairs(
    graph: Graph,
    certificate: AbstractLipschitzCertificate,
    method: AbstractMethod | None,
    solver: AbstractSolver | None,
) -> np.ndarray:
    """The bounds of the graphs of e_i - e_j after the outputs, whose entries are exact."""
    bounds = _pair_matrix(certificate)
    for i, j in itertools.combinations(range(graph.output_dim), 2):
        proven = lipschitz(output_difference(graph, i, j), method, solver=solver)
        _require_l2(proven)
        bounds[i, j] = bounds[j, i] = min(bounds[i, j], proven.bound)
    return bounds


class _Pairs:
    """Proves one pair after another; what all of them share is computed once."""

    def __init__(
        self,
        network: Network,
        certificate: Certificate,
        method: AbstractMethod | None,
        solver: AbstractSolver | None,
        each_pair: bool,
        witnesses: Sequence[Witness] | None,
    ) -> None:
        self.network, self.certificate = network, certificate
        self.method, self.solver, self.each_pair = method, solver, each_pair
        self.witnesses = witnesses
        self.last = network.layers[-1].linear.to_dense()
        self.widest = float(_up(math.sqrt(2.0) * certificate.bound))
        self._hidden: float | None = None

    def bounds(self) -> Iterator[float]:
        """In the order of `itertools.combinations`."""
        first, second = np.triu_indices(self.last.shape[0], 1)
        rows = self.last[first] - self.last[second]
        together = np.full(rows.shape[0], np.nan)
        if not self.each_pair and self.witnesses is None:
            together = rows_proven(self.network, self.certificate.witness, rows)
        for p, (i, j, row, proven) in enumerate(zip(first, second, rows, together, strict=True)):
            own = None if self.witnesses is None else self.witnesses[p]
            yield self._bound(int(i), int(j), row, float(proven), own)

    def _bound(self, i: int, j: int, row: np.ndarray, proven: float, own: Witness | None) -> float:
        if math.isnan(proven):
            pair = _with_last_row(self.network, row)
            proven = (self._proof(pair) if own is None else verify(pair, own)).bound
        lost = _difference_error(self.last[i], self.last[j])
        if lost.any():  # |e'h| <= ||e||_1 ||h||_2
            norm = sum((Fraction(float(abs(e))) for e in lost), Fraction(0))
            proven = _sum_upward(proven, norm, self._hidden_bound())
        return min(proven, self.widest)

    def _proof(self, pair: Network) -> Certificate:
        if self.each_pair:
            return least_proven(pair, self.method or LipSDP(), solver=self.solver)
        return verify(pair, _for_pair(self.certificate.witness, pair))

    def _hidden_bound(self) -> float:
        """Lipschitz bound of the last hidden layer's values (of x itself without hidden layers)."""
        if self._hidden is None:
            if not self.network.hidden_layers:
                self._hidden = 1.0
            else:
                size = self.network.layers[-2].linear.shape[0]
                network = _with_last(self.network, np.eye(size))
                self._hidden = verify(network, SpectralProduct().propose(network)).bound
        return self._hidden


def _with_last(network: Network, weight: np.ndarray) -> Network:
    last = Network.from_arrays([weight]).layers[0]
    return Network((*network.layers[:-1], last), network.input_dim)


def _with_last_row(network: Network, row: np.ndarray) -> Network:
    return _with_last(network, row[None, :])


def _for_pair(witness: Witness, pair: Network) -> Witness:
    """The same multipliers; the last tau of a layerwise witness becomes that of the row."""
    if witness.kind == "lipsdp":
        return dataclasses.replace(witness, optimum_at_least=None)
    pow2 = witness.layer_pow2[-1] if witness.layer_pow2 else 0
    row = np.ldexp(pair.layers[-1].linear.to_dense(), -pow2)
    tau = np.array([float((row**2).sum()) * (1.0 + 1e-12)])
    return dataclasses.replace(witness, multipliers=(*witness.multipliers[:-1], tau), optimum_at_least=None)


def _difference_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) - fl(a - b), exactly (Knuth's error-free sum, in the default rounding)."""
    total = a - b
    virtual = total - a
    return np.asarray((a - (total - virtual)) + (-b - virtual))


def _sum_upward(a: float, b: Fraction, c: float) -> float:
    """At least a + b c."""
    value = Fraction(a) + b * Fraction(c)
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def _up(value: Any) -> Any:
    return np.nextafter(value, np.inf)


def _down(value: Any) -> Any:
    return np.nextafter(value, -np.inf)


def _outputs(bounds: Any) -> int:
    if isinstance(bounds, PairwiseBounds):
        return int(bounds.bounds.shape[0])
    if isinstance(bounds, AbstractLipschitzCertificate):
        _require_l2(bounds)
        return bounds.outputs
    raise InputError(
        f"bounds is a {type(bounds).__name__}; expected PairwiseBounds or a Certificate, then the logits."
    )


def _proven_now(
    network: Network | Graph, method: AbstractMethod | None, solver: AbstractSolver | None
) -> AbstractLipschitzCertificate:
    return lipschitz(network, method, solver=solver)


def _require_l2(certificate: AbstractLipschitzCertificate) -> None:
    if certificate.norm != (2.0, 2.0):
        raise InputError(f"the certificate is about the norms {certificate.norm}; expected (2, 2).")


def _bound(bounds: Any) -> float:
    return float(bounds.bound)


def _sealed(bounds: np.ndarray) -> np.ndarray:
    bounds.setflags(write=False)
    return bounds


def _pair_matrix(bounds: PairwiseBounds | AbstractLipschitzCertificate) -> np.ndarray:
    if isinstance(bounds, PairwiseBounds):
        return bounds.bounds
    outputs = _outputs(bounds)
    full = np.full((outputs, outputs), _up(math.sqrt(2.0) * bounds.bound))
    np.fill_diagonal(full, 0.0)
    return full
