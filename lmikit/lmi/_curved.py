"""`Curved`: convex and concave functions of expressions, and what they may stand in.

f = linear + sign * (sum of e'W e  +  sum of weight * atom), weights > 0, atoms convex: f is convex for sign 1
and concave for sign -1. Convex ones may be minimised and stand in f <= g, concave ones may be maximised and
stand in f >= g; all else is refused (the rules of disciplined convex programming: M. Grant, S. Boyd, Y. Ye,
2006).
"""

import abc
import dataclasses
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from .._convert import as_number
from .._errors import InputError
from . import _labels
from ._constraint import Constraint, Kind
from ._expression import Expression
from ._labels import Label
from ._structure import as_expression

__all__ = ["AbstractAtom", "Curved", "Lowering", "curved"]


_UNNAMED = Label("f")


class Lowering(Protocol):
    """Where atoms get the variables that their representation needs; they are no variables of the user's."""

    def matrix(self, rows: int, cols: int) -> Expression:
        """A full matrix of new variables."""

    def symmetric(self, n: int) -> Expression:
        """A symmetric matrix of new variables."""

    def hermitian(self, n: int) -> Expression:
        """A Hermitian matrix of new variables."""


class AbstractAtom(abc.ABC):
    """A convex function with the value +inf outside its domain, and its representation by cones.

    Law: weight * f(x) <= bound if and only if the constraints of `below` can be satisfied.
    """

    expression: Expression

    @abc.abstractmethod
    def evaluate(self, x: np.ndarray) -> float:
        """The function at a value of the expression."""

    @abc.abstractmethod
    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        """Constraints for weight * f <= bound; the first carries the multiplier that users read."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """How it is printed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curved:
    """A convex or concave scalar function of the variables, see this module's first lines.

    Sums and differences with expressions and with functions of the same curvature, products with
    numbers, <= where it is convex, >= where it is concave; an objective.
    """

    linear: Expression
    squares: tuple[tuple[Expression, sp.csc_array], ...] = ()
    atoms: tuple[tuple[float, AbstractAtom], ...] = ()
    sign: float = 1.0
    label: Label = _UNNAMED

    __array_ufunc__ = None

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise InputError(f"numpy.{func.__name__} does not take lmikit functions of expressions.")

    @property
    def is_affine(self) -> bool:
        """Whether nothing curved is left."""
        return not self.squares and not self.atoms

    @property
    def kind(self) -> str:
        """ "convex" or "concave"."""
        return "convex" if self.sign > 0 else "concave"

    def __add__(self, other: Any) -> "Curved":
        if not isinstance(other, Curved):
            right = as_expression(other, "+")
            label = _labels.binary(self.label, "+", right.label)
            return dataclasses.replace(self, linear=self.linear + right, label=label)
        if self.sign != other.sign and not (self.is_affine or other.is_affine):
            raise InputError(
                f"({self.label.text}) is {self.kind} and ({other.label.text}) is {other.kind}: their sum is "
                "neither; add functions of one curvature."
            )
        return Curved(
            self.linear + other.linear,
            (*self.squares, *other.squares),
            (*self.atoms, *other.atoms),
            other.sign if self.is_affine else self.sign,
            _labels.binary(self.label, "+", other.label),
        )

    __radd__ = __add__

    def __neg__(self) -> "Curved":
        return self * -1.0

    def __sub__(self, other: Any) -> "Curved":
        if isinstance(other, Curved):
            return self + (-other)
        return self + (-1.0) * as_expression(other, "-")

    def __rsub__(self, other: Any) -> "Curved":
        return (-self) + other

    def __mul__(self, factor: Any) -> "Curved":
        if not np.isscalar(factor):
            raise InputError(
                f"{self.label.text} can be scaled by a number only; got {type(factor).__name__}. A "
                "nonnegative parameter goes inside: norm(p * x)."
            )
        number = as_number("a factor", factor)
        if number == 0:
            return Curved(self.linear * 0.0, label=Label("0"))
        return Curved(
            self.linear * number,
            tuple((e, abs(number) * W) for e, W in self.squares),
            tuple((abs(number) * w, atom) for w, atom in self.atoms),
            self.sign if number > 0 else -self.sign,
            _labels.scaled(self.label, number),
        )

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> "Curved":
        number = as_number("a divisor", factor) if np.isscalar(factor) else 0.0
        if number == 0:
            raise InputError("a function can be divided by a nonzero number only.")
        return self * (1.0 / number)

    def __le__(self, other: Any) -> Constraint:
        return self._at_most(other, self, "<=", ">=")

    def __ge__(self, other: Any) -> Constraint:
        return self._at_most(other, -self, ">=", "<=")

    def _at_most(self, other: Any, mine: "Curved", this: str, that: str) -> Constraint:
        right = other if isinstance(other, Curved) else as_expression(other, f"{self.label.text} {this} t")
        if isinstance(right, Expression) and right.shape != (1, 1):
            raise InputError(f"the bound of {self.label.text} has shape {right.shape}; expected a scalar.")
        if mine.sign < 0 and not mine.is_affine:
            raise InputError(
                f"{self.label.text} {this} t is not convex, for {self.label.text} is {self.kind}; only "
                f"{self.label.text} {that} t is."
            )
        gap = mine - right if this == "<=" else mine + right
        if gap.sign < 0 and not gap.is_affine:  # an affine left side lets any right side through to here
            raise InputError(f"{self.label.text} {this} {right.label.text} is not a convex constraint.")
        label = Label(f"{self.label.text} {'≤' if this == '<=' else '≥'} {right.label.text}")
        return Constraint(Kind.CONVEX, gap.linear, function=gap, label=label)

    def __rshift__(self, other: Any) -> Any:
        raise InputError(">> compares matrices; a function of expressions is a scalar: use >= or <=.")

    __lshift__ = __rshift__

    def evaluate(self, y: np.ndarray) -> float:
        """The value at y."""
        value = float(self.linear.evaluate(y)[0, 0])
        for e, W in self.squares:
            column = e.evaluate(y)[:, 0]
            value += self.sign * float(column @ (W @ column))
        return value + self.sign * sum(
            w * atom.evaluate(atom.expression.evaluate(y)) for w, atom in self.atoms
        )

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Every expression in it."""
        return (self.linear, *(e for e, _ in self.squares), *(atom.expression for _, atom in self.atoms))

    @property
    def value(self) -> Any:
        """The value at the last `problem.solve()`; raises InputError where there is none."""
        owner = next((e._owner for e in self.expressions if e._owner is not None), None)
        if owner is None:
            return self.evaluate(np.zeros(0))
        return owner.value_of(self)

    def __str__(self) -> str:
        return self.label.text

    def __repr__(self) -> str:
        return f"<{self.kind} function {self.label.text}>"


def curved(atom: AbstractAtom, sign: float = 1.0) -> Curved:
    """The atom as a function, or with sign -1 its negative."""
    zero = Expression.of_constant(sp.csc_array((1, 1)))
    return Curved(zero, (), ((1.0, atom),), sign, Label(atom.name))
