"""Linear maps made of others: selection of entries, stack, sum, product, transpose.

A selection and a stack have exact entries. Those of a sum or a product may not be floats; `to_sparse`
then refuses, and whoever needs a proof takes the factors one by one, as `lmikit.graph` does.
"""

import abc
import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._maps import AbstractLinearMap, SparseMap

__all__ = ["ProductMap", "SelectMap", "StackMap", "SumMap", "TransposedMap", "identity_map"]


class AbstractCompoundMap(AbstractLinearMap):
    """What follows from `to_sparse`, and from the digests of the parts."""

    @abc.abstractmethod
    def parts(self) -> tuple[AbstractLinearMap, ...]:
        """The maps that this one is made of."""

    def scaled(self, pow2: int) -> AbstractLinearMap:
        return SparseMap(self.to_sparse()).scaled(pow2)

    def largest_entry(self) -> float:
        return float(np.abs(self.to_sparse().data).max(initial=0.0))

    def restricted(self, rows: np.ndarray, columns: np.ndarray) -> AbstractLinearMap:
        return SparseMap(self.to_sparse()).restricted(rows, columns)

    @functools.cached_property
    def digest(self) -> str:
        sha = hashlib.sha256(f"{type(self).__name__} {self.shape[0]}x{self.shape[1]}\n".encode())
        for part in self.parts():
            sha.update(part.digest.encode())
        return sha.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class SelectMap(AbstractCompoundMap):
    """x -> x[indices] for x of shape (size,); repeated indices are allowed."""

    indices: Any
    size: int

    def __post_init__(self) -> None:
        indices = np.array(self.indices, dtype=np.int64).reshape(-1)
        if not indices.size or indices.min() < 0 or indices.max() >= self.size:
            raise InputError(
                f"a selection has {indices.size} indices up to {indices.max(initial=-1)}; expected at least "
                f"one, from 0 to {self.size - 1}."
            )
        indices.setflags(write=False)
        object.__setattr__(self, "indices", indices)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.indices.size), self.size

    def parts(self) -> tuple[AbstractLinearMap, ...]:
        return ()

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x[self.indices])

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        result = np.zeros((self.size, *u.shape[1:]))
        np.add.at(result, self.indices, u)
        return result

    def to_sparse(self) -> sp.csr_array:
        n = self.indices.size
        return sp.csr_array((np.ones(n), (np.arange(n), self.indices)), shape=self.shape)

    @functools.cached_property
    def digest(self) -> str:
        head = f"select {self.shape[0]}x{self.shape[1]}\n".encode()
        return hashlib.sha256(head + self.indices.astype("<i8").tobytes()).hexdigest()


def identity_map(size: int) -> SelectMap:
    """x -> x."""
    return SelectMap(np.arange(size), size)


@dataclasses.dataclass(frozen=True, eq=False)
class TransposedMap(AbstractCompoundMap):
    """u -> W'u."""

    original: AbstractLinearMap

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.original.shape
        return columns, rows

    def parts(self) -> tuple[AbstractLinearMap, ...]:
        return (self.original,)

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return self.original.rmatvec(x)

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        return self.original.matvec(u)

    def to_sparse(self) -> sp.csr_array:
        return sp.csr_array(self.original.to_sparse().T)


@dataclasses.dataclass(frozen=True, eq=False)
class StackMap(AbstractCompoundMap):
    """x -> (W_1 x, W_2 x, ...), the results one after the other."""

    maps: tuple[AbstractLinearMap, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", _agreeing("a stack of maps", self.maps, 1))

    @property
    def shape(self) -> tuple[int, int]:
        return sum(m.shape[0] for m in self.maps), self.maps[0].shape[1]

    def parts(self) -> tuple[AbstractLinearMap, ...]:
        return self.maps

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([m.matvec(x) for m in self.maps])

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        ends = np.cumsum([m.shape[0] for m in self.maps])[:-1]
        return np.sum([m.rmatvec(part) for m, part in zip(self.maps, np.split(u, ends), strict=True)], axis=0)

    def to_sparse(self) -> sp.csr_array:
        return sp.csr_array(sp.vstack([m.to_sparse() for m in self.maps], format="csr"))


@dataclasses.dataclass(frozen=True, eq=False)
class SumMap(AbstractCompoundMap):
    """x -> W_1 x + W_2 x + ...; `to_sparse` raises InputError where an entry of the sum is not a float."""

    maps: tuple[AbstractLinearMap, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", _agreeing("a sum of maps", self.maps, 0, 1))

    @property
    def shape(self) -> tuple[int, int]:
        return self.maps[0].shape

    def parts(self) -> tuple[AbstractLinearMap, ...]:
        return self.maps

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(sum((m.matvec(x) for m in self.maps[1:]), start=self.maps[0].matvec(x)))

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(sum((m.rmatvec(u) for m in self.maps[1:]), start=self.maps[0].rmatvec(u)))

    def to_sparse(self) -> sp.csr_array:
        total = self.maps[0].to_sparse()
        for m in self.maps[1:]:
            term = m.to_sparse()
            result = sp.csr_array(total + term)
            # Knuth's TwoSum: the error of a floating-point sum is a float, and this is it
            back = sp.csr_array(result - total)
            error = sp.csr_array((total - (result - back)) + (term - back))
            if not np.isfinite(result.data).all() or error.count_nonzero():
                raise _not_exact("sum")
            total = result
        return total


@dataclasses.dataclass(frozen=True, eq=False)
class ProductMap(AbstractCompoundMap):
    """x -> W_1 (W_2 x); `to_sparse` raises InputError unless one factor only picks or negates entries."""

    left: AbstractLinearMap
    right: AbstractLinearMap

    def __post_init__(self) -> None:
        if self.left.shape[1] != self.right.shape[0]:
            raise InputError(
                f"a product of maps has shapes {self.left.shape} and {self.right.shape}; expected the "
                "columns of the first to be the rows of the second."
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    def parts(self) -> tuple[AbstractLinearMap, ...]:
        return self.left, self.right

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return self.left.matvec(self.right.matvec(x))

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        return self.right.rmatvec(self.left.rmatvec(u))

    def to_sparse(self) -> sp.csr_array:
        left, right = self.left.to_sparse(), self.right.to_sparse()
        if not (_moves_entries(left, axis=1) or _moves_entries(right, axis=0)):
            raise _not_exact("product")
        return sp.csr_array(left @ right)


def _moves_entries(matrix: sp.csr_array, axis: int) -> bool:
    """Whether all entries are 0 or +-1, with at most one per row (axis 1) or column (axis 0)."""
    counts = np.asarray((matrix != 0.0).sum(axis=axis)).ravel()
    return bool((np.isin(matrix.data, (-1.0, 0.0, 1.0))).all() and counts.max(initial=0) <= 1)


def _not_exact(what: str) -> InputError:
    return InputError(
        f"the entries of a {what} of maps are not floats; expected exact entries. Its matvec works, and "
        "lmikit.graph.GraphBuilder keeps the parts apart, so that a proof can enclose them."
    )


def _agreeing(what: str, maps: Any, *axes: int) -> tuple[AbstractLinearMap, ...]:
    result = tuple(maps)
    if not result or not all(isinstance(m, AbstractLinearMap) for m in result):
        raise InputError(f"{what} needs linear maps, at least one.")
    if any(m.shape[axis] != result[0].shape[axis] for m in result for axis in axes):
        raise InputError(f"{what} has shapes {[m.shape for m in result]}; expected shapes that agree.")
    return result
