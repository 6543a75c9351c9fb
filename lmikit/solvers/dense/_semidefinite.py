"""Matrices that are positive semidefinite, with their Nesterov-Todd scaling (laws in `_cone`)."""

import numpy as np
import scipy.linalg

from ..._arrays import array_module
from ..._eigen import least_eigenvalue
from ._blocks import BlockPart, part_columns
from ._cone import AbstractCone
from ._schur import schur_block

__all__ = ["Semidefinite"]


class Semidefinite(AbstractCone):
    """X PSD of order n: W Z = R'Z R."""

    def __init__(self, part: BlockPart, variables: int) -> None:
        self.part, self.active, self.variables = part, part.active, variables
        self.F0 = part.block.F0.toarray()
        self.degree = float(part.order)
        self.schur = schur_block(part.block, part_columns(part.block))
        columns = self.schur.columns
        squares = (
            (columns**2).sum(axis=1)
            if isinstance(columns, np.ndarray)
            else np.asarray(columns.multiply(columns).sum(axis=1)).ravel()
        )
        self.norms = np.zeros(variables)
        self.norms[self.active] = np.sqrt(squares)
        diagonal = columns[:, :: part.order + 1]
        self.diagonal = np.abs(diagonal if isinstance(diagonal, np.ndarray) else diagonal.toarray())
        self.rescale(self.identity(), self.identity())

    def relative(self, residual: np.ndarray, y: np.ndarray) -> float:
        """Row by row: the residual with the terms of the diagonal scaled to 1."""
        size, constant = np.abs(y[self.active]), np.abs(self.F0.diagonal())
        wide = np.maximum(size, np.abs(y).max(initial=0.0))
        d = np.where(constant > 0, constant + size @ self.diagonal, wide @ self.diagonal)
        d = np.where(d > 0, d, float(d.max(initial=0.0)) or 1.0)
        return float(np.linalg.norm(residual / np.sqrt(d) / np.sqrt(d)[:, None]))

    def linear(self, y: np.ndarray) -> np.ndarray:
        return self.schur.linear(y[self.active])

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        result = np.zeros(self.variables)
        result[self.active] = self.schur.adjoint(Z)
        return result

    def identity(self) -> np.ndarray:
        return np.eye(self.part.order)

    def least(self, x: np.ndarray) -> float:
        return least_eigenvalue(x)

    def rescale(self, S: np.ndarray, Z: np.ndarray) -> bool:
        am = array_module()
        left, right = am.cholesky(S), am.cholesky(Z)
        if left is None or right is None:
            return False
        U, values, _ = scipy.linalg.svd(
            am.product(right.T, left), check_finite=False, overwrite_a=True, lapack_driver="gesdd"
        )
        if not values[-1] > 0:
            return False
        root = np.sqrt(values)
        self.R_inverse = am.product(np.ascontiguousarray(U.T), np.ascontiguousarray(right.T)) / root[:, None]
        V = am.product(np.ascontiguousarray(self.R_inverse.T), self.R_inverse)
        self.V, self.l = 0.5 * (V + V.T), values
        return True

    def add_schur(self, M: np.ndarray) -> None:
        part = self.schur.matrix(self.V, self.R_inverse)
        if self.active.size == M.shape[0]:
            M += part
        else:
            M[np.ix_(self.active, self.active)] += part

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return _congruence(self.R_inverse, S)

    def multiplier(self, x: np.ndarray) -> np.ndarray:
        return _congruence(np.ascontiguousarray(self.R_inverse.T), x)

    def square(self) -> np.ndarray:
        return np.diag(self.l**2)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        half = array_module().product(a, b)
        return 0.5 * (half + half.T)

    def divide(self, d: np.ndarray) -> np.ndarray:
        return 2.0 * d / (self.l[:, None] + self.l)

    def longest(self, a: np.ndarray, b: np.ndarray) -> float:
        root = np.sqrt(self.l)
        least = min(self.least(d / root / root[:, None]) for d in (a, b))
        return np.inf if least >= 0 else -1.0 / least


def _congruence(A: np.ndarray, x: np.ndarray) -> np.ndarray:
    am = array_module()
    half = am.product(am.product(A, x), np.ascontiguousarray(A.T))
    return 0.5 * (half + half.T)
