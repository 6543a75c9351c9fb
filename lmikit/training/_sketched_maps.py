"""The maps that a sketched penalty acts on: products on the smaller side, and the gradient in the array."""

import abc
import dataclasses

import numpy as np

from .._errors import InputError
from ..maps import Convolution2d
from ..sketching import AbstractOperator, ConvolutionOperator, as_operator

__all__ = ["AbstractSketchedMap", "ConvolutionSketch", "DenseSketch"]


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


@dataclasses.dataclass(frozen=True, eq=False)
class ConvolutionSketch(AbstractSketchedMap):
    """A kernel (out, in, kh, kw) with the geometry of `like`: products alone, on columns of images.

    Raises InputError for groups, dilation and padding that differs between two sides.
    """

    like: Convolution2d

    def __post_init__(self) -> None:
        like = self.like
        even = all(a == b for a, b in like.padding)
        if like.groups != 1 or like.dilation != (1, 1) or not even:
            raise InputError(
                f"a sketched convolution has groups={like.groups}, dilation={like.dilation}, "
                f"padding={like.padding}; expected one group, no dilation and the same padding on both sides."
            )

    def _convolution(self, w: np.ndarray) -> ConvolutionOperator:
        like = self.like
        padding = (like.padding[0][0], like.padding[1][0])
        return ConvolutionOperator(w, like.input_shape[1:], stride=like.stride, padding=padding)

    @property
    def _flipped(self) -> bool:
        return self.like.shape[0] < self.like.shape[1]

    def operator(self, w: np.ndarray) -> AbstractOperator:
        return self._convolution(w).smaller_side

    def image(self, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.asarray(self.operator(w).matmat(s))

    def adjoint(self, w: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.operator(w).rmatmat(u))

    def gradient(self, w: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        pair = (right, left) if self._flipped else (left, right)
        return np.asarray(self._convolution(w).kernel_gradient(*pair))
