"""The terms sum_a (E y)_a sym(p_a q_a') of one LMI, grouped by the level that they touch last."""

import copy
import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..._arrays import ArrayModule

__all__ = ["DenseFactor", "Group", "SelectionFactor", "factor_of"]


class SelectionFactor:
    """A block of P or Q whose columns hold one entry each: column a is scale_a e_{index_a}."""

    def __init__(self, am: ArrayModule, index: np.ndarray, scale: np.ndarray, rows: int) -> None:
        self.rows, self.columns = rows, index.size
        self.unit = bool((scale == 1.0).all())
        self.whole = index.size == rows and bool((index == np.arange(rows)).all())
        self.index = am.asarray(index, dtype=np.int64)
        self.scale = am.asarray(scale)

    def single(self) -> "SelectionFactor":
        """In single precision."""
        found = copy.copy(self)
        found.scale = self.scale.astype(np.float32)
        return found

    def left(self, A: Any) -> Any:
        """F'A."""
        taken = A if self.whole else A[self.index]
        return taken if self.unit else taken * self.scale[:, None]

    def right(self, A: Any) -> Any:
        """A F."""
        taken = A if self.whole else A[:, self.index]
        return taken if self.unit else taken * self.scale


class DenseFactor:
    """A block of P or Q held densely."""

    def __init__(self, am: ArrayModule, matrix: np.ndarray) -> None:
        self.am = am
        self.rows, self.columns = matrix.shape
        self.matrix = am.asarray(np.ascontiguousarray(matrix))
        self.transpose = am.asarray(np.ascontiguousarray(matrix.T))

    def single(self) -> "DenseFactor":
        """In single precision."""
        found = copy.copy(self)
        found.matrix, found.transpose = (a.astype(np.float32) for a in (self.matrix, self.transpose))
        return found

    def left(self, A: Any) -> Any:
        """F'A."""
        return self.am.product(self.transpose, A)

    def right(self, A: Any) -> Any:
        """A F."""
        return self.am.product(A, self.matrix)


AnyFactor = SelectionFactor | DenseFactor | None


def factor_of(am: ArrayModule, block: sp.csc_array) -> AnyFactor:
    """The cheapest representation of a sparse block; None where it is zero."""
    if block.nnz == 0:
        return None
    counts = np.diff(block.indptr)
    if (counts <= 1).all():
        index = np.zeros(block.shape[1], dtype=np.int64)
        scale = np.zeros(block.shape[1])
        index[counts == 1], scale[counts == 1] = block.indices, block.data
        return SelectionFactor(am, index, scale, block.shape[0])
    return DenseFactor(am, block.toarray())


def _weighted(am: ArrayModule, P: AnyFactor, w: Any, Q: AnyFactor) -> Any | None:
    """P diag(w) Q', or None where a factor is zero."""
    if P is None or Q is None:
        return None
    if isinstance(P, DenseFactor):
        if isinstance(Q, DenseFactor):
            return am.product(P.matrix * w, Q.transpose)
        swapped = _weighted(am, Q, w, P)
        return None if swapped is None else swapped.T
    out = am.xp.zeros((P.rows, Q.rows))
    wp = w if P.unit else w * P.scale
    if isinstance(Q, SelectionFactor):
        am.add_at(out, (P.index, Q.index), wp if Q.unit else wp * Q.scale)
    elif P.whole:
        out = wp[:, None] * Q.transpose
    else:
        am.add_at(out, (P.index,), wp[:, None] * Q.transpose)
    return out


def _products(am: ArrayModule, P: AnyFactor, A: Any, Q: AnyFactor) -> Any | None:
    """diag(P'A Q), or None where a factor is zero."""
    if P is None or Q is None:
        return None
    if isinstance(P, DenseFactor):
        if isinstance(Q, DenseFactor):
            return (P.matrix * am.product(A, Q.matrix)).sum(axis=0)
        return _products(am, Q, A.T, P)
    if isinstance(Q, SelectionFactor):
        found = am.xp.diagonal(A) if P.whole and Q.whole else A[P.index, Q.index]
        found = found if Q.unit else found * Q.scale
    else:
        found = ((A if P.whole else A[P.index]) * Q.transpose).sum(axis=1)
    return found if P.unit else found * P.scale


def _total(parts: list[Any | None]) -> Any | None:
    present = [part for part in parts if part is not None]
    return sum(present[1:], present[0]) if present else None


@dataclasses.dataclass
class Group:
    """Terms whose last level is `level`: p = (P_low; P_top) on the levels level - 1 and level."""

    level: int
    P_top: AnyFactor
    P_low: AnyFactor
    Q_top: AnyFactor
    Q_low: AnyFactor
    size: int

    def add_to(self, am: ArrayModule, diag: Any, low: Any, w: Any) -> None:
        """Replace diag[k], diag[k - 1], low[k] by their sums with sum_a w_a sym(p_a q_a')."""
        k = self.level
        top = _weighted(am, self.P_top, w, self.Q_top)
        if top is not None:
            diag[k] = diag[k] + 0.5 * (top + top.T)
        if k == 0:
            return
        across = _total([_weighted(am, self.P_top, w, self.Q_low), _weighted(am, self.Q_top, w, self.P_low)])
        if across is not None:
            low[k] = low[k] + 0.5 * across
        below = _weighted(am, self.P_low, w, self.Q_low)
        if below is not None:
            diag[k - 1] = diag[k - 1] + 0.5 * (below + below.T)

    def single(self) -> "Group":
        """In single precision."""
        P_top, P_low, Q_top, Q_low = (
            None if F is None else F.single() for F in (self.P_top, self.P_low, self.Q_top, self.Q_low)
        )
        return Group(self.level, P_top, P_low, Q_top, Q_low, self.size)

    @property
    def reaches_below(self) -> bool:
        """Whether terms touch the level before."""
        return self.P_low is not None or self.Q_low is not None

    def skips(self) -> bool:
        """Whether p reaches below, or a q both below and to several rows of its level: skip connections do.

        In chains one of a term's ends is a row, also where small levels are merged.
        """
        top, low = self.Q_top, self.Q_low
        if self.P_low is not None or not isinstance(top, DenseFactor) or low is None:
            return self.P_low is not None
        below = low.scale != 0 if isinstance(low, SelectionFactor) else (low.matrix != 0).any(axis=0)
        return bool((below & ((top.matrix != 0).sum(axis=0) > 1)).any())

    def thin(self, w: Any) -> tuple[Any, Any] | None:
        """(p, q) with sym(p q') = sum_a w_a sym(p_a q_a'), where they are few and on one level alone."""
        P, Q = self.P_top, self.Q_top
        if not (isinstance(P, DenseFactor) and isinstance(Q, DenseFactor)):
            return None
        return None if self.reaches_below or 4 * self.size > P.rows else (P.matrix * w, Q.matrix)

    def across(self) -> Any | None:
        """U with diag(w) U = the block below the diagonal, where term a touches row a alone of its level."""
        P, Q = self.P_top, self.Q_top
        if not (isinstance(P, SelectionFactor) and P.whole and isinstance(Q, SelectionFactor) and Q.whole):
            return None
        parts: list[Any | None] = []
        for top, low in ((P, self.Q_low), (Q, self.P_low)):
            if isinstance(low, SelectionFactor):
                return None
            parts.append(None if low is None else 0.5 * top.scale[:, None] * low.transpose)
        return _total(parts)

    def plain_rows(self) -> bool:
        """Whether p_a is a row of the level for every term, with weight one."""
        return self.P_low is None and isinstance(self.P_top, SelectionFactor) and self.P_top.unit

    def products(self, am: ArrayModule, diag: list[Any], low: list[Any]) -> Any:
        """p_a'A q_a for every term, from the pattern blocks of symmetric A."""
        k = self.level
        parts = [_products(am, self.P_top, diag[k], self.Q_top)]
        if k:
            parts.append(_products(am, self.P_top, low[k], self.Q_low))
            parts.append(_products(am, self.Q_top, low[k], self.P_low))
            parts.append(_products(am, self.P_low, diag[k - 1], self.Q_low))
        total = _total(parts)
        return am.xp.zeros(self.size) if total is None else total
