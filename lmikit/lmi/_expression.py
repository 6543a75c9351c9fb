"""`Expression`: affine matrix expressions, kept sparse and, where they came so, in rank-one terms.

An expression is a sum of entry records (`Triplets`) and of terms P diag(x) Q' with constant P, Q and
an affine column x. Sums, scalings, transposes and products with constants keep both forms, so that
W' @ T @ W with a diagonal variable T costs what W costs, not what W'W costs.
"""

import dataclasses
from typing import Any, Optional

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._constants import as_constant, positions
from ._constraint import Constraint, Kind
from ._term import Term
from ._triplets import Triplets

__all__ = ["Expression"]


class Expression:
    """An affine function of the variables of one problem, with matrix values; always two-dimensional.

    Vectors are columns (n, 1), scalars (1, 1). Arithmetic: + - unary minus, @ by constant matrices
    (dense or scipy sparse) on both sides, * and / by scalars, .T, trace(), sum(), indexing.
    """

    __array_ufunc__ = None  # numpy arrays on the left hand over to the reflected operators
    __hash__ = object.__hash__

    def __init__(
        self,
        shape: tuple[int, int],
        owner: object | None,
        entries: Triplets | None = None,
        terms: tuple[Term, ...] = (),
        addends: tuple["Expression", ...] = (),
    ) -> None:
        self.shape = shape
        self._owner = owner
        self._entries = entries
        self._terms = terms
        self._addends = addends  # sums stay lists until they are used: adding n expressions is O(n)

    @classmethod
    def of_constant(cls, value: sp.csc_array) -> "Expression":
        """A constant as an expression."""
        return cls(value.shape, None, Triplets.constant(value))

    def parts(self) -> tuple[Triplets, tuple[Term, ...]]:
        """Entry records and rank-one terms; their sum is the expression."""
        if self._addends:
            entries: list[Triplets] = []
            terms: list[Term] = []
            stack = [self]
            while stack:
                node = stack.pop()
                stack.extend(reversed(node._addends))
                entries.extend([] if node._entries is None else [node._entries])
                terms.extend(node._terms)
            self._entries = Triplets.concatenate(self.shape, entries)
            self._terms, self._addends = tuple(terms), ()
        entries_now = Triplets.concatenate(self.shape, []) if self._entries is None else self._entries
        return entries_now, self._terms

    def expand(self) -> Triplets:
        """The expression as entry records alone."""
        entries, terms = self.parts()
        return Triplets.concatenate(self.shape, [entries, *(t.expand() for t in terms)]) if terms else entries

    @property
    def is_constant(self) -> bool:
        """Whether no variable occurs."""
        entries, terms = self.parts()
        return entries.is_constant and all(t.x.is_constant for t in terms)

    def evaluate(self, y: np.ndarray) -> np.ndarray:
        """The value at y, a dense array of this shape."""
        entries, terms = self.parts()
        total = entries.evaluate(y)
        for t in terms:
            total = total + (t.P.scipy() @ sp.diags_array(t.x.evaluate(y).toarray()[:, 0])) @ t.Q.scipy().T
        return total.toarray()

    # arithmetic

    def _constant(self) -> sp.csc_array:
        return self.expand().evaluate(np.zeros(0))

    def _map(self, entries: Any, terms: Any, shape: tuple[int, int]) -> "Expression":
        mine, own_terms = self.parts()
        return Expression(shape, self._owner, entries(mine), tuple(terms(t) for t in own_terms))

    @staticmethod
    def lift(value: Any) -> Optional["Expression"]:
        """`value` as an expression; None if it is neither an expression nor a constant."""
        if isinstance(value, Expression):
            return value
        constant = as_constant(value)
        return None if constant is None else Expression.of_constant(constant)

    def _owner_with(self, other: "Expression") -> object | None:
        if self._owner is not None and other._owner is not None and self._owner is not other._owner:
            raise InputError("the expressions belong to two different problems; build both from one Problem.")
        return self._owner if self._owner is not None else other._owner

    def __add__(self, other: Any) -> "Expression":
        right = Expression.lift(other)
        if right is None:
            return NotImplemented
        if right.shape == (1, 1) != self.shape and not isinstance(other, Expression) and not right._any():
            return self  # adding 0, as sum() does
        if right.shape != self.shape:
            raise InputError(
                f"cannot add shapes {self.shape} and {right.shape}; to shift a diagonal add "
                "t * numpy.eye(n), to shift every entry add t * numpy.ones(shape)."
            )
        return Expression(self.shape, self._owner_with(right), addends=(self, right))

    def _any(self) -> bool:
        return bool(self.expand().val.any())

    def __radd__(self, other: Any) -> "Expression":
        return self + other

    def __neg__(self) -> "Expression":
        return self._scaled(-1.0)

    def __sub__(self, other: Any) -> "Expression":
        right = Expression.lift(other)
        return (
            NotImplemented
            if right is None
            else self + (-right if isinstance(other, Expression) else -1.0 * right._constant())
        )

    def __rsub__(self, other: Any) -> "Expression":
        return -self + other

    def _scaled(self, factor: float) -> "Expression":
        return self._map(
            lambda e: e.scale(factor), lambda t: dataclasses.replace(t, x=t.x.scale(factor)), self.shape
        )

    def __mul__(self, other: Any) -> "Expression":
        right = Expression.lift(other)
        if right is None:
            return NotImplemented
        left, owner = self, self._owner_with(right)
        if not left.is_constant and not right.is_constant:
            raise InputError(
                "the product of two expressions with variables is not affine; linearise it first."
            )
        if (1, 1) not in (left.shape, right.shape):
            raise InputError(f"* takes a scalar and got shapes {left.shape} and {right.shape}; use @.")
        fixed, free = (left, right) if left.is_constant else (right, left)
        if fixed.shape == (1, 1):
            return free._scaled(float(fixed._constant().sum()))
        constant = fixed._constant()
        return Expression(constant.shape, owner, free.expand().times_matrix(constant))

    def __rmul__(self, other: Any) -> "Expression":
        return self * other

    def __truediv__(self, other: Any) -> "Expression":
        divisor = as_constant(other)
        if divisor is None or divisor.shape != (1, 1) or divisor.nnz == 0:
            raise InputError("an expression can be divided by a nonzero scalar constant only.")
        return self * (1.0 / float(divisor.sum()))

    def __matmul__(self, other: Any) -> "Expression":
        if isinstance(other, Expression):
            if not self.is_constant and not other.is_constant:
                raise InputError(
                    "the product of two expressions with variables is not affine; one side of @ must be "
                    "constant (substitute a new variable for the product, as in K P = Y)."
                )
            return self @ other._constant() if other.is_constant else other.__rmatmul__(self._constant())
        factor = as_constant(other)
        if factor is None:
            return NotImplemented
        self._check_inner(self.shape, factor.shape)
        transposed = sp.csc_array(factor.T)
        return self._map(
            lambda e: e.right(transposed),
            lambda t: dataclasses.replace(t, Q=t.Q.left(transposed)),
            (self.shape[0], factor.shape[1]),
        )

    def __rmatmul__(self, other: Any) -> "Expression":
        factor = as_constant(other, row=True)
        if factor is None:
            return NotImplemented
        self._check_inner(factor.shape, self.shape)
        return self._map(
            lambda e: e.left(factor),
            lambda t: dataclasses.replace(t, P=t.P.left(factor)),
            (factor.shape[0], self.shape[1]),
        )

    @staticmethod
    def _check_inner(left: tuple[int, ...], right: tuple[int, ...]) -> None:
        if left[1] != right[0]:
            raise InputError(f"cannot multiply shapes {left} and {right}; the inner sizes must agree.")

    # structure

    @property
    def T(self) -> "Expression":
        """The transpose."""
        return self._map(Triplets.transpose, lambda t: Term(t.Q, t.P, t.x), self.shape[::-1])

    def trace(self) -> "Expression":
        """The sum of the diagonal, (1, 1)."""
        if self.shape[0] != self.shape[1]:
            raise InputError(f"trace needs a square expression and got shape {self.shape}.")
        entries = self.expand()
        on = entries.row == entries.col
        zero = np.zeros(int(on.sum()), dtype=np.int64)
        return Expression((1, 1), self._owner, Triplets((1, 1), zero, zero, entries.var[on], entries.val[on]))

    def sum(self) -> "Expression":
        """The sum of all entries, (1, 1)."""
        return np.ones((1, self.shape[0])) @ self @ np.ones((self.shape[1], 1))

    def __getitem__(self, key: Any) -> "Expression":
        """Entries as numpy indexes a matrix; one index on a column takes entries, else rows; always 2-D."""
        keys = key if isinstance(key, tuple) else (key, slice(None))
        if len(keys) != 2:
            raise InputError(f"an expression takes one or two indices and got {len(keys)}.")
        rows, cols = (positions(k, n) for k, n in zip(keys, self.shape, strict=True))
        return self._map(
            lambda e: e.select(rows, cols),
            lambda t: t.select(rows, cols),
            (rows.size, cols.size),
        )

    # constraints

    def _difference(self, other: Any, sign: float) -> "Expression":
        right = Expression.lift(other)
        if right is None:
            return NotImplemented
        left = self
        if right.shape == (1, 1) != left.shape:  # a scalar bound for every entry
            right = right * np.ones(left.shape)
        elif left.shape == (1, 1) != right.shape:
            left = left * np.ones(right.shape)
        return left - right if sign > 0 else right - left

    def __ge__(self, other: Any) -> Constraint:
        gap = self._difference(other, 1.0)
        return NotImplemented if gap is NotImplemented else Constraint(Kind.NONNEGATIVE, gap)

    def __le__(self, other: Any) -> Constraint:
        gap = self._difference(other, -1.0)
        return NotImplemented if gap is NotImplemented else Constraint(Kind.NONNEGATIVE, gap)

    def __eq__(self, other: object) -> Constraint:  # type: ignore[override]
        gap = self._difference(other, 1.0)
        if gap is NotImplemented:
            raise InputError(f"cannot compare an expression with {type(other).__name__}.")
        return Constraint(Kind.ZERO, gap)

    def __ne__(self, other: object) -> Any:
        raise InputError("!= is not a convex constraint.")

    def __rshift__(self, other: Any) -> Constraint:
        """self - other PSD; other is 0, a constant or an expression of the same shape."""
        return Constraint(Kind.LMI, self._matrix_gap(other, 1.0))

    def __lshift__(self, other: Any) -> Constraint:
        """other - self PSD."""
        return Constraint(Kind.LMI, self._matrix_gap(other, -1.0))

    def __rrshift__(self, other: Any) -> Constraint:
        return self << other

    def __rlshift__(self, other: Any) -> Constraint:
        return self >> other

    def _matrix_gap(self, other: Any, sign: float) -> "Expression":
        right = Expression.lift(other)
        if right is None:
            raise InputError(f">> and << compare matrices and got {type(other).__name__}.")
        if right.shape == (1, 1) != self.shape and right.is_constant:
            if right._any():
                raise InputError(
                    f"a nonzero scalar is not a matrix of shape {self.shape}; write c * numpy.eye(n), "
                    "or Problem.add(F >> 0, margin=c)."
                )
            return self if sign > 0 else -self
        return self - right if sign > 0 else right - self

    def __repr__(self) -> str:
        entries, terms = self.parts()
        rank_one = f", {sum(t.P.shape[1] for t in terms)} rank-one terms" if terms else ""
        return f"<Expression {self.shape[0]} x {self.shape[1]}: {entries.val.size} records{rank_one}>"
