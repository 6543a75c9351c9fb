"""`Triplets`: an affine matrix-valued function of y as sparse (row, column, variable, coefficient) records.

    M(y)[i, j] = sum of coefficient * y[variable] over the records at (i, j); variable -1 is the constant 1.
    Variables below -1 are monomials with parameters (`_parameters`). Coefficients may be complex.

Every operation is a few vectorised passes over the records. Duplicates are legal and add up.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = ["CONSTANT", "Columns", "Triplets", "sorted_runs"]

CONSTANT = -1


class Columns(NamedTuple):
    """A constant sparse matrix by columns, without the checks that make scipy's slow to create."""

    shape: tuple[int, int]
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray

    @classmethod
    def of(cls, matrix: sp.csc_array) -> "Columns":
        """The arrays of a scipy matrix, shared."""
        return cls(matrix.shape, matrix.indptr, matrix.indices, matrix.data)

    @classmethod
    def identity(cls, n: int) -> "Columns":
        """The unit matrix."""
        index = np.arange(n + 1, dtype=np.int32)
        return cls((n, n), index, index[:n], np.ones(n))

    @property
    def is_identity(self) -> bool:
        """Whether this is the unit matrix."""
        n = self.shape[0]
        return (
            self.shape == (n, n)
            and self.data.size == n
            and bool((self.data == 1.0).all() and (self.indices == np.arange(n)).all())
            and bool((self.indptr == np.arange(n + 1)).all())
        )

    def left(self, factor: sp.csc_array) -> "Columns":
        """factor @ self."""
        return Columns.of(factor if self.is_identity else sp.csc_array(factor @ self.scipy()))

    def scipy(self) -> sp.csc_array:
        """The same matrix for scipy."""
        return sp.csc_array((self.data, self.indices, self.indptr), shape=self.shape)

    def embed(self, rows: int, offset: int) -> "Columns":
        """Zero rows above and below, `rows` in all."""
        return self._replace(shape=(rows, self.shape[1]), indices=self.indices + np.int32(offset))

    def expand(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each k, the nonzeros of column which[k]: (k repeated, row, value)."""
        counts = np.diff(self.indptr)[which]
        ends = np.cumsum(counts)
        source = np.repeat(np.arange(which.size, dtype=np.int32), counts)
        position = (self.indptr[which] - (ends - counts))[source] + np.arange(source.size)
        return source, self.indices[position], self.data[position]

    def select(self, keep: np.ndarray) -> "Columns":
        """The columns where keep is true."""
        which = np.flatnonzero(keep)
        _, indices, data = self.expand(which)
        indptr = np.r_[0, np.cumsum(np.diff(self.indptr)[which])]
        return Columns((self.shape[0], which.size), indptr, indices, data)


def sorted_runs(row: np.ndarray, col: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order by (row, column, variable), and where in it each run of equal records starts."""
    if not row.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lowest = int(var.min())
    width, depth = int(col.max()) + 1, int(var.max()) - lowest + 1
    if (int(row.max()) + 1) * width * depth < 2**62:
        key = (row.astype(np.int64) * width + col) * depth + (var - lowest)
        order = np.argsort(key, kind="stable")
        new = np.diff(key[order]) != 0
    else:
        order = np.lexsort((var, col, row))
        new = np.any([np.diff(a[order]) != 0 for a in (row, col, var)], axis=0)
    return order, np.flatnonzero(np.r_[True, new])


@dataclasses.dataclass(frozen=True, eq=False)
class Triplets:
    """Records of one affine matrix function of the given shape (rows, columns)."""

    shape: tuple[int, int]
    row: np.ndarray
    col: np.ndarray
    var: np.ndarray
    val: np.ndarray

    @classmethod
    def constant(cls, matrix: sp.csc_array) -> "Triplets":
        """The matrix as records on the constant 1."""
        col = np.repeat(np.arange(matrix.shape[1], dtype=np.int32), np.diff(matrix.indptr))
        var = np.full(matrix.data.size, CONSTANT, dtype=np.int32)
        return cls(matrix.shape, matrix.indices, col, var, matrix.data)

    @classmethod
    def concatenate(cls, shape: tuple[int, int], parts: list["Triplets"]) -> "Triplets":
        """The sum of parts of one shape."""
        if len(parts) == 1:
            return parts[0]
        empty = (np.zeros(0, np.int32),) * 3 + (np.zeros(0),)
        columns = (
            zip(*((p.row, p.col, p.var, p.val) for p in parts), strict=True)
            if parts
            else ((e,) for e in empty)
        )
        return cls(shape, *(np.concatenate(column) for column in columns))

    @property
    def is_constant(self) -> bool:
        """Whether no record names a variable."""
        return not (self.var != CONSTANT).any()

    @property
    def is_complex(self) -> bool:
        """Whether coefficients may have imaginary parts."""
        return self.val.dtype.kind == "c"

    def scale(self, factor: complex) -> "Triplets":
        """factor * M."""
        return dataclasses.replace(self, val=factor * self.val)

    def transpose(self) -> "Triplets":
        """M'."""
        return dataclasses.replace(self, shape=self.shape[::-1], row=self.col, col=self.row)

    def left(self, factor: Columns | sp.csc_array) -> "Triplets":
        """factor @ M."""
        if not self.val.size:
            return dataclasses.replace(self, shape=(factor.shape[0], self.shape[1]))
        factor = factor if isinstance(factor, Columns) else Columns.of(factor)
        source, row, value = factor.expand(self.row)
        shape = (factor.shape[0], self.shape[1])
        return Triplets(shape, row, self.col[source], self.var[source], value * self.val[source])

    def right(self, transposed: Columns | sp.csc_array) -> "Triplets":
        """M @ transposed'."""
        return self.transpose().left(transposed).transpose()

    def times_matrix(self, factor: sp.csc_array) -> "Triplets":
        """M * factor for a 1 x 1 M and a constant matrix."""
        n, r = self.val.size, factor.data.size
        col = np.repeat(np.arange(factor.shape[1], dtype=np.int32), np.diff(factor.indptr))
        return Triplets(
            factor.shape,
            np.tile(factor.indices, n),
            np.tile(col, n),
            np.repeat(self.var, r),
            np.repeat(self.val, r) * np.tile(factor.data, n),
        )

    def place(self, shape: tuple[int, int], row: int, col: int) -> "Triplets":
        """M as the block whose top left entry is (row, col) in a zero matrix of that shape."""
        return dataclasses.replace(self, shape=shape, row=self.row + row, col=self.col + col)

    def as_diagonal(self) -> "Triplets":
        """diag(M) for a column M."""
        n = self.shape[0]
        return dataclasses.replace(self, shape=(n, n), col=self.row)

    def select(self, rows: np.ndarray, cols: np.ndarray) -> "Triplets":
        """M[rows][:, cols]."""
        return self._select_rows(rows).transpose()._select_rows(cols).transpose()

    def _select_rows(self, rows: np.ndarray) -> "Triplets":
        n = self.shape[0]
        if rows.size == n and (rows == np.arange(n)).all():
            return self
        place = np.full(n, -1)
        place[rows] = np.arange(rows.size)
        if (place[rows] != np.arange(rows.size)).any():  # a row comes twice
            pick = sp.csc_array((np.ones(rows.size), (np.arange(rows.size), rows)), shape=(rows.size, n))
            return self.left(pick)
        row = place[self.row]
        keep = row >= 0
        return Triplets((rows.size, self.shape[1]), row[keep], self.col[keep], self.var[keep], self.val[keep])

    def canonical(self) -> "Triplets":
        """The same function with duplicates summed, zeros dropped, sorted by (row, column, variable)."""
        order, starts = sorted_runs(self.row, self.col, self.var)
        val = np.add.reduceat(self.val[order], starts) if starts.size else np.zeros(0)
        keep = val != 0
        first = order[starts][keep]
        return Triplets(self.shape, self.row[first], self.col[first], self.var[first], val[keep])

    def flat(self) -> np.ndarray:
        """The position of each record in the matrix, row by row."""
        return self.row.astype(np.int64) * self.shape[1] + self.col

    def as_column(self) -> "Triplets":
        """vec(M) as a column, stacking rows."""
        size = self.shape[0] * self.shape[1]
        return dataclasses.replace(self, shape=(size, 1), row=self.flat(), col=np.zeros_like(self.col))

    def linear_map(self, variables: int) -> tuple[sp.csc_array, np.ndarray]:
        """C (rows * columns, variables) and d with vec(M(y)) = C y + d, vec stacking rows."""
        flat = self.flat()
        size = self.shape[0] * self.shape[1]
        constant = self.var == CONSTANT
        live = ~constant
        assert not self.is_complex, "complex expressions are split into real ones before"
        C = sp.csc_array((self.val[live], (flat[live], self.var[live])), shape=(size, variables))
        d = np.zeros(size)  # bincount of nothing would be of integers
        d += np.bincount(flat[constant], self.val[constant], minlength=size)
        return C, d

    def with_columns(self, variables: int) -> "Triplets":
        """The same records with the monomial j named as variable `variables` + j."""
        if not (self.var < CONSTANT).any():
            return self
        return dataclasses.replace(
            self, var=np.where(self.var < CONSTANT, variables - 2 - self.var, self.var)
        )

    def evaluate(self, y: Any, monomials: np.ndarray | None = None) -> sp.csc_array:
        """M(y); the values of the monomials are needed where records name them."""
        tail = np.zeros(0) if monomials is None else monomials[::-1]
        if self.var.size and -1 - int(self.var.min()) > tail.size:
            raise IndexError("a record names a monomial whose value is not given")
        weights = np.concatenate([y, tail, [1.0]])[self.var]  # CONSTANT is the last entry, then monomials
        return sp.csc_array((self.val * weights, (self.row, self.col)), shape=self.shape)

    def product(self, other: "Triplets", codes: Any) -> "Triplets":
        """M @ other, with `codes` for the products of variables."""
        order = np.argsort(self.col, kind="stable")
        indptr = np.searchsorted(self.col[order], np.arange(self.shape[1] + 1))
        mine = Columns((self.shape[0], self.shape[1]), indptr, order, order)
        source, left, _ = mine.expand(other.row)
        return Triplets(
            (self.shape[0], other.shape[1]),
            self.row[left],
            other.col[source],
            codes(self.var[left], other.var[source]),
            self.val[left] * other.val[source],
        )

    def times(self, other: "Triplets", codes: Any) -> "Triplets":
        """M * other for a 1 x 1 M, with `codes` for the products of variables."""
        n, r = self.val.size, other.val.size
        var = codes(np.repeat(self.var, r), np.tile(other.var, n))
        val = np.repeat(self.val, r) * np.tile(other.val, n)
        return Triplets(other.shape, np.tile(other.row, n), np.tile(other.col, n), var, val)
