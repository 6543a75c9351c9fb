"""Exact matrices for the checker: integers over one power of two, and what elimination does with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["IntegerOperations", "ScaledIntegers", "common", "exact", "matmul", "total"]


class ScaledIntegers:
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


def common(integers: np.ndarray, exponents: np.ndarray) -> ScaledIntegers:
    """Entries m 2**e over one power of two."""
    nonzero = integers != 0
    power = max(0, int(-(exponents[nonzero].min(initial=0))))
    shifts = np.where(nonzero, exponents + power, 0).astype(object)
    return ScaledIntegers(np.left_shift(integers, shifts), power)


def total(a: ScaledIntegers, b: ScaledIntegers) -> ScaledIntegers:
    """a + b."""
    power = max(a.power, b.power)
    return ScaledIntegers(a.at(power) + b.at(power), power)


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

    def of(self, values: np.ndarray) -> ScaledIntegers:
        return common(*exact(values))

    def take(self, a: ScaledIntegers, rows: np.ndarray) -> ScaledIntegers:
        return ScaledIntegers(a.values[rows], a.power)

    def transposed(self, a: ScaledIntegers) -> ScaledIntegers:
        return ScaledIntegers(a.values.T, a.power)

    def product(self, w: np.ndarray, a: ScaledIntegers) -> ScaledIntegers:
        """W A."""
        left = self.of(w)
        return ScaledIntegers(matmul(left.values, a.values), left.power + a.power)

    def by_rows(self, factors: Sequence[np.ndarray], a: ScaledIntegers) -> ScaledIntegers:
        """diag(product of the factors) A."""
        for factor in factors:
            f = self.of(factor)
            a = ScaledIntegers(f.values[:, None] * a.values, f.power + a.power)
        return a

    def coupling(
        self, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, a: ScaledIntegers
    ) -> ScaledIntegers:
        """-diag((alpha + beta) t) A."""
        s, x = total(self.of(alpha), self.of(beta)), self.of(t)
        row = -(s.values * x.values)
        return ScaledIntegers(row[:, None] * a.values, s.power + x.power + a.power)

    def quadratic(
        self, a: ScaledIntegers, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, b: ScaledIntegers
    ) -> ScaledIntegers:
        """2 A' diag(alpha beta t) B."""
        scaled = self.by_rows([alpha, beta, t], b)
        return ScaledIntegers(2 * matmul(a.values.T, scaled.values), a.power + scaled.power)

    def block(self, shape: tuple[int, int], pieces: Sequence[tuple[int, int, Any]]) -> ScaledIntegers:
        """The sum of matrices placed at (row, column) in a zero matrix."""
        power = max((m.power for _, _, m in pieces), default=0)
        values = np.zeros(shape, dtype=object)
        for i, j, m in pieces:
            values[i : i + m.values.shape[0], j : j + m.values.shape[1]] += m.at(power)
        return ScaledIntegers(values, power)

    def plus_diagonal(self, a: ScaledIntegers, diagonal: np.ndarray) -> ScaledIntegers:
        extra = self.of(diagonal)
        power = max(a.power, extra.power)
        values = a.at(power).copy()
        index = np.arange(diagonal.size)
        values[index, index] += extra.at(power)
        return ScaledIntegers(values, power)
