"""The norm proof of a graph: sums over parents, products along paths.

gain(x) = 1, gain of an affine node = sum of ||map|| gain(parent), gain of a nonlinear node = its largest
|slope| (1 for groups) times its parent's: by the triangle inequality and composition every increment of a
node is at most its gain times ||dx||_2. ||W|| <= g exactly if [[g I, W'], [W, g I]] is PSD, whose entries
are floats; the sum is taken in rationals.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ...graph import Affine, Apply, Graph
from ...network import AbstractLinearMap, DenseMap, SelectMap, TransposedMap, is_wide
from .._verified_cholesky import BlockTridiagonal, verified_cholesky
from ._sparse_norms import sparse_norm_bound, sparse_norm_is_below

__all__ = ["as_sparse", "maps_of", "norm_bound", "norm_is_below", "total_gain"]

_HEADROOM = 6.0  # room for other checkers' margins
_DENSE = 2**20  # entries up to which sparse maps are treated as dense ones
_SPARSE = 0.1  # share of entries that are not zero
_INFLATIONS = (0.0, *(10.0**k for k in range(-15, 1)))


def maps_of(graph: Graph) -> Iterator[AbstractLinearMap]:
    """The maps of all affine nodes in order."""
    for node in graph.nodes:
        if isinstance(node, Affine):
            yield from node.maps


def total_gain(graph: Graph, gains: Sequence[float]) -> Fraction:
    """The gain of the output for bounds of the maps' norms, exactly."""
    found: list[Fraction] = []
    left = iter(gains)
    for node in graph.nodes:
        if isinstance(node, Affine):
            found.append(sum((Fraction(next(left)) * found[p] for p in node.parents), start=Fraction(0)))
        elif isinstance(node, Apply):
            slope = Fraction(1)
            if not node.grouped:
                slope = Fraction(float(max(np.abs(node.alpha).max(), np.abs(node.beta).max())))
            found.append(slope * found[node.parent])
        else:
            found.append(Fraction(1))
    return found[-1]


def norm_is_below(linear: AbstractLinearMap, gain: float, headroom: float = 1.0) -> bool:
    """Whether ||map||_2 <= gain is proven; `headroom` multiplies the rounding margin."""
    if not (math.isfinite(gain) and gain >= 0.0):
        return False
    if gain >= 1.0 and _is_selection(linear):
        return True
    sparse = as_sparse(linear)
    if sparse is not None and (not sparse.count_nonzero() or sparse_norm_is_below(sparse, gain, headroom)):
        return True
    if gain == 0.0 and linear.largest_entry() != 0.0:
        return False
    if sparse is not None and is_wide(linear):
        return False
    entries = linear.to_dense()
    if not entries.any():
        return True
    wide = entries if entries.shape[1] >= entries.shape[0] else np.ascontiguousarray(entries.T)
    rows, columns = wide.shape
    matrix = BlockTridiagonal((np.full(columns, gain), np.full(rows, gain)), (wide,), (None, None), (None,))
    return verified_cholesky(matrix, headroom).ok


def norm_bound(linear: AbstractLinearMap) -> float:
    """A float for which `norm_is_below` holds, close to the norm; infinity where none was found."""
    if _is_selection(linear):
        return 1.0
    sparse = as_sparse(linear)
    if sparse is not None:
        return sparse_norm_bound(sparse) if sparse.count_nonzero() else 0.0
    entries = linear.to_dense()
    estimate = float(np.linalg.norm(entries, 2)) if np.isfinite(entries).all() else math.inf
    for e in _INFLATIONS:
        gain = estimate * (1.0 + e)
        if norm_is_below(linear, gain, _HEADROOM):
            return gain
    return math.inf


def as_sparse(linear: AbstractLinearMap) -> sp.csr_array | None:
    """The matrix where it is large and sparse."""
    entries = linear.shape[0] * linear.shape[1]
    if entries <= _DENSE or isinstance(linear, DenseMap):
        return None
    matrix = linear.to_sparse()
    return matrix if matrix.nnz <= _SPARSE * entries or is_wide(linear) else None


def _is_selection(linear: AbstractLinearMap) -> bool:
    """Picks entries without repetition, or puts them in place: norm 1."""
    inner = linear.original if isinstance(linear, TransposedMap) else linear
    return isinstance(inner, SelectMap) and np.unique(inner.indices).size == inner.indices.size
