"""What a hand-written expression accepts as a constant and as an index."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_csc, floats
from .._errors import InputError

__all__ = ["as_constant", "positions"]


def as_constant(value: Any, *, row: bool = False) -> sp.csc_array | None:
    """A constant as a finite 2-D sparse array (1-D: a column, or a row when asked); None if it is none.

    Numbers are float64, or complex128 where an imaginary part is not zero.
    """
    if sp.issparse(value):
        matrix = value.reshape((1, -1)) if value.ndim == 1 else value
        if np.iscomplexobj(matrix) and matrix.tocoo().data.imag.any():
            result = sp.csc_array(as_csc("a constant", matrix.real) + 1j * as_csc("a constant", matrix.imag))
        else:
            result = as_csc("a constant", matrix)
        return sp.csc_array(result.T) if value.ndim == 1 and not row else result
    if not isinstance(value, (int, float, complex, np.ndarray, np.generic, list, tuple)):
        return None
    if isinstance(value, (list, tuple, np.ndarray)) and _holds_objects(value):
        return None
    dense = np.array(value) if type(value) is float and math.isfinite(value) else _numbers(value)
    if dense.ndim > 2:
        raise InputError(f"a constant has {dense.ndim} dimensions; expected a scalar, vector or matrix.")
    if dense.ndim == 1:
        dense = dense[None, :] if row else dense[:, None]
    return _from_dense(np.atleast_2d(dense))


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple, complex)) and np.iscomplexobj(value):
        value = np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "c" and np.imag(value).any():
        return np.asarray(floats("a constant", value.real) + 1j * floats("a constant", value.imag))
    return floats("a constant", value)


def _holds_objects(value: Any) -> bool:
    """Whether these are not numbers: expressions in a list, for instance."""
    try:
        return np.asarray(value).dtype == object
    except (TypeError, ValueError):
        return True


def _from_dense(dense: np.ndarray) -> sp.csc_array:
    """The nonzeros by columns; several times faster than scipy's way through coordinates."""
    rows, cols = dense.shape
    flat = dense.T.ravel()
    keep = np.flatnonzero(flat)
    indptr = np.searchsorted(keep, np.arange(cols + 1, dtype=np.int64) * rows).astype(np.int32)
    return sp.csc_array((flat[keep], (keep % max(rows, 1)).astype(np.int32), indptr), shape=(rows, cols))


def positions(key: Any, size: int) -> np.ndarray:
    """The integer positions that an index (integer, slice, mask or list) selects."""
    try:
        return np.atleast_1d(np.arange(size)[list(key) if isinstance(key, Iterable) else key])
    except (IndexError, TypeError) as error:
        raise InputError(f"index {key!r} does not fit an axis of length {size}: {error}.") from error
