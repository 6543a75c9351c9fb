"""The two arithmetics in which every claim of this room is decided: floats with radii, and integers.

A claim writes its matrices once, in operations that both offer. What is decided is exact in the
integers, and holds for every matrix within the radii in floats.
"""

import abc
from collections.abc import Sequence
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np

from ..graph._exact_matrix import ExactMatrix
from ..sdp._enclosure import SAFE, gamma, is_psd
from ..sdp._exact_linear import psd_exactly
from ._balls import BallMatrix

__all__ = ["AbstractArithmetic", "Floats", "Integers", "Matrix"]

Matrix = TypeVar("Matrix", BallMatrix, ExactMatrix)

_UNDERFLOW = 2.0**-1070  # of a product, times what the factors after it may multiply it by
_SHRINK = 2**44  # a matrix that stays PSD less a share 2**-44 of its diagonal is positive definite


class AbstractArithmetic(abc.ABC, Generic[Matrix]):
    """Exact data in, matrices, decisions out."""

    @abc.abstractmethod
    def of(self, floats: np.ndarray) -> Matrix:
        """The matrix (r, c) that holds exactly these floats."""

    @abc.abstractmethod
    def block(self, rows: Sequence[Sequence[Matrix]]) -> Matrix:
        """A matrix from its blocks."""

    @abc.abstractmethod
    def diagonal(self, terms: Sequence[Sequence[np.ndarray]], size: int) -> Matrix:
        """The diagonal matrix of the sum over `terms` of the product of their float vectors (size,)."""

    @abc.abstractmethod
    def definite(self, matrix: Matrix, strict: bool = True) -> bool:
        """Whether (F + F')/2 is proven positive definite, or semidefinite where not `strict`."""

    @abc.abstractmethod
    def magnitudes(self, matrix: Matrix) -> np.ndarray:
        """Floats at or above |F|, entry by entry."""

    @abc.abstractmethod
    def middle(self, matrix: Matrix) -> np.ndarray:
        """Floats near F; they prove nothing."""

    def zeros(self, rows: int, columns: int) -> Matrix:
        return self.of(np.zeros((rows, columns)))

    def number(self, value: float) -> Matrix:
        """A float as a (1, 1) matrix."""
        return self.of(np.array([[value]]))

    def scaled(self, value: float, matrix: Matrix) -> Matrix:
        """value F for an exact float."""
        return self.of(value * np.eye(matrix.shape[0])) @ matrix

    def times(self, factor: Matrix, matrix: Matrix) -> Matrix:
        """f F for a (1, 1) matrix f."""
        n, zero = matrix.shape[0], self.zeros(1, 1)
        if n == 0:
            return matrix
        return self.block([[factor if i == j else zero for j in range(n)] for i in range(n)]) @ matrix

    def trace(self, matrix: Matrix) -> Matrix:
        """A (1, 1) matrix."""
        total, eye = self.zeros(1, 1), np.eye(matrix.shape[0])
        for i in range(matrix.shape[0]):
            e = self.of(eye[:, [i]])
            total = total + e.T @ matrix @ e
        return total

    def solution_radius(self, matrix: Matrix, right: Matrix, near: np.ndarray) -> np.ndarray:
        """Radii (k, 1) around `near` in which the solution of F x = right lies; F proven regular, or inf.

        With R any matrix and a = ||I - R F||_inf < 1, |x - near| <= |R r| + a/(1 - a) max |R r|, r the
        residual (Rump, Acta Numerica 2010, section 10).
        """
        if near.shape[0] == 0:
            return np.zeros_like(near)
        broken = np.full_like(near, np.inf)
        try:
            R = np.linalg.inv(self.middle(matrix))
        except np.linalg.LinAlgError:
            return broken
        if not np.isfinite(R).all():
            return broken
        defect = self.magnitudes(self.of(np.eye(R.shape[0])) - self.of(R) @ matrix)
        alpha = float(defect.sum(axis=1).max()) * SAFE
        q = self.magnitudes(self.of(R) @ (right - matrix @ self.of(near)))
        if not (alpha < 1.0 and np.isfinite(q).all()):
            return broken
        return np.asarray((q + alpha / (1.0 - alpha) * q.max()) * SAFE)


class Floats(AbstractArithmetic[BallMatrix]):
    """Binary64 with a radius for every rounding; positive definite by verified Cholesky."""

    def of(self, floats: np.ndarray) -> BallMatrix:
        return BallMatrix.of(floats)

    def block(self, rows: Sequence[Sequence[BallMatrix]]) -> BallMatrix:
        return BallMatrix(
            np.block([[b.mid for b in row] for row in rows]), np.block([[b.rad for b in row] for row in rows])
        )

    def diagonal(self, terms: Sequence[Sequence[np.ndarray]], size: int) -> BallMatrix:
        mid, total, tiny = np.zeros((3, size))
        for term in terms:
            value, room = np.ones((2, size))
            for factor in term:
                value, room = value * factor, room * (1.0 + np.abs(factor))
            mid, total, tiny = mid + value, total + np.abs(value), tiny + room * _UNDERFLOW
        depth = len(terms) + max((len(t) for t in terms), default=0)
        return BallMatrix(np.diag(mid), np.diag((gamma(depth) * total + tiny) * SAFE))

    def definite(self, matrix: BallMatrix, strict: bool = True) -> bool:
        both = matrix + matrix.T  # a sum of floats is symmetric bit for bit; the factor 2 changes nothing
        semidefinite, definite = is_psd(both.mid, both.rad)
        return definite if strict else semidefinite

    def magnitudes(self, matrix: BallMatrix) -> np.ndarray:
        return np.asarray((np.abs(matrix.mid) + matrix.rad) * SAFE)

    def middle(self, matrix: BallMatrix) -> np.ndarray:
        return matrix.mid


class Integers(AbstractArithmetic[ExactMatrix]):
    """Integers over powers of two: nothing is rounded."""

    def of(self, floats: np.ndarray) -> ExactMatrix:
        return ExactMatrix.of(np.asarray(floats, dtype=np.float64))

    def block(self, rows: Sequence[Sequence[ExactMatrix]]) -> ExactMatrix:
        power = max(b.power for row in rows for b in row)
        return ExactMatrix(np.block([[b.at(power) for b in row] for row in rows]), power)

    def diagonal(self, terms: Sequence[Sequence[np.ndarray]], size: int) -> ExactMatrix:
        total = ExactMatrix.zeros(size, 1)
        for term in terms:
            value = ExactMatrix(np.ones((size, 1), dtype=object), 0)
            for factor in term:
                other = ExactMatrix.of(factor[:, None])
                value = ExactMatrix(value.values * other.values, value.power + other.power)
            total = total + value
        full = np.zeros((size, size), dtype=object)
        full[np.arange(size), np.arange(size)] = total.values[:, 0]
        return ExactMatrix(full, total.power)

    def definite(self, matrix: ExactMatrix, strict: bool = True) -> bool:
        both = matrix + matrix.T
        values, power, n = both.values, both.power, matrix.shape[0]
        if strict:
            diagonal = [int(v) for v in np.diagonal(values)]
            if min(diagonal, default=1) <= 0:
                return False
            values, power = values * _SHRINK, power + 44
            index = np.arange(n)
            values[index, index] -= np.array(diagonal, dtype=object)
        return psd_exactly(values, power, [Fraction(0)] * n)

    def magnitudes(self, matrix: ExactMatrix) -> np.ndarray:
        up = np.nextafter(np.abs(matrix.floats()), np.inf)
        return np.asarray(np.where(matrix.nonzero(), up, 0.0))

    def middle(self, matrix: ExactMatrix) -> np.ndarray:
        return matrix.floats()
