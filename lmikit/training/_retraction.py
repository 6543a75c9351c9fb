"""Retractions: after each step weights return to the set that they are to stay in."""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg

from .._errors import InputError, OptionError

__all__ = ["AbstractRetraction", "Orthogonal"]


class AbstractRetraction(abc.ABC):
    """A map from weights to weights nearby in a set; arrays keep their dtypes."""

    @abc.abstractmethod
    def __call__(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
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

    def __call__(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = list(weights)
        for k in self._chosen(weights):
            result[k] = _newton_schulz(weights[k])
        return result

    def projected(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The nearest weights of the set (polar factors), to rounding: a start, or the end of training."""
        result = list(weights)
        for k in self._chosen(weights):
            result[k] = _polar(weights[k])
        return result

    def _chosen(self, weights: Sequence[np.ndarray]) -> tuple[int, ...]:
        matrices = tuple(k for k, w in enumerate(weights) if w.ndim == 2)
        if self.arrays is None:
            return matrices[:-1]
        wrong = set(self.arrays) - set(matrices)
        if wrong:
            raise InputError(f"no matrix stands at the indices {sorted(wrong)}; matrices are at {matrices}.")
        return self.arrays


def _newton_schulz(w: np.ndarray) -> np.ndarray:
    wide = w.shape[0] <= w.shape[1]
    gram = w @ w.T if wide else w.T @ w
    gram.ravel()[:: len(gram) + 1] -= 1
    if not np.linalg.norm(gram) < 1.0:
        return _polar(w)
    gram *= w.dtype.type(-0.5)
    return w + (gram @ w if wide else w @ gram)


def _polar(w: np.ndarray) -> np.ndarray:
    if not np.isfinite(w).all():
        return w  # the caller says that training diverged
    u, _, vt = scipy.linalg.svd(w.astype(np.float64), full_matrices=False)
    return np.asarray((u @ vt).astype(w.dtype))
