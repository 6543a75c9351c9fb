"""Arrays of dyadic rationals, integers over one power of two: the exact twin of `EnclosedArray`."""

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._check_integers import ScaledIntegers, common, exact, matmul

__all__ = ["Dyadic"]


class Dyadic:
    """values * 2**-power with an object array of integers; every operation is exact."""

    def __init__(self, values: np.ndarray, power: int) -> None:
        self.values, self.power = values, power

    @classmethod
    def exact(cls, values: np.ndarray) -> "Dyadic":
        """Exactly these floats; raises OverflowError for NaN and infinity."""
        if not np.isfinite(values).all():
            raise OverflowError("a number is not finite")
        found = common(*exact(np.asarray(values, dtype=np.float64)))
        return cls(found.values, found.power)

    def _pair(self, other: "Dyadic") -> tuple[np.ndarray, np.ndarray, int]:
        power = max(self.power, other.power)
        mine = self.values * (1 << (power - self.power)) if power > self.power else self.values
        theirs = other.values * (1 << (power - other.power)) if power > other.power else other.values
        return mine, theirs, power

    def __add__(self, other: "Dyadic") -> "Dyadic":
        a, b, power = self._pair(other)
        return Dyadic(a + b, power)

    def __sub__(self, other: "Dyadic") -> "Dyadic":
        a, b, power = self._pair(other)
        return Dyadic(a - b, power)

    def __mul__(self, other: "Dyadic") -> "Dyadic":
        return Dyadic(self.values * other.values, self.power + other.power)

    def half(self) -> "Dyadic":
        """a / 2."""
        return Dyadic(self.values, self.power + 1)

    def columns(self) -> "Dyadic":
        """(n,) as (n, 1)."""
        return Dyadic(self.values[:, None], self.power)

    def total(self, axis: int = 0) -> "Dyadic":
        """The sum along an axis."""
        return Dyadic(np.asarray(self.values.sum(axis=axis), dtype=object), self.power)

    def image(self, matrix: Any) -> "Dyadic":
        """matrix @ a for a of shape (n, R), `matrix` (m, n) exact floats, an array or a sparse matrix."""
        if sp.issparse(matrix):
            return self._sparse_image(sp.csr_array(matrix))
        left = Dyadic.exact(matrix)
        return Dyadic(matmul(left.values, self.values), left.power + self.power)

    def _sparse_image(self, matrix: sp.csr_array) -> "Dyadic":
        result = np.zeros((matrix.shape[0], *self.values.shape[1:]), dtype=object)
        used = np.flatnonzero(np.diff(matrix.indptr))
        entries = Dyadic.exact(matrix.data)
        if used.size:
            terms = entries.values[:, None] * self.values[matrix.indices]
            result[used] = np.add.reduceat(terms, matrix.indptr[used], axis=0)
        return Dyadic(result, entries.power + self.power)

    def scaled(self, exponents: np.ndarray) -> "Dyadic":
        """2**exponents * a, entry by entry."""
        shifts = np.broadcast_to(np.asarray(exponents, dtype=np.int64), self.values.shape)
        lift = max(0, int(-shifts.min(initial=0)))
        return Dyadic(np.left_shift(self.values, (shifts + lift).astype(object)), self.power + lift)

    def symmetric(self) -> "Dyadic":
        """Itself: the products of a symmetric matrix are exact."""
        return self

    def approximate(self) -> np.ndarray:
        """The floats nearest to a."""
        flat = [int(v) / (1 << self.power) for v in self.values.ravel()]
        return np.array(flat, dtype=np.float64).reshape(self.values.shape)

    def is_zero(self) -> bool:
        """Whether every entry is exactly 0."""
        return not any(self.values.ravel())

    def fractions(self) -> list[Fraction]:
        """The entries in row-major order."""
        return [Fraction(int(v), 1 << self.power) for v in self.values.ravel()]

    def integers(self) -> ScaledIntegers:
        """For the decision of dominance in `_check_exact`."""
        return ScaledIntegers(self.values, self.power)
