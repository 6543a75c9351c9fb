"""The comparisons of a hand-written expression: each builds a `Constraint`."""

import abc
from typing import Any, Self

import numpy as np

from .._errors import InputError
from . import _labels
from ._constraint import Constraint, Kind
from ._labels import Label

__all__ = ["AbstractComparable"]


class AbstractComparable(abc.ABC):
    """`>=`, `<=`, `==` entry by entry and `>>`, `<<` in the order of positive semidefinite matrices."""

    __hash__ = object.__hash__
    shape: tuple[int, int]

    @property
    @abc.abstractmethod
    def is_constant(self) -> bool:
        """Whether no variable occurs."""

    @property
    @abc.abstractmethod
    def is_complex(self) -> bool:
        """Whether coefficients have imaginary parts."""

    @classmethod
    @abc.abstractmethod
    def lift(cls, value: Any) -> Self | None:
        """`value` as an expression; None if it is neither an expression nor a constant."""

    @abc.abstractmethod
    def _any(self) -> bool:
        """Whether any coefficient is not zero."""

    @abc.abstractmethod
    def __neg__(self) -> Self: ...

    @abc.abstractmethod
    def __sub__(self, other: Any) -> Self: ...

    @abc.abstractmethod
    def __mul__(self, other: Any) -> Self: ...

    def _difference(self, other: Any, sign: float) -> Self:
        right = self.lift(other)
        if right is None:
            return NotImplemented
        left = self
        if right.shape == (1, 1) != left.shape:  # a scalar bound for every entry
            right = right * np.ones(left.shape)
        elif left.shape == (1, 1) != right.shape:
            left = left * np.ones(right.shape)
        return left - right if sign > 0 else right - left

    label: Label

    def _compared(self, kind: Kind, gap: Any, relation: str, other: Any) -> Constraint:
        right = other.label if isinstance(other, AbstractComparable) else _labels.of(other)
        return Constraint(kind, gap, label=Label(f"{self.label.text} {relation} {right.text}"))

    def _ordered(self, other: Any, sign: float) -> Constraint:
        gap = self._difference(other, sign)
        if gap is NotImplemented:
            return NotImplemented
        if gap.is_complex:
            raise InputError(
                ">= and <= compare real expressions and got a complex one; compare .real and .imag, or use "
                ">> and << for Hermitian matrices."
            )
        return self._compared(Kind.NONNEGATIVE, gap, "≥" if sign > 0 else "≤", other)

    def __ge__(self, other: Any) -> Constraint:
        return self._ordered(other, 1.0)

    def __le__(self, other: Any) -> Constraint:
        return self._ordered(other, -1.0)

    def __eq__(self, other: object) -> Constraint:  # type: ignore[override]
        gap = self._difference(other, 1.0)
        if gap is NotImplemented:
            raise InputError(f"cannot compare an expression with {type(other).__name__}.")
        return self._compared(Kind.ZERO, gap, "=", other)

    def __ne__(self, other: object) -> Any:
        raise InputError("!= is not a convex constraint.")

    def __rshift__(self, other: Any) -> Constraint:
        """self - other PSD; other is 0, a constant or an expression of the same shape."""
        return self._compared(Kind.LMI, self._matrix_gap(other, 1.0), "⪰", other)

    def __lshift__(self, other: Any) -> Constraint:
        """other - self PSD."""
        return self._compared(Kind.LMI, self._matrix_gap(other, -1.0), "⪯", other)

    def __rrshift__(self, other: Any) -> Constraint:
        return self << other

    def __rlshift__(self, other: Any) -> Constraint:
        return self >> other

    def _matrix_gap(self, other: Any, sign: float) -> Self:
        right = self.lift(other)
        if right is None:
            raise InputError(
                f">> and << compare matrices and got {type(other).__name__}; "
                "blocks in lists go through lmikit.lmi.block."
            )
        if right.shape == (1, 1) != self.shape and right.is_constant:
            if right._any():
                raise InputError(
                    f"a nonzero scalar is not a matrix of shape {self.shape}; write c * numpy.eye(n), "
                    "or Problem.add(F >> 0, margin=c)."
                )
            return self if sign > 0 else -self
        return self - right if sign > 0 else right - self
