"""Affine functions of expressions: blocks, stacks, Kronecker products, diagonals, symmetric parts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from . import _labels
from ._constants import as_constant
from ._expression import Expression
from ._labels import Label
from ._term import Term
from ._triplets import Columns, Triplets

__all__ = [
    "as_expression",
    "block",
    "constant",
    "diag",
    "hstack",
    "kron",
    "multiply",
    "reshape",
    "sym",
    "trace",
    "vec",
    "vstack",
]


def as_expression(value: Any, where: str) -> Expression:
    """`value` as an expression; raises InputError that names the function it was given to."""
    result = Expression.lift(value)
    if result is None:
        hint = "; blocks in lists go through lmikit.lmi.block" if isinstance(value, (list, tuple)) else ""
        raise InputError(f"{where} got {type(value).__name__}; expected an expression or a constant{hint}.")
    return result


def constant(value: Any, name: str) -> Expression:
    """A constant matrix that is shown under its name where the problem is printed."""
    matrix = as_constant(value)
    if matrix is None:
        raise InputError(f"the constant {name!r} is a {type(value).__name__}; expected numbers.")
    return Expression.of_constant(matrix, Label(name))


def block(rows: Sequence[Sequence[Any]]) -> Expression:
    """The block matrix of expressions and constants; 0 or None stands for a zero block of the right size.

    Raises InputError where the blocks of a row or column disagree in size, or where only zeros leave it open.
    """
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise InputError("block takes a list of rows with equally many blocks each.")
    grid = [
        [None if b is None or (np.isscalar(b) and b == 0) else as_expression(b, "block") for b in row]
        for row in rows
    ]
    heights = [_extent([b for b in row if b is not None], 0, f"row {i}") for i, row in enumerate(grid)]
    widths = [
        _extent([row[j] for row in grid if row[j] is not None], 1, f"column {j}") for j in range(len(grid[0]))
    ]
    shape = (sum(heights), sum(widths))
    tops, lefts = np.cumsum([0, *heights]), np.cumsum([0, *widths])
    total = Expression(shape, None)
    placed = [
        _placed(item, shape, int(tops[i]), int(lefts[j]))
        for i, row in enumerate(grid)
        for j, item in enumerate(row)
        if item is not None
    ]
    owner = None
    for item in placed:
        owner = total._owner_with(item)
        total = Expression(shape, owner)
    texts = ["  ".join("0" if b is None else b.label.text for b in row) for row in grid]
    return Expression(shape, owner, addends=tuple(placed), label=Label("[" + "; ".join(texts) + "]"))


def _extent(items: list[Any], axis: int, where: str) -> int:
    sizes = {item.shape[axis] for item in items}
    if len(sizes) != 1:
        got = "only zeros" if not sizes else f"sizes {sorted(sizes)}"
        raise InputError(
            f"block: {where} holds {got}; expected one size "
            "(write numpy.zeros(shape) where zeros leave it open)."
        )
    return int(sizes.pop())


def _placed(item: Expression, shape: tuple[int, int], top: int, left: int) -> Expression:
    return item._map(
        lambda e: e.place(shape, top, left),
        lambda t: Term(t.P.embed(shape[0], top), t.Q.embed(shape[1], left), t.x),
        shape,
        item.label,
    )


def vstack(items: Sequence[Any]) -> Expression:
    """The items one below the other."""
    return block([[item] for item in items])


def hstack(items: Sequence[Any]) -> Expression:
    """The items side by side."""
    return block([list(items)])


def diag(value: Any) -> Expression:
    """A column (n, 1) as a diagonal matrix, or the diagonal of a square expression as a column."""
    item = as_expression(value, "diag")
    n = item.shape[0]
    if item.shape[1] == 1:
        eye = Columns.identity(n)
        term = Term(eye, eye, item.expand())
        return Expression((n, n), item._owner, terms=(term,), label=_labels.call("diag", item.label))
    if item.shape != (n, n):
        raise InputError(f"diag takes a column or a square matrix and got shape {item.shape}.")
    return item.diagonal()


def trace(value: Any) -> Expression:
    """The sum of the diagonal, (1, 1)."""
    return as_expression(value, "trace").trace()


def sym(value: Any) -> Expression:
    """(F + F')/2."""
    item = as_expression(value, "sym")
    return (item + item.T) / 2


def vec(value: Any) -> Expression:
    """The columns of a matrix one below the other: vec(A X B) = kron(B', A) vec(X)."""
    item = as_expression(value, "vec")
    column = item.reshape(item.shape[0] * item.shape[1], 1, order="F")
    column.label = _labels.call("vec", item.label)
    return column


def reshape(value: Any, shape: tuple[int, int], order: str = "C") -> Expression:
    """The same entries in another shape, read row by row (order "C") or column by column ("F"), as numpy
    does.
    """
    if len(shape) != 2:
        raise InputError(f"reshape takes a shape (rows, columns) and got {shape!r}.")
    return as_expression(value, "reshape").reshape(int(shape[0]), int(shape[1]), order)


def _one_constant(left: Expression, right: Expression, what: str) -> tuple[sp.coo_array, Expression]:
    if not left.is_constant and not right.is_constant:
        raise InputError(f"{what} of two expressions with variables is not affine; one must be constant.")
    fixed, free = (left, right) if left.is_constant else (right, left)
    return fixed._constant().tocoo(), free


def multiply(left: Any, right: Any) -> Expression:
    """The entrywise product of two matrices of one shape, one of them constant."""
    first, second = as_expression(left, "multiply"), as_expression(right, "multiply")
    if first.shape != second.shape:
        raise InputError(f"multiply takes one shape twice and got {first.shape} and {second.shape}.")
    fixed, free = _one_constant(first, second, "the entrywise product")
    e = free.expand()
    factor = fixed.tocsr()[e.row, e.col] if e.val.size else e.val
    records = dataclasses.replace(e, val=e.val * np.asarray(factor).ravel())
    label = _labels.call("multiply", first.label, second.label)
    return Expression(first.shape, first._owner_with(second), records, label=label)


def kron(left: Any, right: Any) -> Expression:
    """The Kronecker product of two matrices, one of them constant."""
    first, second = as_expression(left, "kron"), as_expression(right, "kron")
    fixed, free = _one_constant(first, second, "the Kronecker product")
    e = free.expand()
    n, r = e.val.size, fixed.nnz
    (a, b), (c, d) = first.shape, second.shape
    one = (np.repeat(e.row, r), np.repeat(e.col, r))
    two = (np.tile(fixed.row, n), np.tile(fixed.col, n))
    outer, inner = (two, one) if fixed.shape == first.shape and first.is_constant else (one, two)
    records = Triplets(
        (a * c, b * d),
        outer[0].astype(np.int64) * c + inner[0],
        outer[1].astype(np.int64) * d + inner[1],
        np.repeat(e.var, r),
        np.repeat(e.val, r) * np.tile(fixed.data, n),
    )
    label = _labels.call("kron", first.label, second.label)
    return Expression(records.shape, first._owner_with(second), records, label=label)
