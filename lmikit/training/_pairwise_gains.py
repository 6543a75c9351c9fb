"""L_ij(W), bounds of how far differences of logits move, and their gradients in the weights.

Used while training only: rounding and iterations are not accounted for.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from .._eigen import top_eigenpair

__all__ = ["AbstractPairwiseGain", "NonexpansiveGain", "ProductGain", "top_direction"]

Pull = Callable[[np.ndarray], dict[int, np.ndarray]]


class AbstractPairwiseGain(abc.ABC):
    """L (m, m) of weights [W0, b0, W1, b1, ...] with activations of slopes in [-1, 1], and its pull-back."""

    @abc.abstractmethod
    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, Pull]:
        """(L, pull): pull(the loss's gradient in L) gives what it adds to the gradients, by index."""


@dataclasses.dataclass(frozen=True)
class NonexpansiveGain(AbstractPairwiseGain):
    """L_ij = |w_i - w_j|, w_i the last rows; hidden layers of norm 1 (`Orthogonal`) are assumed."""

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, Pull]:
        last = _last(weights)
        distances, back = _row_distances(weights[last])
        return distances, lambda in_L: {last: back(in_L)}


@dataclasses.dataclass(frozen=True)
class ProductGain(AbstractPairwiseGain):
    """L_ij = |w_i - w_j| prod_k |W_k|, the product of the spectral norms of the hidden layers."""

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, Pull]:
        last = _last(weights)
        distances, back = _row_distances(weights[last])
        tops = {k: top_direction(w) for k, w in enumerate(weights) if w.ndim == 2 and k < last}
        product = float(np.prod([sigma for sigma, _ in tops.values()]))

        def pull(in_L: np.ndarray) -> dict[int, np.ndarray]:
            whole = float((in_L * distances).sum())
            result = {last: back(product * in_L)}
            for k, (sigma, direction) in tops.items():
                result[k] = direction * direction.dtype.type(whole * product / sigma if sigma else 0.0)
            return result

        return product * distances, pull


def _last(weights: Sequence[np.ndarray]) -> int:
    return max(k for k, w in enumerate(weights) if w.ndim == 2)


def _row_distances(w: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """|w_i - w_j| and the pull-back to w."""
    rows = w.astype(np.float64)
    distances = np.linalg.norm(rows[:, None, :] - rows[None, :, :], axis=2)

    def back(gradient: np.ndarray) -> np.ndarray:
        a = (gradient + gradient.T) / np.where(distances > 0.0, distances, np.inf)
        return np.asarray((a.sum(axis=1)[:, None] * rows - a @ rows).astype(w.dtype))

    return distances, back


def top_direction(w: np.ndarray) -> tuple[float, np.ndarray]:
    """(sigma, u v'), the largest singular value and its gradient."""
    wide = w.shape[0] <= w.shape[1]
    gram = w @ w.T if wide else w.T @ w
    value, one = top_eigenpair(gram)
    sigma = float(np.sqrt(max(value, 0.0)))
    other = (w.T @ one if wide else w @ one) / w.dtype.type(sigma if sigma else 1.0)
    return sigma, np.outer(one, other) if wide else np.outer(other, one)
