"""Keras's layers of images (height, width, channels), and of signals as images of height 1.

A convolution works on channels first; the reordering before and after it is a permutation, which cancels
against the next one and goes into a dense weight otherwise.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from .._convert import floats
from ..maps import Convolution2d, average_pool2d, pooling_windows, transposed_convolution2d
from ..network import AbstractLinearMap
from ._keras_call import Call, activated
from ._moves import moved
from ._onnx_values import Tensor
from ._steps import size_of

__all__ = [
    "convolution",
    "cropped",
    "global_pooling",
    "of_signal",
    "padded",
    "pooling",
    "transposed",
    "upsampled",
]


def convolution(call: Call, value: Tensor) -> Tensor:
    kernel, image = call.array("kernel"), call.channels_first(value)
    if kernel.ndim != 4:
        raise call.refuse(f"with a kernel of shape {kernel.shape}")
    groups = int(call.options.get("groups", 1) or 1)
    if call.kind in ("DepthwiseConv2D", "SeparableConv2D"):  # (height, width, channels, multiplier)
        groups = int(kernel.shape[2])
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    strides, dilation = call.pair("strides", 1), call.pair("dilation_rate", 1)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[:2], strict=True))
    sides = call.sides(image, (int(reach[0]), int(reach[1])), strides)
    linear = Convolution2d(kernel.transpose(3, 2, 0, 1), image.shape, strides, sides, dilation, groups)
    if call.kind != "SeparableConv2D":
        return _mapped(call, image, linear, linear.output_shape)
    between = Tensor(call.steps.affine(call.where, image.step, linear), linear.output_shape)
    pointwise = call.array("pointwise_kernel")
    last = Convolution2d(pointwise.transpose(3, 2, 0, 1), linear.output_shape)
    return _mapped(call, between, last, last.output_shape)


def _mapped(call: Call, image: Tensor, linear: AbstractLinearMap, shape: tuple[int, int, int]) -> Tensor:
    """The map of an image (channels, height, width), its bias and the layer's activation."""
    bias = call.arrays.get("bias")
    wide = None if bias is None else np.repeat(floats(f"layer {call.where}", bias), shape[1] * shape[2])
    step = call.steps.affine(call.where, image.step, linear, wide)
    return activated(call, call.channels_back(step, shape))


def transposed(call: Call, value: Tensor) -> Tensor:
    """Conv2DTranspose, kernel (height, width, out, in); 'same' gives strides times as many pixels."""
    kernel, image = call.array("kernel"), call.channels_first(value)
    if kernel.ndim != 4:
        raise call.refuse(f"with a kernel of shape {kernel.shape}")
    if call.options.get("output_padding") is not None:
        raise call.refuse("with an output_padding", "Keras's backends place it differently")
    strides, dilation = call.pair("strides", 1), call.pair("dilation_rate", 1)
    groups = int(call.options.get("groups", 1) or 1)
    mode = call.options.get("padding", "valid")
    if mode not in ("valid", "same"):
        raise call.refuse(f"with padding {str(mode)[:40]!r}")
    if max(dilation) > 1 or groups > 1:
        raise call.refuse("with dilations or groups", "write it as an upsampling and a Conv2D")
    pads, extra = [], []
    for k, s in zip(kernel.shape[:2], strides, strict=True):
        total = max(int(k) - s, 0) if mode == "same" else 0  # of the forward convolution
        pads.append((total // 2, total - total // 2))
        extra.append(max(s - int(k), 0))
    linear = transposed_convolution2d(
        kernel.transpose(3, 2, 0, 1),
        image.shape,
        stride=strides,
        padding=tuple(pads),
        output_padding=tuple(extra),
    )
    forward = linear.original
    assert isinstance(forward, Convolution2d)
    return _mapped(call, image, linear, forward.input_shape)


def pooling(call: Call, value: Tensor) -> Tensor:
    image, taps = call.channels_first(value), call.pair("pool_size", 2)
    strides = call.pair("strides", 0) if call.options.get("strides") is not None else taps
    sides = call.sides(image, taps, strides)
    mean = average_pool2d(image.shape, taps, stride=strides, padding=sides)
    assert isinstance(mean, Convolution2d)
    if call.kind == "MaxPooling2D":
        windows = pooling_windows(image.shape, taps, stride=strides, padding=sides)
        step = call.steps.largest(call.where, image.step, windows)
    else:
        if any(p for pair in sides for p in pair):
            raise call.refuse(
                "whose windows leave the image", "Keras's backends count its pixels differently"
            )
        step = call.steps.affine(call.where, image.step, mean)
    return call.channels_back(step, mean.output_shape)


def global_pooling(call: Call, value: Tensor) -> Tensor:
    image = call.channels_first(value)
    channels, pixels = image.shape[0], image.shape[1] * image.shape[2]
    if call.kind == "GlobalMaxPooling2D":
        windows = list(np.arange(channels * pixels).reshape(channels, pixels))
        step = call.steps.largest(call.where, image.step, windows)
    else:
        step = call.steps.affine(call.where, image.step, average_pool2d(image.shape, image.shape[1:]))
    if call.options.get("keepdims"):
        return call.channels_back(step, (channels, 1, 1))
    return Tensor(step, (channels,))


def padded(call: Call, value: Tensor) -> Tensor:
    """Zeros around an image."""
    amounts = _sides(call, "padding", value)
    call.steps.spend(call.where, size_of([n + a + b for n, (a, b) in zip(value.shape, amounts, strict=True)]))
    zero = [np.zeros((1,) * len(amounts))]

    def grown(arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [np.pad(arrays[0], amounts, constant_values=int(arrays[1].reshape(())))]

    return moved(call.steps, call.where, [value, *zero], grown)[0]


def cropped(call: Call, value: Tensor) -> Tensor:
    """An image without its borders."""
    amounts = _sides(call, "cropping", value)
    if any(a + b >= n for n, (a, b) in zip(value.shape, amounts, strict=True)):
        raise call.refuse(f"by {amounts} of samples of shape {value.shape}")
    cuts = tuple(slice(a, n - b) for n, (a, b) in zip(value.shape, amounts, strict=True))
    return call.moved(value, lambda index: index[cuts])


def _sides(call: Call, name: str, value: Tensor) -> list[tuple[int, int]]:
    """((top, bottom), (left, right)) at the axes of the pixels."""
    given = call.options.get(name)
    sides = [(int(a), int(b)) for a, b in given] if isinstance(given, list) else []
    if len(value.shape) != 3 or len(sides) != 2 or min(v for pair in sides for v in pair) < 0:
        raise call.refuse(f"by {str(given)[:60]} of samples of shape {value.shape}")
    first = call.options.get("data_format") == "channels_first"
    return [(0, 0), *sides] if first else [*sides, (0, 0)]


def upsampled(call: Call, value: Tensor) -> Tensor:
    """Every pixel `size` times."""
    mode, (rows, columns) = call.options.get("interpolation", "nearest"), call.pair("size", 2)
    if mode != "nearest" or len(value.shape) != 3:
        raise call.refuse(f"with interpolation {str(mode)[:40]!r}; only 'nearest' is read")
    call.steps.spend(call.where, size_of(value.shape) * rows * columns)
    first = 1 if call.options.get("data_format") == "channels_first" else 0
    return call.moved(value, lambda index: index.repeat(rows, first).repeat(columns, first + 1))


def of_signal(layer: Callable[[Call, Tensor], Tensor]) -> Callable[[Call, Tensor], Tensor]:
    """A layer of signals (length, channels) as that of images of height 1."""

    def read(call: Call, value: Tensor) -> Tensor:
        if len(value.shape) != 2 or call.options.get("data_format") == "channels_first":
            raise call.refuse(f"of samples of shape {value.shape}, channels last expected")
        options = dict(call.options)
        for name in ("strides", "dilation_rate", "pool_size", "size"):
            given = options.get(name)
            if given is not None:
                options[name] = [1, *([given] if isinstance(given, int) else given)]
        for name in ("padding", "cropping"):
            given = options.get(name)
            if isinstance(given, (int, list)):
                options[name] = [[0, 0], [given, given] if isinstance(given, int) else given]
        arrays = {k: v[None] if v.ndim == 3 else v for k, v in call.arrays.items()}
        kind = call.kind.replace("1D", "2D")
        inner = dataclasses.replace(call, kind=kind, options=options, arrays=arrays)
        found = layer(inner, Tensor(value.step, (1, *value.shape)))
        return Tensor(found.step, found.shape[1:] if len(found.shape) == 3 else found.shape)

    return read
