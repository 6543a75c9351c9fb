"""Norms of sparse maps without dense matrices: connected parts, levels of a breadth-first search, row sums.

||W|| <= g exactly if [[g I, W'], [W, g I]] is positive semidefinite. The bipartite graph of the nonzeros of W
falls into connected parts, whose norms have the largest as maximum; equal parts (windows of a pooling) are
proven once. In one part a breadth-first search orders rows and columns by levels between which entries run
from one to the next alone, so that the matrix is block tridiagonal and every entry of it a float (George,
Liu, Computer Solution of Large Sparse Positive Definite Systems, 1981, ch. 4).

Where the blocks are too large for that, Schur's test proves it: for p > 0 with (|W|'|W| p)_i <= g^2 p_i for
all i, ||W|| <= g (`_check_wide`); p is found again by whoever checks.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph
import scipy.sparse.linalg as spla

from ...network import perron_weights
from .._check_wide import wide_margin
from .._verified_cholesky import BlockTridiagonal, verified_cholesky
from ._exact_dominance import exact_norm_margin

__all__ = ["exact_sparse_margin", "sparse_norm_bound", "sparse_norm_is_below"]

_U = 2.0**-53
_ROOM = 1e-8  # relative, for checkers whose weights p come out slightly different
_HEADROOM = 6.0  # room for other checkers' margins
_INFLATIONS = (1e-12, 1e-9, 1e-7, 1e-5, 1e-3)  # beside what rounding needs
_MOST_FLOPS = 4e11  # of one factorisation
_MOST_ENTRIES = 2**27  # of all blocks together
_MOST_PARTS = 500  # that differ
_DENSE = 400  # rows and columns of a part whose norm is found by dense eigenvalues

Levels = list[tuple[np.ndarray, np.ndarray]]  # rows and columns of each level


def sparse_norm_is_below(matrix: sp.csr_array, gain: float, headroom: float = 1.0) -> bool:
    """Whether ||W||_2 <= gain is proven; `headroom` multiplies the rounding margin."""
    if not math.isfinite(gain):
        return False
    parts = _parts(matrix)
    if parts is not None and all(_proven(part, levels, gain, headroom) for part, levels in parts):
        return True
    return wide_margin(matrix, Fraction(gain) ** 2, False) >= 0.0


def sparse_norm_bound(matrix: sp.csr_array) -> float:
    """A float for which `sparse_norm_is_below` holds; infinity where none was found."""
    parts, gain = _parts(matrix), 0.0
    if parts is None:
        return _by_row_sums(matrix)
    for part, levels in parts:
        if gain == 0.0 or not _proven(part, levels, gain, _HEADROOM):
            estimate = _estimate(part)
            found = (estimate * (1.0 + e + _rounding(levels)) for e in _INFLATIONS)
            gain = next((g for g in found if _proven(part, levels, g, _HEADROOM)), math.inf)
    return gain if math.isfinite(gain) else _by_row_sums(matrix)


def exact_sparse_margin(matrix: sp.csr_array, gain: float) -> float:
    """The margin for ||W||_2 <= gain in exact arithmetic, nonnegative where proven: small parts, row sums."""
    parts = _parts(matrix)
    if parts is not None and all(max(part.shape) <= _DENSE for part, _ in parts):
        return min((exact_norm_margin(part.toarray(), gain) for part, _ in parts), default=0.0)
    return wide_margin(matrix, Fraction(gain) ** 2, True)


def _by_row_sums(matrix: sp.csr_array) -> float:
    _, square = perron_weights(abs(matrix))
    gain = math.sqrt(square) * (1.0 + _ROOM)
    return (
        gain if math.isfinite(gain) and wide_margin(matrix, Fraction(gain) ** 2, False) >= 0.0 else math.inf
    )


def _parts(matrix: sp.csr_array) -> list[tuple[sp.csr_array, Levels]] | None:
    """The connected parts that differ, with their levels; None where they are too many or too large."""
    matrix = sp.csr_array(matrix, copy=True)
    matrix.eliminate_zeros()
    both = sp.csr_array(sp.block_array([[None, matrix], [matrix.T, None]], format="csr"))
    count, labels = csgraph.connected_components(both, directed=False)
    m = matrix.shape[0]
    rows, columns = (np.argsort(part, kind="stable") for part in (labels[:m], labels[m:]))
    sorted_ = sp.csr_array(matrix[rows][:, columns])
    sorted_.sort_indices()
    row_ends, column_ends = (
        np.searchsorted(np.sort(part), np.arange(count + 1)) for part in (labels[:m], labels[m:])
    )
    found: dict[bytes, tuple[sp.csr_array, Levels]] = {}
    for k in range(count):
        shape = row_ends[k + 1] - row_ends[k], column_ends[k + 1] - column_ends[k]
        if min(shape) == 0:
            continue
        indptr = sorted_.indptr[row_ends[k] : row_ends[k + 1] + 1]
        here = slice(indptr[0], indptr[-1])
        inside = sorted_.data[here], sorted_.indices[here] - column_ends[k], indptr - indptr[0]
        key = b"".join(a.tobytes() for a in inside)
        if key not in found:
            part = sp.csr_array(inside, shape=shape)
            levels = _levels(part)
            if len(found) == _MOST_PARTS or _cost(levels) > _MOST_FLOPS:
                return None
            found[key] = part, levels
    return list(found.values())


def _levels(part: sp.csr_array) -> Levels:
    """Rows and columns by their distance from one far away from another."""
    m = part.shape[0]
    both = sp.csr_array(sp.block_array([[None, part], [part.T, None]], format="csr"))
    start = 0
    for _ in range(2):
        order, before = csgraph.breadth_first_order(both, start, directed=False)
        start = int(order[-1])
    depth = np.zeros(both.shape[0], dtype=np.int64)
    for node in order[1:]:
        depth[node] = depth[before[node]] + 1
    ends = np.searchsorted(depth[order], np.arange(depth.max() + 2))
    levels = [np.sort(order[a:b]) for a, b in itertools.pairwise(ends)]
    return [(level[level < m], level[level >= m] - m) for level in levels]


def _cost(levels: Levels) -> float:
    """Operations of the factorisation, infinite where the blocks do not fit."""
    sizes = np.array([rows.size + columns.size for rows, columns in levels], dtype=float)
    entries = (sizes**2).sum() + (sizes[1:] * sizes[:-1]).sum()
    return math.inf if entries > _MOST_ENTRIES else float((sizes**3).sum() * 7.0 / 3.0)


def _rounding(levels: Levels) -> float:
    """About the relative margin that the factorisation subtracts."""
    sizes = np.array([0, *(rows.size + columns.size for rows, columns in levels), 0])
    around = sizes[:-2] + sizes[1:-1] + sizes[2:]
    return 2.0 * _HEADROOM * _U * float(around.max()) ** 2


def _proven(part: sp.csr_array, levels: Levels, gain: float, headroom: float) -> bool:
    """Levels hold rows or columns alone, in turn, so that the diagonal blocks are g I."""
    if not (math.isfinite(gain) and gain > 0.0):
        return False
    lower = []
    for (rows, columns), (next_rows, next_columns) in itertools.pairwise(levels):
        block = part[next_rows][:, columns] if columns.size else part[rows][:, next_columns].T
        lower.append(np.ascontiguousarray(block.toarray()))
    diagonal = tuple(np.full(rows.size + columns.size, gain) for rows, columns in levels)
    blocks = BlockTridiagonal(diagonal, tuple(lower), (None,) * len(levels), (None,) * len(lower))
    return verified_cholesky(blocks, headroom).ok


def _estimate(part: sp.csr_array) -> float:
    """The norm to about 1e-9, not proven."""
    m, n = part.shape
    if min(m, n) <= _DENSE:
        gram = (part @ part.T if m <= n else part.T @ part).toarray()
        return (
            math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1]))) if np.isfinite(gram).all() else math.inf
        )
    start = np.random.default_rng(0).standard_normal(min(m, n))
    try:
        return float(spla.svds(part, k=1, v0=start, return_singular_vectors=False, tol=1e-10)[0])
    except spla.ArpackError:
        return math.inf
