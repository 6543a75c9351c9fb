"""Proven certificates of trained weights, never above the product of the layers' taus."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .._errors import InputError, NotCertified, SolveFailed
from .._witness import Witness
from ..certificates import Certificate, verify
from ..formulations.rs_lmi import slope_gains
from ..methods import AbstractMethod, LipSDP
from ..network import Network
from ..sketching import gram_bound
from ..solvers import AbstractSolver
from ._callback import Arrays

__all__ = ["Certified", "certified", "check_target", "within_target"]

_log = logging.getLogger("lmikit")


@dataclasses.dataclass(frozen=True, eq=False)
class Certified:
    """A certificate of a network and its proven tau_k >= |W_k|^2.

    certificate.bound <= prod_k sqrt(tau_k) m_k, m_k = max |slope| of layer k: where the method proves no
    more than that, the certificate is the product's own.
    """

    network: Network
    certificate: Certificate
    taus: np.ndarray
    product: float


def certified(
    network: Network, method: AbstractMethod | None = None, solver: AbstractSolver | None = None
) -> Certified:
    """The better of `method` (None: LipSDP) and the product of layer norms, both proven.

    A method that fails leaves the product. Raises NotCertified where that has no proof either.
    """
    method = LipSDP() if method is None else method
    product, taus = _layerwise(network)
    best = product
    try:
        witness = method.propose(network, solver=solver if method.uses_solver else None)
        best = _better(product, verify(network, witness))
    except (SolveFailed, NotCertified) as error:
        _log.info("%s gave no certificate (%s); the product of layer norms stands", method.label, error)
    return Certified(network, best, taus, product.bound)


def _layerwise(network: Network) -> tuple[Certificate, np.ndarray]:
    """The product's own certificate, and the taus that it proves."""
    taus = [_upper_square(gram_bound(w).value) for w in network.weights]
    rho = math.prod([*taus, *(g * g for g in slope_gains(network))])
    witness = Witness("layerwise", rho, tuple(np.array([t]) for t in taus), produced_by="product of taus")
    product = verify(network, witness)
    pow2 = product.witness.layer_pow2 or (0,) * len(taus)
    pairs = zip(product.witness.multipliers, pow2, strict=True)
    with np.errstate(over="ignore"):
        proven = np.array([np.ldexp(float(t[0]), 2 * p) for t, p in pairs])
    return product, proven


def _better(product: Certificate, other: Certificate) -> Certificate:
    return other if other.bound <= product.bound else product


def _upper_square(norm: float) -> float:
    return math.nextafter(norm * norm, math.inf) if norm > 0.0 else 0.0


class Scalable(Protocol):
    """What turns weights into a network, and knows which of them scale its output."""

    def network(self, weights: Sequence[np.ndarray]) -> Network:
        """The float64 network of these weights."""

    def with_scaled_output(self, weights: Sequence[np.ndarray], factor: float) -> Arrays:
        """The weights of factor * f."""


def within_target(
    found: Certified, weights: Arrays, model: Scalable, target: float
) -> tuple[Certified, Arrays]:
    """Weights with a proven bound of at most `target`: the output layer (with its bias) is scaled.

    c f has the bound c L, by the same multipliers times c^2, and a classifier's decisions stay as they
    are. Weights that meet the target already come back as they are.
    """
    margin = 4.0 * float(max(np.finfo(w.dtype).eps for w in weights))
    for _ in range(8):
        if found.certificate.bound <= target:
            return found, weights
        factor = target / found.certificate.bound * (1.0 - margin)
        weights = model.with_scaled_output(weights, factor)
        found = _rescaled(found, model.network(weights), factor)
        margin *= 4.0
    raise NotCertified(
        f"scaling the output layer reached {found.certificate.bound:.9g} and not the target {target:.9g}."
    )


def _rescaled(found: Certified, network: Network, factor: float) -> Certified:
    product, taus = _layerwise(network)
    witness, square = found.certificate.witness, factor * factor
    best = product
    if witness.kind == "lipsdp":
        scaled = dataclasses.replace(
            witness,
            rho=witness.rho * square,
            multipliers=tuple(t * square for t in witness.multipliers),
            optimum_at_least=None,
        )
        best = _better(product, verify(network, scaled))
    return Certified(network, best, taus, product.bound)


def check_target(target: float | None) -> None:
    """Raises InputError unless the target is None or a positive number."""
    if target is not None and not (isinstance(target, (int, float)) and 0.0 < target < math.inf):
        raise InputError(
            f"target is {target!r}; expected a positive finite Lipschitz bound: no other is feasible for "
            "weights that are not zero."
        )
