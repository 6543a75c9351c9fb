"""Matrices with radii for the checker, by code of its own: generous constants, one class of operations.

Every constant below is at least twice what the standard model of rounding asks for; the factor 1 + 2**-30
covers that radii are sums of up to 2**20 rounded terms, and the additive terms cover underflow.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["BallOperations", "MatrixBall"]

_U = 2.0**-53
_GROWN = 1.0 + 2.0**-30
_TINY = 2.0**-1020


class MatrixBall:
    """Every matrix within `rad` of `mid`, entry by entry."""

    def __init__(self, mid: np.ndarray, rad: np.ndarray) -> None:
        self.mid, self.rad = mid, rad


class BallOperations:
    """What `_check_eliminated` needs, enclosing the exact results of `IntegerOperations`."""

    def of(self, values: np.ndarray) -> MatrixBall:
        return MatrixBall(np.array(values, dtype=float), np.zeros(values.shape))

    def take(self, a: MatrixBall, rows: np.ndarray) -> MatrixBall:
        return MatrixBall(a.mid[rows], a.rad[rows])

    def transposed(self, a: MatrixBall) -> MatrixBall:
        return MatrixBall(np.ascontiguousarray(a.mid.T), np.ascontiguousarray(a.rad.T))

    def product(self, w: np.ndarray, a: MatrixBall) -> MatrixBall:
        """W A."""
        n, size = float(w.shape[1]), np.abs(w)
        spread = a.rad + (2.0 * n + 8.0) * _U * np.abs(a.mid)
        tiny = _TINY * (n + 1.0) * (1.0 + size.max(initial=0.0))
        return MatrixBall(w @ a.mid, (size @ spread) * _GROWN + tiny)

    def by_rows(self, factors: Sequence[np.ndarray], a: MatrixBall) -> MatrixBall:
        """diag(product of the factors) A."""
        for factor in factors:
            mid = factor[:, None] * a.mid
            a = MatrixBall(mid, (np.abs(factor)[:, None] * a.rad + 2.0 * _U * np.abs(mid)) * _GROWN + _TINY)
        return a

    def coupling(self, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, a: MatrixBall) -> MatrixBall:
        """-diag((alpha + beta) t) A."""
        s = (alpha + beta) * t
        mid = -(s[:, None] * a.mid)
        passed = (np.abs(s) * _GROWN + _TINY)[:, None] * a.rad
        return MatrixBall(mid, passed * _GROWN + 8.0 * _U * np.abs(mid) + 2.0 * _TINY * (1.0 + np.abs(a.mid)))

    def quadratic(
        self, a: MatrixBall, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray, b: MatrixBall
    ) -> MatrixBall:
        """2 A' diag(alpha beta t) B."""
        q = 2.0 * t * (alpha * beta)
        m, size = float(q.size), np.abs(q)[:, None]
        far_a, far_b = np.abs(a.mid), np.abs(b.mid)
        span = (2.0 * m + 16.0) * _U * (far_a.T @ (size * far_b))
        span += far_a.T @ (size * b.rad) + a.rad.T @ (size * (far_b + b.rad))
        largest = 1.0 + max(float(x.max(initial=0.0)) for x in (far_a, far_b, a.rad, b.rad))
        tiny = 2.0**-1050 * (m + 1.0) * (1.0 + float(t.max(initial=0.0))) * (largest * largest)
        return MatrixBall(a.mid.T @ (q[:, None] * b.mid), span * _GROWN + tiny)

    def block(self, shape: tuple[int, int], pieces: Sequence[tuple[int, int, Any]]) -> MatrixBall:
        """The sum of matrices placed at (row, column) in a zero matrix."""
        mid, rad = np.zeros(shape), np.zeros(shape)
        for i, j, m in pieces:
            at = np.s_[i : i + m.mid.shape[0], j : j + m.mid.shape[1]]
            changed = mid[at] != 0.0
            mid[at] += m.mid
            rad[at] += m.rad
            rad[at] += np.where(changed, 2.0 * _U * np.abs(mid[at]), 0.0)
        return MatrixBall(mid, rad * _GROWN)

    def plus_diagonal(self, a: MatrixBall, diagonal: np.ndarray) -> MatrixBall:
        """A + diag(diagonal), symmetric: both triangles of A enclose the same entries."""
        mid, rad = 0.5 * (a.mid + a.mid.T), np.maximum(a.rad, a.rad.T)
        rad += 2.0 * np.abs(a.mid - a.mid.T) + 4.0 * _U * np.abs(mid) + _TINY
        index = np.arange(diagonal.size)
        mid[index, index] += diagonal
        rad[index, index] += 4.0 * _U * np.abs(mid[index, index])
        return MatrixBall(mid, rad * _GROWN)
