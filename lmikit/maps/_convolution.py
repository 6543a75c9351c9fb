"""Convolutions as linear maps: products without a matrix, an exact sparse form, adjoints.

What frameworks call convolution is the cross-correlation

    y[o, i, j] = sum_{c, a, b} K[o, c, a, b] x[g(o) + c, s i + d a - p, s j + d b - p],

x zero outside the image, g(o) the first channel of the group that o belongs to. Images are flattened in
the order channel, row, column, as Flatten does. Every entry of the matrix is a copy of one number of K
(no two taps of one output meet at one input), so that `to_sparse` is exact.
"""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_float64
from .._errors import InexactScaling, InputError
from ..network import AbstractLinearMap, SparseMap, TransposedMap
from ..network._maps import LARGEST_DENSE
from ._geometry import Axis, axes_of, image_shape, pair

__all__ = ["Convolution2d", "convolution1d", "transposed_convolution2d"]


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution2d(AbstractLinearMap):
    """The convolution of a (channels, height, width) image with `kernel` (out, channels / groups, kh, kw).

    `stride`, `dilation`: an integer or one per axis; `padding` with zeros: an integer, one per axis, or
    ((top, bottom), (left, right)). float16, bfloat16 and float32 kernels are cast exactly. Raises
    InputError for NaN, infinity, and shapes and numbers that do not fit. Images are vectors in the order
    channel, row, column.
    """

    kernel: Any
    input_shape: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    source_dtype: str = dataclasses.field(init=False)
    axes: tuple[Axis, Axis] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        kernel, source = as_float64("a convolution's kernel", self.kernel)
        if kernel.ndim != 4 or min(kernel.shape) < 1:
            raise InputError(
                f"a convolution's kernel has shape {kernel.shape}; expected (out, in / groups, height, "
                "width), each at least 1. Keras kernels are (height, width, in, out): transpose(3, 2, 0, 1)."
            )
        shape = image_shape("a convolution", self.input_shape)
        groups = pair("a convolution: groups", self.groups, 1)[0]
        if kernel.shape[0] % groups or kernel.shape[1] * groups != shape[0]:
            raise InputError(
                f"a convolution has {shape[0]} input channels, {groups} groups and a kernel of shape "
                f"{kernel.shape}; expected (out, {shape[0]} / groups, height, width), groups dividing out."
            )
        taps = int(kernel.shape[2]), int(kernel.shape[3])
        axes = axes_of("a convolution", shape[1:], taps, self.stride, self.padding, self.dilation)
        values = {
            "kernel": kernel,
            "source_dtype": source,
            "input_shape": shape,
            "groups": groups,
            "axes": axes,
            "stride": (axes[0].stride, axes[1].stride),
            "padding": tuple((axis.before, axis.after) for axis in axes),
            "dilation": (axes[0].dilation, axes[1].dilation),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def stored(self) -> tuple[np.ndarray, dict[str, Any]]:
        """(kernel, the other arguments) in plain numbers."""
        names = ("input_shape", "stride", "padding", "dilation", "groups")
        return self.kernel, {name: getattr(self, name) for name in names}

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the result."""
        return int(self.kernel.shape[0]), self.axes[0].outputs, self.axes[1].outputs

    @property
    def shape(self) -> tuple[int, int]:
        (o, h, w), (c, rows, columns) = self.output_shape, self.input_shape
        return o * h * w, c * rows * columns

    def matvec(self, x: np.ndarray) -> np.ndarray:
        (out, height, width), (channels, *image) = self.output_shape, self.input_shape
        lead, columns = x.shape[1:], int(np.prod(x.shape[1:], dtype=np.int64))
        (top, bottom), (left, right) = self.padding
        grouped = x.reshape(self.groups, channels // self.groups, *image, columns)
        padded = np.pad(grouped, ((0, 0), (0, 0), (top, bottom), (left, right), (0, 0)))
        result = np.zeros((self.groups, out // self.groups, height * width * columns))
        for taps, window in self._windows():
            part = padded[window].reshape(self.groups, channels // self.groups, -1)
            result += taps @ part
        return result.reshape(self.shape[0], *lead)

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        (out, height, width), (channels, rows, columns) = self.output_shape, self.input_shape
        lead, count = u.shape[1:], int(np.prod(u.shape[1:], dtype=np.int64))
        (top, bottom), (left, right) = self.padding
        each = channels // self.groups
        given = u.reshape(self.groups, out // self.groups, height * width * count)
        padded = np.zeros((self.groups, each, rows + top + bottom, columns + left + right, count))
        for taps, window in self._windows():
            part = taps.transpose(0, 2, 1) @ given
            padded[window] += part.reshape(self.groups, each, height, width, count)
        result = padded[:, :, top : top + rows, left : left + columns]
        return np.ascontiguousarray(result).reshape(self.shape[1], *lead)

    def _windows(self) -> Any:
        """Per tap its weights (groups, out, in) and the part of the padded image that it reads."""
        out, each, *taps = self.kernel.shape
        weights = self.kernel.reshape(self.groups, out // self.groups, each, *taps)
        for a, b in np.ndindex(*taps):
            spans = [
                slice(ax.dilation * t, ax.dilation * t + ax.stride * (ax.outputs - 1) + 1, ax.stride)
                for ax, t in zip(self.axes, (a, b), strict=True)
            ]
            yield weights[..., a, b], (slice(None), slice(None), *spans)

    def to_sparse(self) -> sp.csr_array:
        out, each, _, _ = self.kernel.shape
        _, height, width = self.output_shape
        _, rows, columns = self.input_shape
        row, column = (axis.reads() for axis in self.axes)  # (outputs, taps)
        inside_rows = (row >= 0) & (row < rows)
        inside = inside_rows[:, None, :, None] & ((column >= 0) & (column < columns))[None, :, None, :]
        place = row[:, None, :, None] * columns + column[None, :, None, :]
        i, j, a, b = np.nonzero(inside)
        pixel, target = place[i, j, a, b], i * width + j
        first = np.arange(out) // (out // self.groups) * each
        shape = (out, each, pixel.size)
        values = self.kernel[:, :, a, b]
        source = (first[:, None] + np.arange(each))[:, :, None] * (rows * columns) + pixel
        targets = np.broadcast_to((np.arange(out) * height * width)[:, None, None] + target, shape)
        kept = values != 0.0
        return sp.csr_array((values[kept], (targets[kept], source[kept])), shape=self.shape)

    def to_dense(self) -> np.ndarray:
        rows, columns = self.shape
        if rows * columns > LARGEST_DENSE:
            raise InputError(
                f"a convolution of {self.input_shape} to {self.output_shape} has {rows * columns:.2g} "
                f"entries unrolled; expected at most {LARGEST_DENSE:.2g}. torus_lipschitz bounds "
                "networks of convolutions without unrolling them."
            )
        return super().to_dense()

    def scaled(self, pow2: int) -> "Convolution2d":
        with np.errstate(over="ignore", under="ignore"):
            kernel = np.ldexp(self.kernel, pow2)
        if not np.array_equal(np.ldexp(kernel, -pow2), self.kernel):
            raise InexactScaling(
                f"scaling by 2**{pow2} is not exact in float64: the kernel's entries span more than the "
                "exponent range; rescale the layer."
            )
        return dataclasses.replace(self, kernel=kernel)

    def largest_entry(self) -> float:
        used = [((axis.reads() >= 0) & (axis.reads() < axis.size)).any(axis=0) for axis in self.axes]
        return float(np.abs(self.kernel[:, :, used[0]][:, :, :, used[1]]).max(initial=0.0))

    def restricted(self, rows: np.ndarray, columns: np.ndarray) -> SparseMap:
        return SparseMap(self.to_sparse()).restricted(rows, columns)

    @functools.cached_property
    def digest(self) -> str:
        facts = [self.kernel.shape, self.input_shape, self.stride, self.padding, self.dilation, self.groups]
        head = f"convolution2d F64 {facts}\n".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.kernel, dtype="<f8").tobytes()).hexdigest()


def convolution1d(
    kernel: Any, input_shape: Any, *, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1
) -> Convolution2d:
    """The convolution of a (channels, length) signal: that of an image of height 1.

    `kernel` (out, channels / groups, taps); `padding`: an integer or (before, after). Raises InputError as
    `Convolution2d` does.
    """
    array, _ = as_float64("a convolution's kernel", kernel)
    signal = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if array.ndim != 3 or len(signal) != 2:
        raise InputError(
            f"a one-dimensional convolution has a kernel of shape {array.shape} and input_shape "
            f"{input_shape!r}; expected (out, in / groups, taps) and (channels, length)."
        )
    sides = (padding, padding) if isinstance(padding, (int, np.integer)) else padding
    return Convolution2d(
        np.asarray(kernel)[:, :, None, :],
        (signal[0], 1, signal[1]),
        (1, stride),
        ((0, 0), sides),
        (1, dilation),
        groups,
    )


def transposed_convolution2d(
    kernel: Any,
    input_shape: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> TransposedMap:
    """The adjoint of a convolution, which frameworks call ConvTranspose2d.

    `kernel` (channels, out / groups, kh, kw), `input_shape` (channels, height, width). The output has
    (n - 1) stride - before - after + dilation (k - 1) + 1 + output_padding pixels per axis. Raises
    InputError for numbers that do not fit, among them an output_padding that reaches the stride.
    """
    array, _ = as_float64("a convolution's kernel", kernel)
    channels, *image = image_shape("a transposed convolution", input_shape)
    if array.ndim != 4 or array.shape[0] != channels:
        raise InputError(
            f"a transposed convolution has a kernel of shape {array.shape} and {channels} input channels; "
            f"expected ({channels}, out / groups, height, width)."
        )
    taps = int(array.shape[2]), int(array.shape[3])
    wide = 1 << 30  # an image in which every window fits: only the numbers are read
    axes = axes_of("a transposed convolution", (wide, wide), taps, stride, padding, dilation)
    extra = pair("a transposed convolution: output_padding", output_padding, 0)
    sizes = [
        (n - 1) * axis.stride - axis.before - axis.after + axis.dilation * (axis.taps - 1) + 1 + e
        for n, axis, e in zip(image, axes, extra, strict=True)
    ]
    if any(e >= max(axis.stride, axis.dilation) for e, axis in zip(extra, axes, strict=True)):
        raise InputError(
            f"a transposed convolution has output_padding {extra}; expected less than the stride."
        )
    count = pair("a transposed convolution: groups", groups, 1)[0]
    forward = Convolution2d(kernel, (int(array.shape[1]) * count, *sizes), stride, padding, dilation, groups)
    if forward.output_shape != (channels, *image):
        raise InputError(
            f"a transposed convolution from {(channels, *image)} to {forward.input_shape} is no adjoint of a "
            f"convolution, which gives {forward.output_shape}; expected output_padding below the stride."
        )
    return TransposedMap(forward)
