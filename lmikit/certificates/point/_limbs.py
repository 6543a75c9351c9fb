"""Exact products of matrices of multiples of 2**-46 by floating-point products of 23-bit pieces.

A number q 2**-46 with |q| <= 2**46 is (h 2**23 + l) 2**-46 with |h| <= 2**23, 0 <= l < 2**23. Products of
such pieces are integers of at most 2**46, sums of up to 64 of them at most 2**52: floating point computes
them exactly in any order. Results are integers in units of 2**-92, kept as high 2**46 + low in int64.
"""

import dataclasses
from typing import Any

import numpy as np

__all__ = ["BITS", "Limbs", "Wide", "products", "rounded"]

BITS = 46
_HALF = 23
_CHUNK = 64
_DROPPED = 8  # bits of a difference, which then is in units of 2**-84


@dataclasses.dataclass(frozen=True, eq=False)
class Limbs:
    """(high 2**23 + low) 2**-46, entry by entry; float64 arrays of integers."""

    high: np.ndarray
    low: np.ndarray

    def __getitem__(self, index: Any) -> "Limbs":
        return Limbs(self.high[index], self.low[index])

    @property
    def T(self) -> "Limbs":
        return Limbs(self.high.T, self.low.T)

    def times(self, other: "Limbs") -> "Wide":
        """Entry by entry."""
        cross = self.high * other.low + self.low * other.high
        return Wide.of(self.high * other.high, cross, self.low * other.low)


@dataclasses.dataclass(frozen=True, eq=False)
class Wide:
    """(high 2**46 + low) 2**-92 with 0 <= low < 2**46; int64 arrays."""

    high: np.ndarray
    low: np.ndarray

    @classmethod
    def of(cls, high: np.ndarray, cross: np.ndarray, low: np.ndarray) -> "Wide":
        """high 2**46 + cross 2**23 + low for float arrays of integers up to 2**53."""
        h, c, v = (a.astype(np.int64) for a in (high, cross, low))
        return cls._carried(h + (c >> _HALF), ((c & ((1 << _HALF) - 1)) << _HALF) + v)

    @classmethod
    def floor(cls, values: list[int], shape: tuple[int, ...]) -> "Wide":
        """From integers in units of 2**-92 of at most 108 bits."""
        mask = (1 << BITS) - 1
        high = np.array([v >> BITS for v in values], dtype=np.int64).reshape(shape)
        return cls(high, np.array([v & mask for v in values], dtype=np.int64).reshape(shape))

    @classmethod
    def _carried(cls, high: np.ndarray, low: np.ndarray) -> "Wide":
        return cls(high + (low >> BITS), low & ((1 << BITS) - 1))

    def __add__(self, other: "Wide") -> "Wide":
        return self._carried(self.high + other.high, self.low + other.low)

    def less(self, other: "Wide") -> np.ndarray | None:
        """The difference rounded down to multiples of 2**-84; None where an entry is about 2**-25 or more."""
        high = self.high - other.high
        if high.size and not (high.min() > -(1 << 20) and high.max() < (1 << 20)):
            return None
        return np.asarray((high << (BITS - _DROPPED)) + ((self.low - other.low) >> _DROPPED))


def rounded(values: np.ndarray) -> Limbs:
    """The multiples of 2**-46 nearest to `values`, clipped to [-1, 1]: for what may be any number."""
    q = np.rint(np.clip(np.nan_to_num(values), -1.0, 1.0) * 2.0**BITS)
    high = np.floor(q * 2.0**-_HALF)
    return Limbs(high, q - high * 2.0**_HALF)


def products(left: Limbs, right: Limbs) -> Wide:
    """left' right for matrices (n, p) and (n, q), exactly."""
    n = left.high.shape[0]
    zero = np.zeros((left.high.shape[1], right.high.shape[1]), dtype=np.int64)
    total = Wide(zero, zero)
    for start in range(0, n, _CHUNK):
        a, b = left[start : start + _CHUNK], right[start : start + _CHUNK]
        cross = a.high.T @ b.low + a.low.T @ b.high
        total = total + Wide.of(a.high.T @ b.high, cross, a.low.T @ b.low)
    return total
