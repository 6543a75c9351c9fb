"""The variables and parameters of a hand-written problem."""

import abc
import numbers
from typing import Any

import numpy as np

from .._errors import InputError
from ._expression import Expression
from ._labels import Label
from ._parameters import Parameters
from ._term import Term
from ._triplets import Columns, Triplets

__all__ = ["AbstractVariables"]


class AbstractVariables(abc.ABC):
    """Makes the variables of one problem; their entries stand in y in the order in which they were made."""

    def __init__(self) -> None:
        self._size = 0
        self._variables: dict[str, Expression] = {}
        self._starts: list[tuple[int, str]] = []
        self.parameters = Parameters()

    @abc.abstractmethod
    def value_of(self, expression: Any) -> Any:
        """The value at the last solution."""

    @abc.abstractmethod
    def _changed(self) -> None:
        """Forget what was compiled."""

    def _free_name(self, name: str | None) -> str:
        name = f"x{len(self._variables)}" if name is None else name
        if name in self._variables or name in self.parameters.names:
            raise InputError(f"a variable is named {name!r} already; names are unique.")
        return name

    def _new(self, name: str | None, count: int) -> tuple[str, int]:
        name = self._free_name(name)
        start, self._size = self._size, self._size + count
        self._starts.append((start, name))
        self._changed()
        return name, start

    def _dense(
        self, name: str | None, row: np.ndarray, col: np.ndarray, index: np.ndarray, count: int
    ) -> Expression:
        name, start = self._new(name, count)
        shape = (int(row.max(initial=-1)) + 1, int(col.max(initial=-1)) + 1)
        entries = Triplets(shape, row, col, start + index, np.ones(row.size))
        self._variables[name] = Expression(shape, self, entries, label=Label(name))
        return self._variables[name]

    def scalar(self, name: str | None = None) -> Expression:
        """A (1, 1) variable."""
        return self.matrix(1, 1, name)

    def vector(self, n: int, name: str | None = None) -> Expression:
        """A column (n, 1)."""
        return self.matrix(n, 1, name)

    def matrix(self, rows: int, cols: int, name: str | None = None) -> Expression:
        """A full (rows, cols) matrix, stored row by row."""
        rows, cols = _size(rows), _size(cols)
        return self._dense(name, *_full(rows, cols), rows * cols)

    def symmetric(self, n: int, name: str | None = None) -> Expression:
        """A symmetric (n, n) matrix; its lower triangle is stored row by row, n(n+1)/2 entries."""
        n = _size(n)
        return self._dense(name, *_symmetric(n), n * (n + 1) // 2)

    def hermitian(self, n: int, name: str | None = None) -> Expression:
        """A Hermitian (n, n) matrix, n^2 entries: the real parts of its lower triangle row by row, then the
        imaginary parts below the diagonal row by row."""
        n = _size(n)
        name, start = self._new(name, n * n)
        row, col, index = _symmetric(n)
        below = np.flatnonzero(row > col)
        i, j = row[below], col[below]
        imaginary = start + n * (n + 1) // 2 + i * (i - 1) // 2 + j
        entries = Triplets(
            (n, n),
            np.r_[row, i, j],
            np.r_[col, j, i],
            np.r_[start + index, imaginary, imaginary],
            np.r_[np.ones(row.size), 1j * np.ones(i.size), -1j * np.ones(i.size)],
        )
        self._variables[name] = Expression((n, n), self, entries, label=Label(name))
        return self._variables[name]

    def diagonal(self, n: int, name: str | None = None) -> Expression:
        """A diagonal (n, n) matrix, n entries; products with constants stay rank-one terms."""
        n = _size(n)
        name, start = self._new(name, n)
        index, zero = np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
        eye = Columns.identity(n)
        x = Triplets((n, 1), index, zero, start + index, np.ones(n))
        self._variables[name] = Expression((n, n), self, terms=(Term(eye, eye, x),), label=Label(name))
        return self._variables[name]

    def parameter(
        self,
        shape: int | tuple[int, ...] = (),
        name: str | None = None,
        value: Any = None,
        *,
        symmetric: bool = False,
    ) -> Expression:
        """A number, column or matrix that may change between solves: it multiplies variables as a constant
        does.

        shape () is a scalar, n or (n,) a column, (r, c) a matrix; `symmetric` keeps one triangle of (n, n).
        Set `parameter.value = ...` or `problem.update(name=...)`: the problem is not compiled again. Raises
        InputError where two parameters are multiplied.
        """
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        if len(sizes) > 2 or min(sizes, default=1) < 1:
            raise InputError(
                f"a parameter's shape is {shape!r}; expected (), n, (n,) or (r, c), all positive."
            )
        rows, cols = (*sizes, 1, 1)[:2]
        if symmetric and rows != cols:
            raise InputError(f"a symmetric parameter has shape {shape!r}; expected (n, n).")
        name = self._free_name(f"p{len(self.parameters.names)}" if name is None else name)
        row, col, index = _symmetric(rows) if symmetric else _full(rows, cols)
        codes = self.parameters.add(name, row, col, index)
        self._changed()
        if value is not None:
            self.parameters.set(name, value)
        entries = Triplets((rows, cols), row, col, codes, np.ones(row.size))
        return Expression((rows, cols), self, entries, label=Label(name))

    def update(self, **values: Any) -> None:
        """Give parameters new values, by name; what was compiled is kept."""
        for name, value in values.items():
            self.parameters.set(name, value)

    def variable(self, name: str) -> Expression:
        """The variable of that name."""
        if name not in self._variables:
            known = ", ".join(self._variables) or "none"
            raise InputError(f"no variable is named {name!r}; there are: {known}.")
        return self._variables[name]

    @property
    def variables(self) -> dict[str, Expression]:
        """The variables by name, in the order of their entries in y."""
        return dict(self._variables)

    @property
    def size(self) -> int:
        """The number of entries of y that belong to variables; a compiled problem may add some of its own."""
        return self._size

    def _variable_name(self, index: int) -> str:
        start, name = max((item for item in self._starts if item[0] <= index), key=lambda item: item[0])
        return f"{name}[{index - start}]"


def _size(n: Any) -> int:
    """A side of a variable; raises InputError for anything but a positive integer."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
        raise InputError(f"a variable needs a positive size and got {n!r}; expected an integer, at least 1.")
    return int(n)


def _full(rows: int, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index = np.arange(rows * cols, dtype=np.int32)
    return index // max(cols, 1), index % max(cols, 1), index


def _symmetric(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, col = np.divmod(np.arange(n * n, dtype=np.int32), np.int32(max(n, 1)))
    high, low = np.maximum(row, col), np.minimum(row, col)
    return row, col, high * (high + 1) // 2 + low
