"""Eigenvalues, determinants and geometric means of expressions.

lambda_max(F) <= t      t I - F PSD
(prod x)^(1/n) >= t     a tree of u^2 <= a b, padded with t   (A. Nemirovski, A. Ben-Tal, Lectures, 3.3)
det(F)^(1/n) >= t       [D, Z; Z', F] PSD, Z upper triangular, D = diag(Z), (prod Z_ii)^(1/n) >= t
log det F >= t          the same with sum log Z_ii >= t
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._cone_constraints import exponential_cone
from ._constraint import Constraint
from ._curved import AbstractAtom, Curved, Lowering, curved
from ._expression import Expression
from ._norms import rotated
from ._structure import as_expression, block, diag

__all__ = ["det_rootn", "geo_mean", "lambda_max", "lambda_min", "log_det"]


def _square(value: Any, where: str) -> Expression:
    item = as_expression(value, where)
    if item.shape[0] != item.shape[1]:
        raise InputError(f"{where} takes a square matrix and got shape {item.shape}.")
    return item


def _embedded(item: Expression) -> Expression:
    """[Re, -Im; Im, Re] of a complex expression: every eigenvalue twice."""
    if not item.is_complex:
        return item
    return block([[item.real, -item.imag], [item.imag, item.real]])


def _eigenvalues(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.eigvalsh((x + x.conj().T) / 2))


@dataclasses.dataclass(frozen=True, eq=False)
class LargestEigenvalue(AbstractAtom):
    """lambda_max of a symmetric or Hermitian matrix."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"lambda_max({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        return float(_eigenvalues(x)[-1])

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        n = self.expression.shape[0]
        return [bound * sp.eye_array(n) >> weight * self.expression]


@dataclasses.dataclass(frozen=True, eq=False)
class MinusGeometricMean(AbstractAtom):
    """-(prod x_i)^(1/n) of a column x >= 0."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"-geo_mean({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        return -float(np.prod(x ** (1.0 / x.size))) if (x >= 0).all() else math.inf

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        t = new.matrix(1, 1)
        leaves = [self.expression[i] for i in range(self.expression.shape[0])]
        return [weight * t + bound >= 0, *_tree(t, leaves, new)]


def _tree(t: Expression, leaves: list[Expression], new: Lowering) -> list[Constraint]:
    """t <= the geometric mean of the leaves, which are >= 0."""
    if len(leaves) == 1:
        return [leaves[0] >= t, leaves[0] >= 0]
    depth = math.ceil(math.log2(len(leaves)))
    level = leaves + [t] * (2**depth - len(leaves))
    constraints = []
    while len(level) > 2:
        above = [new.matrix(1, 1) for _ in range(len(level) // 2)]
        constraints += [rotated(u, a, b) for u, a, b in zip(above, level[::2], level[1::2], strict=True)]
        level = above
    return [*constraints, rotated(t, level[0], level[1])]


def _triangular(n: int, new: Lowering) -> Expression:
    row, col = np.triu_indices(n)
    spread = sp.csc_array((np.ones(row.size), (row * n + col, np.arange(row.size))), (n * n, row.size))
    return (spread @ new.matrix(row.size, 1)).reshape(n, n)


def _determinant(F: Expression, new: Lowering) -> tuple[Expression, Constraint]:
    """A column whose product is at most det F, and the LMI for it."""
    Z = _triangular(F.shape[0], new)
    column = Z.diagonal()
    return column, block([[diag(column), Z], [Z.T, F]]) >> 0


@dataclasses.dataclass(frozen=True, eq=False)
class MinusDeterminantRoot(AbstractAtom):
    """-det(F)^(1/n) of a PSD matrix."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"-det_rootn({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        values = _eigenvalues(x)
        if values[0] < -1e-12 * max(1.0, abs(values[-1])):
            return math.inf
        return -float(np.prod(np.maximum(values, 0.0) ** (1.0 / values.size)))

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        t = new.matrix(1, 1)
        column, lmi = _determinant(_embedded(self.expression), new)
        leaves = [column[i] for i in range(column.shape[0])]
        return [weight * t + bound >= 0, lmi, *_tree(t, leaves, new)]


@dataclasses.dataclass(frozen=True, eq=False)
class MinusLogDeterminant(AbstractAtom):
    """-log det F of a positive definite matrix."""

    expression: Expression

    @property
    def name(self) -> str:
        return f"-log_det({self.expression.label.text})"

    def evaluate(self, x: np.ndarray) -> float:
        values = _eigenvalues(x)
        return -float(np.log(values).sum()) if values[0] > 0 else math.inf

    def below(self, weight: float, bound: Expression, new: Lowering) -> list[Constraint]:
        F = _embedded(self.expression)
        n, share = F.shape[0], self.expression.shape[0] / F.shape[0]
        logs = new.matrix(n, 1)
        column, lmi = _determinant(F, new)
        total = weight * share * logs.sum() + bound >= 0
        return [total, lmi, exponential_cone(logs, np.ones((n, 1)), column)]


def _negative(atom: AbstractAtom) -> Curved:
    function = curved(atom, -1.0)
    label = dataclasses.replace(function, label=function.label._replace(text=atom.name.removeprefix("-")))
    return label


def lambda_max(value: Any) -> Curved:
    """The largest eigenvalue of a symmetric or Hermitian expression, convex."""
    return curved(LargestEigenvalue(_square(value, "lambda_max")))


def lambda_min(value: Any) -> Curved:
    """The smallest eigenvalue of a symmetric or Hermitian expression, concave."""
    item = _square(value, "lambda_min")
    function = curved(LargestEigenvalue(-item), -1.0)
    return dataclasses.replace(function, label=function.label._replace(text=f"lambda_min({item.label.text})"))


def geo_mean(value: Any) -> Curved:
    """(x_1 ... x_n)^(1/n) of the entries of a real expression, concave for x >= 0."""
    item = as_expression(value, "geo_mean")
    if item.is_complex:
        raise InputError("geo_mean takes a real expression and got a complex one.")
    return _negative(MinusGeometricMean(item.reshape(item.shape[0] * item.shape[1], 1)))


def det_rootn(value: Any) -> Curved:
    """det(F)^(1/n) of a symmetric or Hermitian expression (n, n), concave for F PSD."""
    return _negative(MinusDeterminantRoot(_square(value, "det_rootn")))


def log_det(value: Any) -> Curved:
    """log det F of a symmetric or Hermitian expression, concave for F positive definite.

    Takes exponential cones, which not every solver has; maximising det_rootn instead gives the same matrix.
    """
    return _negative(MinusLogDeterminant(_square(value, "log_det")))
