"""Many small matrices of one order as one cone: one call of NumPy for all of them (laws in `_cone`)."""

from collections.abc import Sequence

import numpy as np

from .._equilibrate import Factors
from ._blocks import SMALL_ORDER, BlockPart, dense_columns
from ._cone import AbstractCone

__all__ = ["Stack", "stackable"]

_MOST_WORK = 2_000_000  # m B n^3 of a stack, up to which the overhead of calls is what counts


def stackable(parts: Sequence[BlockPart], variables: int) -> tuple[list[list[int]], list[int]]:
    """(numbers of the parts of each stack, numbers of the parts that stay alone)."""
    orders: dict[int, list[int]] = {}
    for k, part in enumerate(parts):
        orders.setdefault(part.order, []).append(k)
    stacks, alone = [], []
    for n, members in orders.items():
        if n <= SMALL_ORDER and variables * len(members) * n**3 <= _MOST_WORK:
            stacks.append(members)
        else:
            alone += members
    return stacks, sorted(alone)


class Stack(AbstractCone):
    """X_1, ..., X_B PSD of order n, as an array (B, n, n): W Z = R'Z R for each."""

    def __init__(self, parts: Sequence[BlockPart], f: Factors) -> None:
        self.count, self.order, variables = len(parts), parts[0].order, f.y.size
        size = self.order**2
        self.F0 = np.empty((self.count, self.order, self.order))
        columns = np.zeros((variables, self.count, size))
        for k, part in enumerate(parts):
            square = f.rows[part.lmi][part.rows[0]] ** 2  # one factor for all rows
            self.F0[k] = square * part.block.F0.toarray()
            columns[part.active, k] = (square * f.y[part.active])[:, None] * dense_columns(part.block)
        self.diagonal = np.abs(columns[:, :, :: self.order + 1])  # (m, B, n)
        self.columns = columns.reshape(variables, self.count * size)
        self.rows = np.ascontiguousarray(self.columns.T)
        self.matrices = columns.reshape(variables, self.count, self.order, self.order)
        self.norms = np.linalg.norm(self.columns, axis=1)
        self.degree = float(self.count * self.order)
        self.eye = np.broadcast_to(np.eye(self.order), self.F0.shape)
        self.constant = np.abs(np.diagonal(self.F0, axis1=1, axis2=2))  # (B, n)
        self.rescale(self.eye, self.eye)

    def relative(self, residual: np.ndarray, y: np.ndarray) -> float:
        """As of one matrix (`Semidefinite`), the largest of all."""
        size = np.abs(y)
        terms = np.tensordot(size, self.diagonal, 1)
        wide = float(size.max(initial=0.0)) * self.diagonal.sum(axis=0)
        d = np.where(self.constant > 0, self.constant + terms, wide)
        largest = d.max(axis=1, keepdims=True)
        d = np.where(d > 0, d, np.where(largest > 0, largest, 1.0))
        scaled = residual / np.sqrt(d[:, :, None] * d[:, None, :])
        return float(np.sqrt((scaled**2).sum(axis=(1, 2)).max()))

    def linear(self, y: np.ndarray) -> np.ndarray:
        return (self.rows @ y).reshape(self.F0.shape)

    def adjoint(self, Z: np.ndarray) -> np.ndarray:
        return np.asarray(self.columns @ Z.ravel())

    def identity(self) -> np.ndarray:
        return self.eye

    def least(self, x: np.ndarray) -> float:
        try:
            return float(np.linalg.eigvalsh(x)[:, 0].min())
        except np.linalg.LinAlgError:
            return float("nan")

    def rescale(self, S: np.ndarray, Z: np.ndarray) -> bool:
        try:
            left, right = np.linalg.cholesky(S), np.linalg.cholesky(Z)
            U, values, _ = np.linalg.svd(_turned(right) @ left)
        except np.linalg.LinAlgError:
            return False
        if not (values[:, -1] > 0).all():
            return False
        root = np.sqrt(values)
        self.R_inverse = (_turned(right @ U)) / root[:, :, None]
        self.R_inverse_turned = np.ascontiguousarray(_turned(self.R_inverse))
        self.l = values
        self.sums = 0.5 * (values[:, :, None] + values[:, None, :])
        self.roots = root[:, :, None] * root[:, None, :]
        return True

    def add_schur(self, M: np.ndarray) -> None:
        self.scaled = (self.R_inverse @ self.matrices @ self.R_inverse_turned).reshape(self.columns.shape)
        M += self.scaled @ self.scaled.T

    def scaled_slack(self, S: np.ndarray) -> np.ndarray:
        return _symmetric(self.R_inverse @ S @ self.R_inverse_turned)

    def multiplier(self, x: np.ndarray) -> np.ndarray:
        return _symmetric(self.R_inverse_turned @ x @ self.R_inverse)

    def scaled_adjoint(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.scaled @ x.ravel())

    def square(self) -> np.ndarray:
        return self.l[:, :, None] ** 2 * self.eye

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _symmetric(a @ b)

    def divide(self, d: np.ndarray) -> np.ndarray:
        return d / self.sums

    def longest(self, a: np.ndarray, b: np.ndarray) -> float:
        least = self.least(np.concatenate([a / self.roots, b / self.roots]))
        return np.inf if least >= 0 else -1.0 / least


def _turned(a: np.ndarray) -> np.ndarray:
    return np.swapaxes(a, 1, 2)


def _symmetric(a: np.ndarray) -> np.ndarray:
    return 0.5 * (a + np.swapaxes(a, 1, 2))
