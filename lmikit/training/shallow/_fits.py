"""The losses of shallow nets, and their value, gradient and curvature in one layer's weights.

With patterns and the directions of the outer weights kept, f(X) is linear in the effective weights V,
and with the hidden layer kept it is linear in the outer weights; both losses are convex in f(X).
Each row's Hessian in f(x_i) is R_i'R_i: 2/N I, or t/N (diag(q) - q q') with q the softmax.
"""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from ..._errors import InputError, LmikitError
from ...attacks._losses import checked_rows, losses_of

__all__ = ["AbstractFit", "OuterFit", "PatternFit", "ShallowLoss", "read_loss"]

_CHUNK = 1 << 22  # numbers in one temporary


@dataclasses.dataclass(frozen=True, eq=False)
class ShallowLoss:
    """The mean loss over the rows of outputs Z (N, m), to which the output biases are still to be added.

    "squared": (1/N) sum_i ||z_i - y_i||^2; "cross_entropy": -(1/N) sum_i log softmax(z_i)_{y_i}, for one
    output the logit of class 1 against class 0.
    """

    name: Literal["squared", "cross_entropy"]
    y: np.ndarray
    bias: np.ndarray

    def __call__(self, Z: np.ndarray) -> float:
        return float(losses_of(self.name, self._full(Z), self.y)[0].mean())

    @property
    def quadratic(self) -> bool:
        """Whether the curvature is the same everywhere."""
        return self.name == "squared"

    def curved(self, Z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(value, gradient (N, m), R (N or 1, k, m)) at Z."""
        count, m = Z.shape
        full = self._full(Z)
        losses, gradient = losses_of(self.name, full, self.y)
        if self.name == "squared":
            root = np.sqrt(2.0) * np.eye(m)[None]
        else:
            q = gradient.copy()
            q[np.arange(count), self.y] += 1.0
            root = np.sqrt(np.maximum(q, 0.0))[:, :, None] * (np.eye(full.shape[1]) - q[:, None, :])
        return float(losses.mean()), gradient[:, -m:] / count, root[:, :, -m:] / np.sqrt(count)

    def _full(self, Z: np.ndarray) -> np.ndarray:
        Z = Z + self.bias
        if self.name == "cross_entropy" and Z.shape[1] == 1:
            return np.column_stack([np.zeros(len(Z)), Z])
        return Z


def read_loss(name: Any, X: Any, y: Any, inputs: int, bias: np.ndarray) -> tuple[np.ndarray, ShallowLoss]:
    """X (N, inputs) as float64 and the loss against y; raises InputError, OptionError."""
    outputs = bias.size + (name == "cross_entropy" and bias.size == 1)
    try:
        data, target = checked_rows(inputs, outputs, name, X, y)
    except (TypeError, ValueError) as error:
        if isinstance(error, LmikitError):
            raise
        raise InputError(f"X and y must be numeric arrays: {error}.") from error
    if not (np.isfinite(data).all() and np.isfinite(target).all()):
        raise InputError("X or y holds NaN or infinity; expected finite numbers: drop or fill those rows.")
    return data, ShallowLoss(name, target, bias)


class AbstractFit(abc.ABC):
    """loss(f(X)) as a convex function of the leading `columns` variables."""

    columns: int

    def __init__(self, loss: ShallowLoss) -> None:
        self.loss = loss
        self._hessian: np.ndarray | None = None

    def curved(self, v: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(value, gradient, Hessian) at v (columns,); the Hessian is not to be written to."""
        value, g, root = self.loss.curved(self.outputs(v))
        if self._hessian is None or not self.loss.quadratic:
            H = self.gram(root)
            self._hessian = 0.5 * (H + H.T)
        return value, self.pull(g), self._hessian

    def gradient(self, v: np.ndarray) -> np.ndarray:
        """That of `curved`, without the Hessian."""
        return self.pull(self.loss.curved(self.outputs(v))[1])

    @abc.abstractmethod
    def outputs(self, v: np.ndarray) -> np.ndarray:
        """f(X) without the output bias, (N, m)."""

    @abc.abstractmethod
    def pull(self, g: np.ndarray) -> np.ndarray:
        """The gradient in v of <g, f(X)>, g (N, m)."""

    @abc.abstractmethod
    def gram(self, root: np.ndarray) -> np.ndarray:
        """sum_i J_i'R_i'R_i J_i, J_i the Jacobian of f(x_i)."""


class PatternFit(AbstractFit):
    """f(x_i) = sum_j D_ji (x_i'v_j) s_j, the patterns D (n, N) and the directions S (n, m) kept."""

    def __init__(self, loss: ShallowLoss, X: np.ndarray, S: np.ndarray, patterns: np.ndarray) -> None:
        super().__init__(loss)
        self.X, self.S, self.D = X, S, patterns.T.astype(np.float64)
        self.columns = len(S) * X.shape[1]

    def outputs(self, v: np.ndarray) -> np.ndarray:
        return np.asarray((self.D * (self.X @ v.reshape(-1, self.X.shape[1]).T)) @ self.S)

    def pull(self, g: np.ndarray) -> np.ndarray:
        return np.asarray(((self.D * (g @ self.S.T)).T @ self.X).ravel())

    def gram(self, root: np.ndarray) -> np.ndarray:
        total = np.zeros((self.columns, self.columns))
        if len(root) == 1:  # one Gram matrix serves all outputs
            self._add(total)
            through = self.S @ root[0].T
            n, width = len(self.S), self.X.shape[1]
            total.reshape(n, width, n, width)[:] *= (through @ through.T)[:, None, :, None]
            return total
        width, through = self.X.shape[1], root @ self.S.T  # (N, k, n)
        for here in _chunks(len(self.X), self.columns):
            for j in range(len(self.S)):  # blocks (j, j') for j' >= j: X'diag(D_j D_j' s_j'R'R s_j')X
                rows = here.start + np.flatnonzero(self.D[here, j])
                X, T = self.X[rows], through[rows]
                weights = self.D[rows, j:] * np.einsum("ik,ikn->in", T[:, :, j], T[:, :, j:])
                B = (weights[:, :, None] * X[:, None, :]).reshape(len(X), weights.shape[1] * width)
                total[j * width : (j + 1) * width, j * width :] += X.T @ B
        upper = np.triu(total)
        return upper + np.triu(upper, 1).T

    def _add(self, total: np.ndarray) -> None:
        for here in _chunks(len(self.X), self.columns):
            X = self.X[here]
            A = (self.D[here, :, None] * X[:, None, :]).reshape(len(X), self.columns)
            total += A.T @ A


class OuterFit(AbstractFit):
    """f(x_i) = sum_j h_ij a_j for the kept hidden layer h (N, n); v = vec of the rows a_j, (n, m)."""

    def __init__(self, loss: ShallowLoss, hidden: np.ndarray, outputs: int) -> None:
        super().__init__(loss)
        self.hidden, self.columns = hidden, hidden.shape[1] * outputs

    def outputs(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self.hidden @ v.reshape(self.hidden.shape[1], -1))

    def pull(self, g: np.ndarray) -> np.ndarray:
        return np.asarray((self.hidden.T @ g).ravel())

    def gram(self, root: np.ndarray) -> np.ndarray:
        if len(root) == 1:
            return np.kron(self.hidden.T @ self.hidden, root[0].T @ root[0])
        total = np.zeros((self.columns, self.columns))
        for k in range(root.shape[1]):
            for here in _chunks(len(self.hidden), self.columns):
                A = (self.hidden[here, :, None] * root[here, k, None, :]).reshape(-1, self.columns)
                total += A.T @ A
        return total


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)
