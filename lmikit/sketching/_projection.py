"""Drawn sketches: the n x m matrix S, dense, sparse or as a fast transform."""

import abc
import functools
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._arrays import ArrayModule
from ._operators import AbstractOperator, DenseOperator
from ._transforms import dct_rows, hadamard_rows, power_of_two_at_least

__all__ = ["AbstractProjection", "DenseProjection", "SparseProjection", "TransformProjection"]

_ROWS_AT_ONCE = 1 << 22  # entries of a row block that a fast transform may hold


class AbstractProjection(abc.ABC):
    """S of shape (n, m), drawn; `matvecs` counts the products with a layer that drawing it took."""

    def __init__(self, shape: tuple[int, int], am: ArrayModule, dtype: Any, matvecs: int = 0) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.am, self.dtype, self.matvecs = am, np.dtype(dtype), matvecs

    @property
    @abc.abstractmethod
    def matrix(self) -> Any:
        """S as a dense array (n, m)."""

    def after(self, operator: AbstractOperator) -> Any:
        """W S, shape (out, m)."""
        return operator.matmat(self.matrix.astype(operator.dtype, copy=False))


class DenseProjection(AbstractProjection):
    """S held as a dense array."""

    def __init__(self, matrix: Any, am: ArrayModule, matvecs: int = 0) -> None:
        super().__init__(matrix.shape, am, matrix.dtype, matvecs)
        self._matrix = matrix

    @property
    def matrix(self) -> Any:
        return self._matrix


class SparseProjection(AbstractProjection):
    """S held in compressed rows on the host; other devices multiply by its dense form."""

    def __init__(self, matrix: sp.csr_array, am: ArrayModule) -> None:
        super().__init__(matrix.shape, am, matrix.dtype)
        self.sparse = matrix

    @functools.cached_property
    def matrix(self) -> Any:
        return self.am.asarray(self.sparse.toarray(), dtype=self.dtype)

    def after(self, operator: AbstractOperator) -> Any:
        if isinstance(operator, DenseOperator) and self.am.xp is np:
            return np.asarray(operator.matrix @ self.sparse.astype(operator.dtype, copy=False))
        return super().after(operator)


class TransformProjection(AbstractProjection):
    """S = scale * D F[:n, columns] D': random signs D and D', a Hadamard or cosine transform F.

    D' keeps the columns of a cut Hadamard matrix, which are not orthogonal, uncorrelated.
    """

    def __init__(
        self,
        kind: str,
        signs: np.ndarray,
        columns: np.ndarray,
        flips: np.ndarray,
        am: ArrayModule,
        dtype: Any,
    ) -> None:
        super().__init__((signs.size, columns.size), am, dtype)
        self._flips = am.asarray(flips, dtype=dtype)
        self._kind = kind
        self._signs = am.asarray(signs, dtype=dtype)
        self._columns = am.asarray(columns, dtype=np.int64)

    def _rows_times(self, rows: Any) -> Any:
        """rows @ S for rows (r, n) by the fast transform."""
        xp, n = self.am.xp, self.shape[0]
        rows = rows * self._signs.astype(rows.dtype, copy=False)
        if self._kind == "cosine":
            return dct_rows(xp, rows)[:, self._columns] * self._flips.astype(rows.dtype, copy=False)
        padded = xp.zeros((rows.shape[0], power_of_two_at_least(n)), dtype=rows.dtype)
        padded[:, :n] = rows
        scale = self._flips.astype(rows.dtype, copy=False) / rows.dtype.type(np.sqrt(n))
        return hadamard_rows(padded)[:, self._columns] * scale

    @functools.cached_property
    def matrix(self) -> Any:
        n, m = self.shape
        step = max(1, _ROWS_AT_ONCE // power_of_two_at_least(n))
        result = self.am.xp.empty((n, m), dtype=self.dtype)
        for start in range(0, n, step):
            stop = min(start + step, n)
            block = self.am.xp.zeros((stop - start, n), dtype=self.dtype)
            block[self.am.xp.arange(stop - start), self.am.xp.arange(start, stop)] = 1
            result[start:stop] = self._rows_times(block)
        return result

    def after(self, operator: AbstractOperator) -> Any:
        # 2 m flops per entry by gemm against a handful of passes over memory by the transform.
        n, m = self.shape
        if not isinstance(operator, DenseOperator) or m < 32 * np.log2(power_of_two_at_least(n)):
            return super().after(operator)
        return self.transform(operator.matrix)

    def transform(self, matrix: Any) -> Any:
        """matrix @ S in O(out n log n), row block by row block."""
        out, n = matrix.shape
        step = max(1, _ROWS_AT_ONCE // power_of_two_at_least(n))
        result = self.am.xp.empty((out, self.shape[1]), dtype=matrix.dtype)
        for start in range(0, out, step):
            result[start : start + step] = self._rows_times(matrix[start : start + step])
        return result
