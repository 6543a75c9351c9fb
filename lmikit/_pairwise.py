"""Proven Lipschitz bounds of the differences of outputs, one for every pair of classes.

L_ij of f_i - f_j is bounded for the network whose last weight is the row w_i - w_j; sqrt(2) L, with L for all
outputs at once, bounds it too, but loosely.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._api import lipschitz, require_network
from ._errors import InputError
from ._proving import least_proven
from ._witness import Witness
from .certificates import AbstractLipschitzCertificate, Certificate, rows_proven, verify
from .certificates.graph import GraphCertificate, combinations_proven
from .graph import Graph, GraphWitness, chain_graph, output_difference
from .methods import AbstractMethod, LipSDP, SpectralProduct
from .network import Network
from .solvers import AbstractSolver

__all__ = ["PairwiseBounds", "pair_matrix", "pairwise_bounds", "require_l2"]

_PROVEN = object()  # as for Certificate: no other code makes one by accident


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PairwiseBounds:
    """`bounds[i, j]` >= the Lipschitz constant of f_i - f_j, proven; (m, m), symmetric, zero diagonal.

    Built by `pairwise_bounds` only. `certificate` is the one for all outputs at once. `witnesses`, where they
    come from one factorisation for a graph, are of the graphs `lmikit.graph.output_difference(graph, i, j)`,
    in the order (0, 1), (0, 2), ...: `verify_graph` makes a certificate of each that `check` proves again; it
    may refuse where the rows of two outputs nearly cancel. None stands where sqrt(2) L alone is proven.
    """

    bounds: np.ndarray
    certificate: AbstractLipschitzCertificate
    witnesses: tuple[GraphWitness | None, ...] = ()
    token: dataclasses.InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        if token is not _PROVEN:
            raise TypeError("PairwiseBounds are made by lmikit.pairwise_bounds, which proves them first.")

    def __repr__(self) -> str:
        values = self.bounds[np.triu_indices(len(self.bounds), 1)]
        return f"PairwiseBounds({values.size} pairs, {values.min():.6g} to {values.max():.6g}, proven)"

    def __str__(self) -> str:
        """As `repr`, and the first line of what the certificate for all outputs says."""
        return f"{self!r}\n{str(self.certificate).splitlines()[0]}"


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
    the given ones alone): no further solve, and one factorisation per change for all pairs. With `each_pair`
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
    require_network(network)
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
    require_l2(certificate)
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


def _digest(network: Network | Graph, certificate: AbstractLipschitzCertificate) -> str:
    """That of the network in the form that such a certificate is about."""
    chain = isinstance(network, Network) and not isinstance(certificate, Certificate)
    return chain_graph(network).digest if chain else network.digest  # type: ignore[arg-type]


def _shared_pairs(network: Network | Graph, certificate: AbstractLipschitzCertificate) -> PairwiseBounds:
    """By the multipliers of one certificate of a graph; sqrt(2) L where it has none for that."""
    bounds = pair_matrix(certificate)
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
    bounds = pair_matrix(certificate)
    for i, j in itertools.combinations(range(graph.output_dim), 2):
        proven = lipschitz(output_difference(graph, i, j), method, solver=solver)
        require_l2(proven)
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
            norm = Fraction(float(_up(math.fsum(np.abs(lost)))))  # fsum is the exact sum, rounded once
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


def _proven_now(
    network: Network | Graph, method: AbstractMethod | None, solver: AbstractSolver | None
) -> AbstractLipschitzCertificate:
    return lipschitz(network, method, solver=solver)


def require_l2(certificate: AbstractLipschitzCertificate) -> None:
    """Raises InputError for a certificate in other norms."""
    if certificate.norm != (2.0, 2.0):
        raise InputError(f"the certificate is about the norms {certificate.norm}; expected (2, 2).")


def pair_matrix(bounds: PairwiseBounds | AbstractLipschitzCertificate) -> np.ndarray:
    """L_ij; of a certificate sqrt(2) L for every pair, rounded upwards. Raises InputError for other norms."""
    if isinstance(bounds, PairwiseBounds):
        return bounds.bounds
    require_l2(bounds)
    full = np.full((bounds.outputs, bounds.outputs), _up(math.sqrt(2.0) * bounds.bound))
    np.fill_diagonal(full, 0.0)
    return full


def _sealed(bounds: np.ndarray) -> np.ndarray:
    bounds.setflags(write=False)
    return bounds
