"""Matrices of integers over one power of two: every float is one, and so are their sums and products."""

from fractions import Fraction

import numpy as np

__all__ = ["ExactMatrix"]


class ExactMatrix:
    """values * 2**-power, an object array of integers, two-dimensional; every operation is exact."""

    def __init__(self, values: np.ndarray, power: int) -> None:
        self.values, self.power = values, power

    @classmethod
    def of(cls, floats: np.ndarray) -> "ExactMatrix":
        """Exactly these floats; raises OverflowError for NaN and infinity."""
        if not np.isfinite(floats).all():
            raise OverflowError("a number is not finite")
        mantissa, exponent = np.frexp(floats)
        integers = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
        shifts = exponent.astype(np.int64) - 53
        nonzero = integers != 0
        power = max(0, -int(shifts[nonzero].min(initial=0)))
        return cls(np.left_shift(integers, np.where(nonzero, shifts + power, 0).astype(object)), power)

    @classmethod
    def zeros(cls, rows: int, columns: int) -> "ExactMatrix":
        return cls(np.zeros((rows, columns), dtype=object), 0)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.values.shape[0]), int(self.values.shape[1])

    @property
    def T(self) -> "ExactMatrix":
        return ExactMatrix(self.values.T, self.power)

    def at(self, power: int) -> np.ndarray:
        """The integers over 2**-power, power at least the own one."""
        return self.values * (1 << (power - self.power)) if power > self.power else self.values

    def __add__(self, other: "ExactMatrix") -> "ExactMatrix":
        power = max(self.power, other.power)
        return ExactMatrix(self.at(power) + other.at(power), power)

    def __neg__(self) -> "ExactMatrix":
        return ExactMatrix(-self.values, self.power)

    def __sub__(self, other: "ExactMatrix") -> "ExactMatrix":
        return self + -other

    def __matmul__(self, other: "ExactMatrix") -> "ExactMatrix":
        return ExactMatrix(_product(self.values, other.values), self.power + other.power)

    def half(self) -> "ExactMatrix":
        return ExactMatrix(self.values, self.power + 1)

    def part(self, rows: np.ndarray, columns: np.ndarray) -> "ExactMatrix":
        """The submatrix with these indices."""
        return ExactMatrix(self.values[np.ix_(rows, columns)], self.power)

    def nonzero(self) -> np.ndarray:
        """Where the entries are not zero."""
        return np.asarray(self.values != 0, dtype=bool)

    def shifted(self, rows: np.ndarray, columns: np.ndarray) -> "ExactMatrix":
        """2**rows_i a_ij 2**columns_j."""
        shifts = rows[:, None] + columns
        lift = max(0, -int(shifts.min(initial=0)))
        return ExactMatrix(np.left_shift(self.values, (shifts + lift).astype(object)), self.power + lift)

    def floats(self) -> np.ndarray:
        """The floats nearest to the entries; raises OverflowError beyond their range."""
        flat = [int(v) / (1 << self.power) for v in self.values.ravel()]
        return np.array(flat, dtype=np.float64).reshape(self.values.shape)

    def least(self) -> Fraction:
        """The smallest entry."""
        return Fraction(min(int(v) for v in self.values.ravel()), 1 << self.power)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By python-flint where it is installed, else by Python's integers."""
    shape = a.shape[0], b.shape[1]
    if 0 in a.shape or 0 in shape:
        return np.zeros(shape, dtype=object)
    try:
        import flint
    except ImportError:
        return np.dot(a, b)
    product = flint.fmpz_mat(a.tolist()) * flint.fmpz_mat(b.tolist())
    return np.array([[int(v) for v in row] for row in product.tolist()], dtype=object).reshape(shape)
