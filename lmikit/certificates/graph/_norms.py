"""The norm proof of a graph: sums over parents, products along paths.

gain(x) = 1, gain of an affine node = sum of ||map|| gain(parent), gain of a nonlinear node = its largest
|slope| (1 for groups) times its parent's: by the triangle inequality and composition every increment of a
node is at most its gain times ||dx||_2. ||W|| <= g exactly if [[g I, W'], [W, g I]] is PSD, whose entries
are floats; the sum is taken in rationals. The norm of a large convolution is bounded on a torus
(`_convolution_norms`), that of another large sparse map by its parts or row sums (`_sparse_norms`).
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ...graph import Affine, Apply, Graph
from ...maps import Convolution2d
from ...network import AbstractLinearMap, DenseMap, SelectMap, SparseMap, TransposedMap, is_wide
from .._verified_cholesky import BlockTridiagonal, verified_cholesky
from ._convolution_norms import convolution_is_below, convolution_norm
from ._sparse_norms import sparse_norm_bound, sparse_norm_is_below

__all__ = [
    "as_sparse",
    "known_square",
    "large_convolution",
    "maps_of",
    "norm_bound",
    "norm_by_sums",
    "norm_is_below",
    "total_gain",
]

_HEADROOM = 6.0  # room for other checkers' margins
_SUM_ROOM = 1e-6  # relative
_DENSE = 2**20  # entries up to which sparse maps are treated as dense ones
_UNROLLED = 2**20  # entries up to which a convolution's norm is that of its matrix
_GRAM = 1000
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
    square = known_square(linear)
    if square is not None:
        return Fraction(gain) ** 2 >= square
    conv = large_convolution(linear)
    if conv is not None:
        return convolution_is_below(conv, gain)
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
    square = known_square(linear)
    if square is not None:
        return _root_above(square)
    conv = large_convolution(linear)
    if conv is not None:
        return convolution_norm(conv)
    sparse = as_sparse(linear)
    if sparse is not None:
        return sparse_norm_bound(sparse) if sparse.count_nonzero() else 0.0
    entries = linear.to_dense()
    estimate = _estimate(entries) if np.isfinite(entries).all() else math.inf
    for e in _INFLATIONS:
        gain = estimate * (1.0 + e)
        if norm_is_below(linear, gain, _HEADROOM):
            return gain
    return math.inf


def norm_by_sums(linear: AbstractLinearMap) -> float:
    """sqrt(||map||_1 ||map||_inf) >= ||map||_2 (Schur's test), in one pass over the entries, rounded upward.

    Of a convolution the sums over its kernel: no row or column of the matrix has more. The room above is for
    checkers, whose proof of `norm_is_below` has rounding margins.
    """
    conv = large_convolution(linear)
    if conv is not None:
        size = np.abs(conv.kernel)
        grouped = size.reshape(conv.groups, -1, *size.shape[1:])
        rows, columns = size.sum(axis=(1, 2, 3)), grouped.sum(axis=(1, 3, 4))
    else:
        matrix = abs(linear.to_sparse())
        rows, columns = matrix.sum(axis=1), matrix.sum(axis=0)
    room = 1.0 + _SUM_ROOM + 2.0 * sum(linear.shape) * 2.0**-52  # of two sums, two roots and a product
    return math.sqrt(float(np.max(rows, initial=0.0))) * math.sqrt(float(np.max(columns, initial=0.0))) * room


def as_sparse(linear: AbstractLinearMap) -> sp.csr_array | None:
    """The matrix where it is large and sparse."""
    entries = linear.shape[0] * linear.shape[1]
    if entries <= _DENSE or isinstance(linear, DenseMap):
        return None
    matrix = linear.to_sparse()
    return matrix if matrix.nnz <= _SPARSE * entries or is_wide(linear) else None


def large_convolution(linear: AbstractLinearMap) -> Convolution2d | None:
    """The convolution whose norm, or that of its adjoint, is proven on a torus and not as a matrix."""
    rows, columns = linear.shape
    inner = linear.original if isinstance(linear, TransposedMap) else linear
    return inner if isinstance(inner, Convolution2d) and rows * columns > _UNROLLED else None


def known_square(linear: AbstractLinearMap) -> Fraction | None:
    """||map||^2 exactly, where S'S or S S' is diagonal for all to see; None elsewhere.

    A selection that reads an entry in c places has S'S = diag(c). A matrix with at most one entry in every
    row and column has W'W = diag of their squares.
    """
    inner = linear.original if isinstance(linear, TransposedMap) else linear
    if isinstance(inner, SelectMap):
        return Fraction(int(np.unique(inner.indices, return_counts=True)[1].max()))
    if not isinstance(inner, SparseMap):
        return None
    m = inner.to_sparse()
    if np.diff(m.indptr).max(initial=0) > 1 or np.bincount(m.indices, minlength=1).max() > 1:
        return None
    return Fraction(float(np.abs(m.data).max(initial=0.0))) ** 2


def _estimate(entries: np.ndarray) -> float:
    if min(entries.shape) <= _GRAM:
        return float(np.linalg.norm(entries, 2))
    gram = entries @ entries.T if entries.shape[0] <= entries.shape[1] else entries.T @ entries
    last = [len(gram) - 1] * 2
    top = scipy.linalg.eigh(gram, eigvals_only=True, subset_by_index=last)
    return math.sqrt(max(0.0, float(top[0])))


def _root_above(square: Fraction) -> float:
    """A float at or above the root, next to it; infinity beyond the range."""
    try:
        root = math.sqrt(float(square))
    except OverflowError:
        return math.inf
    while math.isfinite(root) and Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root
