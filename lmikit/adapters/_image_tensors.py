"""Convolutions, normalisations, pooling and dense layers from tensors by name, on images.

An order's entries carry the options that no state dict says: 'conv1:stride=2:padding=1', 'maxpool:2'.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError, OptionError
from ..graph import Graph
from ..maps import Convolution2d, average_pool2d, pooling_windows
from ..network import Activation, Network
from ._built_steps import model_of_steps
from ._chain import normalisation
from ._steps import Steps, size_of

__all__ = ["Entry", "Shape", "is_pool", "model_of_images", "parsed"]

Shape = tuple[int, int, int]
Layers = Mapping[str, Mapping[str, Any]]
_OPTIONS = ("stride", "padding", "dilation")
_POOLS = ("maxpool", "avgpool")
_BUDGET = 2**28  # entries of all values and maps together


@dataclasses.dataclass(frozen=True)
class Entry:
    """One place of the order: a layer, an activation or a pooling, with its options."""

    name: str
    options: Mapping[str, tuple[int, int]]
    size: tuple[int, int] | None = None  # of a pooling's windows; None is the whole image

    def __str__(self) -> str:
        said = [self.name] + ([] if self.size is None else [_shown(self.size)])
        said += [f"{key}={_shown(value)}" for key, value in self.options.items()]
        return ":".join(said)


def _shown(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def parsed(text: str, layers: Layers) -> Entry:
    """'conv1:stride=2:padding=1', 'maxpool:3:stride=2', 'avgpool:global', 'relu'; raises OptionError."""
    if text in layers:
        return Entry(text, {})
    name, *parts = text.split(":")
    options: dict[str, tuple[int, int]] = {}
    size: tuple[int, int] | None = None
    whole = False
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and key in _OPTIONS and key not in options:
            options[key] = _pair(text, value)
        elif name in _POOLS and key == "global" and not equals:
            whole = True
        elif name in _POOLS and not equals and size is None:
            size = _pair(text, part)
        else:
            raise OptionError(
                f"order holds {text[:80]!r}; expected NAME with stride=, padding= or dilation= behind "
                "colons, such as conv1:stride=2:padding=1, or maxpool:2, avgpool:3:stride=2, avgpool:global."
            )
    if name in _POOLS and ((size is None) != whole or "dilation" in options):
        raise OptionError(f"order holds {text[:80]!r}; expected a size, such as {name}:2 or {name}:global.")
    return Entry(name, options, size)


def _pair(text: str, value: str) -> tuple[int, int]:
    numbers = value.split("x")
    if not 1 <= len(numbers) <= 2 or not all(n.isascii() and n.isdigit() and len(n) < 7 for n in numbers):
        raise OptionError(f"order holds {text[:80]!r}; expected integers, such as stride=2 or padding=1x0.")
    return int(numbers[0]), int(numbers[-1])


def is_pool(entry: Entry) -> bool:
    """Whether the entry is a pooling."""
    return entry.name in _POOLS


def model_of_images(
    layers: Layers, plan: Sequence[Entry | Activation], image: Shape, eps: float
) -> Network | Graph:
    """The entries of the plan in order, on an image (channels, height, width) with Flatten's order."""
    steps = Steps(size_of(image), logits=False, budget=_BUDGET)
    step, shape = 0, tuple(image)
    signal = any(parts["weight"].ndim == 3 for parts in layers.values() if "weight" in parts)
    for k, entry in enumerate(plan):
        if isinstance(entry, Activation):
            step = steps.activation(f"activation {k}", step, entry)
        elif is_pool(entry):
            step, shape = _pooled(steps, step, entry, _as_image(str(entry), shape), signal)
        elif "running_mean" in layers[entry.name]:
            step = _normalised(steps, step, entry.name, layers[entry.name], shape, eps)
        else:
            step, shape = _linear(steps, step, entry, layers[entry.name], shape)
    return model_of_steps(steps, step)


def _as_image(where: str, shape: tuple[int, ...]) -> Shape:
    if len(shape) != 3:
        raise InputError(f"layer {where} takes an image, but what comes before it gives {shape[0]} features.")
    return shape[0], shape[1], shape[2]


def _linear(
    steps: Steps, step: int, entry: Entry, parts: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    weight, bias = parts["weight"], parts.get("bias")
    if weight.ndim == 2:
        if entry.options:
            raise OptionError(f"order holds {entry}; {entry.name} is a dense layer, which takes no options.")
        if weight.shape[1] != size_of(shape):
            raise InputError(
                f"layer {entry.name} takes {weight.shape[1]} features, but what comes before it gives "
                f"{' x '.join(map(str, shape))} = {size_of(shape)}: check input_shape= and the strides, "
                "paddings and pooling in order=."
            )
        return steps.affine(entry.name, step, weight, bias), (int(weight.shape[0]),)
    image = _as_image(entry.name, shape)
    kernel = weight if weight.ndim == 4 else weight[:, :, None]
    options = _for_image(entry, weight.ndim == 3)
    if image[0] % kernel.shape[1]:
        raise InputError(f"layer {entry.name} takes {kernel.shape[1]} channels, but there are {image[0]}.")
    steps.spend(entry.name, kernel.shape[0] * size_of(image[1:]))
    linear = Convolution2d(kernel, image, **options, groups=image[0] // kernel.shape[1])
    out = linear.output_shape
    wide = None if bias is None else np.repeat(floats(f"layer {entry.name}", bias), out[1] * out[2])
    return steps.affine(entry.name, step, linear, wide), out


def _for_image(entry: Entry, signal: bool) -> dict[str, tuple[int, int]]:
    """The options of a convolution; one of a signal acts along the last axis alone."""
    neutral = {"stride": 1, "padding": 0, "dilation": 1}
    return {k: (neutral[k], v[1]) if signal else v for k, v in entry.options.items()}


def _normalised(
    steps: Steps, step: int, name: str, parts: Mapping[str, Any], shape: tuple[int, ...], eps: float
) -> int:
    pair = normalisation(
        parts.get("weight"), parts.get("bias"), parts["running_mean"], parts["running_var"], eps
    )
    if pair[0].size != shape[0]:
        raise InputError(f"layer {name} normalises {pair[0].size} channels, but there are {shape[0]}.")
    return steps.scaling(name, step, *(np.repeat(v, size_of(shape[1:])) for v in pair))


def _pooled(steps: Steps, step: int, entry: Entry, image: Shape, signal: bool) -> tuple[int, tuple[int, ...]]:
    where, size = str(entry), entry.size or image[1:]
    if signal:  # not: of height 1, which an image may have as well, and be padded from there
        size = (1, size[1])
    options = _for_image(entry, signal)
    stride, padding = options.get("stride", size), options.get("padding", (0, 0))
    mean = average_pool2d(image, size, stride=stride, padding=padding)
    assert isinstance(mean, Convolution2d)
    if entry.name == "avgpool":
        return steps.affine(where, step, mean), mean.output_shape
    steps.spend(where, size_of(mean.output_shape) * size_of(size))
    windows = pooling_windows(image, size, stride=stride, padding=padding)
    return steps.largest(where, step, windows), mean.output_shape
