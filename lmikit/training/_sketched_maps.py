"""The maps that a sketched penalty acts on: products on the smaller side, and the gradient in the array."""

import abc
import dataclasses

import numpy as np

from ..sketching import AbstractOperator, as_operator

__all__ = ["AbstractSketchedMap", "DenseSketch"]


class AbstractSketchedMap(abc.ABC):
    """A(w) = W or W', whichever has fewer columns, for the linear map W of an array w."""

    @abc.abstractmethod
    def operator(self, w: np.ndarray) -> AbstractOperator:
        """A(w), (rows, n)."""

    @abc.abstractmethod
    def image(self, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        """A(w) s for s (n, m)."""

    @abc.abstractmethod
    def adjoint(self, w: np.ndarray, u: np.ndarray) -> np.ndarray:
        """A(w)'u for u (rows, m)."""

    @abc.abstractmethod
    def gradient(self, w: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The gradient of <left, A(w) right> in w, of w's shape."""


@dataclasses.dataclass(frozen=True)
class DenseSketch(AbstractSketchedMap):
    """A matrix (out, in); `flipped` where out < in."""

    flipped: bool

    def operator(self, w: np.ndarray) -> AbstractOperator:
        return as_operator(w.T if self.flipped else w)

    def image(self, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.asarray(w.T @ s if self.flipped else w @ s)

    def adjoint(self, w: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.asarray(w @ u if self.flipped else w.T @ u)

    def gradient(self, w: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(right @ left.T if self.flipped else left @ right.T)
