"""Terms that need bounds of the preactivations on the region; the bounds are recomputed, never believed.

For two linear pieces (see `_pieces`) with p = sigma (w - left v), q = sigma (w - right v) and v in [l, u]
on the region: 0 <= p <= |right - left| max(u, 0) and 0 <= q <= |right - left| max(-l, 0), hence

    p (limit - p) >= 0,     q (limit - q) >= 0

for any limit at or above those. A neuron with l >= 0 (u <= 0) has w = right v (left v), which makes
e = w - slope v and e^2 vanish: with a free multiplier for e and a large one for e^2 the proof says
what substitution says. `fault` encloses the preactivations of network and region again, with outward
rounding (`lmikit.intervals`), in the exact mode of the checker too.
"""

import abc
import functools
from typing import ClassVar

import numpy as np

from ..._errors import InputError, NotCertified
from ...claims import AbstractRegion
from ...intervals import LocalIntervals, local_intervals
from ...network import Network
from ._pieces import slopes_of_pieces
from ._terms import AbstractTerm, Coefficients, Parameters, Site, register_term

__all__ = ["INTERVAL_TERMS", "proven_intervals"]

INTERVAL_TERMS = ("piece_left_limit", "piece_right_limit", "stable_line", "stable_square")


@functools.lru_cache(maxsize=2)
def proven_intervals(network: Network, region: AbstractRegion) -> LocalIntervals:
    """CROWN enclosures on the region; the last two are kept, since every layer and group asks."""
    return local_intervals(network, region)


class _AbstractIntervalTerm(AbstractTerm):
    def fault(self, site: Site, parameters: Parameters, used: np.ndarray) -> str:
        slopes = slopes_of_pieces(site.layer.activation, site.neurons)
        if slopes is None:
            name = site.layer.activation.name
            return f"the term {self.kind} is of activations with two linear pieces, not of {name}"
        if not used.any():
            return ""
        try:
            bounds = proven_intervals(site.network, site.region)
        except (InputError, NotCertified) as error:
            return f"the preactivations could not be enclosed: {error}"
        low, high = bounds.lower[site.index], bounds.upper[site.index]
        return self._fault(slopes, low, high, parameters, used)

    @abc.abstractmethod
    def _fault(
        self,
        slopes: tuple[np.ndarray, np.ndarray],
        low: np.ndarray,
        high: np.ndarray,
        parameters: Parameters,
        used: np.ndarray,
    ) -> str:
        """What is wrong on low <= v <= high; the empty string if nothing is."""


class _AbstractLimit(_AbstractIntervalTerm):
    """x (limit - x) >= 0 for x = sigma (w - slope v)."""

    equality: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("limit",)
    side: ClassVar[int]

    def _fault(
        self,
        slopes: tuple[np.ndarray, np.ndarray],
        low: np.ndarray,
        high: np.ndarray,
        parameters: Parameters,
        used: np.ndarray,
    ) -> str:
        left, right = slopes
        reach = np.maximum(high if self.side == 0 else -low, 0.0)
        needed = np.nextafter(np.nextafter(np.abs(right - left), np.inf) * reach, np.inf)
        if not (parameters["limit"][used] >= needed[used]).all():
            return f"a limit of {self.kind} is below what the enclosures of the preactivations allow"
        return ""

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        pieces = slopes_of_pieces(site.layer.activation, site.neurons)
        assert pieces is not None, "fault() has refused this activation"
        sigma = np.where(pieces[1] >= pieces[0], 1.0, -1.0)
        slope, limit, one = pieces[self.side], parameters["limit"], np.ones(site.neurons)
        return {
            "ww": ((-one,),),
            "vw": ((2.0 * one, slope),),
            "vv": ((-slope, slope),),
            "w": ((sigma, limit),),
            "v": ((-sigma, limit, slope),),
        }


class _LeftLimit(_AbstractLimit):
    """p (limit - p) >= 0."""

    kind: ClassVar[str] = "piece_left_limit"
    side: ClassVar[int] = 0


class _RightLimit(_AbstractLimit):
    """q (limit - q) >= 0."""

    kind: ClassVar[str] = "piece_right_limit"
    side: ClassVar[int] = 1


class _AbstractStable(_AbstractIntervalTerm):
    """e = w - slope v = 0 for neurons on one piece."""

    equality: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("slope",)

    def _fault(
        self,
        slopes: tuple[np.ndarray, np.ndarray],
        low: np.ndarray,
        high: np.ndarray,
        parameters: Parameters,
        used: np.ndarray,
    ) -> str:
        left, right = slopes
        slope = parameters["slope"]
        on_right, on_left = (low >= 0.0) | (left == right), (high <= 0.0) | (left == right)
        good = ((slope == right) & on_right) | ((slope == left) & on_left)
        return "" if good[used].all() else f"{self.kind} names a neuron that is not proven stable"


class _StableLine(_AbstractStable):
    """w - slope v = 0."""

    kind: ClassVar[str] = "stable_line"

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        return {"w": ((np.ones(site.neurons),),), "v": ((-parameters["slope"],),)}


class _StableSquare(_AbstractStable):
    """(w - slope v)^2 = 0."""

    kind: ClassVar[str] = "stable_square"

    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        slope, one = parameters["slope"], np.ones(site.neurons)
        return {"ww": ((one,),), "vw": ((-2.0 * one, slope),), "vv": ((slope, slope),)}


for _term in (_LeftLimit(), _RightLimit(), _StableLine(), _StableSquare()):
    register_term(_term)
