"""Levels under which an LMI is block tridiagonal for every y: checked, detected, merged."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from ...lmi import LMI

__all__ = ["levels_of"]

_SMALL = 48  # below this order a level costs interpreter time rather than arithmetic
_DENSE = 100  # no detection below this order: one dense level is as fast
_CLIQUE_WORK = 10**8  # entries that the detection may generate


def levels_of(lmi: LMI, merge: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(permutation of the rows, level sizes); F(y) permuted is block tridiagonal for every y.

    `merge` joins neighbouring levels of a given partition that are too small to be worth a level.
    """
    support = sp.csc_array((abs(lmi.P) + abs(lmi.Q)) != 0)
    identity = np.arange(lmi.size)
    if lmi.partition is not None and _is_tridiagonal(lmi, support, lmi.partition):
        sizes = np.asarray(lmi.partition)
        return identity, _merged(sizes) if merge else sizes
    counts = np.diff(support.indptr).astype(np.int64)
    if lmi.size <= _DENSE or int((counts**2).sum()) > _CLIQUE_WORK:
        return identity, np.array([lmi.size])
    return _detected(lmi, support)


def _is_tridiagonal(lmi: LMI, support: sp.csc_array, partition: tuple[int, ...]) -> bool:
    level = np.repeat(np.arange(len(partition)), partition)
    F0 = lmi.F0.tocoo()
    if F0.nnz and np.abs(level[F0.row] - level[F0.col]).max() > 1:
        return False
    first, last = _extent(support, level)
    return bool((last - first <= 1).all())


def _extent(support: sp.csc_array, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last level that each column of `support` touches (0 and 0 where it is empty)."""
    first = np.zeros(support.shape[1], dtype=np.int64)
    last = np.zeros(support.shape[1], dtype=np.int64)
    used = np.diff(support.indptr) > 0
    if used.any():
        starts = support.indptr[:-1][used]
        first[used] = np.minimum.reduceat(level[support.indices], starts)
        last[used] = np.maximum.reduceat(level[support.indices], starts)
    return first, last


def _merged(sizes: np.ndarray) -> np.ndarray:
    """Neighbouring levels merged where both are small."""
    merged: list[int] = []
    for size in (int(n) for n in sizes):
        if merged and merged[-1] < _SMALL and merged[-1] + size <= 2 * _SMALL:
            merged[-1] += size
        else:
            merged.append(size)
    return np.array(merged)


def _detected(lmi: LMI, support: sp.csc_array) -> tuple[np.ndarray, np.ndarray]:
    """Reverse Cuthill-McKee order cut into levels, where that pays; else one level."""
    pattern = support.astype(np.float64)
    graph = sp.csr_array(abs(lmi.F0) + pattern @ pattern.T)
    order = np.asarray(scipy.sparse.csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True), dtype=np.int64)
    position = np.empty_like(order)
    position[order] = np.arange(order.size)
    reach = np.arange(order.size)
    entries = graph.tocoo()
    np.maximum.at(reach, position[entries.row], position[entries.col])
    reach = np.maximum.accumulate(reach) + 1
    ends = [1]
    while ends[-1] < order.size:
        ends.append(max(int(reach[ends[-1] - 1]), ends[-1] + 1))
    sizes = _merged(np.diff([0, *ends]))
    if sizes.max() > order.size // 4:
        return np.arange(order.size), np.array([order.size])
    return order, sizes
