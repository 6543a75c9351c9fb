"""Cholesky in the order of `_order`: leaves, a chain of dense parts, a dense tail. Floating point only.

With D the leaves' diagonal, C their couplings with the kept unknowns, B the kept ones' own matrix, K the
coupling of the tail's first block with the kept unknowns, and V = D^-1/2 C,

    M = [[D, C, 0], [C', B, K'], [0, K, Q]],     S = B - V'V   block tridiagonal,   Q - K S^-1 K'.

Leaves with the same neighbours (the channels of a pixel) are taken together, so that V'V is made of small
dense products. Every entry of the factor is what Cholesky makes of M in this order: a sum of products, in
some order, divided by a diagonal entry.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dtrtrs

from ._order import ArrowOrder

__all__ = ["ArrowFactor", "ArrowPlan", "coupled_rows"]


def coupled_rows(values: np.ndarray, matrix: sp.csr_array) -> np.ndarray:
    """values[i] for every stored entry of a CSR matrix, i its row."""
    return np.repeat(values, np.diff(matrix.indptr))


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """Leaves with equally many neighbours in equally large families: indices of their entries in C."""

    entries: np.ndarray  # (families, leaves, neighbours)
    targets: np.ndarray  # (families * pairs,) places in the store
    pairs: np.ndarray  # (pairs,) lower triangle of a (neighbours, neighbours) product


class ArrowPlan:
    """Where everything goes, for one pattern of the sparse maps: made once per network.

    The store is one vector: the parts' diagonal blocks and the transposes of the blocks below them,
    column by column.
    """

    def __init__(self, order: ArrowOrder, maps: Sequence[sp.csr_array]) -> None:
        self.order, self.sparse = order, len(maps) + 1
        ends = order.ends
        self.part = np.searchsorted(ends, np.arange(int(ends[-1])), side="right") - 1
        sizes = order.parts
        after = np.append(sizes[1:], 0)
        self.own = np.cumsum([0, *(sizes * sizes + sizes * after)])[:-1]
        self.below = self.own + sizes * sizes
        self.store = int((sizes * sizes + sizes * after).sum())
        self.kept_at, self.leaf_at = order.starts_of(order.kept), order.starts_of(order.leaves)
        self.leaves = sum(order.sizes[k] for k in order.leaves)
        self.kept = int(ends[-1])
        everyone = np.arange(self.kept)
        self.diagonal = self.place(everyone, everyone)
        self.pairs = {
            k: self._kept_pair(k, w)
            for k, w in enumerate(maps)
            if k in self.kept_at and k + 1 in self.kept_at
        }
        self.entries = np.cumsum([0, *(w.nnz for w in maps)])
        self._couple(maps)
        self._group()

    def positions(self, k: int) -> np.ndarray:
        """Where the unknowns of kept block k are in the new order."""
        start = self.kept_at[k]
        return self.order.position[start : start + self.order.sizes[k]]

    def place(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """The places in the store of pairs of positions, as entries of the lower triangle."""
        low, high = np.minimum(row, column), np.maximum(row, column)
        a, b = self.part[low], self.part[high]
        sizes, ends = self.order.parts, self.order.ends
        if ((b - a) > 1).any():
            raise ValueError("two parts that are no neighbours meet: the order is of another pattern.")
        i, j = low - ends[a], high - ends[b]
        return np.where(a == b, self.own[a] + j + i * sizes[a], self.below[a] + i + j * sizes[a])

    def _kept_pair(self, k: int, w: sp.csr_array) -> np.ndarray:
        rows = np.repeat(self.positions(k + 1), np.diff(w.indptr))
        return self.place(rows, self.positions(k)[w.indices])

    def _couple(self, maps: Sequence[sp.csr_array]) -> None:
        """The pattern of C (leaves, kept), and which entry of which map each of its entries is."""
        rows, columns, source = [], [], []
        for k, w in enumerate(maps):
            below = np.repeat(np.arange(w.shape[0]), np.diff(w.indptr))
            number = np.arange(w.nnz) + self.entries[k]
            if k + 1 in self.leaf_at:
                rows.append(self.leaf_at[k + 1] + below)
                columns.append(self.positions(k)[w.indices])
                source.append(number)
            elif k in self.leaf_at:
                rows.append(self.leaf_at[k] + w.indices)
                columns.append(self.positions(k + 1)[below])
                source.append(number)
        if not rows:
            self.coupling = sp.csr_array((0, self.kept))
            self.source = np.zeros(0, dtype=np.int64)
            return
        numbers = np.concatenate(source) + 1.0  # exact: below 2**53
        place = (np.concatenate(rows), np.concatenate(columns))
        found = sp.csr_array((numbers, place), shape=(self.leaves, self.kept))
        found.sort_indices()
        self.source = found.data.astype(np.int64) - 1
        self.coupling = sp.csr_array(
            (np.ones(found.nnz), found.indices, found.indptr), shape=(self.leaves, self.kept)
        )

    def _group(self) -> None:
        pattern = self.coupling
        families: dict[bytes, list[int]] = {}
        for i in range(pattern.shape[0]):
            row = pattern.indices[pattern.indptr[i] : pattern.indptr[i + 1]]
            if row.size:
                families.setdefault(row.tobytes(), []).append(i)
        shapes: dict[tuple[int, int], list[list[int]]] = {}
        for leaves in families.values():
            width = int(pattern.indptr[leaves[0] + 1] - pattern.indptr[leaves[0]])
            shapes.setdefault((len(leaves), width), []).append(leaves)
        self.groups = []
        for (_, width), members in shapes.items():
            starts = pattern.indptr[np.array(members)]
            entries = starts[:, :, None] + np.arange(width)
            columns = pattern.indices[entries[:, 0, :]].astype(np.int64)  # (families, neighbours)
            row, column = np.tril_indices(width)
            targets = self.place(columns[:, row], columns[:, column]).ravel()
            self.groups.append(_Group(entries, targets, row * width + column))
        none = np.zeros(0, dtype=np.int64)
        self.targets = np.concatenate([none, *(g.targets for g in self.groups)])

    def leaf_products(self, values: np.ndarray) -> np.ndarray:
        """V'V as an addition to the store, `values` the entries of V in the order of `coupling`."""
        products = []
        for group in self.groups:
            v = values[group.entries]
            square = np.matmul(v.transpose(0, 2, 1), v)
            products.append(square.reshape(len(v), -1)[:, group.pairs].ravel())
        if not products:
            return np.zeros(self.store)
        return np.bincount(self.targets, np.concatenate(products), minlength=self.store)

    def gathered(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """The entries of C from the entries of the sparse couplings."""
        return np.concatenate([np.zeros(0), *maps])[self.source]

    def filled(self, diagonal: Sequence[Any], lower: Sequence[Any]) -> np.ndarray:
        """The store of B: `diagonal[k]` a vector or a matrix, `lower[k]` the entries of the coupling."""
        store = np.zeros(self.store)
        for k, places in self.pairs.items():
            store[places] = lower[k]
        for k in self.order.kept:
            own, at = diagonal[k], self.positions(k)
            if own.ndim == 1:
                store[self.diagonal[at]] = own
                continue
            entries = sp.coo_array(own)
            row, column = entries.coords
            below = row >= column
            store[self.place(at[row[below]], at[column[below]])] = entries.data[below]
        return store

    def blocks(self, store: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Views of the parts' diagonal blocks, and of the transposes of the blocks below them."""
        sizes = self.order.parts
        own = [store[a : a + n * n].reshape(n, n, order="F") for a, n in zip(self.own, sizes, strict=True)]
        below = [
            store[a : a + n * m].reshape(n, m, order="F")
            for a, n, m in zip(self.below[:-1], sizes[:-1], sizes[1:], strict=True)
        ]
        return own, below


class ArrowFactor:
    """The factor of one matrix; `ok` says whether every pivot was positive.

    `diagonal[k]` is the own part of block k, (n_k,) or sparse among the sparse blocks, (n_k,) or (n_k, n_k)
    in the tail; `lower[k]` the coupling of block k + 1 with block k: its entries in the order of the
    map's CSR matrix among the sparse blocks, a dense matrix (n_{k+1}, n_k) otherwise.
    """

    def __init__(self, plan: ArrowPlan, diagonal: Sequence[Any], lower: Sequence[np.ndarray]) -> None:
        self.plan, self.lower = plan, lower
        self.ok = self._leaves(diagonal) and self._parts(diagonal) and self._tail(diagonal)

    def _leaves(self, diagonal: Sequence[Any]) -> bool:
        plan = self.plan
        own = np.concatenate([np.zeros(0), *(diagonal[k] for k in plan.order.leaves)])
        if not (own > 0.0).all():
            return False
        self.root = np.sqrt(own)
        values = plan.gathered(self.lower[: plan.sparse - 1]) / coupled_rows(self.root, plan.coupling)
        pattern = plan.coupling
        self.v = sp.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)
        return True

    def _parts(self, diagonal: Sequence[Any]) -> bool:
        plan = self.plan
        store = plan.filled(diagonal, self.lower)
        store -= plan.leaf_products(self.v.data)
        own, below = plan.blocks(store)
        self.factors: list[np.ndarray] = []
        self.panels: list[np.ndarray] = []
        for k, block in enumerate(own):
            if k:
                panel, _ = dtrtrs(self.factors[-1], below[k - 1], lower=1)
                self.panels.append(panel)
                dsyrk(-1.0, panel, beta=1.0, c=block, trans=1, lower=1, overwrite_c=1)
            factor, info = dpotrf(block, lower=1, clean=1, overwrite_a=1)
            if info != 0:
                return False
            self.factors.append(factor)
        return True

    def _tail(self, diagonal: Sequence[Any]) -> bool:
        plan = self.plan
        self.ends: list[np.ndarray] = []
        self.steps: list[np.ndarray] = []
        for k in plan.order.tail:
            coupling = self.lower[k - 1]
            if k == plan.sparse:
                wide = np.zeros((plan.kept, coupling.shape[0]), order="F")
                wide[plan.positions(k - 1)] = coupling.T
                step = self._forward(wide)
            else:
                step, _ = dtrtrs(self.ends[-1], coupling.T, lower=1)
            self.steps.append(step)
            block = dsyrk(-1.0, step, trans=1, lower=1)
            index = np.arange(block.shape[0])
            if diagonal[k].ndim == 1:
                block[index, index] += diagonal[k]
            else:
                block += diagonal[k]
            factor, info = dpotrf(block, lower=1, clean=1, overwrite_a=1)
            if info != 0:
                return False
            self.ends.append(factor)
        return True

    def _forward(self, rhs: np.ndarray) -> np.ndarray:
        """L^-1 rhs for the parts, rhs (n_kept, R) in the new order."""
        ends, result = self.plan.order.ends, np.empty_like(rhs, order="F")
        for k, factor in enumerate(self.factors):
            own = rhs[ends[k] : ends[k + 1]]
            if k:
                own = own - self.panels[k - 1].T @ result[ends[k - 1] : ends[k]]
            result[ends[k] : ends[k + 1]], _ = dtrtrs(factor, own, lower=1)
        return result

    def _backward(self, rhs: np.ndarray) -> np.ndarray:
        """L'^-1 rhs."""
        ends, result = self.plan.order.ends, np.empty_like(rhs, order="F")
        for k in range(len(self.factors) - 1, -1, -1):
            own = rhs[ends[k] : ends[k + 1]]
            if k + 1 < len(self.factors):
                own = own - self.panels[k] @ result[ends[k + 1] : ends[k + 2]]
            result[ends[k] : ends[k + 1]], _ = dtrtrs(self.factors[k], own, lower=1, trans=1)
        return result

    def solve(self, rhs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """M^-1 on blocks (n_k,) or (n_k, R), k = 0, ..., L."""
        flat = rhs[0].ndim == 1
        blocks = [b[:, None] if flat else b for b in rhs]
        plan, order = self.plan, self.plan.order
        columns = blocks[0].shape[1]
        root = self.root[:, None]
        leaf = np.concatenate([np.zeros((0, columns)), *(blocks[k] for k in order.leaves)]) / root
        kept = np.empty((plan.kept, columns), order="F")
        for k in order.kept:
            kept[plan.positions(k)] = blocks[k]
        forward = self._forward(kept - self.v.T @ leaf)
        tail: list[np.ndarray] = []
        for i, k in enumerate(order.tail):
            before = tail[-1] if i else forward
            tail.append(dtrtrs(self.ends[i], blocks[k] - self.steps[i].T @ before, lower=1)[0])
        done: list[np.ndarray] = []
        for i in range(len(tail) - 1, -1, -1):
            own = tail[i] - self.steps[i + 1] @ done[0] if done else tail[i]
            done.insert(0, dtrtrs(self.ends[i], own, lower=1, trans=1)[0])
        middle = self._backward(forward - self.steps[0] @ done[0] if done else forward)
        outer = (leaf - self.v @ middle) / root
        result: dict[int, np.ndarray] = dict(zip(order.tail, done, strict=True))
        for k in order.kept:
            result[k] = middle[plan.positions(k)]
        for k, start in plan.leaf_at.items():
            result[k] = outer[start : start + order.sizes[k]]
        found = [result[k] for k in range(len(blocks))]
        return [b[:, 0] for b in found] if flat else found
