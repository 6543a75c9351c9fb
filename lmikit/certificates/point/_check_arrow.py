"""The checker's proof that M >= e I (equilibrated) for sparse maps: F = B - R'R in integers, row by row.

R is any upper triangular matrix in an order that is proposed with it: rows of leaves (a diagonal entry and
its neighbours), of parts (own part, next part, the tail's first block), of the tail's blocks (own block, next
block). It is rounded to multiples of 2**-46, so that R'R is an integer matrix over 2**92; entries of B, exact
products of multipliers and weights, are rounded down to that grid and differences to multiples of 2**-84,
for which every entry pays two units. As every entry of B and R'R outside the blocks that are looked at is 0,

    e = min over i of F_ii - sum_{j != i} |F_ij| - 2 n 2**-84

is at most the least eigenvalue of B, since R'R >= 0 and F is diagonally dominant with that excess.
"""

from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ._arrow import ArrowFactor, ArrowPlan
from ._dyadic import Dyadic
from ._limbs import BITS, Limbs, Wide, products, rounded

__all__ = ["ArrowCheck", "OwnEntries"]

OwnEntries = tuple[np.ndarray, np.ndarray, Dyadic]  # rows, columns below the diagonal, values: one per place

_UNIT = 84


class _ArrowRows:
    """Diagonal entries and sums of the others' sizes, in units of 2**-84."""

    def __init__(self, n: int) -> None:
        self.own, self.others = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.failed = False

    def add(self, rows: np.ndarray, columns: np.ndarray, f: np.ndarray | None, *, diagonal: bool) -> None:
        """A block of F; one beside the diagonal counts for its columns as well."""
        if f is None:
            self.failed = True
            return
        if diagonal:
            self.own[rows] = np.diagonal(f)
            np.fill_diagonal(f, 0)
            self.others[rows] += self.sizes(f).sum(axis=1)
            return
        size = self.sizes(f)
        self.others[rows] += size.sum(axis=1)
        self.others[columns] += size.sum(axis=0)

    def sizes(self, f: np.ndarray) -> np.ndarray:
        """|F|, small enough for sums of int64; larger entries decide."""
        size = np.abs(f)
        limit = (1 << 60) // (self.own.size + 1)
        if size.size and size.max() > limit:
            self.failed = True
            return np.minimum(size, limit)
        return np.asarray(size)

    def excess(self) -> Fraction:
        if self.failed:
            return Fraction(-1)
        return Fraction(int((self.own - self.others).min()), 1 << _UNIT)


class ArrowCheck:
    """B of one multiplier group: `diagonal[k]` (n_k,) exact, `lower[k]` (CSR or array) exact, equilibrated.

    The entries of a sparse `lower[k]` are given in the order of the map's CSR matrix; `beside[k]` are those
    of the own part of block k beside its diagonal, 0 where it is not named.
    """

    def __init__(
        self,
        maps: list,
        diagonal: list[Dyadic],
        lower: list[Dyadic],
        beside: dict[int, OwnEntries],
        plan: ArrowPlan,
    ) -> None:
        self.plan, self.order = plan, plan.order
        self.maps = maps
        self.diagonal = [_grid(d) for d in diagonal]
        self.lower = [_grid(c) for c in lower]
        self.beside = {k: (row, column, _grid(v)) for k, (row, column, v) in beside.items()}
        sizes = np.array([d.values.size for d in diagonal])
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.n = int(self.starts[-1])
        self.at = [np.arange(a, b) for a, b in zip(self.starts, self.starts[1:], strict=False)]
        self.kept = np.empty(sum(sizes[k] for k in self.order.kept), dtype=np.int64)
        self.place = np.full(self.n, -1, dtype=np.int64)  # position of a kept unknown
        for k in self.order.kept:
            self.place[self.at[k]] = plan.positions(k)
        inside = np.flatnonzero(self.place >= 0)
        self.kept[self.place[inside]] = inside

    def excess(self, factor: ArrowFactor) -> float:
        """e of the theorem, rounded down; not positive where nothing is proven."""
        if not self._ordered():
            return -1.0
        rows = _ArrowRows(self.n)
        rows.others += 2 * self.n
        if not (self._leaves(factor, rows) and self._parts(factor, rows)):
            return -1.0
        self._tail(factor, rows)
        return float(np.nextafter(float(rows.excess()), -np.inf))

    def _ordered(self) -> bool:
        """Whether every unknown has one place: a leaf, a position, or in the tail, which comes last."""
        order = self.order
        blocks = (*order.leaves, *order.kept, *order.tail)
        inner = len(order.leaves) + len(order.kept)
        if sorted(blocks) != list(range(len(self.at))) or order.tail != tuple(range(inner, len(blocks))):
            return False
        if not set(self.beside) <= set(order.kept):  # couplings that no row of R is asked about
            return False
        used = np.sort(self.place[self.place >= 0])
        return np.array_equal(used, np.arange(self.kept.size))

    def _leaves(self, factor: ArrowFactor, rows: _ArrowRows) -> bool:
        """Diagonal and neighbours of the leaves; prepares their rows of R for the parts."""
        self.leaf = np.concatenate([np.zeros(0, np.int64), *(self.at[k] for k in self.order.leaves)])
        self.v = sp.csr_array(factor.v)
        root, entry = rounded(factor.root), rounded(self.v.data)
        places = np.repeat(np.arange(self.leaf.size), np.diff(self.v.indptr))
        own = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for k in self.order.leaves:
            own[0].append(self.diagonal[k].high)
            own[1].append(self.diagonal[k].low)
        main = Wide(np.concatenate(own[0]), np.concatenate(own[1])).less(root.times(root))
        found = self._couplings()
        if main is None or found is None:
            return False
        given = Wide(*(np.zeros(self.v.nnz, np.int64) for _ in range(2)))
        leaf, column, value = found
        keys = places * self.kept.size + self.v.indices
        sought = leaf * self.kept.size + column
        order = np.argsort(keys, kind="stable")
        index = np.searchsorted(keys, sought, sorter=order)
        if (index >= keys.size).any():
            return False
        index = order[index]
        if (keys[index] != sought).any():  # a coupling that R does not have
            return False
        given.high[index], given.low[index] = value.high, value.low
        beside = given.less(root[places].times(entry))
        if beside is None:
            return False
        rows.own[self.leaf] = main
        size = rows.sizes(beside)
        np.add.at(rows.others, self.leaf[places], size)
        np.add.at(rows.others, self.kept[self.v.indices], size)
        return True

    def _couplings(self) -> tuple[np.ndarray, np.ndarray, Wide] | None:
        """(leaf, position, entry of B) for the leaves' couplings; None where two leaves meet, or the tail."""
        number = np.full(self.n, -1, dtype=np.int64)
        number[self.leaf] = np.arange(self.leaf.size)
        leaves, columns, high, low = ([np.zeros(0, np.int64)] for _ in range(4))
        for k, w in enumerate(self.maps):
            pair = {k, k + 1} & set(self.order.leaves)
            if not pair:
                continue
            if not sp.issparse(w) or len(pair) == 2:
                return None
            below, above = np.repeat(self.at[k + 1], np.diff(w.indptr)), self.at[k][w.indices]
            mine, other = (below, above) if k + 1 in pair else (above, below)
            leaves.append(number[mine])
            columns.append(self.place[other])
            high.append(self.lower[k].high)
            low.append(self.lower[k].low)
        column = np.concatenate(columns)
        if (column < 0).any():
            return None
        return np.concatenate(leaves), column, Wide(np.concatenate(high), np.concatenate(low))

    def _kept_entries(self) -> sp.coo_array | None:
        """Where B has entries among the kept unknowns: their number in `self.values`, by position."""
        row, column, high, low = ([np.zeros(0, np.int64)] for _ in range(4))
        for k in self.order.kept:
            row.append(self.place[self.at[k]])
            column.append(self.place[self.at[k]])
            high.append(self.diagonal[k].high)
            low.append(self.diagonal[k].low)
        for k, (i, j, own) in self.beside.items():
            a, b = self.place[self.at[k][i]], self.place[self.at[k][j]]
            row.append(np.maximum(a, b))
            column.append(np.minimum(a, b))
            high.append(own.high)
            low.append(own.low)
        for k, w in enumerate(self.maps):
            if k in self.order.kept and k + 1 in self.order.kept:
                if not sp.issparse(w):
                    return None
                a = self.place[np.repeat(self.at[k + 1], np.diff(w.indptr))]
                b = self.place[self.at[k][w.indices]]
                row.append(np.maximum(a, b))
                column.append(np.minimum(a, b))
                high.append(self.lower[k].high)
                low.append(self.lower[k].low)
        self.values = Wide(np.concatenate(high), np.concatenate(low))
        number = np.arange(1, self.values.high.size + 1)
        n = self.kept.size
        return sp.coo_array((number, (np.concatenate(row), np.concatenate(column))), shape=(n, n))

    def _block(self, entries: sp.csr_array, rows: slice, columns: slice) -> Wide:
        """The entries of B in a block, symmetric on the diagonal."""
        part = entries[rows, columns].tocoo()
        i, j = part.coords
        shape = part.shape
        high, low = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        number = part.data.astype(np.int64) - 1
        high[i, j], low[i, j] = self.values.high[number], self.values.low[number]
        if rows == columns:
            high[j, i], low[j, i] = high[i, j], low[i, j]
        return Wide(high, low)

    def _parts(self, factor: ArrowFactor, rows: _ArrowRows) -> bool:
        found = self._kept_entries()
        ends = self.order.ends
        if found is None or ends[0] != 0 or ends[-1] != self.kept.size or (np.diff(ends) < 1).any():
            return False
        part = np.searchsorted(ends, np.arange(self.kept.size), side="right") - 1
        row, column = found.coords
        if (part[row] - part[column] > 1).any():
            return False
        if self.v.nnz:
            filled = np.flatnonzero(np.diff(self.v.indptr))
            reached = part[self.v.indices]
            starts = self.v.indptr[filled]
            if (np.maximum.reduceat(reached, starts) - np.minimum.reduceat(reached, starts) > 1).any():
                return False
        entries, v = sp.csr_array(found), sp.csc_array(self.v)
        self.r = [rounded(f.T) for f in factor.factors]
        self.next = [rounded(p) for p in factor.panels]
        for k, own in enumerate(self.r):
            here = slice(int(ends[k]), int(ends[k + 1]))
            mine = v[:, here]
            used = np.unique(mine.indices)
            outer = rounded(sp.csr_array(mine)[used].toarray())
            square = products(outer, outer) + products(own, own)
            if k:
                square = square + products(self.next[k - 1], self.next[k - 1])
            at = self.kept[here]
            rows.add(at, at, self._block(entries, here, here).less(square), diagonal=True)
            if k + 1 < len(self.r):
                after = slice(int(ends[k + 1]), int(ends[k + 2]))
                beside = rounded(sp.csr_array(v[:, after])[used].toarray())
                both = products(beside, outer) + products(self.next[k], own)
                rows.add(self.kept[after], at, self._block(entries, after, here).less(both), diagonal=False)
        return True

    def _tail(self, factor: ArrowFactor, rows: _ArrowRows) -> None:
        """The blocks from the first dense map on."""
        ends = self.order.ends
        above: Limbs | None = None
        for i, k in enumerate(self.order.tail):
            own, step = rounded(factor.ends[i].T), rounded(factor.steps[i])
            coupling, at = self.lower[k - 1], self.at[k]
            if i == 0:
                wide = Wide(*(np.zeros((at.size, self.kept.size), np.int64) for _ in range(2)))
                columns = self.place[self.at[k - 1]]
                wide.high[:, columns], wide.low[:, columns] = coupling.high, coupling.low
                for p, r in enumerate(self.r):
                    here = slice(int(ends[p]), int(ends[p + 1]))
                    both = products(step[here], r)
                    if p:
                        both = both + products(step[int(ends[p - 1]) : int(ends[p])], self.next[p - 1])
                    f = Wide(wide.high[:, here], wide.low[:, here]).less(both)
                    rows.add(at, self.kept[here], f, diagonal=False)
            else:
                assert above is not None
                rows.add(at, self.at[k - 1], coupling.less(products(step, above)), diagonal=False)
            diagonal = Wide(*(np.diag(a) for a in (self.diagonal[k].high, self.diagonal[k].low)))
            square = products(step, step) + products(own, own)
            rows.add(at, at, diagonal.less(square), diagonal=True)
            above = own


def _grid(a: Dyadic) -> Wide:
    """Rounded down to multiples of 2**-92; raises ValueError for entries beyond 1, which B has none of."""
    shift = 2 * BITS - a.power
    flat = [int(v) << shift if shift >= 0 else int(v) >> -shift for v in a.values.ravel()]
    if flat and not max(map(abs, flat)) <= 1 << (2 * BITS):
        raise ValueError("an entry reaches the geometric mean of its diagonal entries")
    return Wide.floor(flat, a.values.shape)
