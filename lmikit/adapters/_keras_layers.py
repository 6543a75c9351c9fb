"""Keras's layers as recorded steps, by their names; BatchNormalization is folded in float64."""

from collections.abc import Callable

import numpy as np

from .._convert import floats
from ..network import ELU, Activation, Hardtanh, LeakyReLU, PReLU, ReLU
from ._chain import normalisation
from ._keras_call import Call, activated
from ._keras_images import (
    convolution,
    cropped,
    global_pooling,
    of_signal,
    padded,
    pooling,
    transposed,
    upsampled,
)
from ._moves import moved
from ._onnx_values import Tensor
from ._steps import size_of

__all__ = ["KERAS_LAYERS", "MERGING"]


def _dense(call: Call, value: Tensor) -> Tensor:
    kernel = call.array("kernel")
    if len(value.shape) != 1 or kernel.ndim != 2:
        raise call.refuse(f"of inputs of shape {value.shape}", "flatten them first")
    step = call.steps.affine(call.where, value.step, kernel.T, call.arrays.get("bias"))
    return activated(call, Tensor(step, (int(kernel.shape[1]),)))


def _own_activation(call: Call, value: Tensor) -> Tensor:
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
    return Tensor(call.steps.activation(call.where, value.step, found), value.shape)


def _softmax(call: Call, value: Tensor) -> Tensor:
    return Tensor(call.steps.softmax(call.where, value.step, "a softmax"), value.shape)


def _passed(call: Call, value: Tensor) -> Tensor:
    return value


def _flatten(call: Call, value: Tensor) -> Tensor:
    if call.options.get("data_format") == "channels_first" and len(value.shape) > 1:
        raise call.refuse("with data_format='channels_first', which reorders its input")
    return Tensor(value.step, (size_of(value.shape),))


def _reshape(call: Call, value: Tensor) -> Tensor:
    wanted = [int(n) for n in call.options.get("target_shape", ())]
    known, size = size_of([n for n in wanted if n != -1]), size_of(value.shape)
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = size // known
    if min(wanted, default=0) < 1 or size_of(wanted) != size:
        raise call.refuse(f"of samples of shape {value.shape} to {wanted}")
    return Tensor(value.step, tuple(wanted))


def _batch_normalisation(call: Call, value: Tensor) -> Tensor:
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
    return Tensor(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _rescaling(call: Call, value: Tensor) -> Tensor:
    pair = (np.asarray(call.options.get(name, fill)) for name, fill in (("scale", 1.0), ("offset", 0.0)))
    wide = [np.broadcast_to(v, value.shape).reshape(-1) for v in pair]
    return Tensor(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _normalization(call: Call, value: Tensor) -> Tensor:
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
    return Tensor(call.steps.scaling(call.where, value.step, *wide), value.shape)


def _prelu(call: Call, value: Tensor) -> Tensor:
    slopes = np.broadcast_to(call.array("alpha"), value.shape).reshape(-1)
    return Tensor(call.steps.activation(call.where, value.step, PReLU(slopes)), value.shape)


def _permuted(call: Call, value: Tensor) -> Tensor:
    order = [int(k) - 1 for k in call.options.get("dims", ())]
    if sorted(order) != list(range(len(value.shape))):
        raise call.refuse(f"by {order} of samples of shape {value.shape}")
    return call.moved(value, lambda index: index.transpose(order))


def _alike(call: Call, values: list[Tensor], least: int = 2) -> tuple[int, ...]:
    shapes = {v.shape for v in values}
    if len(shapes) != 1 or len(values) < least:
        raise call.refuse(f"of {len(values)} samples of shapes {sorted(shapes)}")
    return values[0].shape


def _added(call: Call, values: list[Tensor]) -> Tensor:
    shape = _alike(call, values)
    return Tensor(call.steps.sum(call.where, [v.step for v in values], [1] * len(values)), shape)


def _subtracted(call: Call, values: list[Tensor]) -> Tensor:
    shape = _alike(call, values)
    if len(values) != 2:
        raise call.refuse(f"of {len(values)} values")
    return Tensor(call.steps.sum(call.where, [v.step for v in values], [1, -1]), shape)


def _averaged(call: Call, values: list[Tensor]) -> Tensor:
    total = _added(call, values)
    return Tensor(call.steps.scaling(call.where, total.step, 1.0 / len(values), 0.0), total.shape)


def _extreme(call: Call, values: list[Tensor], sign: float) -> Tensor:
    """max(x, z) = z + relu(x - z) and min(x, z) = z - relu(z - x), one value after the other."""
    shape, steps = _alike(call, values), call.steps
    found = values[0].step
    for other in values[1:]:
        signs = [1, -1] if sign > 0 else [-1, 1]
        above = steps.activation(call.where, steps.sum(call.where, [found, other.step], signs), ReLU())
        found = steps.sum(call.where, [other.step, above], [1, int(sign)])
    return Tensor(found, shape)


def _concatenated(call: Call, values: list[Tensor]) -> Tensor:
    ranks, axis = {len(v.shape) for v in values}, call.options.get("axis", -1)
    if len(ranks) != 1 or not isinstance(axis, int) or axis == 0:
        raise call.refuse(f"along axis {axis} of samples of shapes {[v.shape for v in values]}")
    place = axis - 1 if axis > 0 else axis
    rank = ranks.pop()
    rests = {tuple(n for k, n in enumerate(v.shape) if k != place % rank) for v in values}
    if not -rank <= place < rank or len(rests) != 1:
        raise call.refuse(f"along axis {axis} of samples of shapes {[v.shape for v in values]}")
    return moved(call.steps, call.where, values, lambda arrays: [np.concatenate(arrays, place)])[0]


KERAS_LAYERS: dict[str, Callable[[Call, Tensor], Tensor]] = {
    "Activation": activated,
    "ActivityRegularization": _passed,
    "AveragePooling1D": of_signal(pooling),
    "AveragePooling2D": pooling,
    "BatchNormalization": _batch_normalisation,
    "Conv1D": of_signal(convolution),
    "Conv1DTranspose": of_signal(transposed),
    "Conv2D": convolution,
    "Conv2DTranspose": transposed,
    "Cropping1D": of_signal(cropped),
    "Cropping2D": cropped,
    "Dense": _dense,
    "DepthwiseConv1D": of_signal(convolution),
    "DepthwiseConv2D": convolution,
    "Dropout": _passed,
    "ELU": _own_activation,
    "Flatten": _flatten,
    "GaussianDropout": _passed,
    "GaussianNoise": _passed,
    "GlobalAveragePooling1D": of_signal(global_pooling),
    "GlobalAveragePooling2D": global_pooling,
    "GlobalMaxPooling1D": of_signal(global_pooling),
    "GlobalMaxPooling2D": global_pooling,
    "Identity": _passed,
    "InputLayer": _passed,
    "LeakyReLU": _own_activation,
    "MaxPooling1D": of_signal(pooling),
    "MaxPooling2D": pooling,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Permute": _permuted,
    "ReLU": _own_activation,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv1D": of_signal(convolution),
    "SeparableConv2D": convolution,
    "Softmax": _softmax,
    "SpatialDropout1D": _passed,
    "SpatialDropout2D": _passed,
    "UpSampling1D": of_signal(upsampled),
    "UpSampling2D": upsampled,
    "ZeroPadding1D": of_signal(padded),
    "ZeroPadding2D": padded,
}
MERGING: dict[str, Callable[[Call, list[Tensor]], Tensor]] = {
    "Add": _added,
    "Average": _averaged,
    "Concatenate": _concatenated,
    "Maximum": lambda call, values: _extreme(call, values, 1.0),
    "Minimum": lambda call, values: _extreme(call, values, -1.0),
    "Subtract": _subtracted,
}
