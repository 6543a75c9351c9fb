"""An order of elimination for networks that begin with sparse maps: leaves, a chain of parts, a dense tail.

The unknowns of M are (x, w_1, ..., w_L), block k coupled with k - 1 and k + 1 only. While the maps are sparse
(convolutions) so are the couplings. Some blocks without couplings among themselves, whose own part is
diagonal, are eliminated first (`leaves`): that couples their neighbours where two of them share a leaf. What
is kept of the sparse blocks is sorted along an axis of the image, so that couplings are short, and cut into
consecutive parts such that only neighbouring parts meet: a block-tridiagonal matrix of dense parts. The
blocks from the first dense map on follow as they are (`tail`). Nothing is proven here: any order may be
factored.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee

__all__ = ["ArrowOrder", "arrow_order"]

_STARTS = 16  # sizes tried for the first part


@dataclasses.dataclass(frozen=True, eq=False)
class ArrowOrder:
    """`leaves`, `kept`, `tail` are block indices; `position` (n_kept,) is where each kept unknown goes.

    Kept unknowns are counted block after block; `ends` are the offsets of the parts in the new order.
    """

    sizes: tuple[int, ...]
    leaves: tuple[int, ...]
    kept: tuple[int, ...]
    tail: tuple[int, ...]
    position: np.ndarray
    ends: np.ndarray

    @property
    def parts(self) -> np.ndarray:
        """The sizes of the parts."""
        return np.diff(self.ends)

    def starts_of(self, blocks: Sequence[int]) -> dict[int, int]:
        """Offset of each of these blocks when they are counted one after the other."""
        offsets = np.cumsum([0, *(self.sizes[k] for k in blocks)])
        return {k: int(o) for k, o in zip(blocks, offsets, strict=False)}


def arrow_order(
    sizes: Sequence[int], maps: Sequence[Any], square: Sequence[bool], axes: Sequence[np.ndarray]
) -> ArrowOrder:
    """The order for sparse maps W_0, ..., W_{c-2} (CSR) among the blocks 0, ..., len(sizes) - 1.

    `square[k]`, k = 0, ..., L - 1, says that block k has W_k'W_k in its own part; `axes` are coordinates of
    the inputs (n_0,) along which the order may run; without any the reverse Cuthill-McKee order is taken.
    """
    sparse, total = len(maps) + 1, len(sizes)
    tail = tuple(range(sparse, total))
    patterns = [_pattern(w) for w in maps]
    grams = [_pattern(w.T @ w) if s else None for w, s in zip(patterns, square, strict=False)]
    if tail and square[sparse - 1]:  # of the first dense map
        grams.append(sp.csr_array(np.ones((sizes[sparse - 1],) * 2)))
    candidates = [k for k in range(sparse) if not (tail and k == sparse - 1)]
    candidates = [k for k in candidates if k >= len(grams) or grams[k] is None]
    fields: list[list[np.ndarray] | None] = [_coordinates(axis, patterns) for axis in axes]
    best: tuple[float, ArrowOrder] | None = None
    tried = set()
    for leaves in (candidates[:1], _apart(candidates), _apart(candidates[1:]), []):
        if tuple(leaves) in tried:
            continue
        tried.add(tuple(leaves))
        kept = tuple(k for k in range(sparse) if k not in leaves)
        if not kept:
            continue
        graph = _reduced(sizes, patterns, grams, leaves, kept)
        for field in fields or [None]:
            order = _sorted(graph, None if field is None else np.concatenate([field[k] for k in kept]))
            ends, cost = _cut(graph, order)
            if best is None or cost < best[0]:
                found = ArrowOrder(tuple(sizes), tuple(leaves), kept, tail, order, ends)
                best = cost, found
    assert best is not None, "the last candidate keeps every block"
    return best[1]


def _pattern(a: Any) -> sp.csr_array:
    result = sp.csr_array(a)
    return sp.csr_array((np.ones(result.nnz), result.indices, result.indptr), shape=result.shape)


def _apart(blocks: Sequence[int]) -> list[int]:
    """From the first on, those that are no neighbours of one taken before."""
    taken: list[int] = []
    for k in blocks:
        if not taken or k > taken[-1] + 1:
            taken.append(k)
    return taken


def _coordinates(axis: np.ndarray, patterns: Sequence[Any]) -> list[np.ndarray]:
    """Of every sparse block: neurons lie in the middle of what they read."""
    result = [np.asarray(axis, dtype=np.float64)]
    for w in patterns:
        count = np.maximum(np.asarray(w.sum(axis=1)).ravel(), 1.0)
        result.append((w @ result[-1]) / count)
    return result


def _reduced(
    sizes: Sequence[int],
    maps: Sequence[Any],
    grams: Sequence[Any],
    leaves: Sequence[int],
    kept: Sequence[int],
) -> sp.csr_array:
    """Which kept unknowns meet once the leaves are gone."""
    grid: list[list[Any]] = [[None] * len(kept) for _ in kept]
    place = {k: i for i, k in enumerate(kept)}

    def add(i: int, j: int, block: Any) -> None:
        a, b = place[i], place[j]
        grid[a][b] = block if grid[a][b] is None else grid[a][b] + block

    for k in kept:
        add(k, k, sp.eye_array(sizes[k], format="csr"))
        if k < len(grams) and grams[k] is not None:
            add(k, k, grams[k])
    for k, w in enumerate(maps):
        if k in place and k + 1 in place:
            add(k + 1, k, w)
            add(k, k + 1, w.T)
    for k in leaves:
        around = []
        if k > 0:
            around.append((k - 1, maps[k - 1].T))
        if k < len(maps):
            around.append((k + 1, maps[k]))
        for (i, a), (j, b) in itertools.product(around, around):
            add(i, j, a @ b.T)
    return _pattern(sp.block_array(grid, format="csr"))


def _sorted(graph: sp.csr_array, field: np.ndarray | None) -> np.ndarray:
    """The position of every kept unknown."""
    if field is None:
        order = reverse_cuthill_mckee(sp.csr_matrix(graph), symmetric_mode=True)
    else:
        order = np.argsort(field, kind="stable")
    position = np.empty(order.size, dtype=np.int64)
    position[order] = np.arange(order.size)
    return position


def _cut(graph: sp.csr_array, position: np.ndarray) -> tuple[np.ndarray, float]:
    """Ends of parts of which only neighbours meet, and the cubes of their sizes."""
    n = position.size
    rows = np.repeat(position, np.diff(graph.indptr))
    reach = np.arange(n)
    np.maximum.at(reach, rows, position[graph.indices])
    reach = np.maximum.accumulate(reach) + 1
    best: tuple[np.ndarray, float] | None = None
    widest = int((reach - np.arange(n)).max())
    for first in sorted({max(1, int(widest * share)) for share in np.linspace(1.0 / _STARTS, 1.0, _STARTS)}):
        ends = [0, min(first, n)]
        while ends[-1] < n:
            after = int(reach[ends[-1] - 1])
            ends.append(after if after > ends[-1] else min(n, ends[-1] + first))
        cost = float((np.diff(ends).astype(np.float64) ** 3).sum())
        if best is None or cost < best[1]:
            best = np.array(ends), cost
    assert best is not None
    return best
