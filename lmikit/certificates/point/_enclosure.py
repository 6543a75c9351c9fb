"""Arrays of intervals mid +- rad in binary64, every rounding in the radius.

u = 2**-53. A float operation errs by at most u |result| (+ 2**-1075 for products), a sum of n products in
any order by at most (n + 1) u / (1 - (n + 1) u) times the sum of their absolute values (Higham, Accuracy
and Stability, Lemma 3.1), plus n 2**-1075. Radii are themselves computed with roundings; the factors
1 + c 2**-52 cover those. NaN and infinity stay NaN or infinite: whoever decides compares so that NaN refuses.
"""

import dataclasses
from typing import Any

import numpy as np

__all__ = ["EnclosedArray"]

_U = 2.0**-53
_TINY = 2.0**-1060
_UP = 1.0 + 2.0**-49


@dataclasses.dataclass(frozen=True)
class EnclosedArray:
    """The arrays a with |a - mid| <= rad, entry by entry."""

    mid: np.ndarray
    rad: np.ndarray

    @classmethod
    def exact(cls, values: np.ndarray) -> "EnclosedArray":
        """Exactly these floats."""
        return cls(values, np.zeros_like(values))

    def __add__(self, other: "EnclosedArray") -> "EnclosedArray":
        mid = self.mid + other.mid
        return EnclosedArray(mid, (self.rad + other.rad + _U * np.abs(mid)) * _UP)

    def __sub__(self, other: "EnclosedArray") -> "EnclosedArray":
        mid = self.mid - other.mid
        return EnclosedArray(mid, (self.rad + other.rad + _U * np.abs(mid)) * _UP)

    def __mul__(self, other: "EnclosedArray") -> "EnclosedArray":
        mid = self.mid * other.mid
        rad = _U * np.abs(mid)
        if other.rad.any():
            rad = rad + (np.abs(self.mid) + self.rad) * other.rad
        if self.rad.any():
            rad = rad + self.rad * np.abs(other.mid)
        rad = rad * _UP + _TINY
        if mid.all():
            return EnclosedArray(mid, rad)
        nothing = ((self.mid == 0.0) & (self.rad == 0.0)) | ((other.mid == 0.0) & (other.rad == 0.0))
        return EnclosedArray(mid, np.where(nothing, 0.0, rad))

    def half(self) -> "EnclosedArray":
        """a / 2; exact but for underflow."""
        return EnclosedArray(0.5 * self.mid, 0.5 * self.rad + _TINY)

    def columns(self) -> "EnclosedArray":
        """(n,) as (n, 1), to meet (n, R)."""
        return EnclosedArray(self.mid[:, None], self.rad[:, None])

    def total(self, axis: int = 0) -> "EnclosedArray":
        """The sum along an axis."""
        n = self.mid.shape[axis]
        size = np.abs(self.mid).sum(axis=axis) + self.rad.sum(axis=axis)
        factor = (1.0 + (2.0 * n + 16.0) * 2.0**-52) if n else 1.0
        rad = (self.rad.sum(axis=axis) + (n + 2.0) * _U * size) * factor + _TINY
        return EnclosedArray(self.mid.sum(axis=axis), rad)

    def image(self, matrix: Any) -> "EnclosedArray":
        """matrix @ a, `matrix` (m, n) exact, an array or a sparse matrix."""
        n = matrix.shape[1]
        if self.is_zero():
            return EnclosedArray.exact(np.zeros((matrix.shape[0], *self.mid.shape[1:])))
        size = abs(matrix)
        spread = (n + 2.0) * _U * (size @ (np.abs(self.mid) + self.rad))
        if self.rad.any():
            spread = spread + size @ self.rad
        return EnclosedArray(matrix @ self.mid, spread * (1.0 + (2.0 * n + 24.0) * 2.0**-52) + n * _TINY)

    def scaled(self, exponents: np.ndarray) -> "EnclosedArray":
        """2**exponents * a, entry by entry."""
        return EnclosedArray(np.ldexp(self.mid, exponents), np.ldexp(self.rad, exponents) + _TINY)

    def symmetric(self) -> "EnclosedArray":
        """A symmetric enclosure of a symmetric matrix."""
        mid = np.tril(self.mid) + np.tril(self.mid, -1).T
        return EnclosedArray(mid, np.maximum(self.rad, self.rad.T))

    def approximate(self) -> np.ndarray:
        """A float near a."""
        return self.mid

    def is_zero(self) -> bool:
        """Whether every entry is exactly 0."""
        return not (self.mid.any() or self.rad.any())

    def lower(self) -> np.ndarray:
        """At most a."""
        return np.nextafter(self.mid - self.rad, -np.inf)

    def size(self) -> np.ndarray:
        """At least |a|."""
        return (np.abs(self.mid) + self.rad) * _UP
