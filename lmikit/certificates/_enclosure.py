"""Real matrices known up to a radius per entry, and the products that eliminate linear neurons.

u = 2**-53. An `Enclosed` stands for every matrix A' with |A' - value| <= rad, entry by entry; `rad` None
means exactly `value`. Every operation encloses its exact result; constants are generous by a few units,
which covers that radii are themselves computed in floating point: a sum of n nonnegative products
computed as fl(s) satisfies s <= fl(s) (1 + (n + 2) 2**-52) + n 2**-1074 (Higham, Accuracy and Stability
of Numerical Algorithms, section 3.1).

Product with an exact W, n its columns: |fl(W A) - W A'| <= (n + 2) u |W||A| + |W| rad + n 2**-1074, in any
order of summation, with or without fused multiply-add.
"""

import dataclasses

import numpy as np

__all__ = ["TINY", "Enclosed"]

_U = 2.0**-53
TINY = 2.0**-1021


@dataclasses.dataclass(frozen=True)
class Enclosed:
    """Every matrix within `rad` of `value`, entry by entry."""

    value: np.ndarray
    rad: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def T(self) -> "Enclosed":
        return Enclosed(self.value.T, None if self.rad is None else self.rad.T)

    def rows(self, index: np.ndarray) -> "Enclosed":
        return Enclosed(self.value[index], None if self.rad is None else self.rad[index])

    def negative(self) -> "Enclosed":
        return Enclosed(-self.value, self.rad)

    def __add__(self, other: "Enclosed") -> "Enclosed":
        value = self.value + other.value
        radii = [r for r in (self.rad, other.rad) if r is not None]
        rad = sum(radii, np.zeros_like(value)) * (1.0 + 8.0 * _U) + 2.0 * _U * np.abs(value)
        return Enclosed(value, rad)

    def left(self, w: np.ndarray) -> "Enclosed":
        """W A for an exact W."""
        n = float(w.shape[1])
        value, size = w @ self.value, np.abs(w)
        spread = (n + 4.0) * _U * np.abs(self.value)
        if self.rad is not None:
            spread += self.rad
        tiny = TINY * (n + 1.0) * (1.0 + float(size.max(initial=0.0)))
        return Enclosed(value, (size @ spread) * (1.0 + (n + 8.0) * 2.0**-52) + tiny)

    def scaled_rows(self, d: np.ndarray) -> "Enclosed":
        """diag(d) A for an exact d; nothing is lost where every d_i is 1 or -1."""
        value = d[:, None] * self.value
        if (np.abs(d) == 1.0).all():
            return Enclosed(value, self.rad)
        rad = 2.0 * _U * np.abs(value) + TINY
        if self.rad is not None:
            rad += (1.0 + 8.0 * _U) * np.abs(d)[:, None] * self.rad
        return Enclosed(value, rad)
