"""Arrays of intervals with outward rounding: the arithmetic under every enclosure of this room.

Every operation of binary64 is followed by a step to the next float outwards (`numpy.nextafter`),
which covers a rounding to nearest and an underflow alike. NaN and infinite ends become the whole line.
"""

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Enclosure", "above", "below"]


def below(values: Any) -> np.ndarray:
    """The next floats downwards; a NaN becomes -inf."""
    return np.asarray(np.fmax(np.nextafter(values, -np.inf), -np.inf))  # fmax prefers numbers to NaN


def above(values: Any) -> np.ndarray:
    """The next floats upwards; a NaN becomes +inf."""
    return np.asarray(np.fmin(np.nextafter(values, np.inf), np.inf))


@dataclasses.dataclass(frozen=True, eq=False)
class Enclosure:
    """Real numbers x with lo <= x <= hi, entry by entry; arithmetic keeps what it encloses.

    `a op b` encloses every x op y with x in a and y in b; plain arrays and floats stand for
    themselves. `1 / b` needs b > 0.
    """

    lo: np.ndarray
    hi: np.ndarray

    @classmethod
    def of(cls, values: Any) -> "Enclosure":
        """Exact floats, or an Enclosure as it is."""
        if isinstance(values, Enclosure):
            return values
        array = np.asarray(values, dtype=np.float64)
        return cls(array, array)

    @classmethod
    def between(cls, lo: float, hi: float) -> "Enclosure":
        """One interval."""
        return cls(np.array(lo), np.array(hi))

    def __add__(self, other: Any) -> "Enclosure":
        b = Enclosure.of(other)
        return Enclosure(below(self.lo + b.lo), above(self.hi + b.hi))

    def __neg__(self) -> "Enclosure":
        return Enclosure(-self.hi, -self.lo)

    def __sub__(self, other: Any) -> "Enclosure":
        return self + -Enclosure.of(other)

    def __rsub__(self, other: Any) -> "Enclosure":
        return Enclosure.of(other) - self

    def __mul__(self, other: Any) -> "Enclosure":
        b = Enclosure.of(other)
        ends = (self.lo * b.lo, self.lo * b.hi, self.hi * b.lo, self.hi * b.hi)
        broken = np.isnan(ends[0]) | np.isnan(ends[1]) | np.isnan(ends[2]) | np.isnan(ends[3])
        lo = np.minimum(np.minimum(ends[0], ends[1]), np.minimum(ends[2], ends[3]))
        hi = np.maximum(np.maximum(ends[0], ends[1]), np.maximum(ends[2], ends[3]))
        return Enclosure(np.where(broken, -np.inf, below(lo)), np.where(broken, np.inf, above(hi)))

    __radd__ = __add__
    __rmul__ = __mul__

    def squared(self) -> "Enclosure":
        """x**2, never below 0."""
        a, b = self.lo * self.lo, self.hi * self.hi
        inside = (self.lo <= 0.0) & (self.hi >= 0.0)
        low = np.where(inside, 0.0, np.maximum(below(np.minimum(a, b)), 0.0))
        return Enclosure(low, above(np.maximum(a, b)))

    def reciprocal(self) -> "Enclosure":
        """1 / x for x > 0; the whole line elsewhere."""
        with np.errstate(all="ignore"):
            lo, hi = below(1.0 / self.hi), above(1.0 / self.lo)
        good = self.lo > 0.0
        return Enclosure(np.where(good, lo, -np.inf), np.where(good, hi, np.inf))

    def clipped(self, low: float, high: float) -> "Enclosure":
        """The same numbers where they are known to lie in [low, high]."""
        return Enclosure(np.maximum(self.lo, low), np.minimum(self.hi, high))

    def hull(self, other: "Enclosure") -> "Enclosure":
        """Both sets."""
        return Enclosure(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    @staticmethod
    def where(condition: np.ndarray, a: "Enclosure", b: "Enclosure") -> "Enclosure":
        """a where the condition holds, else b."""
        return Enclosure(np.where(condition, a.lo, b.lo), np.where(condition, a.hi, b.hi))
