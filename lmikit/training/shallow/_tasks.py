"""The three regularised training problems of shallow nets, as the descent loop sees them.

A point is effective weights V and inverse multipliers p (`_program`); a task knows its penalty,
its convex program at a point, as an SDP and as cones for our own interior point, and what to do with the
solution y of either. LipSDP proposes multipliers.
"""

import abc
import contextlib
import dataclasses
import logging
from typing import ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..._errors import NotCertified, SolveFailed
from ..._proving import least_proven
from ..._witness import Witness
from ...certificates import Certificate, verify
from ...lmi import SDP
from ...methods import ClosedForm, LipSDP
from ...network import Network
from ._cones import AbstractUnitCone, ArrowCone, NormCones
from ._model import ShallowModel
from ._program import lipschitz_program, penalty_rho, weight_decay_program

_log = logging.getLogger(__name__)

__all__ = ["AbstractTask", "Alternating", "Joint", "Point", "WeightDecay", "proven_bound"]


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """V (n, d+1) and p (n,); p plays no role under weight decay."""

    V: np.ndarray
    p: np.ndarray

    def towards(self, other: "Point", share: float) -> "Point":
        """The point that share of the way to `other`."""
        return Point(self.V + share * (other.V - self.V), self.p + share * (other.p - self.p))


class AbstractTask(abc.ABC):
    """minimise loss(V) + weight * penalty(V, p) from a given net."""

    stage: ClassVar[str]

    def __init__(self, weight: float) -> None:
        self.weight = weight

    @abc.abstractmethod
    def start(self, model: ShallowModel, network: Network) -> tuple[float, Point]:
        """The penalty of the given net, and the point where the descent begins."""

    @abc.abstractmethod
    def penalty(self, model: ShallowModel, point: Point) -> float:
        """The penalty without its weight, infinite where the point shows none."""

    @abc.abstractmethod
    def program(self, model: ShallowModel, point: Point, G: sp.csr_array) -> SDP:
        """The convex program at the point, with the pattern rows G."""

    @abc.abstractmethod
    def cones(
        self, model: ShallowModel, point: Point
    ) -> tuple[list[AbstractUnitCone], np.ndarray, np.ndarray]:
        """The same but for the rows: (its cones, the variables after V inside them, their linear term)."""

    @abc.abstractmethod
    def target(self, model: ShallowModel, point: Point, y: np.ndarray) -> Point:
        """The solution y of the program as a point."""

    def polished(self, model: ShallowModel, point: Point) -> Point | None:
        """The same weights with perhaps a smaller penalty, or None where there is no such step."""
        return None

    def vanishes(self, model: ShallowModel) -> bool:
        """Whether the zero network is optimal: g_j'v + kink ||v|| >= 0, g the loss's gradient there."""
        gradient = model.fit.gradient(np.zeros(model.V.size)).reshape(model.V.shape)
        return bool((np.linalg.norm(gradient, axis=1) <= self.kink).all())

    @property
    def kink(self) -> float:
        """The slope of the weighted penalty at zero, per ||v_j||."""
        return 0.0

    @abc.abstractmethod
    def result(self, model: ShallowModel, point: Point) -> tuple[Network, Certificate]:
        """The network of a point, and a proven bound of it."""


class AbstractLipschitzTask(AbstractTask):
    """Penalty rho, the square of LipSDP's bound."""

    @abc.abstractmethod
    def magnitudes(self, model: ShallowModel, point: Point) -> np.ndarray:
        """|a_j| of the units of a point's network."""

    def start(self, model: ShallowModel, network: Network) -> tuple[float, Point]:
        certificate = least_proven(network, LipSDP())
        rho = certificate.bound**2
        if not model.units:
            return rho, Point(model.V, np.zeros(0))
        point = Point(model.V, _inverse_multipliers(model, model.V, certificate, model.magnitudes))
        if not np.isfinite(self.penalty(model, point)):
            raise SolveFailed("LipSDP gave no usable multipliers for the network; scale its weights.")
        return rho, point

    def penalty(self, model: ShallowModel, point: Point) -> float:
        return penalty_rho(point.V, model.S, point.p)

    def cones(
        self, model: ShallowModel, point: Point
    ) -> tuple[list[AbstractUnitCone], np.ndarray, np.ndarray]:
        p = self.inside(model, point)
        rho = 1.1 * penalty_rho(point.V, model.S, p) + 1e-6
        heads, fixed = (model.inputs, model.S.shape[1]), self.fixed_multipliers(point)
        cone = ArrowCone(model.S, heads, model.inputs + 1, fixed)
        rest = np.array([rho]) if fixed is not None else np.append(rho, p)
        linear = np.zeros(rest.size)
        linear[0] = self.weight
        return [cone], rest, linear

    def fixed_multipliers(self, point: Point) -> np.ndarray | None:
        """p, where the program keeps it."""
        return None

    def inside(self, model: ShallowModel, point: Point) -> np.ndarray:
        """p with K > 0 well fulfilled and no entry at zero."""
        fixed = self.fixed_multipliers(point)
        if fixed is not None:
            return fixed
        largest = float(scipy.linalg.eigvalsh((model.S.T * point.p) @ model.S)[-1])
        return point.p * min(1.0, 1.8 / max(largest, 1e-300)) + 0.1 / model.units

    def by_lipsdp(self, model: ShallowModel, point: Point) -> Point | None:
        """The same weights with multipliers by LipSDP; None where its solver gives up."""
        ones = np.ones(model.units)
        try:
            certificate = least_proven(model.network(point.V, ones), LipSDP())
        except (SolveFailed, NotCertified) as error:
            _log.info("no better multipliers: %s", error)
            return None
        return Point(point.V, _inverse_multipliers(model, point.V, certificate, ones))

    def result(self, model: ShallowModel, point: Point) -> tuple[Network, Certificate]:
        """With the better proof of LipSDP and of the multipliers in hand."""
        nu = self.magnitudes(model, point)
        network = model.network(point.V, nu)
        rho, t, proven = (self.penalty(model, point), np.zeros(model.hidden), [proven_bound(network)])
        if np.isfinite(rho) and (point.p > 0).all():
            t[model.live] = nu**2 / point.p
            with contextlib.suppress(NotCertified):
                witness = Witness("lipsdp", rho, (t,), produced_by="convex_shallow")
                proven.append(verify(network, witness))
        return network, min(proven, key=lambda c: c.bound)


class Joint(AbstractLipschitzTask):
    """Penalty rho; one SDP over weights and multipliers."""

    stage = "joint"

    def program(self, model: ShallowModel, point: Point, G: sp.csr_array) -> SDP:
        return lipschitz_program(model, self.weight, None, G)[0]

    def target(self, model: ShallowModel, point: Point, y: np.ndarray) -> Point:
        V = y[: point.V.size].reshape(point.V.shape)
        found = Point(V, np.maximum(y[V.size + 1 :], 0.0))
        better = self.by_lipsdp(model, found)  # the solver's p is right to its tolerance only
        return found if better is None else min(found, better, key=lambda at: self.penalty(model, at))

    def magnitudes(self, model: ShallowModel, point: Point) -> np.ndarray:
        """|a_j|: balanced, since p allows any; with the old ones some u_j would be huge."""
        return np.sqrt(np.linalg.norm(point.V, axis=1))


class Alternating(AbstractLipschitzTask):
    """Penalty rho; multipliers by LipSDP, then an SDP over the weights with them fixed."""

    stage = "weights"

    def program(self, model: ShallowModel, point: Point, G: sp.csr_array) -> SDP:
        return lipschitz_program(model, self.weight, point.p, G)[0]

    def target(self, model: ShallowModel, point: Point, y: np.ndarray) -> Point:
        return Point(y[: point.V.size].reshape(point.V.shape), point.p)

    def fixed_multipliers(self, point: Point) -> np.ndarray | None:
        return point.p

    def polished(self, model: ShallowModel, point: Point) -> Point | None:
        return self.by_lipsdp(model, point)

    def magnitudes(self, model: ShallowModel, point: Point) -> np.ndarray:
        return model.magnitudes


class WeightDecay(AbstractTask):
    """Penalty 1/2 sum_j ||u_j||^2 + a_j^2, which the best rescaling of the units makes sum_j ||v_j||."""

    stage = "weights"

    def start(self, model: ShallowModel, network: Network) -> tuple[float, Point]:
        arrays = (*network.weights, network.layers[0].bias)
        return 0.5 * sum(float((w**2).sum()) for w in arrays), Point(model.V, np.zeros(model.units))

    def penalty(self, model: ShallowModel, point: Point) -> float:
        return float(np.linalg.norm(point.V, axis=1).sum())

    @property
    def kink(self) -> float:
        return self.weight

    def program(self, model: ShallowModel, point: Point, G: sp.csr_array) -> SDP:
        return weight_decay_program(model, self.weight, G)[0]

    def cones(
        self, model: ShallowModel, point: Point
    ) -> tuple[list[AbstractUnitCone], np.ndarray, np.ndarray]:
        norms = np.linalg.norm(point.V, axis=1)
        rest = 1.1 * norms + 1e-3 * norms.mean() + 1e-9
        return [NormCones(*point.V.shape)], rest, np.full(model.units, self.weight)

    def target(self, model: ShallowModel, point: Point, y: np.ndarray) -> Point:
        return Point(y[: point.V.size].reshape(point.V.shape), point.p)

    def result(self, model: ShallowModel, point: Point) -> tuple[Network, Certificate]:
        network = model.network(point.V, np.sqrt(np.linalg.norm(point.V, axis=1)))
        return network, proven_bound(network)


def proven_bound(network: Network) -> Certificate:
    """LipSDP's bound, or that of a closed form where the SDP's solver gives up."""
    try:
        return least_proven(network, LipSDP())
    except SolveFailed as error:
        _log.info("a closed form proves the bound instead of LipSDP: %s", error)
        return least_proven(network, ClosedForm())


def _inverse_multipliers(
    model: ShallowModel, V: np.ndarray, certificate: Certificate, magnitudes: np.ndarray
) -> np.ndarray:
    """p_j = nu_j^2 / t_j for the units scaled to |a_j| = 1.

    With weights 2^-k W the LMI has T' where that of W has 4^k1 T', k1 the output layer's power.
    Units that do not see the input may have p_j = 0; a little more keeps the next program strict.
    """
    powers = certificate.witness.layer_pow2
    multipliers = certificate.witness.multipliers
    t = np.array(multipliers[0])[model.live] if multipliers else np.zeros(model.units)
    t = np.ldexp(t, 2 * powers[1]) if powers else t
    moving = V[:, :-1].any(axis=1) & (t > 0)
    p = np.where(moving, magnitudes**2 / np.where(moving, t, 1.0), 0.0)
    room = 2.0 - float(scipy.linalg.eigvalsh((model.S.T * p) @ model.S)[-1])
    return np.where(moving, p, 1e-6 * max(room, 0.0) / p.size)
