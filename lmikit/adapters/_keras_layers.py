"""Keras's layers as recorded steps: vectors, and images (height, width, channels) as Keras orders them.

A convolution works on channels first; the reordering before and after it is a permutation, which cancels
against the next one and goes into a dense weight otherwise. BatchNormalization is folded in float64.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._convert import floats
from ..maps import Convolution2d, average_pool2d, pooling_windows
from ..network import (
    ELU,
    GELU,
    SELU,
    Activation,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from ._chain import normalisation, refusal
from ._steps import Steps, size_of

__all__ = ["KERAS_LAYERS", "Call", "LayerValue"]

ACTIVATIONS: dict[str, Activation] = {
    "linear": Identity(), "relu": ReLU(), "relu6": ReLU6(), "tanh": Tanh(), "sigmoid": Sigmoid(),
    "elu": ELU(), "selu": SELU(), "softplus": Softplus(), "softsign": Softsign(), "gelu": GELU(),
    "silu": SiLU(), "swish": SiLU(), "mish": Mish(), "leaky_relu": LeakyReLU(0.2),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LayerValue:
    """A step and the shape of one sample of it."""

    step: int
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One layer: its name, options, arrays by name, and the recorder."""

    where: str
    kind: str
    options: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    steps: Steps

    def refuse(self, what: str, why: str = "") -> Exception:
        return refusal(self.where, f"a Keras {self.kind} {what}".strip(), why)

    def array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise self.refuse(
                f"without its {name}: the file holds {', '.join(self.arrays)[:80] or 'nothing'}"
            )
        return self.arrays[name]

    def pair(self, name: str, fill: int) -> tuple[int, int]:
        """An option of one integer or two."""
        given = self.options.get(name)
        given = fill if given is None else given
        values = [given, given] if isinstance(given, int) else list(given)
        if len(values) != 2 or not all(isinstance(v, int) and v > 0 for v in values):
            raise self.refuse(f"with {name} {str(given)[:40]}")
        return values[0], values[1]

    def moved(self, value: LayerValue, order: tuple[int, ...]) -> LayerValue:
        index = np.arange(size_of(value.shape)).reshape(value.shape).transpose(order)
        flat = index.reshape(-1)
        which, fill = np.zeros(flat.size, np.int64), np.zeros(flat.size)
        return LayerValue(self.steps.gather(self.where, [value.step], which, flat, fill), tuple(index.shape))

    def channels_first(self, value: LayerValue) -> LayerValue:
        """An image (height, width, channels) as (channels, height, width)."""
        if len(value.shape) != 3:
            raise self.refuse(f"of samples of shape {value.shape}")
        if self.options.get("data_format") == "channels_first":
            return value
        return self.moved(value, (2, 0, 1))

    def channels_back(self, step: int, shape: tuple[int, int, int]) -> LayerValue:
        first = LayerValue(step, shape)
        return first if self.options.get("data_format") == "channels_first" else self.moved(first, (1, 2, 0))

    def sides(self, value: LayerValue, taps: tuple[int, int], strides: tuple[int, int]) -> Any:
        """The padding of 'valid' or 'same' for an image (channels, height, width)."""
        mode = self.options.get("padding", "valid")
        if mode not in ("valid", "same"):
            raise self.refuse(f"with padding {str(mode)[:40]!r}")
        if mode == "valid":
            return ((0, 0), (0, 0))
        totals = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(value.shape[1:], taps, strides, strict=True)
        ]
        return tuple((t // 2, t - t // 2) for t in totals)


def _dense(call: Call, value: LayerValue) -> LayerValue:
    kernel = call.array("kernel")
    if len(value.shape) != 1 or kernel.ndim != 2:
        raise call.refuse(f"of inputs of shape {value.shape}", "flatten them first")
    step = call.steps.affine(call.where, value.step, kernel.T, call.arrays.get("bias"))
    return _activated(call, LayerValue(step, (int(kernel.shape[1]),)))


def _activated(call: Call, value: LayerValue) -> LayerValue:
    """The activation that a layer names, at its end."""
    name = call.options.get("activation") or "linear"
    name = name.get("class_name", name) if isinstance(name, dict) else name
    if name == "softmax":
        return LayerValue(call.steps.softmax(call.where, value.step, "a softmax activation"), value.shape)
    if name not in ACTIVATIONS:
        raise call.refuse(f"with the activation {str(name)[:80]}")
    return LayerValue(call.steps.activation(call.where, value.step, ACTIVATIONS[name]), value.shape)


def _own_activation(call: Call, value: LayerValue) -> LayerValue:
    options = call.options
    if call.kind == "LeakyReLU":
        found: Activation = LeakyReLU(float(options.get("negative_slope", options.get("alpha", 0.3))))
    elif call.kind == "ELU":
        found = ELU(float(options.get("alpha", 1.0)))
    else:
        slope, largest = float(options.get("negative_slope") or 0.0), options.get("max_value")
        if options.get("threshold") or (largest is not None and (slope or not float(largest) > 0.0)):
            raise call.refuse("with a threshold, or with both a slope and a largest value")
        found = (
            Hardtanh(0.0, float(largest)) if largest is not None else LeakyReLU(slope) if slope else ReLU()
        )
    return LayerValue(call.steps.activation(call.where, value.step, found), value.shape)


def _softmax(call: Call, value: LayerValue) -> LayerValue:
    return LayerValue(call.steps.softmax(call.where, value.step, "a softmax"), value.shape)


def _passed(call: Call, value: LayerValue) -> LayerValue:
    return value


def _flatten(call: Call, value: LayerValue) -> LayerValue:
    if call.options.get("data_format") == "channels_first" and len(value.shape) > 1:
        raise call.refuse("with data_format='channels_first', which reorders its input")
    return LayerValue(value.step, (size_of(value.shape),))


def _reshape(call: Call, value: LayerValue) -> LayerValue:
    wanted = [int(n) for n in call.options.get("target_shape", ())]
    known, size = size_of([n for n in wanted if n != -1]), size_of(value.shape)
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = size // known
    if min(wanted, default=0) < 1 or size_of(wanted) != size:
        raise call.refuse(f"of samples of shape {value.shape} to {wanted}")
    return LayerValue(value.step, tuple(wanted))


def _batch_normalisation(call: Call, value: LayerValue) -> LayerValue:
    axis = call.options.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, len(value.shape)):
        raise call.refuse(f"along axis {axis} of {len(value.shape) + 1}")
    mean, variance = call.array("moving_mean"), call.array("moving_variance")
    if mean.shape != value.shape[-1:]:
        raise call.refuse(f"of {mean.size} channels for samples of shape {value.shape}")
    eps = float(call.options.get("epsilon", 1e-3))
    pair = normalisation(call.arrays.get("gamma"), call.arrays.get("beta"), mean, variance, eps)
    wide = [np.broadcast_to(v, value.shape).reshape(-1) for v in pair]
    return LayerValue(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _rescaling(call: Call, value: LayerValue) -> LayerValue:
    pair = (np.asarray(call.options.get(name, fill)) for name, fill in (("scale", 1.0), ("offset", 0.0)))
    wide = [np.broadcast_to(v, value.shape).reshape(-1) for v in pair]
    return LayerValue(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _convolution(call: Call, value: LayerValue) -> LayerValue:
    kernel, image = call.array("kernel"), call.channels_first(value)
    if kernel.ndim != 4:
        raise call.refuse(f"with a kernel of shape {kernel.shape}")
    groups = int(call.options.get("groups", 1) or 1)
    if call.kind == "DepthwiseConv2D":  # (height, width, channels, multiplier)
        groups = int(kernel.shape[2])
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    strides, dilation = call.pair("strides", 1), call.pair("dilation_rate", 1)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[:2], strict=True))
    sides = call.sides(image, (int(reach[0]), int(reach[1])), strides)
    linear = Convolution2d(kernel.transpose(3, 2, 0, 1), image.shape, strides, sides, dilation, groups)
    bias, shape = call.arrays.get("bias"), linear.output_shape
    wide = None if bias is None else np.repeat(floats(f"layer {call.where}", bias), shape[1] * shape[2])
    step = call.steps.affine(call.where, image.step, linear, wide)
    return _activated(call, call.channels_back(step, shape))


def _pooling(call: Call, value: LayerValue) -> LayerValue:
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


def _global_pooling(call: Call, value: LayerValue) -> LayerValue:
    image = call.channels_first(value)
    channels, pixels = image.shape[0], image.shape[1] * image.shape[2]
    if call.kind == "GlobalMaxPooling2D":
        windows = list(np.arange(channels * pixels).reshape(channels, pixels))
        step = call.steps.largest(call.where, image.step, windows)
    else:
        step = call.steps.affine(call.where, image.step, average_pool2d(image.shape, image.shape[1:]))
    if call.options.get("keepdims"):
        return call.channels_back(step, (channels, 1, 1))
    return LayerValue(step, (channels,))


def _zero_padding(call: Call, value: LayerValue) -> LayerValue:
    if call.options.get("data_format") == "channels_first" or len(value.shape) != 3:
        raise call.refuse(f"of samples of shape {value.shape}")
    (top, bottom), (left, right) = call.options["padding"]
    pads = [(int(top), int(bottom)), (int(left), int(right)), (0, 0)]
    call.steps.spend(call.where, size_of([n + a + b for n, (a, b) in zip(value.shape, pads, strict=True)]))
    numbers = np.arange(size_of(value.shape)).reshape(value.shape)
    index = np.pad(numbers, pads, constant_values=-1)
    flat = index.reshape(-1)
    which = np.where(flat < 0, -1, 0)
    step = call.steps.gather(call.where, [value.step], which, np.maximum(flat, 0), np.zeros(flat.size))
    return LayerValue(step, tuple(index.shape))


def _normalization(call: Call, value: LayerValue) -> LayerValue:
    """(v - mean) / max(sqrt(variance), 1e-7), or the way back."""
    mean, variance = (
        call.arrays[name] if name in call.arrays else np.asarray(call.options.get(name), np.float64)
        for name in ("mean", "variance")
    )
    axis = call.options.get("axis", -1)
    axis = axis if isinstance(axis, list) else [axis]
    if call.options.get("invert") or axis not in ([-1], [len(value.shape)], [None], []):
        raise call.refuse(f"along axis {str(axis)[:40]} or inverted")
    if not (np.isfinite(mean).all() and (variance >= 0.0).all()):
        raise call.refuse("without its mean and variance")
    scale = 1.0 / np.maximum(np.sqrt(floats(f"layer {call.where}", variance)), 1e-7)
    pair = scale, -scale * floats(f"layer {call.where}", mean)
    wide = [np.broadcast_to(v.reshape(-1), value.shape).reshape(-1) for v in pair]
    return LayerValue(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _prelu(call: Call, value: LayerValue) -> LayerValue:
    slopes = np.broadcast_to(call.array("alpha"), value.shape).reshape(-1)
    return LayerValue(call.steps.activation(call.where, value.step, PReLU(slopes)), value.shape)


def _of_signal(layer: Callable[[Call, LayerValue], LayerValue]) -> Callable[[Call, LayerValue], LayerValue]:
    """A layer of signals (length, channels) as that of images of height 1."""

    def read(call: Call, value: LayerValue) -> LayerValue:
        if len(value.shape) != 2 or call.options.get("data_format") == "channels_first":
            raise call.refuse(f"of samples of shape {value.shape}, channels last expected")
        options = dict(call.options)
        for name in ("strides", "dilation_rate", "pool_size"):
            given = options.get(name)
            if given is not None:
                options[name] = [1, *([given] if isinstance(given, int) else given)]
        arrays = {k: v[None] if v.ndim == 3 else v for k, v in call.arrays.items()}
        kind = call.kind.replace("1D", "2D")
        inner = dataclasses.replace(call, kind=kind, options=options, arrays=arrays)
        found = layer(inner, LayerValue(value.step, (1, *value.shape)))
        return LayerValue(found.step, found.shape[1:] if len(found.shape) == 3 else found.shape)

    return read


KERAS_LAYERS: dict[str, Callable[[Call, LayerValue], LayerValue]] = {
    "Activation": _activated,
    "ActivityRegularization": _passed,
    "AveragePooling1D": _of_signal(_pooling),
    "AveragePooling2D": _pooling,
    "BatchNormalization": _batch_normalisation,
    "Conv1D": _of_signal(_convolution),
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _convolution,
    "Dropout": _passed,
    "ELU": _own_activation,
    "Flatten": _flatten,
    "GaussianDropout": _passed,
    "GaussianNoise": _passed,
    "GlobalAveragePooling1D": _of_signal(_global_pooling),
    "GlobalAveragePooling2D": _global_pooling,
    "GlobalMaxPooling1D": _of_signal(_global_pooling),
    "GlobalMaxPooling2D": _global_pooling,
    "Identity": _passed,
    "InputLayer": _passed,
    "LeakyReLU": _own_activation,
    "MaxPooling1D": _of_signal(_pooling),
    "MaxPooling2D": _pooling,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "ReLU": _own_activation,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialDropout2D": _passed,
    "ZeroPadding2D": _zero_padding,
}
