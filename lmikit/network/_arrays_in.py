"""Weights and biases in: linear maps and vectors by the casts of `_convert`."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_csr, as_float64, floats, sealed
from .._errors import InputError
from ._maps import AbstractLinearMap, DenseMap, SparseMap

__all__ = ["as_bias", "as_linear_map"]


def as_linear_map(name: str, values: Any) -> AbstractLinearMap:
    """A linear map from a 2-D array or a scipy sparse matrix; linear maps pass through."""
    if isinstance(values, AbstractLinearMap):
        return values
    if sp.issparse(values):
        _check_matrix(name, values.shape)
        given = values.tocoo() if values.format in ("lil", "dok") else values
        return SparseMap(as_csr(name, values), as_float64(name, given.data)[1])
    array, source = as_float64(name, values)
    _check_matrix(name, array.shape)
    return DenseMap(array, source)


def _check_matrix(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 2 and min(shape) >= 1:
        return
    hint = ""
    if len(shape) == 1:
        hint = " For one output pass reshape(1, -1); for one input pass reshape(-1, 1)."
    elif len(shape) > 2:
        hint = " For a convolution pass lmikit.maps.Convolution2d(kernel, input_shape)."
    raise InputError(f"{name} has shape {shape}; expected a matrix (out, in) with both at least 1.{hint}")


def as_bias(name: str, values: Any, size: int) -> np.ndarray:
    """A bias of shape (size,); None means zeros; (1, size) and (size, 1) are flattened."""
    if values is None:
        return sealed(np.zeros(size))
    array = floats(name, values)
    if array.size != size or max(array.shape, default=1) != size:
        raise InputError(f"{name} has shape {array.shape}; expected ({size},), one per output of its weight.")
    return array.reshape(size)
