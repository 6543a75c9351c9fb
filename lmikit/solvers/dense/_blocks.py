"""An `SDP` as the cones of `Dense`: PSD blocks without independent parts, one orthant, second-order cones.

Every cone is  F(y) + F0 in K  with the multiplier Z in K; inequalities G y <= h are the orthant with
F = -G, F0 = h. A block that falls into independent parts is cut into them, which changes neither the
feasible y nor the value of the dual: what X has outside of the parts meets no data.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..._arrays import array_module
from ...lmi import LMI, SDP, Dual, aggregate_pattern
from .._equilibrate import Factors, scaled_lmi

__all__ = ["SMALL_ORDER", "BlockPart", "Parts", "dense_columns", "part_columns"]

_MOST_PRODUCTS = 3 * 10**7  # products of entries above which a block is expanded variable by variable
SMALL_ORDER = 32  # up to which nothing is gained from leaving out variables
_SMALL = 64  # order up to which patterns are formed as dense arrays
_LINE = 10_000  # numbers of P up to which one row is taken from a dense copy
_DENSE_FROM = 0.25  # share of nonzeros from which the columns are kept as a dense array


@dataclasses.dataclass(frozen=True, eq=False)
class BlockPart:
    """Rows `rows` of LMI number `lmi`; the block F0 + sum_i y_i F_i with the variables `active` only."""

    lmi: int
    rows: np.ndarray
    block: LMI  # over the active variables
    active: np.ndarray

    @property
    def order(self) -> int:
        """n."""
        return int(self.rows.size)

    def scaled(self, f: Factors) -> "BlockPart":
        """In scaled units."""
        block = scaled_lmi(self.block, f.rows[self.lmi][self.rows], f.y[self.active])
        return dataclasses.replace(self, block=block)


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """The SDP cut into PSD parts of order at least 2 and the rows of one orthant."""

    sdp: SDP
    psd: tuple[BlockPart, ...]
    scalars: tuple[tuple[int, int], ...]  # LMI and row of the parts of order 1, after the rows of G
    F: sp.csr_array  # (p + scalars, m): the orthant is F y + f0 >= 0
    f0: np.ndarray

    @classmethod
    def of(cls, sdp: SDP) -> "Parts":
        """Cut; time linear in the nonzeros of the pattern."""
        psd: list[BlockPart] = []
        scalars: list[tuple[int, int]] = []
        rows: list = [-sdp.G] if sdp.h.size else []
        constants = [np.asarray(sdp.h)]
        for k, lmi in enumerate(sdp.lmis):
            for index in _components(lmi):
                if index.size > 1:
                    psd.append(_part(k, lmi, index))
                    continue
                i = int(index[0])
                rows.append(_diagonal_line(lmi, i))
                constants.append(np.array([lmi.F0[i, i]]))
                scalars.append((k, i))
        F = sp.csr_array(sp.vstack(rows, format="csr")) if rows else sp.csr_array((0, sdp.variables))
        return cls(sdp, tuple(psd), tuple(scalars), F, np.concatenate(constants))

    def dual(self, X: list[np.ndarray], z: np.ndarray, v: np.ndarray, s: list[np.ndarray]) -> Dual:
        """Multipliers of the parts, of the orthant, of A y = b and of the cones, as those of the SDP."""
        blocks = [np.zeros((lmi.size, lmi.size)) for lmi in self.sdp.lmis]
        for part, values in zip(self.psd, X, strict=True):
            blocks[part.lmi][np.ix_(part.rows, part.rows)] = 0.5 * (values + values.T)
        p = self.sdp.h.size
        for (k, i), value in zip(self.scalars, z[p:], strict=True):
            blocks[k][i, i] = value
        return Dual(tuple(blocks), z[:p].copy(), v.copy(), tuple(s))


def _components(lmi: LMI) -> Iterator[np.ndarray]:
    if lmi.size == 1:
        yield np.zeros(1, dtype=np.int64)
    elif lmi.size:
        pattern = _small_pattern(lmi) if lmi.size <= _SMALL else aggregate_pattern(lmi)
        if isinstance(pattern, np.ndarray) and _connected(pattern):
            yield np.arange(lmi.size)
            return
        count, label = connected_components(sp.csr_array(pattern), directed=False)
        order = np.argsort(label, kind="stable")
        yield from np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])


def _small_pattern(lmi: LMI) -> np.ndarray:
    """`aggregate_pattern` as a dense array, without sparse products."""
    live = np.zeros(lmi.E.shape[0], dtype=bool)
    live[lmi.E.indices] = True
    if lmi.has_entries:
        half = np.zeros((lmi.size, lmi.size), dtype=bool)
        half[lmi.P.indices[live], lmi.Q.indices[live]] = True
    else:
        P, Q = lmi.P.toarray() != 0, lmi.Q.toarray() != 0
        half = (P[:, live].astype(np.float64) @ Q[:, live].T) > 0
    pattern: np.ndarray = half | half.T | (lmi.F0.toarray() != 0)
    np.fill_diagonal(pattern, True)
    return pattern


def _connected(pattern: np.ndarray) -> bool:
    """Whether the first row reaches every other, at once or step by step."""
    reached = pattern[0]
    while not reached.all():
        more = pattern[reached].any(axis=0)
        if np.array_equal(more, reached):
            return False
        reached = more
    return True


def _diagonal_line(lmi: LMI, i: int) -> sp.csr_array:
    """The coefficients of F_ii(y), (1, m)."""
    if lmi.P.shape[0] * lmi.P.shape[1] <= _LINE:
        weight = lmi.P.toarray()[i] * lmi.Q.toarray()[i]
        return sp.csr_array((lmi.E.T @ weight)[None, :])
    return sp.csr_array(lmi.P[[i], :].multiply(lmi.Q[[i], :]) @ lmi.E)


def _part(k: int, lmi: LMI, rows: np.ndarray) -> BlockPart:
    if rows.size == lmi.size and lmi.size <= SMALL_ORDER:
        return BlockPart(k, rows, lmi, np.arange(lmi.variables))
    if rows.size == lmi.size:
        found = np.flatnonzero(np.diff(lmi.E.indptr))
        every = found.size == lmi.variables
        return BlockPart(k, rows, lmi if every else LMI(lmi.F0, lmi.P, lmi.Q, lmi.E[:, found]), found)
    P, Q = sp.csr_array(lmi.P)[rows].tocsc(), sp.csr_array(lmi.Q)[rows].tocsc()
    live = np.flatnonzero((np.diff(P.indptr) > 0) & (np.diff(Q.indptr) > 0))
    E = sp.csr_array(lmi.E)[live].tocsc()
    active = np.flatnonzero(np.diff(E.indptr))
    F0 = sp.csr_array(lmi.F0)[rows].tocsc()[:, rows]
    return BlockPart(k, rows, LMI(F0, P[:, live], Q[:, live], E[:, active]), active)


def part_columns(block: LMI) -> np.ndarray | sp.csr_array:
    """The matrix (active, n^2) with the rows vec(F_i): dense where it has many nonzeros, else sparse."""
    n, m = block.size, block.variables
    per_term = np.diff(block.P.indptr).astype(np.int64) * np.diff(block.Q.indptr)
    products = int(per_term @ np.diff(sp.csr_array(block.E).indptr))
    if products > _MOST_PRODUCTS:
        return _one_by_one(block)
    terms = _outer(block)
    columns = sp.csr_array(block.E.T @ terms)
    transposed = np.arange(n * n).reshape(n, n).T.ravel()
    columns = sp.csr_array(0.5 * (columns + columns[:, transposed]))
    columns.eliminate_zeros()
    return columns.toarray() if columns.nnz > _DENSE_FROM * n * n * m else columns


def dense_columns(block: LMI) -> np.ndarray:
    """The same as a dense array, without sparse products: for small blocks."""
    n = block.size
    if block.has_entries:
        E = sp.coo_array(block.E)
        i, j = block.P.indices[E.row], block.Q.indices[E.row]
        values = 0.5 * E.data * (block.P.data * block.Q.data)[E.row]
        columns = np.zeros((block.variables, n, n))
        np.add.at(columns, (E.col, i, j), values)
        np.add.at(columns, (E.col, j, i), values)
        return columns.reshape(block.variables, n * n)
    P, Q = block.P.toarray(), block.Q.toarray()
    terms = P.T[:, :, None] * Q.T[:, None, :]
    half = 0.5 * (terms + np.swapaxes(terms, 1, 2))
    return np.asarray(block.E.T @ half.reshape(-1, n * n))


def _outer(block: LMI) -> sp.csr_array:
    """The matrix (terms, n^2) with the rows vec(p_t q_t')."""
    n, P, Q = block.size, block.P, block.Q
    left, right = np.diff(P.indptr).astype(np.int64), np.diff(Q.indptr).astype(np.int64)
    counts = left * right
    term = np.repeat(np.arange(counts.size), counts)
    offset = np.arange(term.size) - np.repeat(np.cumsum(counts) - counts, counts)
    i, j = P.indptr[term] + offset // right[term], Q.indptr[term] + offset % right[term]
    entries = (P.data[i] * Q.data[j], (term, P.indices[i].astype(np.int64) * n + Q.indices[j]))
    return sp.csr_array(sp.coo_array(entries, shape=(counts.size, n * n)))


def _one_by_one(block: LMI) -> np.ndarray:
    n, am = block.size, array_module()
    result = np.empty((block.variables, n * n))
    for i in range(block.variables):
        used = block.E.indices[block.E.indptr[i] : block.E.indptr[i + 1]]
        weights = block.E.data[block.E.indptr[i] : block.E.indptr[i + 1]]
        P, Q = (np.ascontiguousarray(side[:, used].toarray()) for side in (block.P, block.Q))
        half = am.product(P * weights, np.ascontiguousarray(Q.T))
        result[i] = (0.5 * (half + half.T)).ravel()
    return result
