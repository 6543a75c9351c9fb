"""Symmetric matrices as vectors: the three orders that solvers use, and LMIs in them.

A symmetric F of order n has n(n+1)/2 free entries. The orders stack one triangle by columns:

    LOWER    lower triangle, off-diagonal entries times sqrt(2)   SCS
    UPPER    upper triangle, off-diagonal entries times sqrt(2)   Clarabel
    TRIPLETS lower triangle, entries as they are                  MOSEK, SDPA, CBF

With the factor sqrt(2), svec(A)'svec(B) = <A, B>. A wrong order shows up as NaN or as a
false "infeasible" and never as an error, hence one place for all of it.
"""

import enum

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._sdp import LMI

__all__ = ["SvecOrder", "smat", "svec", "svec_index", "svec_pairs", "svec_size", "to_svec"]

_CHUNK = 1 << 22  # outer-product entries expanded at a time, about 200 MB of temporaries


class SvecOrder(enum.Enum):
    """Which triangle is stacked by columns, and what off-diagonal entries are multiplied by."""

    LOWER = ("lower", float(np.sqrt(2.0)))
    UPPER = ("upper", float(np.sqrt(2.0)))
    TRIPLETS = ("lower", 1.0)

    @property
    def triangle(self) -> str:
        """ "lower" or "upper"."""
        return self.value[0]

    @property
    def scale(self) -> float:
        """The factor on off-diagonal entries."""
        return self.value[1]


def svec_size(n: int) -> int:
    """n(n+1)/2."""
    return n * (n + 1) // 2


def svec_index(i: np.ndarray, j: np.ndarray, n: int, order: SvecOrder) -> np.ndarray:
    """Positions of the entries (i, j), in either triangle, in the svec of a matrix of order n."""
    i, j = np.asarray(i, dtype=np.int64), np.asarray(j, dtype=np.int64)
    low, high = np.minimum(i, j), np.maximum(i, j)
    if order.triangle == "upper":
        return high * (high + 1) // 2 + low
    return low * n - low * (low - 1) // 2 + (high - low)


def svec_pairs(n: int, order: SvecOrder) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each position, both (n(n+1)/2,); the inverse of `svec_index`."""
    first, second = np.triu_indices(n)  # row-major upper = column-major lower, transposed
    if order.triangle == "lower":
        return second, first
    columns, rows = np.tril_indices(n)
    return rows, columns


def svec(matrix: np.ndarray, order: SvecOrder) -> np.ndarray:
    """The svec (n(n+1)/2,) of a symmetric matrix (n, n); only the order's triangle is read."""
    rows, columns = svec_pairs(matrix.shape[0], order)
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, order.scale))


def smat(vector: np.ndarray, order: SvecOrder) -> np.ndarray:
    """The symmetric matrix (n, n) whose svec is `vector` (n(n+1)/2,)."""
    n = int((np.sqrt(8.0 * vector.size + 1) - 1) / 2 + 0.5)
    if svec_size(n) != vector.size:
        raise InputError(f"the svec has length {vector.size}; expected n(n+1)/2 for an integer n.")
    rows, columns = svec_pairs(n, order)
    entries = vector / np.where(rows == columns, 1.0, order.scale)
    matrix = np.zeros((n, n))
    matrix[rows, columns] = entries
    matrix[columns, rows] = entries
    return matrix


def to_svec(lmi: LMI, order: SvecOrder) -> tuple[np.ndarray, sp.csc_array]:
    """svec(F0), shape (n(n+1)/2,), and F, (n(n+1)/2, m), with svec(F(y)) = svec(F0) + F y.

    Time and memory are linear in n^2 and in the nonzeros of the outer products P_t Q_t'.
    """
    n = lmi.size
    F0 = np.zeros(svec_size(n))
    entries = lmi.F0.tocoo()
    keep = entries.row >= entries.col
    i, j = entries.row[keep], entries.col[keep]
    F0[svec_index(i, j, n, order)] = entries.data[keep] * np.where(i == j, 1.0, order.scale)
    F = _entry_rows(lmi, order) if lmi.has_entries else sp.csc_array(_terms(lmi, order) @ lmi.E)
    F.eliminate_zeros()
    F.sort_indices()
    return F0, F


def _entry_rows(lmi: LMI, order: SvecOrder) -> sp.csc_array:
    """F for an LMI whose terms are entries: the rows of E in their places."""
    i, j = lmi.P.indices, lmi.Q.indices
    weight = lmi.P.data * lmi.Q.data * np.where(i == j, 1.0, 0.5 * order.scale)
    row, E = svec_index(i, j, lmi.size, order), lmi.E
    F = sp.csc_array(
        (E.data * weight[E.indices], row[E.indices], E.indptr.copy()), shape=(svec_size(lmi.size), E.shape[1])
    )
    F.sum_duplicates()
    return F


def _terms(lmi: LMI, order: SvecOrder) -> sp.csc_array:
    """The matrix (n(n+1)/2, r) whose columns are svec(sym(P_t Q_t'))."""
    counts = np.diff(lmi.P.indptr).astype(np.int64) * np.diff(lmi.Q.indptr)
    total = np.concatenate([[0], np.cumsum(counts)])
    parts = []
    start = 0
    while start < counts.size:
        end = int(np.searchsorted(total, total[start] + _CHUNK, side="right")) - 1
        end = max(end, start + 1)
        parts.append(_expand(lmi, np.arange(start, end), counts[start:end], order))
        start = end
    if not parts:
        return sp.csc_array((svec_size(lmi.size), 0))
    return sp.csc_array(sp.hstack(parts, format="csc"))


def _expand(lmi: LMI, terms: np.ndarray, counts: np.ndarray, order: SvecOrder) -> sp.csc_array:
    column = np.repeat(np.arange(terms.size), counts)
    offset = np.arange(column.size) - np.repeat(np.cumsum(counts) - counts, counts)
    width = np.diff(lmi.Q.indptr)[terms][column]
    in_p = lmi.P.indptr[terms][column] + offset // width
    in_q = lmi.Q.indptr[terms][column] + offset % width
    i, j = lmi.P.indices[in_p], lmi.Q.indices[in_q]
    # sym(p q')_ij = (p_i q_j + p_j q_i) / 2: off the diagonal each product gives half an entry
    values = lmi.P.data[in_p] * lmi.Q.data[in_q] * np.where(i == j, 1.0, 0.5 * order.scale)
    rows = svec_index(i, j, lmi.size, order)
    shape = (svec_size(lmi.size), terms.size)
    return sp.csc_array(sp.coo_array((values, (rows, column)), shape=shape))
