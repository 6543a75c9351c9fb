"""Between an `LMI` and the entries of its upper triangle, variable by variable.

Upper entries are `Triplets` with row <= column, canonical (no duplicates, sorted), that hold F_ij;
the entry (i, j) above the diagonal is the rank-one term e_i e_j' with the weight 2 F_ij, exactly.
"""

import numpy as np
import scipy.sparse as sp

from ._sdp import LMI
from ._triplets import CONSTANT, Columns, Triplets, sorted_runs

__all__ = ["entry_terms", "lmi_from_entries", "symmetric_part", "upper_entries"]

_FEW = 5000  # records up to which SciPy's checks cost more than a sort


def symmetric_part(entries: Triplets) -> tuple[Triplets, np.ndarray]:
    """Upper entries of (M + M')/2, zeros included, and M_ij - M_ji for each of them."""
    if entries.shape[0] ** 2 <= 4 * entries.val.size:
        return _symmetric_part_dense(entries)
    low, high = np.minimum(entries.row, entries.col), np.maximum(entries.row, entries.col)
    order, starts = sorted_runs(low, high, entries.var)
    if not starts.size:
        return Triplets.concatenate(entries.shape, []), np.zeros(0)
    side = np.sign(entries.col - entries.row)
    total = np.add.reduceat(entries.val[order], starts)
    skew = np.add.reduceat((entries.val * side)[order], starts)
    first = order[starts]
    row, col = low[first], high[first]
    total[row != col] *= 0.5
    return Triplets(entries.shape, row, col, entries.var[first], total), skew


def _symmetric_part_dense(entries: Triplets) -> tuple[Triplets, np.ndarray]:
    """The same where most entries occur: bucket sorts instead of one comparison sort."""
    n = entries.shape[0]
    shape = (n * n, int(entries.var.max(initial=CONSTANT)) + 2)

    def triangle(keep: np.ndarray, row: np.ndarray, col: np.ndarray) -> sp.csr_array:
        flat = row[keep].astype(np.int64) * n + col[keep]
        result = sp.csr_array((entries.val[keep], (flat, entries.var[keep] + 1)), shape=shape)
        result.sum_duplicates()
        return result

    upper = triangle(entries.row <= entries.col, entries.row, entries.col)
    lower = triangle(entries.row >= entries.col, entries.col, entries.row)
    if not (np.array_equal(upper.indptr, lower.indptr) and np.array_equal(upper.indices, lower.indices)):
        pattern = abs(upper) + abs(lower)
        pattern.data[:] = 0.0
        upper, lower = _on_pattern(upper, pattern), _on_pattern(lower, pattern)
    row, col = np.divmod(np.repeat(np.arange(n * n, dtype=np.int32), np.diff(upper.indptr)), np.int32(n))
    total = (upper.data + lower.data) / 2
    return Triplets(entries.shape, row, col, upper.indices - 1, total), upper.data - lower.data


def _on_pattern(matrix: sp.csr_array, pattern: sp.csr_array) -> sp.csr_array:
    """The matrix with explicit zeros wherever the pattern has an entry."""
    width = matrix.shape[1]
    keys = [
        np.repeat(np.arange(a.shape[0], dtype=np.int64), np.diff(a.indptr)) * width + a.indices
        for a in (matrix, pattern)
    ]
    result = pattern.copy()
    result.data[np.searchsorted(keys[1], keys[0])] = matrix.data
    return result


def lmi_from_entries(
    upper: Triplets, variables: int, name: str = "", partition: tuple[int, ...] | None = None
) -> LMI:
    """The block with these upper entries, one rank-one term per entry of the pattern."""
    F0, P, Q, E = entry_terms(upper, variables)
    return LMI(F0, P, Q, E, name=name, partition=partition)


def entry_terms(upper: Triplets, variables: int) -> tuple[sp.csc_array, ...]:
    """F0, P, Q, E of these upper entries, one rank-one term per entry of the pattern."""
    keep = upper.val != 0
    row, col, var, val = (a[keep] for a in (upper.row, upper.col, upper.var, upper.val))
    fixed = var == CONSTANT
    i, j, constant = row[fixed], col[fixed], val[fixed]
    off = i != j
    F0 = _by_columns(
        np.r_[i, j[off]], np.r_[j, i[off]], np.concatenate([constant, constant[off]]), upper.shape
    )
    row, col, var, val = (a[~fixed] for a in (row, col, var, val))
    new = np.r_[True, (np.diff(row) != 0) | (np.diff(col) != 0)][: row.size]
    index, starts = np.cumsum(new) - 1, np.flatnonzero(new)
    r, n = starts.size, upper.shape[0]
    counts = np.arange(r + 1, dtype=np.int32)
    P, Q = (
        sp.csc_array((np.ones(r), side[starts].astype(np.int32), counts), shape=(n, r)) for side in (row, col)
    )
    weight = np.where(row == col, val, 2.0 * val)
    return F0, P, Q, _by_columns(index, var, weight, (r, variables))


def _by_columns(row: np.ndarray, col: np.ndarray, val: np.ndarray, shape: tuple[int, int]) -> sp.csc_array:
    """The matrix of records without duplicates; cheaper than SciPy's way for small ones."""
    if val.size > _FEW:
        return sp.csc_array((val, (row, col)), shape=shape)
    order = np.lexsort((row, col))
    indptr = np.zeros(shape[1] + 1, dtype=np.int32)
    np.cumsum(np.bincount(col, minlength=shape[1]), out=indptr[1:])
    return sp.csc_array((val[order], row[order].astype(np.int32), indptr), shape=shape)


def upper_entries(lmi: LMI) -> Triplets:
    """The upper entries of a block, its constant part included."""
    coo = lmi.E.tocoo()
    zero = np.zeros(coo.nnz, dtype=np.int32)
    x = Triplets((lmi.E.shape[0], 1), coo.row, zero, coo.col, coo.data)
    n = lmi.size
    terms = x.as_diagonal().left(Columns.of(lmi.P)).transpose().left(Columns.of(lmi.Q))
    parts = [terms, Triplets.constant(lmi.F0)]
    return symmetric_part(Triplets.concatenate((n, n), parts))[0].canonical()
