"""Functions of expressions: blocks, diagonals, symmetric parts, norms, convex quadratics."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._convert import as_number
from .._errors import InputError
from ._constants import as_constant
from ._constraint import Constraint, Kind
from ._expression import Expression
from ._term import Term
from ._triplets import Columns, Triplets

__all__ = ["Norm", "Quadratic", "block", "diag", "norm", "quad_form", "sum_squares", "sym", "vstack"]


def _expression(value: Any, where: str) -> Expression:
    result = Expression.lift(value)
    if result is None:
        raise InputError(f"{where} got {type(value).__name__}; expected an expression or a constant.")
    return result


def block(rows: Sequence[Sequence[Any]]) -> Expression:
    """The block matrix of expressions and constants; 0 or None stands for a zero block of the right size.

    Raises InputError where the blocks of a row or column disagree in size, or where only zeros leave it open.
    """
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise InputError("block takes a list of rows with equally many blocks each.")
    grid = [
        [None if b is None or (np.isscalar(b) and b == 0) else _expression(b, "block") for b in row]
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
    return Expression(shape, owner, addends=tuple(placed))


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
    )


def vstack(items: Sequence[Any]) -> Expression:
    """The items one below the other."""
    return block([[item] for item in items])


def diag(value: Any) -> Expression:
    """A column (n, 1) as a diagonal matrix, or the diagonal of a square expression as a column."""
    item = _expression(value, "diag")
    n = item.shape[0]
    if item.shape[1] == 1:
        eye = Columns.identity(n)
        return Expression((n, n), item._owner, terms=(Term(eye, eye, item.expand()),))
    if item.shape != (n, n):
        raise InputError(f"diag takes a column or a square matrix and got shape {item.shape}.")
    e = item.expand()
    on = e.row == e.col
    zero = np.zeros(int(on.sum()), dtype=np.int64)
    return Expression((n, 1), item._owner, Triplets((n, 1), e.row[on], zero, e.var[on], e.val[on]))


def sym(value: Any) -> Expression:
    """(F + F')/2."""
    item = _expression(value, "sym")
    return (item + item.T) / 2


@dataclasses.dataclass(frozen=True, eq=False)
class Norm:
    """Euclidean (Frobenius) norm of an affine expression; it may only stand below an affine bound."""

    expression: Expression

    __array_ufunc__ = None

    def __mul__(self, factor: Any) -> "Norm":
        return Norm(self.expression * _weight(factor, "a norm"))

    __rmul__ = __mul__

    def __le__(self, bound: Any) -> Constraint:
        top = _expression(bound, "a norm constraint")
        if top.shape != (1, 1):
            raise InputError(f"the bound of a norm has shape {top.shape}; expected a scalar.")
        n = self.expression.shape[0] * self.expression.shape[1]
        flat = self.expression.expand().as_column()
        return Constraint(Kind.SECOND_ORDER, vstack([top, Expression((n, 1), self.expression._owner, flat)]))

    def __ge__(self, bound: Any) -> Constraint:
        raise InputError("norm(x) >= t is not convex; only norm(x) <= t is.")


def norm(value: Any) -> Norm:
    """|| x ||_2 of a column, the Frobenius norm of a matrix; use as norm(x) <= t."""
    return Norm(_expression(value, "norm"))


@dataclasses.dataclass(frozen=True, eq=False)
class Quadratic:
    """An objective: a linear expression plus sum e_i' W_i e_i, affine columns e_i, constant W_i PSD."""

    linear: Expression
    squares: tuple[tuple[Expression, sp.csc_array], ...]

    __array_ufunc__ = None

    def __add__(self, other: Any) -> "Quadratic":
        if isinstance(other, Quadratic):
            return Quadratic(self.linear + other.linear, (*self.squares, *other.squares))
        return Quadratic(self.linear + _expression(other, "+"), self.squares)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Quadratic":
        return self + (-1.0) * _expression(other, "-")

    def __mul__(self, factor: Any) -> "Quadratic":
        weight = _weight(factor, "a convex quadratic")
        return Quadratic(self.linear * weight, tuple((e, weight * W) for e, W in self.squares))

    __rmul__ = __mul__

    def evaluate(self, y: np.ndarray) -> float:
        """The value at y."""
        value = float(self.linear.evaluate(y)[0, 0])
        for e, W in self.squares:
            column = e.evaluate(y)[:, 0]
            value += float(column @ (W @ column))
        return value


def _weight(factor: Any, what: str) -> float:
    if not np.isscalar(factor) or not (weight := as_number("a factor", factor)) >= 0:
        raise InputError(f"{what} can be scaled by a nonnegative number only; got {factor!r}.")
    return weight


def _zero() -> Expression:
    return Expression.of_constant(sp.csc_array((1, 1)))


def sum_squares(value: Any) -> Quadratic:
    """The sum of the squared entries."""
    item = _expression(value, "sum_squares")
    n, flat = item.shape[0] * item.shape[1], item.expand().as_column()
    return Quadratic(_zero(), ((Expression((n, 1), item._owner, flat), sp.eye_array(n, format="csc")),))


def quad_form(value: Any, weight: Any) -> Quadratic:
    """x' W x for an affine column x (n, 1) and a constant symmetric PSD W (n, n), dense or sparse.

    Raises InputError where W is not symmetric or has a negative eigenvalue beyond rounding.
    """
    item, W = _expression(value, "quad_form"), as_constant(weight)
    if W is None or item.shape[1] != 1 or W.shape != (item.shape[0], item.shape[0]):
        raise InputError(
            f"quad_form takes a column (n, 1) and a matrix (n, n); got {item.shape} and {np.shape(weight)}."
        )
    if (W != W.T).nnz:
        raise InputError("quad_form: W is not symmetric; pass (W + W')/2.")
    lowest = scipy.linalg.eigvalsh(W.toarray())[0] if W.nnz else 0.0
    if lowest < -1e-12 * max(1.0, abs(W).max() if W.nnz else 0.0) * W.shape[0]:
        raise InputError(
            f"quad_form: W has the eigenvalue {lowest:.3g}; expected W PSD, else it is not convex."
        )
    return Quadratic(_zero(), ((item, W),))
