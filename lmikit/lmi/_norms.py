"""Norms and convex quadratics of expressions.

|x|_2 <= t     (t, x) in the second-order cone
|X|_1 <= t     -U <= X <= U, each column of U sums to t at most; |X|_inf is that of X'
sigma_max <= t [t I, X; X^H, t I] PSD
|X|_* <= t     [U, X; X^H, V] PSD, tr U + tr V <= 2 t   (B. Recht, M. Fazel, P. Parrilo, SIAM Rev. 52, 2010)
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._errors import InputError
from . import _labels
from ._constants import as_constant
from ._constraint import Constraint, Kind
from ._curved import AbstractAtom, Curved, Lowering, curved
from ._expression import Expression
from ._structure import as_expression, block, vstack

__all__ = ["norm", "nuclear_norm", "quad_form", "quad_over_lin", "sigma_max", "sum_squares"]


def _real_column(item: Expression) -> Expression:
    """The entries as one real column; a complex expression by its real and imaginary parts."""
    flat = item.reshape(item.shape[0] * item.shape[1], 1)
    return vstack([flat.real, flat.imag]) if item.is_complex else flat


@dataclasses.dataclass(frozen=True, eq=False)
class TwoNorm(AbstractAtom):
    """Euclidean, for a matrix Frobenius."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"‖{self.expression.label.text}‖"

    def evaluate(self, x: np.ndarray) -> float:
        return float(np.linalg.norm(x))

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        return [Constraint(Kind.SECOND_ORDER, vstack([bound, weight * _real_column(self.expression)]))]


@dataclasses.dataclass(frozen=True, eq=False)
class LargestColumn(AbstractAtom):
    """The largest sum of absolute values over the columns."""

    expression: Expression
    flipped: bool = False

    @property
    def name(self) -> str:
        return f"‖{self.expression.T.label.text if self.flipped else self.expression.label.text}‖" + (
            "_inf" if self.flipped else "_1"
        )

    def evaluate(self, x: np.ndarray) -> float:
        return float(np.abs(x).sum(axis=0).max())

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        X = weight * self.expression
        rows, cols = X.shape
        U = new.matrix(rows, cols) if rows > 1 else bound * np.ones((1, cols))
        inside = [] if rows == 1 else [bound * np.ones((1, cols)) >= U.sum(axis=0)]
        if not X.is_complex:
            return [*inside, U >= X, U >= -X]
        entries = [(i, j) for i in range(rows) for j in range(cols)]
        column = [vstack([U[i, j], X[i, j].real, X[i, j].imag]) for i, j in entries]
        return [*inside, *(Constraint(Kind.SECOND_ORDER, e) for e in column)]


@dataclasses.dataclass(frozen=True, eq=False)
class LargestSingularValue(AbstractAtom):
    """sigma_max."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"sigma_max({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        return float(np.linalg.norm(x, 2))

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        X = weight * self.expression
        r, c = X.shape
        return [block([[bound * sp.eye_array(r), X], [X.H, bound * sp.eye_array(c)]]) >> 0]


@dataclasses.dataclass(frozen=True, eq=False)
class NuclearNorm(AbstractAtom):
    """The sum of the singular values."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"nuclear_norm({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        return float(np.linalg.svd(x, compute_uv=False).sum())

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        X = weight * self.expression
        make = new.hermitian if X.is_complex else new.symmetric
        U, V = make(X.shape[0]), make(X.shape[1])
        total = (U.trace() + V.trace()).real / 2
        return [total <= bound, block([[U, X], [X.H, V]]) >> 0]


@dataclasses.dataclass(frozen=True, eq=False)
class QuadOverLin(AbstractAtom):
    """|x|^2 / t for t > 0; the expression is (t, x)."""

    expression: Expression
    words: str

    @property
    def name(self) -> str:
        return self.words

    def evaluate(self, x: np.ndarray) -> float:
        t, square = float(x[0, 0]), float(np.sum(x[1:] ** 2))
        return square / t if t > 0 else (0.0 if t == 0 and square == 0 else math.inf)

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        t, x = self.expression[0], self.expression[1:]
        return [rotated(math.sqrt(weight) * x, t, bound)]


def rotated(x: Expression, u: Expression, v: Expression) -> Constraint:
    """|x|^2 <= u v, u, v >= 0 for scalars u, v and a column x: |(2 x, u - v)| <= u + v."""
    return Constraint(Kind.SECOND_ORDER, vstack([u + v, 2.0 * x, u - v]))


def norm(value: Any, ord: int | float | str | None = None) -> Curved:
    """The norm that numpy.linalg.norm(value, ord) computes, of an expression; convex: norm(x) <= t, an
    objective.

    None: |x|_2, of a matrix the Frobenius norm ("fro"); 1, 2, inf: of a column the vector norms, of a matrix
    the largest column sum, singular value and row sum; "nuc": nuclear norm. Raises InputError for other
    `ord`.
    """
    item = as_expression(value, "norm")
    column = item.shape[1] == 1
    if ord is None or ord == "fro" or (ord == 2 and column):
        return curved(TwoNorm(item))
    if ord == 2:
        return sigma_max(item)
    if ord == "nuc":
        return nuclear_norm(item)
    if ord == 1:
        return curved(LargestColumn(item))
    if ord == math.inf:
        return curved(LargestColumn(item.T, flipped=True))
    raise InputError(f"norm: ord is {ord!r}; expected None, 'fro', 'nuc', 1, 2 or inf.")


def sigma_max(value: Any) -> Curved:
    """The largest singular value, convex."""
    return curved(LargestSingularValue(as_expression(value, "sigma_max")))


def nuclear_norm(value: Any) -> Curved:
    """The sum of the singular values, convex."""
    return curved(NuclearNorm(as_expression(value, "nuclear_norm")))


def quad_over_lin(value: Any, over: Any) -> Curved:
    """|x|^2 / t (Frobenius) for a scalar t > 0, convex in both."""
    item, t = as_expression(value, "quad_over_lin"), as_expression(over, "quad_over_lin")
    if t.shape != (1, 1) or t.is_complex:
        raise InputError(f"quad_over_lin divides by shape {t.shape}; expected a real scalar.")
    words = f"‖{item.label.text}‖² / {t.label.within(2)}"
    return curved(QuadOverLin(vstack([t, _real_column(item)]), words))


def sum_squares(value: Any) -> Curved:
    """The sum of the squared absolute values of the entries, convex."""
    item = as_expression(value, "sum_squares")
    flat = _real_column(item)
    label = _labels.Label(f"‖{item.label.text}‖²")
    return Curved(_zero(), ((flat, sp.eye_array(flat.shape[0], format="csc")),), label=label)


def _zero() -> Expression:
    return Expression.of_constant(sp.csc_array((1, 1)))


def quad_form(value: Any, weight: Any) -> Curved:
    """x' W x for an affine column x (n, 1) and a constant symmetric PSD W (n, n), dense or sparse; convex.

    Raises InputError where W is not symmetric or has a negative eigenvalue beyond rounding.
    """
    item, W = as_expression(value, "quad_form"), as_constant(weight)
    if W is None or item.shape[1] != 1 or W.shape != (item.shape[0], item.shape[0]):
        raise InputError(
            f"quad_form takes a column (n, 1) and a matrix (n, n); got {item.shape} and {np.shape(weight)}."
        )
    if np.iscomplexobj(W.data) or item.is_complex:
        raise InputError("quad_form takes real x and W; write sum_squares(L @ x) for W = L^H L.")
    if (W != W.T).nnz:
        raise InputError("quad_form: W is not symmetric; pass (W + W')/2.")
    lowest = scipy.linalg.eigvalsh(W.toarray())[0] if W.nnz else 0.0
    if lowest < -1e-12 * max(1.0, abs(W).max() if W.nnz else 0.0) * W.shape[0]:
        raise InputError(
            f"quad_form: W has the eigenvalue {lowest:.3g}; expected W PSD, else it is not convex."
        )
    text = item.label.within(2)
    label = _labels.Label(f"{text}' {_labels.of_constant(W).text} {text}", 1)
    return Curved(_zero(), ((item, W),), label=label)
