"""Linear maps as objects: dense and sparse matrices first; others are one class each."""

import abc
import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_csr, floats, sealed
from .._errors import InexactScaling, InputError

__all__ = ["AbstractLinearMap", "DenseMap", "SparseMap"]

LARGEST_DENSE = 2**27  # entries: 1 GiB


class AbstractLinearMap(abc.ABC):
    """x -> W x with W of shape (out, in), known by its products.

    Law: <u, matvec(x)> == <rmatvec(u), x> up to rounding, and both agree with `to_sparse`.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(out, in)."""

    @abc.abstractmethod
    def matvec(self, x: np.ndarray) -> np.ndarray:
        """W x for x of shape (in,) or (in, k)."""

    @abc.abstractmethod
    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        """W'u for u of shape (out,) or (out, k)."""

    @abc.abstractmethod
    def to_sparse(self) -> sp.csr_array:
        """W with every entry exact in float64."""

    @abc.abstractmethod
    def scaled(self, pow2: int) -> "AbstractLinearMap":
        """2**pow2 * W, exact; raises InputError where that overflows or loses bits."""

    @abc.abstractmethod
    def largest_entry(self) -> float:
        """max |W_ij| (0 for an empty map)."""

    @abc.abstractmethod
    def restricted(self, rows: np.ndarray, columns: np.ndarray) -> "AbstractLinearMap":
        """The submatrix with these row and column indices, exact."""

    def extremes(self) -> tuple[float, float]:
        """(smallest, largest) of |W_ij| over the entries that are not zero; zeros for a zero map."""
        sizes = np.abs(self.nonzeros())
        return float(sizes.min(initial=np.inf)) if sizes.size else 0.0, float(sizes.max(initial=0.0))

    def nonzeros(self) -> np.ndarray:
        """The entries that are not zero, in some order."""
        values = self.to_sparse().data
        return np.asarray(values[values != 0.0])

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 in hex over kind, dtype, shape and little-endian bytes."""

    def stored(self) -> tuple[np.ndarray, dict[str, Any]] | None:
        """(kernel, what else makes the map, for JSON) where the map is one kernel; None for others."""
        return None

    @property
    def T(self) -> "AbstractLinearMap":
        """u -> W'u."""
        from ._compound_maps import TransposedMap  # which is made of maps, hence below

        return TransposedMap(self)

    def __add__(self, other: "AbstractLinearMap") -> "AbstractLinearMap":
        """x -> W x + V x."""
        from ._compound_maps import SumMap

        return SumMap((self, other)) if isinstance(other, AbstractLinearMap) else NotImplemented

    def __matmul__(self, other: "AbstractLinearMap") -> "AbstractLinearMap":
        """x -> W (V x)."""
        from ._compound_maps import ProductMap

        return ProductMap(self, other) if isinstance(other, AbstractLinearMap) else NotImplemented

    def to_dense(self) -> np.ndarray:
        """W as a read-only float64 array; raises InputError before 1 GiB would be allocated."""
        require_dense(self)
        result = self.to_sparse().toarray()
        result.setflags(write=False)
        return result


def require_dense(linear: AbstractLinearMap) -> None:
    """Raises InputError where W has too many entries for a dense array."""
    rows, columns = linear.shape
    if is_wide(linear):
        raise InputError(
            f"a linear map of shape {linear.shape} has {rows * columns:.2g} entries as a dense matrix; "
            f"expected at most {LARGEST_DENSE:.2g} here. LipSDP() and SpectralProduct() bound such "
            "layers by products of norms; other methods need dense blocks."
        )


def is_wide(linear: AbstractLinearMap) -> bool:
    """Whether W has too many entries for dense blocks: then only its sparse entries are worked with."""
    rows, columns = linear.shape
    return rows * columns > LARGEST_DENSE


def _checked_values(values: Any, ndim: int) -> np.ndarray:
    """`values` where they are finite float64, sealed: nobody else can write to them; raises InputError."""
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != ndim:
        raise InputError(
            f"a linear map holds {type(values).__name__} data; expected a {ndim}-D float64 array. "
            "Network.from_arrays casts whatever numpy can read."
        )
    return floats("a linear map", values)


def _scaled_values(values: np.ndarray, pow2: int) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        if abs(pow2) < 1000:  # a product with a power of two rounds as ldexp does, and is faster
            result = values * 2.0**pow2
            back = result * 2.0**-pow2
        else:
            result = np.ldexp(values, pow2)
            back = np.ldexp(result, -pow2)
    if not np.array_equal(back, values):
        raise InexactScaling(
            f"scaling by 2**{pow2} is not exact in float64: entries span more than the exponent "
            "range; rescale the layer."
        )
    return sealed(result)


@dataclasses.dataclass(frozen=True, eq=False)
class DenseMap(AbstractLinearMap):
    """A dense matrix; `source_dtype` is the type it was given in (its cast to float64 is exact)."""

    matrix: np.ndarray
    source_dtype: str = "F64"

    def __post_init__(self) -> None:
        matrix = _checked_values(self.matrix, 2)
        if not matrix.size:
            raise InputError(
                f"a linear map has shape {matrix.shape}; expected (out, in) with both at least 1."
            )
        object.__setattr__(self, "matrix", matrix)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix @ x)

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix.T @ u)

    def to_sparse(self) -> sp.csr_array:
        return sp.csr_array(self.matrix)

    def to_dense(self) -> np.ndarray:
        return self.matrix

    def extremes(self) -> tuple[float, float]:
        sizes = np.abs(self.matrix)
        smallest = float(sizes.min())
        return (smallest, float(sizes.max())) if smallest > 0.0 else super().extremes()

    def nonzeros(self) -> np.ndarray:
        return np.asarray(self.matrix[self.matrix != 0.0])

    def restricted(self, rows: np.ndarray, columns: np.ndarray) -> "DenseMap":
        return DenseMap(self.matrix[np.ix_(rows, columns)], self.source_dtype)

    def scaled(self, pow2: int) -> "DenseMap":
        return DenseMap(_scaled_values(self.matrix, pow2), self.source_dtype)

    def largest_entry(self) -> float:
        return float(np.abs(self.matrix).max(initial=0.0))

    @functools.cached_property
    def digest(self) -> str:
        head = f"dense F64 {self.shape[0]}x{self.shape[1]}\n".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.matrix, dtype="<f8").tobytes()).hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class SparseMap(AbstractLinearMap):
    """A sparse matrix in canonical CSR form (sorted, no duplicates)."""

    matrix: sp.csr_array
    source_dtype: str = "F64"

    def __post_init__(self) -> None:
        if not sp.issparse(self.matrix) or min(self.matrix.shape) < 1:
            raise InputError(
                "a sparse linear map needs a scipy sparse matrix (out, in) with both at least 1."
            )
        object.__setattr__(self, "matrix", as_csr("a sparse linear map", self.matrix))

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix @ x)

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix.T @ u)

    def to_sparse(self) -> sp.csr_array:
        """A new matrix that shares the sealed arrays: assigning to its entries leaves this map alone."""
        result = sp.csr_array((self.matrix.data, self.matrix.indices, self.matrix.indptr), shape=self.shape)
        result.has_canonical_format = True
        return result

    def restricted(self, rows: np.ndarray, columns: np.ndarray) -> "SparseMap":
        return SparseMap(self.matrix[rows][:, columns], self.source_dtype)

    def scaled(self, pow2: int) -> "SparseMap":
        matrix = self.matrix.copy()
        matrix.data = _scaled_values(matrix.data, pow2)
        return SparseMap(matrix, self.source_dtype)

    def largest_entry(self) -> float:
        return float(np.abs(self.matrix.data).max(initial=0.0))

    @functools.cached_property
    def digest(self) -> str:
        parts: list[Any] = [f"csr F64 {self.shape[0]}x{self.shape[1]}\n".encode()]
        parts += [
            np.ascontiguousarray(a, dtype="<i8").tobytes() for a in (self.matrix.indptr, self.matrix.indices)
        ]
        parts.append(np.ascontiguousarray(self.matrix.data, dtype="<f8").tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()
