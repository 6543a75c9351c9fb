"""Two-dimensional convolutions as operators: strides, zero or circular padding, no matrix formed."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from .._arrays import ArrayModule, array_module
from .._errors import InputError
from ._operators import AbstractOperator
from ._threads import run_all, workers_for

__all__ = ["ConvolutionOperator"]

_HOST_PATCHES = 2**21  # numbers gathered per gemm: 8 MiB of float32 stay in the last cache
_DEVICE_PATCHES = 2**27


class ConvolutionOperator(AbstractOperator):
    """y[o, i, j] = sum_{c,a,b} K[o, c, a, b] x~[c, s i + a, s j + b], x~ the padded input.

    The cross-correlation that torch calls Conv2d. `kernel` (out, in, kh, kw); `input_shape`
    (height, width); `stride` and `padding` are one number or one per axis; vectors are flattened in
    the order channel, row, column. Raises InputError for NaN, shapes and padding that do not fit.
    """

    def __init__(
        self,
        kernel: Any,
        input_shape: tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        mode: Literal["zeros", "circular"] = "zeros",
        am: ArrayModule | None = None,
    ) -> None:
        am = am or array_module()
        dtype = np.float32 if getattr(kernel, "dtype", None) == np.float32 else np.float64
        kernel = am.asarray(kernel, dtype=dtype)
        if kernel.ndim != 4 or min(kernel.shape) < 1:
            raise InputError(f"kernel has shape {kernel.shape}; expected (out, in, kh, kw), each at least 1.")
        if not bool(am.xp.isfinite(kernel).all()):
            raise InputError("kernel holds NaN or infinity; expected finite numbers.")
        if mode not in ("zeros", "circular"):
            raise InputError(f"padding mode is {mode!r}; expected 'zeros' or 'circular'.")
        self.mode = mode
        self.stride, self.padding = _pair("stride", stride, 1), _pair("padding", padding, 0)
        self.input_shape = _pair("input_shape", input_shape, 1)
        if mode == "circular" and any(p > n for p, n in zip(self.padding, self.input_shape, strict=True)):
            raise InputError(
                f"circular padding {self.padding} exceeds the image {self.input_shape}; it wraps once only."
            )
        out, channels, *taps = (int(n) for n in kernel.shape)
        self._padded = tuple(n + 2 * p for n, p in zip(self.input_shape, self.padding, strict=True))
        self.output_shape = tuple(
            (n - k) // s + 1 for n, k, s in zip(self._padded, taps, self.stride, strict=True)
        )
        if min(self.output_shape) < 1:
            raise InputError(f"kernel {tuple(taps)} is larger than the padded image {self._padded}.")
        self._kernel_shape = (taps[0], taps[1])
        # One row per output channel, over (channel, row tap, column tap): a part of the image is one gemm.
        self._rows = am.xp.ascontiguousarray(kernel.reshape(out, -1))
        self._channels = (out, channels)
        super().__init__(
            (out * int(np.prod(self.output_shape)), channels * int(np.prod(self.input_shape))), am, dtype
        )

    @property
    def kernel(self) -> Any:
        """(out, in, kh, kw), not a copy."""
        return self._rows.reshape(*self._channels, *self._kernel_shape)

    @property
    def call_flops(self) -> float:
        return 2.0 * float(np.prod(self._rows.shape)) * float(np.prod(self.output_shape))

    def matmat(self, x: Any) -> Any:
        columns = x.shape[1]
        (out, channels), (height, width) = self._channels, self.output_shape
        padded = self._pad(x.reshape(channels, *self.input_shape, columns))
        result = self.am.xp.empty((out, height, width * columns), dtype=self.dtype)

        def fill(first: int, last: int) -> None:
            product = self._rows @ self._patches(padded, first, last)
            result[:, first:last] = product.reshape(out, last - first, -1)

        workers = workers_for(self.am, self.call_flops * columns)
        parts = list(_parts(height, self._rows_at_once(columns), 1))
        if len(parts) >= workers:
            run_all(fill, parts, workers)
        else:  # a small image and many channels: divide the channels, so that each is read once
            patches = self._patches(padded, 0, height)

            def fill_channels(c: int, d: int) -> None:
                result[c:d] = (self._rows[c:d] @ patches).reshape(d - c, height, -1)

            run_all(fill_channels, _parts(out, out, workers), workers)
        return result.reshape(self.shape[0], columns)

    def rmatmat(self, u: Any) -> Any:
        xp, columns = self.am.xp, u.shape[1]
        (out, channels), (height, width) = self._channels, self.output_shape
        values = u.reshape(out, height, width * columns)
        padded = xp.zeros((channels, *self._padded, columns), dtype=self.dtype)
        taps = int(np.prod(self._kernel_shape))

        def spread(c: int, d: int) -> None:  # each thread adds to channels of its own
            rows = self._rows[:, c * taps : d * taps].T
            for first, last in _parts(height, self._rows_at_once(columns), 1):
                terms = rows @ values[:, first:last].reshape(out, -1)
                terms = terms.reshape(d - c, *self._kernel_shape, last - first, width, columns)
                for a, b in np.ndindex(self._kernel_shape):
                    padded[c:d][self._window(a, b, first, last)] += terms[:, a, b]

        workers = workers_for(self.am, self.call_flops * columns)
        run_all(spread, _parts(channels, channels, workers), workers)
        return self._unpad(padded).reshape(self.shape[1], columns)

    def kernel_gradient(self, u: Any, x: Any) -> Any:
        """The gradient of sum_j <u_j, W x_j> in the kernel (out, in, kh, kw), u (out, k), x (in, k)."""
        (out, channels), (height, width) = self._channels, self.output_shape
        padded = self._pad(x.reshape(channels, *self.input_shape, x.shape[1]))
        values = u.reshape(out, height, width * u.shape[1])
        total = self.am.xp.zeros(self._rows.shape, dtype=self.dtype)
        for first, last in _parts(height, self._rows_at_once(x.shape[1]), 1):
            total += values[:, first:last].reshape(out, -1) @ self._patches(padded, first, last).T
        return total.reshape(out, channels, *self._kernel_shape)

    def _patches(self, padded: Any, first: int, last: int) -> Any:
        """What output rows first..last-1 read: (channel, row tap, column tap) by (row, column, vector)."""
        columns, channels = padded.shape[-1], self._channels[1]
        patches = self.am.xp.empty(
            (channels, *self._kernel_shape, last - first, self.output_shape[1], columns), dtype=self.dtype
        )
        for a, b in np.ndindex(self._kernel_shape):
            patches[:, a, b] = padded[self._window(a, b, first, last)]
        return patches.reshape(self._rows.shape[1], -1)

    def _rows_at_once(self, columns: int) -> int:
        """Rows of the output per gemm, so that the patches stay near the cache."""
        budget = _HOST_PATCHES if self.am.name == "numpy" else _DEVICE_PATCHES
        return max(1, budget // (self._rows.shape[1] * self.output_shape[1] * columns))

    def _window(self, a: int, b: int, first: int, last: int) -> tuple[slice, ...]:
        """What output rows first..last-1 read through tap (a, b)."""
        (sy, sx), width = self.stride, self.output_shape[1]
        return (
            slice(None),
            slice(a + sy * first, a + sy * (last - 1) + 1, sy),
            slice(b, b + sx * (width - 1) + 1, sx),
            slice(None),
        )

    def _pad(self, x: Any) -> Any:
        (py, px), mode = self.padding, "wrap" if self.mode == "circular" else "constant"
        return x if py == px == 0 else self.am.xp.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), mode=mode)

    def _unpad(self, padded: Any) -> Any:
        """The adjoint of `_pad`: crop, and for circular padding fold the margins back."""
        for axis, (pad, size) in enumerate(zip(self.padding, self.input_shape, strict=True), start=1):
            if pad == 0:
                continue
            view = self.am.xp.moveaxis(padded, axis, 0)
            body = view[pad : pad + size].copy()
            if self.mode == "circular":
                body[size - pad :] += view[:pad]
                body[:pad] += view[pad + size :]
            padded = self.am.xp.moveaxis(body, 0, axis)
        return padded


def _parts(total: int, largest: int, least_count: int) -> Iterator[tuple[int, int]]:
    """0..total in about equal parts of at most `largest`, at least `least_count` of them where it can be."""
    count = min(total, max(-(-total // largest), least_count))
    for k in range(count):
        yield k * total // count, (k + 1) * total // count


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or any(int(v) != v or v < least for v in pair):
        raise InputError(f"{name} is {value!r}; expected one integer or two, each at least {least}.")
    return int(pair[0]), int(pair[1])
