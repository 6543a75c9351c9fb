"""The maps of a network as the proof at a point uses them: sparse at first, dense from there on."""

import functools
from typing import Any

import numpy as np
import scipy.sparse as sp

from ...maps import Convolution2d
from ...network import DenseMap, Layer, Network
from ._arrow import ArrowPlan
from ._order import arrow_order

__all__ = ["diagonal_gram", "gram_is_diagonal", "plan_of", "sparse_maps", "weights_of"]

_SPARSE = 0.25  # of the entries; beyond it a dense matrix is faster


def _matrix(layer: Layer) -> Any:
    """CSR with sorted columns where few entries are not zero, an array otherwise."""
    if not isinstance(layer.linear, DenseMap):
        matrix = layer.linear.to_sparse()
        if matrix.nnz <= _SPARSE * matrix.shape[0] * matrix.shape[1]:
            matrix.sum_duplicates()
            return matrix
    return layer.linear.to_dense()


@functools.lru_cache(maxsize=4)
def weights_of(network: Network) -> tuple[Any, ...]:
    """W_0, ..., W_L: CSR matrices for the sparse hidden maps it begins with, arrays (out, in) after."""
    matrices: list[Any] = []
    for k, layer in enumerate(network.layers):
        sparse = k < network.hidden_layers and (not matrices or sp.issparse(matrices[-1]))
        matrices.append(_matrix(layer) if sparse else layer.linear.to_dense())
    return tuple(matrices)


def sparse_maps(network: Network) -> int:
    """How many maps, from the first on, `weights_of` has as sparse matrices."""
    return sum(sp.issparse(w) for w in weights_of(network))


def gram_is_diagonal(weight: Any, a: np.ndarray) -> bool:
    """Whether W'diag(a)W is seen to be diagonal: no row with a_i != 0 of a sparse W has two entries."""
    used = a != 0.0
    if not used.any():
        return True
    return sp.issparse(weight) and bool((np.diff(weight.indptr)[used] <= 1).all())


def diagonal_gram(weight: Any, a: np.ndarray) -> np.ndarray:
    """sum_i a_i W_ij^2, in floating point."""
    if not a.any():
        return np.zeros(weight.shape[1])
    return np.asarray(weight.power(2).T @ a)


@functools.lru_cache(maxsize=4)
def plan_of(network: Network, square: tuple[bool, ...]) -> ArrowPlan:
    """Where everything goes in M; `square[k]` says that W_k'W_k is in the own part of block k."""
    weights = weights_of(network)
    maps = [w for w in weights if sp.issparse(w)]
    order = arrow_order(network.dims[:-1], maps, square, _axes(network))
    return ArrowPlan(order, maps)


def _axes(network: Network) -> list[np.ndarray]:
    """The rows and the columns of the input image, where the first map reads one."""
    first = network.layers[0].linear
    if not isinstance(first, Convolution2d):
        return []
    _, rows, columns = np.indices(first.input_shape)
    return [rows.ravel(), columns.ravel()]
