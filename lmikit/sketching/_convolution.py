"""Two-dimensional convolutions as operators: strides, zero or circular padding, no matrix formed."""

from typing import Any, Literal

import numpy as np

from .._arrays import ArrayModule, array_module
from .._errors import InputError
from ._operators import AbstractOperator

__all__ = ["ConvolutionOperator"]


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
        # One contiguous (out, in) matrix per tap, so that every product is a plain gemm.
        self._taps = am.xp.ascontiguousarray(am.xp.transpose(kernel, (2, 3, 0, 1)))
        self._channels = (out, channels)
        super().__init__(
            (out * int(np.prod(self.output_shape)), channels * int(np.prod(self.input_shape))), am, dtype
        )

    @property
    def call_flops(self) -> float:
        return 2.0 * self._channels[0] * self._channels[1] * float(np.prod(self.output_shape))

    def matmat(self, x: Any) -> Any:
        xp, columns = self.am.xp, x.shape[1]
        out, channels = self._channels
        padded = self._pad(x.reshape(channels, *self.input_shape, columns))
        result = xp.zeros((out, int(np.prod(self.output_shape)) * columns), dtype=self.dtype)
        for a in range(self._taps.shape[0]):
            for b in range(self._taps.shape[1]):
                result += self._taps[a, b] @ padded[self._window(a, b)].reshape(channels, -1)
        return result.reshape(self.shape[0], columns)

    def rmatmat(self, u: Any) -> Any:
        xp, columns = self.am.xp, u.shape[1]
        out, channels = self._channels
        values = u.reshape(out, -1)
        padded = xp.zeros((channels, *self._padded, columns), dtype=self.dtype)
        for a in range(self._taps.shape[0]):
            for b in range(self._taps.shape[1]):
                term = self._taps[a, b].T @ values
                padded[self._window(a, b)] += term.reshape(channels, *self.output_shape, columns)
        return self._unpad(padded).reshape(self.shape[1], columns)

    def _window(self, a: int, b: int) -> tuple[slice, ...]:
        (sy, sx), (height, width) = self.stride, self.output_shape
        return (
            slice(None),
            slice(a, a + sy * (height - 1) + 1, sy),
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


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or any(int(v) != v or v < least for v in pair):
        raise InputError(f"{name} is {value!r}; expected one integer or two, each at least {least}.")
    return int(pair[0]), int(pair[1])
