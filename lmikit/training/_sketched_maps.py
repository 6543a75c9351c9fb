"""The maps that a sketched penalty acts on: products on the smaller side, and the gradient in the array."""

import dataclasses

import numpy as np

from .._errors import InputError
from ..maps import Convolution2d
from ..sketching import AbstractOperator, ConvolutionOperator, as_operator

__all__ = ["SketchedMap"]


@dataclasses.dataclass(frozen=True, eq=False)
class SketchedMap:
    """A(w) = W or W', whichever has fewer columns (`flipped`: W'), for the linear map W of an array w.

    w is a matrix (out, in), or, with `like`, a kernel (out, in, kh, kw) in the geometry of `like`: products
    alone, on columns of images.
    """

    flipped: bool
    like: Convolution2d | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], like: Convolution2d | None = None) -> "SketchedMap":
        """For arrays of this shape; raises InputError for groups, dilation and uneven padding."""
        if like is None:
            return cls(shape[0] < shape[1])
        if like.groups != 1 or like.dilation != (1, 1) or not all(a == b for a, b in like.padding):
            raise InputError(
                f"a sketched convolution has groups={like.groups}, dilation={like.dilation}, "
                f"padding={like.padding}; expected one group, no dilation and the same padding on both sides."
            )
        return cls(like.shape[0] < like.shape[1], like)

    def operator(self, w: np.ndarray) -> AbstractOperator:
        """A(w), (rows, n)."""
        return as_operator(w.T if self.flipped else w) if self.like is None else self._kernel(w).smaller_side

    def image(self, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        """A(w) s for s (n, m)."""
        if self.like is None:
            return np.asarray(w.T @ s if self.flipped else w @ s)
        return np.asarray(self.operator(w).matmat(s))

    def adjoint(self, w: np.ndarray, u: np.ndarray) -> np.ndarray:
        """A(w)'u for u (rows, m)."""
        if self.like is None:
            return np.asarray(w @ u if self.flipped else w.T @ u)
        return np.asarray(self.operator(w).rmatmat(u))

    def gradient(self, w: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The gradient of <left, A(w) right> in w, of w's shape."""
        if self.flipped:
            left, right = right, left
        if self.like is not None:
            return np.asarray(self._kernel(w).kernel_gradient(left, right))
        # NumPy's product of a column and a row takes three times as long as this
        return np.asarray(left * right.T if left.shape[1] == 1 else left @ right.T)

    def _kernel(self, w: np.ndarray) -> ConvolutionOperator:
        assert self.like is not None
        padding = (self.like.padding[0][0], self.like.padding[1][0])
        return ConvolutionOperator(w, self.like.input_shape[1:], stride=self.like.stride, padding=padding)
