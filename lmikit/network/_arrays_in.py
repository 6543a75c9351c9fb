"""Arrays in: whatever numpy can read becomes a read-only float64 array by an exact cast."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._maps import AbstractLinearMap, DenseMap, SparseMap

__all__ = ["as_bias", "as_float64", "as_linear_map"]

_NAMES = {("f", 2): "F16", ("f", 4): "F32", ("f", 8): "F64"}


def _as_array(name: str, values: Any) -> np.ndarray:
    if np.ma.isMaskedArray(values):
        raise InputError(f"{name} is a masked array; expected plain numbers: fill it with .filled(value).")
    if sp.issparse(values):
        raise InputError(f"{name} is a sparse matrix; expected a dense array here: pass .toarray().")
    if getattr(values, "requires_grad", False):
        raise InputError(f"{name} is a tensor that requires grad; pass {name}.detach().")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0].rstrip(". ")
        hint = " (torch's bfloat16 is exact as .float())" if "BFloat16" in reason else ""
        raise InputError(
            f"{name} cannot be read as an array ({reason}); pass a numeric array{hint}."
        ) from error


def as_float64(name: str, values: Any) -> tuple[np.ndarray, str]:
    """(read-only C-contiguous float64 copy, name of the source dtype); raises InputError.

    The cast is exact or refused: float16, bfloat16, float32, float64, and integers up to 2**53.
    """
    array = _as_array(name, values)
    kind = array.dtype.kind
    if kind in "iub":
        source, result = "F64", array.astype(np.float64)
        if (
            kind != "b"
            and array.dtype.itemsize == 8
            and not np.array_equal(result.astype(object), array.astype(object))
        ):
            raise InputError(f"{name} holds integers beyond 2**53; their cast to float64 is not exact.")
    elif array.dtype.name == "bfloat16":
        source, result = "BF16", array.astype(np.float64)
    elif (kind, array.dtype.itemsize) in _NAMES:
        source, result = _NAMES[kind, array.dtype.itemsize], array.astype(np.float64)
    else:
        raise InputError(
            f"{name} has dtype {array.dtype}; expected real numbers that float64 holds exactly "
            "(float16, bfloat16, float32, float64 or integers)."
        )
    result = np.array(result, dtype=np.float64, order="C", copy=True)
    if not np.isfinite(result).all():
        raise InputError(f"{name} holds NaN or infinity; expected finite numbers.")
    result.setflags(write=False)
    return result, source


def as_linear_map(name: str, values: Any) -> AbstractLinearMap:
    """A linear map from a 2-D array or a scipy sparse matrix; linear maps pass through."""
    if isinstance(values, AbstractLinearMap):
        return values
    if sp.issparse(values):
        _check_matrix(name, values.shape)
        matrix = sp.csr_array(values)
        data, source = as_float64(name, matrix.data)
        return SparseMap(
            sp.csr_array((data.copy(), matrix.indices, matrix.indptr), shape=matrix.shape), source
        )
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
        hint = " Convolution kernels are not supported here; unroll them into a matrix."
    raise InputError(f"{name} has shape {shape}; expected a matrix (out, in) with both at least 1.{hint}")


def as_bias(name: str, values: Any, size: int) -> np.ndarray:
    """A bias of shape (size,); None means zeros; (1, size) and (size, 1) are flattened."""
    if values is None:
        result = np.zeros(size)
        result.setflags(write=False)
        return result
    array, _ = as_float64(name, values)
    if array.size != size or max(array.shape, default=1) != size:
        raise InputError(f"{name} has shape {array.shape}; expected ({size},), one per output of its weight.")
    result = array.reshape(size)
    result.setflags(write=False)
    return result
