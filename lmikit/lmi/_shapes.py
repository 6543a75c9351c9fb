"""The shape of a hand-written expression: transposes, parts, sums, reshaping; indices as numpy has them."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from .._errors import InputError
from . import _labels
from ._comparisons import AbstractComparable
from ._constants import positions
from ._labels import Label
from ._term import Term
from ._triplets import Triplets

__all__ = ["AbstractShaped"]


class AbstractShaped(AbstractComparable):
    """What rearranges the entries of an expression; always two-dimensional, vectors are columns (n, 1)."""

    @abc.abstractmethod
    def expand(self) -> Triplets:
        """The expression as entry records alone."""

    @abc.abstractmethod
    def _map(self, entries: Any, terms: Any, shape: tuple[int, int], label: Label | None) -> Self:
        """The expression with its records and its rank-one terms changed by two functions."""

    @abc.abstractmethod
    def _with(self, shape: tuple[int, int], entries: Triplets, label: Label) -> Self:
        """An expression of the same problem with these records."""

    @property
    def T(self) -> Self:
        """The transpose."""
        label = _labels.transposed(self.label)
        return self._map(Triplets.transpose, lambda t: Term(t.Q, t.P, t.x), self.shape[::-1], label)

    @property
    def H(self) -> Self:
        """The conjugate transpose."""
        if not self.is_complex:
            return self.T
        flipped = self.conj().T
        flipped.label = _labels.transposed(self.label, "^H")
        return flipped

    def _entrywise(self, name: str, function: Any) -> Self:
        if not self.is_complex:
            return self if name != "imag" else self * 0.0
        entries = self.expand()
        part = dataclasses.replace(entries, val=function(entries.val))
        return self._with(self.shape, part, _labels.call(name, self.label))

    def conj(self) -> Self:
        """The complex conjugate; variables and parameters are real."""
        return self._entrywise("conj", np.conj)

    @property
    def real(self) -> Self:
        """The real part."""
        return self._entrywise("real", lambda val: val.real.copy())

    @property
    def imag(self) -> Self:
        """The imaginary part."""
        return self._entrywise("imag", lambda val: val.imag.copy())

    def diagonal(self) -> Self:
        """The diagonal of a square expression as a column (n, 1)."""
        n = self.shape[0]
        if self.shape != (n, n):
            raise InputError(f"the diagonal needs a square expression and got shape {self.shape}.")
        e = self.expand()
        on = e.row == e.col
        zero = np.zeros(int(on.sum()), dtype=np.int64)
        records = Triplets((n, 1), e.row[on], zero, e.var[on], e.val[on])
        return self._with((n, 1), records, _labels.call("diag", self.label))

    def trace(self) -> Self:
        """The sum of the diagonal, (1, 1)."""
        if self.shape[0] != self.shape[1]:
            raise InputError(f"trace needs a square expression and got shape {self.shape}.")
        e = self.diagonal().expand()
        records = dataclasses.replace(e, shape=(1, 1), row=np.zeros_like(e.row))
        return self._with((1, 1), records, _labels.call("trace", self.label))

    def sum(self, axis: int | None = None) -> Self:
        """The sum of all entries (1, 1), or with axis 0 of each column (1, n), with axis 1 of each row (n,
        1).
        """
        if axis not in (None, 0, 1):
            raise InputError(f"axis is {axis!r}; expected None, 0 or 1.")
        e = self.expand()
        shape = (1 if axis != 1 else self.shape[0], 1 if axis != 0 else self.shape[1])
        row, col = (
            index if keep else np.zeros_like(index)
            for index, keep in ((e.row, axis == 1), (e.col, axis == 0))
        )
        records = dataclasses.replace(e, shape=shape, row=row, col=col)
        return self._with(shape, records, _labels.call("sum", self.label))

    def reshape(self, rows: int, cols: int, order: str = "C") -> Self:
        """The same entries as (rows, cols), read row by row (order "C") or column by column ("F"), as numpy
        does.
        """
        if rows * cols != self.shape[0] * self.shape[1] or order not in ("C", "F"):
            raise InputError(
                f"cannot reshape {self.shape} to ({rows}, {cols}) in the order {order!r}; expected as many "
                "entries, and 'C' (row by row) or 'F' (column by column)."
            )
        if order == "F":
            return self.T.reshape(cols, rows).T
        e = self.expand()
        row, col = np.divmod(e.flat(), cols)
        records = dataclasses.replace(e, shape=(rows, cols), row=row, col=col)
        return self._with((rows, cols), records, _labels.call("reshape", self.label))

    def __getitem__(self, key: Any) -> Self:
        """Entries as numpy indexes a matrix; one index on a column takes entries, else rows; always 2-D."""
        keys = key if isinstance(key, tuple) else (key, slice(None))
        if len(keys) != 2:
            raise InputError(f"an expression takes one or two indices and got {len(keys)}.")
        rows, cols = (positions(k, n) for k, n in zip(keys, self.shape, strict=True))
        words = keys[:1] if not isinstance(key, tuple) else keys
        return self._map(
            lambda e: e.select(rows, cols),
            lambda t: t.select(rows, cols),
            (rows.size, cols.size),
            Label(f"{self.label.within(2)}[{', '.join(map(_labels.index, words))}]"),
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        """Rows (1, n), which for a column are its entries."""
        return (self[i] for i in range(self.shape[0]))
