"""`Expression`: affine matrix expressions, kept sparse and, where they came so, in rank-one terms.

An expression is a sum of entry records (`Triplets`) and of terms P diag(x) Q' with constant P, Q and
an affine column x. Sums, scalings, transposes and products with constants keep both forms, so that
W' @ T @ W with a diagonal variable T costs what W costs, not what W'W costs.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from . import _labels
from ._constants import as_constant
from ._labels import Label
from ._numpy_hints import answer
from ._parameters import Owner
from ._shapes import AbstractShaped
from ._term import Term
from ._triplets import Triplets

__all__ = ["Expression"]

_PLAIN = 2**53  # numbers up to which float64 holds every integer


class Expression(AbstractShaped):
    """An affine function of the variables of one problem, with matrix values; always two-dimensional.

    Vectors are columns (n, 1), scalars (1, 1). Arithmetic: + - unary minus, @ by constant matrices
    (dense or scipy sparse) and parameters on both sides, * and / by scalars, .T, .H, .real, .imag,
    trace(), sum(), diagonal(), reshape(), indexing, iteration over rows. Coefficients may be complex.
    """

    __array_ufunc__ = None  # numpy arrays on the left hand over to the reflected operators
    __hash__ = object.__hash__

    def __init__(
        self,
        shape: tuple[int, int],
        owner: Owner | None,
        entries: Triplets | None = None,
        terms: tuple[Term, ...] = (),
        addends: tuple["Expression", ...] = (),
        label: Label | None = None,
    ) -> None:
        self.shape = shape
        self._owner = owner
        self._entries = entries
        self._terms = terms
        self._addends = addends  # sums stay lists until they are used: adding n expressions is O(n)
        self._matrix: sp.csc_array | None = None  # of a constant as it came
        self.label = Label(f"[{shape[0]}x{shape[1]}]") if label is None else label

    @classmethod
    def of_constant(cls, value: sp.csc_array, label: Label | None = None) -> "Expression":
        """A constant as an expression."""
        label = _labels.of_constant(value) if label is None else label
        expression = cls(value.shape, None, Triplets.constant(value), label=label)
        expression._matrix = value
        return expression

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
        """Whether no variable and no parameter occurs."""
        entries, terms = self.parts()
        return entries.is_constant and all(t.x.is_constant for t in terms)

    @property
    def is_complex(self) -> bool:
        """Whether coefficients have imaginary parts."""
        entries, terms = self.parts()
        return entries.is_complex or any(t.is_complex for t in terms)

    def _parametric(self) -> bool:
        """Whether parameters occur and no variable does."""
        return self._owner is not None and self._owner.parameters.alone(self.expand().var)

    def evaluate(self, y: np.ndarray) -> np.ndarray:
        """The value at y and the present parameters, a dense array of this shape."""
        entries, terms = self.parts()
        more = None if self._owner is None else self._owner.parameters.monomials(y)
        total = entries.evaluate(y, more)
        for t in terms:
            x = t.x.evaluate(y, more).toarray()[:, 0]
            total = total + (t.P.scipy() @ sp.diags_array(x)) @ t.Q.scipy().T
        dense = total.toarray()
        if self._owner is not None and len(self._owner.parameters) and np.isnan(dense).any():
            self._owner.parameters.require_values()
        return dense

    @property
    def value(self) -> Any:
        """The value at the last `problem.solve()`: a float, an (n,) array for a column, else a matrix.

        Raises InputError where the problem was not solved or its solution has no point. A parameter's value
        can be set.
        """
        if self._owner is None:
            return self._constant().toarray()
        return self._owner.value_of(self)

    @value.setter
    def value(self, value: Any) -> None:
        if self._owner is None or self.label.text not in self._owner.parameters.names:
            raise InputError("only a parameter's value can be set; variables get theirs from solve().")
        self._owner.parameters.set(self.label.text, value)

    # arithmetic

    def _constant(self) -> sp.csc_array:
        return self.expand().evaluate(np.zeros(0)) if self._matrix is None else self._matrix

    def _map(self, entries: Any, terms: Any, shape: tuple[int, int], label: Label | None) -> "Expression":
        mine, own_terms = self.parts()
        return Expression(shape, self._owner, entries(mine), tuple(terms(t) for t in own_terms), label=label)

    def _with(self, shape: tuple[int, int], entries: Triplets, label: Label) -> "Expression":
        return Expression(shape, self._owner, entries, label=label)

    @classmethod
    def lift(cls, value: Any) -> Optional["Expression"]:
        """`value` as an expression; None if it is neither an expression nor a constant."""
        if isinstance(value, Expression):
            return value
        constant = as_constant(value)
        return None if constant is None else Expression.of_constant(constant)

    def _owner_with(self, other: "Expression") -> Owner | None:
        if self._owner is not None and other._owner is not None and self._owner is not other._owner:
            raise InputError("the expressions belong to two different problems; build both from one Problem.")
        return self._owner if self._owner is not None else other._owner

    def __add__(self, other: Any) -> "Expression":
        return self._plus(other, "+")

    def _plus(self, other: Any, sign: str) -> "Expression":
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
        label = _labels.binary(self.label, sign, right.label)
        right = right if sign == "+" else -right
        return Expression(self.shape, self._owner_with(right), addends=(self, right), label=label)

    def _any(self) -> bool:
        return bool(self.expand().val.any())

    def __radd__(self, other: Any) -> "Expression":
        return self + other

    def __neg__(self) -> "Expression":
        return self._scaled(-1.0)

    def __sub__(self, other: Any) -> "Expression":
        return self._plus(other, "-")

    def __rsub__(self, other: Any) -> "Expression":
        right = Expression.lift(other)
        if right is None:
            return NotImplemented
        if right.shape == (1, 1) != self.shape and not right._any():
            return -self
        return right - self

    def _scaled(self, factor: complex) -> "Expression":
        return self._map(
            lambda e: e.scale(factor),
            lambda t: t.scaled(factor),
            self.shape,
            _labels.scaled(self.label, factor),
        )

    def __mul__(self, other: Any) -> "Expression":
        if type(other) in (int, float) and abs(other) <= _PLAIN and not self.is_constant:
            return self._scaled(float(other))  # what follows does the same, as a matrix
        right = Expression.lift(other)
        if right is None:
            return NotImplemented
        left, owner = self, self._owner_with(right)
        if (1, 1) not in (left.shape, right.shape):
            raise InputError(
                f"* takes a scalar and got shapes {left.shape} and {right.shape}; use @, or "
                "lmikit.lmi.multiply entry by entry."
            )
        label = _labels.times(left.label, right.label)
        if not left.is_constant and not right.is_constant:
            self._require_parameter(left, right)
            one, many = (left, right) if left.shape == (1, 1) else (right, left)
            assert owner is not None
            entries = one.expand().times(many.expand(), owner.parameters.products)
            return Expression(many.shape, owner, entries, label=label)
        fixed, free = (left, right) if left.is_constant else (right, left)
        if fixed.shape == (1, 1):
            return free._scaled(fixed._constant().sum().item())
        constant = fixed._constant()
        return Expression(constant.shape, owner, free.expand().times_matrix(constant), label=label)

    @staticmethod
    def _require_parameter(left: "Expression", right: "Expression") -> None:
        if not left._parametric() and not right._parametric():
            raise InputError(
                "the product of two expressions with variables is not affine; one side of @ or * must be "
                "constant or a parameter (substitute a new variable for the product, as in K P = Y)."
            )

    def __rmul__(self, other: Any) -> "Expression":
        return self * other

    def __truediv__(self, other: Any) -> "Expression":
        divisor = as_constant(other)
        if divisor is None or divisor.shape != (1, 1) or divisor.nnz == 0:
            raise InputError("an expression can be divided by a nonzero scalar constant only.")
        return self * (1.0 / divisor.sum().item())

    def __matmul__(self, other: Any) -> "Expression":
        if isinstance(other, Expression):
            if not self.is_constant and not other.is_constant:
                self._require_parameter(self, other)
                self._check_inner(self.shape, other.shape)
                owner = self._owner_with(other)
                assert owner is not None
                entries = self.expand().product(other.expand(), owner.parameters.products)
                label = _labels.binary(self.label, "", other.label)
                return Expression((self.shape[0], other.shape[1]), owner, entries, label=label)
            if other.is_constant:
                return self._times_right(other._constant(), other.label)
            return other._times_left(self._constant(), self.label)
        factor = as_constant(other)
        return NotImplemented if factor is None else self._times_right(factor, _labels.of_constant(factor))

    def _times_right(self, factor: sp.csc_array, label: Label) -> "Expression":
        self._check_inner(self.shape, factor.shape)
        transposed = sp.csc_array(factor.T)
        return self._map(
            lambda e: e.right(transposed),
            lambda t: dataclasses.replace(t, Q=t.Q.left(transposed)),
            (self.shape[0], factor.shape[1]),
            _labels.binary(self.label, "", label),
        )

    def __rmatmul__(self, other: Any) -> "Expression":
        factor = as_constant(other, row=True)
        return NotImplemented if factor is None else self._times_left(factor, _labels.of_constant(factor))

    def _times_left(self, factor: sp.csc_array, label: Label) -> "Expression":
        self._check_inner(factor.shape, self.shape)
        return self._map(
            lambda e: e.left(factor),
            lambda t: dataclasses.replace(t, P=t.P.left(factor)),
            (factor.shape[0], self.shape[1]),
            _labels.binary(label, "", self.label),
        )

    @staticmethod
    def _check_inner(left: tuple[int, ...], right: tuple[int, ...]) -> None:
        if left[1] != right[0]:
            raise InputError(f"cannot multiply shapes {left} and {right}; the inner sizes must agree.")

    # numpy

    if not TYPE_CHECKING:  # type checkers would take an expression for an array

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            """One object, as scipy's operators expect of what is no array; never an array of objects."""
            if dtype is not None and np.dtype(dtype) != object:
                raise InputError(
                    "an lmikit expression is not an array; its value after problem.solve() is .value."
                )
            whole = np.empty((), dtype=object)
            whole[()] = self
            return whole

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return answer(func, args)

    def __str__(self) -> str:
        return self.label.text

    def __repr__(self) -> str:
        entries, terms = self.parts()
        rank_one = f", {sum(t.P.shape[1] for t in terms)} rank-one terms" if terms else ""
        return f"<Expression {self.shape[0]} x {self.shape[1]}: {entries.val.size} records{rank_one}>"
