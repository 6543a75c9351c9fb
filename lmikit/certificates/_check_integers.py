"""Exact matrices for the checker: integers over one power of two, and what elimination does with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["IntegerOperations", "Integers", "common", "exact", "matmul", "total"]


class Integers:
    """values * 2**-power with integer values (an object array)."""

    def __init__(self, values: np.ndarray, power: int) -> None:
        self.values, self.power = values, power

    def at(self, power: int) -> np.ndarray:
        """The integers over 2**-power, power at least self.power."""
        return self.values * (1 << (power - self.power)) if power > self.power else self.values

    def to_float(self) -> np.ndarray:
        flat = [int(v) / (1 << self.power) for v in self.values.ravel()]  # rounded correctly
        return np.array(flat).reshape(self.values.shape)


def exact(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, e): values = m 2**e exactly, m integer objects, e int64."""
    mantissa, exponent = np.frexp(values)
    integers = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    return integers, exponent.astype(np.int64) - 53


def common(integers: np.ndarray, exponents: np.ndarray) -> Integers:
    """Entries m 2**e over one power of two."""
    nonzero = integers != 0
    power = max(0, int(-(exponents[nonzero].min(initial=0))))
    shifts = np.where(nonzero, exponents + power, 0).astype(object)
    return Integers(np.left_shift(integers, shifts), power)


def total(a: Integers, b: Integers) -> Integers:
    """a + b."""
    power = max(a.power, b.power)
    return Integers(a.at(power) + b.at(power), power)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Exact product of integer matrices: python-flint if it is installed, Python integers otherwise."""
    try:
        import flint
    except ImportError:
        return np.dot(a, b)
    product = flint.fmpz_mat(a.tolist()) * flint.fmpz_mat(b.tolist())
    return np.array([[int(v) for v in row] for row in product.tolist()], dtype=object).reshape(
        a.shape[0], b.shape[1]
    )


class IntegerOperations:
    """What `_check_eliminated` needs, without any rounding."""

    def of(self, values: np.ndarray) -> Integers:
        return common(*exact(values))

    def take(self, a: Integers, rows: np.ndarray) -> Integers:
        return Integers(a.values[rows], a.power)

    def transposed(self, a: Integers) -> Integers:
        return Integers(a.values.T, a.power)

    def product(self, w: np.ndarray, a: Integers) -> Integers:
        """W A."""
        left = self.of(w)
        return Integers(matmul(left.values, a.values), left.power + a.power)

    def by_rows(self, factors: Sequence[np.ndarray], a: Integers) -> Integers:
        """diag(product of the factors) A."""
        for factor in factors:
            f = self.of(factor)
            a = Integers(f.values[:, None] * a.values, f.power + a.power)
        return a

    def coupling(self, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, a: Integers) -> Integers:
        """-diag((alpha + beta) t) A."""
        s, x = total(self.of(alpha), self.of(beta)), self.of(t)
        row = -(s.values * x.values)
        return Integers(row[:, None] * a.values, s.power + x.power + a.power)

    def quadratic(
        self, a: Integers, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, b: Integers
    ) -> Integers:
        """2 A' diag(alpha beta t) B."""
        scaled = self.by_rows([alpha, beta, t], b)
        return Integers(2 * matmul(a.values.T, scaled.values), a.power + scaled.power)

    def block(self, shape: tuple[int, int], pieces: Sequence[tuple[int, int, Any]]) -> Integers:
        """The sum of matrices placed at (row, column) in a zero matrix."""
        power = max((m.power for _, _, m in pieces), default=0)
        values = np.zeros(shape, dtype=object)
        for i, j, m in pieces:
            values[i : i + m.values.shape[0], j : j + m.values.shape[1]] += m.at(power)
        return Integers(values, power)

    def plus_diagonal(self, a: Integers, diagonal: np.ndarray) -> Integers:
        extra = self.of(diagonal)
        power = max(a.power, extra.power)
        values = a.at(power).copy()
        index = np.arange(diagonal.size)
        values[index, index] += extra.at(power)
        return Integers(values, power)
