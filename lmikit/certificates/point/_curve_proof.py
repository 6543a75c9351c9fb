"""Inequalities g(v, phi(v)) >= 0 for every real v, proven by subdivision with second-order enclosures.

On a cell with midpoint m and half-width r that has no kink inside, F(v) = g(v, phi(v)) obeys

    F(m + s) >= F(m) - |F'(m)| |s| + K s**2 / 2,  |s| <= r,  K <= inf F'' over the cell (Taylor),

whose least value is F(m) - |F'|**2 / (2 K) at best (K > 0) and F(m) - |F'| r + K r**2 / 2 where the vertex
lies outside or K <= 0. Cells that fail are halved. Beyond the last cells phi' is monotone and tends to a
known limit, so that the signs of F and F' at the ends decide. All numbers are outward-rounded
intervals; a NaN proves nothing. Touching points need some room, which the terms' constants have.
"""

import abc
import dataclasses

import numpy as np

from ...intervals import Enclosure as Interval
from ._curves import Curve

__all__ = ["AbstractInequality", "Chord", "Jet", "Parabola", "holds_everywhere"]

_ROUNDS = 40
_MOST_CELLS = 400  # of one neuron, left open after a round; touching points need a few dozen
_FIRST = 24  # cells on either side of 0 and the anchor


@dataclasses.dataclass(frozen=True, eq=False)
class Jet:
    """Cells [v - reach, v + reach]: phi and phi' at v, phi'' over the cell."""

    v: np.ndarray
    reach: np.ndarray
    value: Interval
    slope: Interval
    second: Interval

    def around(self, size: Interval) -> Interval:
        """size times every s with |s| <= reach."""
        return size * Interval(-self.reach, self.reach)


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractInequality(abc.ABC):
    """F >= 0 with one entry per neuron."""

    point: np.ndarray

    @abc.abstractmethod
    def taken(self, index: np.ndarray) -> "AbstractInequality":
        """The inequalities with these indices."""

    @abc.abstractmethod
    def expansion(self, jet: Jet) -> tuple[Interval, Interval, Interval]:
        """F(v), F'(v) and F'' over the cell."""

    @abc.abstractmethod
    def tail(self, v: np.ndarray, value: Interval, slopes: Interval, side: float) -> np.ndarray:
        """Whether F >= 0 from v to side * infinity, phi(v) in `value`, phi' there in `slopes`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parabola(AbstractInequality):
    """sign (value + slope (v - point) - phi(v)) + curvature (v - point)**2 >= 0, curvature >= 0."""

    sign: float
    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray

    def taken(self, index: np.ndarray) -> "Parabola":
        return Parabola(
            self.point[index], self.sign, self.value[index], self.slope[index], self.curvature[index]
        )

    def _at(self, v: np.ndarray, value: Interval) -> Interval:
        h = Interval.of(v) - self.point
        line = Interval.of(self.value) + h * self.slope
        return (line - value) * self.sign + h.squared() * self.curvature

    def _slope(self, v: np.ndarray, slope: Interval) -> Interval:
        h = Interval.of(v) - self.point
        return (Interval.of(self.slope) - slope) * self.sign + h * self.curvature * 2.0

    def expansion(self, jet: Jet) -> tuple[Interval, Interval, Interval]:
        second = Interval.of(self.curvature) * 2.0 - jet.second * self.sign
        return self._at(jet.v, jet.value), self._slope(jet.v, jet.slope), second

    def tail(self, v: np.ndarray, value: Interval, slopes: Interval, side: float) -> np.ndarray:
        away = self._slope(v, slopes) * side  # curvature >= 0: farther out it only grows
        return (self.curvature >= 0.0) & (self._at(v, value).lo >= 0.0) & (away.lo >= 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Chord(AbstractInequality):
    """x y + slack >= 0 with x = phi(v) - value - low (v - point), y = high (v - point) - phi(v) + value."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    slack: np.ndarray

    def taken(self, index: np.ndarray) -> "Chord":
        return Chord(
            self.point[index], self.value[index], self.low[index], self.high[index], self.slack[index]
        )

    def _factors(self, v: np.ndarray, value: Interval) -> tuple[Interval, Interval]:
        h, rise = Interval.of(v) - self.point, value - self.value
        return rise - h * self.low, h * self.high - rise

    def expansion(self, jet: Jet) -> tuple[Interval, Interval, Interval]:
        x, y = self._factors(jet.v, jet.value)
        dx, dy = jet.slope - self.low, Interval.of(self.high) - jet.slope
        bend = jet.around(jet.second)
        slope = jet.slope + bend  # phi' over the cell
        gap = (y - x) + jet.around(Interval.of(self.low) + self.high - slope * 2.0)
        second = jet.second * gap + (slope - self.low) * (Interval.of(self.high) - slope) * 2.0
        return x * y + self.slack, dx * y + x * dy, second

    def tail(self, v: np.ndarray, value: Interval, slopes: Interval, side: float) -> np.ndarray:
        x, y = self._factors(v, value)
        x, y = x * side, y * side
        within = (slopes.lo >= self.low) & (slopes.hi <= self.high)
        return within & (x.lo >= 0.0) & (y.lo >= 0.0) & (self.slack >= 0.0)


def holds_everywhere(curve: Curve, inequality: AbstractInequality) -> np.ndarray:
    """Whether F >= 0 on the whole line, proven, per neuron."""
    count = inequality.point.size
    with np.errstate(all="ignore"):
        far = 2.0 * np.abs(inequality.point) + curve.reach  # |v| / (v - p)**2 is largest at v = -p
        low, high = inequality.point - far, inequality.point + far
        profile, limits = curve.profile, curve.limits
        left = profile.left(low).hull(Interval.of(np.full(count, limits[0])))
        right = profile.right(high).hull(Interval.of(np.full(count, limits[1])))
        good = inequality.tail(low, profile.value(low), left, -1.0)
        good &= inequality.tail(high, profile.value(high), right, 1.0)
        index, lo, hi = _first_cells(curve, inequality.point, low, high)
        keep = good[index]
        index, lo, hi = index[keep], lo[keep], hi[keep]
        for _ in range(_ROUNDS):
            least, negative = _least(curve, inequality.taken(index), lo, hi)
            open_cells = ~(least >= 0.0)
            good[index[negative]] = False
            good &= np.bincount(index[open_cells], minlength=count) <= _MOST_CELLS
            open_cells &= good[index]
            index, lo, hi = index[open_cells], lo[open_cells], hi[open_cells]
            if not index.size:
                return good
            mid = lo + 0.5 * (hi - lo)
            index, lo, hi = np.tile(index, 2), np.concatenate([lo, mid]), np.concatenate([mid, hi])
    good[index] = False
    return good


def _first_cells(
    curve: Curve, point: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells that cover [low, high] of every neuron, none with a kink inside."""
    share = np.linspace(0.0, 1.0, _FIRST + 1) ** 2.0
    cuts = [point[:, None] + share * (high - point)[:, None], point[:, None] - share * (point - low)[:, None]]
    cuts += [np.full((point.size, 1), kink) for kink in curve.profile.kinks]
    edges = np.sort(np.clip(np.hstack([*cuts, low[:, None], high[:, None]]), low[:, None], high[:, None]))
    lo, hi = edges[:, :-1], edges[:, 1:]
    index = np.broadcast_to(np.arange(point.size)[:, None], lo.shape)
    whole = lo < hi
    return index[whole], lo[whole], hi[whole]


def _least(
    curve: Curve, inequality: AbstractInequality, lo: np.ndarray, hi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A lower bound of F over the cells [lo, hi], and whether F is negative at a midpoint."""
    v = np.clip(lo + 0.5 * (hi - lo), lo, hi)
    reach = np.nextafter(np.maximum(hi - v, v - lo), np.inf)
    profile = curve.profile
    # a cell whose midpoint rounds to an end has phi' from its inner side
    slope = Interval.where(v == hi, profile.left(v), profile.right(v))
    jet = Jet(v, reach, profile.value(v), slope, curve.second(lo, hi))
    at, first, second = inequality.expansion(jet)
    size = Interval.of(np.maximum(np.abs(first.lo), np.abs(first.hi)))
    k = second.lo
    edge = Interval.of(at.lo) - size * reach + Interval.of(0.5 * k) * Interval.of(reach).squared()
    turning = Interval.of(at.lo) - size.squared() * Interval.of(2.0 * k).reciprocal()
    past = (k <= 0.0) | (size.lo >= np.nextafter(k * reach, np.inf))
    return np.where(past, edge.lo, np.where(k > 0.0, turning.lo, -np.inf)), at.hi < 0.0
