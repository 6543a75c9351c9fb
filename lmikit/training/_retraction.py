"""Retractions: after each step weights return to the set that they are to stay in."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from .._errors import InputError, OptionError
from ._namespace import eye_like, namespace

__all__ = ["AbstractRetraction", "Orthogonal", "newton_schulz", "polar"]


class AbstractRetraction(abc.ABC):
    """A map from weights to weights nearby in a set: NumPy, JAX or torch arrays, which keep their dtypes."""

    @abc.abstractmethod
    def __call__(self, weights: Sequence[Any]) -> list[Any]:
        """The retracted weights; the given arrays stay as they are."""


@dataclasses.dataclass(frozen=True)
class Orthogonal(AbstractRetraction):
    """W_k W_k' = I or W_k' W_k = I, whichever side is smaller, for the arrays with these indices.

    One step of Newton and Schulz, W <- (3 W - W W'W)/2, whose error is cubic in the distance to the set
    (Bjorck and Bowie, SIAM J. Numer. Anal. 8 (1971), 358-364), where ||W'W - I||_F < 1; else the polar
    factor. `arrays` None: every matrix but the last one. What it leaves is orthogonal to rounding times
    the learning rate squared: the proof of the bound is made on the weights as they are.
    Raises InputError for an index without a matrix, OptionError for an index below zero.
    """

    arrays: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.arrays is not None and any(k < 0 for k in self.arrays):
            raise OptionError(f"arrays is {self.arrays}; expected indices of matrices, 0 and above.")

    def __call__(self, weights: Sequence[Any]) -> list[Any]:
        result = list(weights)
        for k in self._chosen(weights):
            result[k] = newton_schulz(weights[k])
        return result

    def projected(self, weights: Sequence[Any]) -> list[Any]:
        """The nearest weights of the set (polar factors), to rounding: a start, or the end of training."""
        result = list(weights)
        for k in self._chosen(weights):
            result[k] = polar(weights[k])
        return result

    def _chosen(self, weights: Sequence[Any]) -> tuple[int, ...]:
        matrices = tuple(k for k, w in enumerate(weights) if w.ndim == 2)
        if self.arrays is None:
            return matrices[:-1]
        wrong = set(self.arrays) - set(matrices)
        if wrong:
            raise InputError(f"no matrix stands at the indices {sorted(wrong)}; matrices are at {matrices}.")
        return self.arrays


def newton_schulz(w: Any) -> Any:
    """One step towards the nearest matrix with orthonormal rows or columns; from afar, that matrix."""
    xp = namespace(w)
    wide = w.shape[0] <= w.shape[1]
    gram = w @ w.T if wide else w.T @ w
    excess = gram - eye_like(xp, gram)
    near = xp.linalg.norm(excess) < 1.0
    if xp.__name__ == "jax.numpy":  # which may be tracing
        from jax import lax

        return lax.cond(near, lambda w: _stepped(w, excess), polar, w)
    return _stepped(w, excess) if near else polar(w)


def _stepped(w: Any, excess: Any) -> Any:
    correction = excess @ w if w.shape[0] <= w.shape[1] else w @ excess
    return w - 0.5 * correction


def polar(w: Any) -> Any:
    """The nearest matrix with orthonormal rows or columns; in float64, except in JAX without it."""
    xp = namespace(w)
    if xp.__name__ == "jax.numpy":
        u, _, vt = xp.linalg.svd(w, full_matrices=False)
        return u @ vt
    if not xp.isfinite(w).all():
        return w  # the caller says that training diverged
    cast = "to" if xp.__name__ == "torch" else "astype"
    u, _, vt = xp.linalg.svd(getattr(w, cast)(xp.float64), full_matrices=False)
    return getattr(u @ vt, cast)(w.dtype)
