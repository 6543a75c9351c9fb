"""The one seam for numbers: what numpy can read becomes float64 by an exact cast, or is refused.

Nothing is narrowed silently: complex numbers with an imaginary part, integers and extended floats
that float64 does not hold, masked entries, texts, objects, NaN and infinity are InputErrors that name
the argument. What comes out is owned by nobody else and cannot be written to: its memory is that of
a `bytes` object, so that no view taken earlier or later changes what was proven.
"""

import copy
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._errors import InputError

__all__ = ["as_csc", "as_csr", "as_float64", "as_number", "floats", "sealed"]

_FLOATS = {("f", 2): "F16", ("f", 4): "F32", ("f", 8): "F64"}
_EXACT_INTEGER = 2**53
_INDEX_TYPES = {np.dtype(np.int32), np.dtype(np.int64)}
_MOST_INDEX = 2**31 - 1


def sealed(array: np.ndarray) -> np.ndarray:
    """The same numbers in C order, in memory that nothing can write to; a sealed array as it is."""
    if _is_sealed(array):
        return array
    if not array.size:  # frombuffer takes no empty buffer
        result = np.zeros(array.shape, dtype=array.dtype)
        result.setflags(write=False)
        return result
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)


def _is_sealed(array: np.ndarray) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, bytes) and array.flags.c_contiguous and type(array) is np.ndarray


def floats(name: str, values: Any, *, finite: bool = True) -> np.ndarray:
    """The numbers as a sealed float64 array; raises InputError naming `name`."""
    return as_float64(name, values, finite=finite)[0]


def as_float64(name: str, values: Any, *, finite: bool = True) -> tuple[np.ndarray, str]:
    """(sealed float64 array, name of the source dtype); raises InputError.

    The cast is exact or refused. Taken are float16, bfloat16, float32, float64, booleans, and
    integers, extended floats and complex numbers that float64 holds exactly. `finite=False` lets
    NaN and infinity through.
    """
    if type(values) is np.ndarray and values.dtype == np.float64 and _is_sealed(values):
        return _finite(name, values, finite), "F64"  # it went through this seam before
    array = _as_array(name, values)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.dtype.name == "bfloat16":
        source, result = "BF16", _widened(name, array)
    elif (kind, size) in _FLOATS:
        source, result = _FLOATS[kind, size], _widened(name, array)
    elif kind in "iub":
        source, result = "F64", _from_integers(name, array)
    elif kind == "f":
        source, result = "F64", _narrowed(name, array)
    elif kind == "c":
        if array.imag.any():
            raise InputError(
                f"{name} has dtype {array.dtype} and imaginary parts that are not zero; expected real "
                "numbers: write a Hermitian matrix as [[Re, -Im], [Im, Re]]."
            )
        return as_float64(name, array.real, finite=finite)
    else:
        raise InputError(
            f"{name} has dtype {array.dtype}; expected real numbers that float64 holds exactly "
            "(float16, bfloat16, float32, float64 or integers)."
        )
    return sealed(_finite(name, result, finite)), source


def _finite(name: str, array: np.ndarray, required: bool) -> np.ndarray:
    if required and not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity; expected finite numbers.")
    return array


def as_number(name: str, value: Any, *, finite: bool = True) -> float:
    """One number as a float that holds it exactly; raises InputError."""
    array = floats(name, value, finite=finite)
    if array.size != 1:
        raise InputError(f"{name} has shape {array.shape}; expected one number.")
    return float(array.reshape(()))


def as_csr(name: str, matrix: Any) -> sp.csr_array:
    """A sparse or dense matrix as canonical CSR with entries by `floats`, owned and sealed."""
    return _canonical(name, matrix, sp.csr_array)


def as_csc(name: str, matrix: Any) -> sp.csc_array:
    """A sparse or dense matrix as canonical CSC with entries by `floats`, owned and sealed."""
    return _canonical(name, matrix, sp.csc_array)


def _canonical(name: str, matrix: Any, kind: Any) -> Any:
    if not sp.issparse(matrix):
        dense = floats(name, matrix)
        if dense.ndim != 2:
            raise InputError(f"{name} has shape {dense.shape}; expected a matrix.")
        result = kind(dense)
    else:
        if type(matrix) is kind and _went_through(matrix):
            return copy.copy(matrix)  # shares the sealed arrays
        if matrix.ndim != 2:
            raise InputError(f"{name} has shape {matrix.shape}; expected a matrix.")
        given = matrix.tocoo() if matrix.format in ("lil", "dok") else matrix
        values = floats(name, given.data)  # before any sum of duplicates, which keeps the dtype
        if type(given) is kind and _has_canonical_form(given) and values.all():
            result = copy.copy(given)  # several times cheaper than SciPy's constructor
            indices, indptr = (a.astype(np.int32, copy=False) for a in (given.indices, given.indptr))
            result.data, result.indices, result.indptr = values, sealed(indices), sealed(indptr)
            return _marked(result)
        copied = given.copy()
        copied.data = values.copy()
        try:
            result = copied if type(copied) is kind else kind(copied)
            result.check_format(full_check=True)
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(f"{name} is not a well-formed sparse matrix ({error}).") from error
    result.sum_duplicates()
    result.eliminate_zeros()
    if not np.isfinite(result.data).all():
        raise InputError(f"{name} has duplicate entries whose sum overflows; expected finite numbers.")
    result.data = sealed(result.data)
    result.indices, result.indptr = sealed(result.indices), sealed(result.indptr)
    return _marked(result)


def _marked(result: Any) -> Any:
    """The canonical matrix with its sealed arrays noted, so that this seam knows it again."""
    result.has_canonical_format = True
    result._lmikit_sealed = (result.shape, result.data, result.indices, result.indptr)
    return result


def _went_through(matrix: Any) -> bool:
    """Whether the arrays are the ones that this seam checked and sealed."""
    noted = getattr(matrix, "_lmikit_sealed", None)
    if noted is None or matrix.shape != noted[0]:
        return False
    arrays = zip((matrix.data, matrix.indices, matrix.indptr), noted[1:], strict=True)
    return all(a is b and (not a.size or _is_sealed(a)) for a, b in arrays)  # copies of the mark say nothing


def _has_canonical_form(matrix: Any) -> bool:
    """Whether CSC or CSR arrays are sorted, without duplicates and in range, whatever the flags say.

    False too where 32 bits do not hold the indices.
    """
    data, indices, indptr = matrix.data, matrix.indices, matrix.indptr
    major, minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    if data.ndim != 1 or data.shape != indices.shape or indptr.shape != (major + 1,):
        return False
    if max(data.size, minor, major) > _MOST_INDEX or {indices.dtype, indptr.dtype} - _INDEX_TYPES:
        return False
    if indptr[0] != 0 or indptr[-1] != data.size:
        return False
    if (indptr[1:] < indptr[:-1]).any():
        return False
    if not data.size:
        return True
    if indices.min() < 0 or indices.max() >= minor:
        return False
    rises = indices[1:] > indices[:-1]
    starts = indptr[1:-1]
    rises[starts[(starts > 0) & (starts < data.size)] - 1] = True  # another row or column begins
    return bool(rises.all())


def _as_array(name: str, values: Any) -> np.ndarray:
    _refuse_containers(name, values)
    if isinstance(values, (list, tuple)):
        _refuse_inexact_items(name, values, 0)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        reason = str(error).split("\n")[0].rstrip(". ")
        hint = " (torch's bfloat16 is exact as .float())" if "BFloat16" in reason else ""
        raise InputError(
            f"{name} cannot be read as an array ({reason}); pass a numeric array{hint}."
        ) from error


def _refuse_containers(name: str, values: Any) -> None:
    """What `np.asarray` would read with a loss, or as one object."""
    if np.ma.isMaskedArray(values):
        raise InputError(f"{name} is a masked array; expected plain numbers: fill it with .filled(value).")
    if sp.issparse(values):
        raise InputError(f"{name} is a sparse matrix; expected a dense array here: pass .toarray().")
    if getattr(values, "requires_grad", False):
        raise InputError(f"{name} is a tensor that requires grad; pass {name}.detach().")


def _refuse_inexact_items(name: str, values: Any, depth: int) -> None:
    """Lists mix types, and numpy rounds a large integer beside a float without a word."""
    if depth > 64:
        raise InputError(f"{name} is a list nested more than 64 deep; expected an array.")
    for item in values:
        if isinstance(item, (list, tuple)):
            _refuse_inexact_items(name, item, depth + 1)
        elif isinstance(item, int):
            if abs(item) > _EXACT_INTEGER and not _holds(item):
                raise InputError(f"{name} holds integers beyond 2**53; their cast to float64 is not exact.")
        elif isinstance(item, np.integer):
            if not _holds(int(item)):
                raise InputError(f"{name} holds integers beyond 2**53; their cast to float64 is not exact.")
        elif not isinstance(item, float):
            _refuse_containers(name, item)
            if isinstance(item, np.ndarray) and item.dtype.kind in "iu":
                _from_integers(name, item)


def _holds(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _from_integers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.itemsize == 8:
        large = array[array > _EXACT_INTEGER]
        if array.dtype.kind == "i":
            large = np.append(large, array[array < -_EXACT_INTEGER])
        if not all(_holds(int(v)) for v in large.ravel()):
            raise InputError(f"{name} holds integers beyond 2**53; their cast to float64 is not exact.")
    return array.astype(np.float64)


def _widened(name: str, array: np.ndarray) -> np.ndarray:
    """A wider copy; where the processor takes subnormal numbers as zero it would lose them."""
    result = np.array(array, dtype=np.float64, order="C")
    if array.dtype.itemsize == 4 and _nonzeros(array) != _nonzeros(result):
        raise InputError(
            f"{name} holds subnormal float32 numbers, which this thread flushes to zero; reset its "
            "floating-point environment (torch.set_flush_denormal(False))."
        )
    return result


def _nonzeros(array: np.ndarray) -> int:
    """How many entries have a nonzero bit beside the sign."""
    size = array.dtype.itemsize
    bits = np.ascontiguousarray(array).view(f"{'<' if array.dtype.isnative else '>'}u{size}")
    return int(np.count_nonzero(bits & ((1 << (8 * size - 1)) - 1)))


def _narrowed(name: str, array: np.ndarray) -> np.ndarray:
    """An extended float as float64 where that loses nothing."""
    with np.errstate(all="ignore"):
        result = array.astype(np.float64)
        same = (result.astype(array.dtype) == array) | (np.isnan(array) & np.isnan(result))
    if not same.all():
        raise InputError(
            f"{name} has dtype {array.dtype} and numbers that float64 does not hold; expected an exact cast: "
            "round them yourself with .astype(numpy.float64)."
        )
    return result
