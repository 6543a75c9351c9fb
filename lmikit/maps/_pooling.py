"""Pooling: averages as linear maps, and the windows whose maximum a max-pooling takes."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..network import AbstractLinearMap, SparseMap
from ._convolution import Convolution2d
from ._geometry import Axis, axes_of, image_shape, pair

__all__ = ["average_pool2d", "pooling_windows"]


def average_pool2d(
    input_shape: Any, size: Any, *, stride: Any = None, padding: Any = 0, count_padding: bool = True
) -> AbstractLinearMap:
    """The mean over windows of `size` pixels, channel by channel; `stride` None: that of the size.

    The weight of each pixel is the float64 nearest to 1 / count: exactly the mean where the count is a
    power of two, and within 2**-53 of it, relatively, elsewhere (claims are about the map with these
    floats). The count is that of the window, or without `count_padding` of its pixels inside the image.
    Raises InputError for numbers that do not fit.
    """
    shape = image_shape("a pooling", input_shape)
    taps, axes = _windows("a pooling", shape, size, stride, padding)
    kernel = np.full((shape[0], 1, *taps), 1.0 / (taps[0] * taps[1]))
    sides = tuple((axis.before, axis.after) for axis in axes)
    strides = axes[0].stride, axes[1].stride
    pool = Convolution2d(kernel, shape, strides, sides, 1, shape[0])
    if count_padding or not any(p for side in sides for p in side):
        return pool
    counts = [((a.reads() >= 0) & (a.reads() < a.size)).sum(axis=1) for a in axes]
    if min(int(c.min()) for c in counts) < 1:
        raise InputError(f"a pooling has padding {sides}: a window of {taps} without a pixel; expected less.")
    ones = Convolution2d(np.ones_like(kernel), shape, strides, sides, 1, shape[0]).to_sparse()
    each = np.tile(np.outer(*counts).reshape(-1), shape[0]).astype(np.float64)
    return SparseMap(sp.csr_array(sp.diags_array(1.0 / each) @ ones))


def pooling_windows(input_shape: Any, size: Any, *, stride: Any = None, padding: Any = 0) -> list[np.ndarray]:
    """The indices of each window's pixels, for `GraphBuilder.max_pool`; output order channel, row, column.

    Padding counts as minus infinity, as in max-pooling: indices are those of pixels inside the image.
    Raises InputError for numbers that do not fit and for windows without a pixel.
    """
    channels, height, width = shape = image_shape("a pooling", input_shape)
    taps, axes = _windows("a pooling", shape, size, stride, padding)
    inside = [[line[(line >= 0) & (line < axis.size)] for line in axis.reads()] for axis in axes]
    if any(line.size == 0 for lines in inside for line in lines):
        raise InputError(f"a pooling of {taps} with padding {padding} has a window without a pixel.")
    flat = [(rows[:, None] * width + columns).reshape(-1) for rows in inside[0] for columns in inside[1]]
    return [c * height * width + window for c in range(channels) for window in flat]


def _windows(
    where: str, shape: tuple[int, int, int], size: Any, stride: Any, padding: Any
) -> tuple[tuple[int, int], tuple[Axis, Axis]]:
    taps = pair(f"{where}: size", size, 1)
    return taps, axes_of(where, shape[1:], taps, taps if stride is None else stride, padding, 1)
