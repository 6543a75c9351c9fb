"""torch's convolutions, pooling and batch normalisation on images (channels, height, width) and signals.

Each sample is a vector in the order channel, row, column. Numbers of a module enter as they are; only a
batch normalisation is folded, into the kernel before it, in float64, which rounds.
"""

import dataclasses
from typing import Any

import numpy as np

from .._convert import floats
from ..graph import Value
from ..maps import (
    Convolution2d,
    average_pool2d,
    convolution1d,
    pooling_windows,
    transposed_convolution2d,
)
from ..network import AbstractLinearMap, TransposedMap
from ._chain import normalisation, refusal

__all__ = ["Image", "image_module", "image_normalisation", "pooled"]

Shape = tuple[int, ...]  # of one sample


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """A value and the shape of a sample of it."""

    value: Value
    shape: Shape


def image_module(where: str, torch: Any, module: Any, kind: type, array: Any, given: Image) -> Image | None:
    """What a module makes of an image or signal; None for a module that is not read here."""
    nn = torch.nn
    if kind in (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d):
        return _convolution(where, nn, module, kind, array, given)
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d) and len(given.shape) == (2 if kind is nn.BatchNorm1d else 3):
        if module.training or module.running_mean is None:
            what = f"a {kind.__name__} that normalises by the batch at hand"
            raise refusal(where, what, "call model.eval() first")
        return image_normalisation(given, module, array)
    if kind is nn.AdaptiveAvgPool2d:
        return pooled(where, "adaptive", given, module.output_size)
    if kind is nn.AvgPool2d:
        options = {"count_include_pad": module.count_include_pad, "divisor_override": module.divisor_override}
        sizes = module.kernel_size, module.stride, module.padding
        return pooled(where, "average", given, *sizes, ceil_mode=module.ceil_mode, **options)
    if kind is nn.MaxPool2d:
        options = {"dilation": module.dilation, "return_indices": module.return_indices}
        sizes = module.kernel_size, module.stride, module.padding
        return pooled(where, "max", given, *sizes, ceil_mode=module.ceil_mode, **options)
    return None


def _convolution(where: str, nn: Any, module: Any, kind: type, array: Any, given: Image) -> Image:
    if module.padding_mode != "zeros":
        raise refusal(where, f"a convolution with padding mode {module.padding_mode!r}; only zeros are read")
    if len(given.shape) != (2 if kind is nn.Conv1d else 3):
        needed = "(channels, length)" if kind is nn.Conv1d else "(channels, height, width)"
        what = f"a {kind.__name__} of a sample of shape {given.shape}"
        raise refusal(where, what, expected=f"{needed}, as input_shape says of one sample")
    kernel, options = array(module.weight), {"dilation": module.dilation, "groups": module.groups}
    linear: AbstractLinearMap
    if kind is nn.ConvTranspose2d:
        options |= {"stride": module.stride, "padding": module.padding}
        linear = transposed_convolution2d(
            kernel, given.shape, output_padding=module.output_padding, **options
        )
        shape: Shape = linear.original.input_shape  # type: ignore[attr-defined]
    elif kind is nn.Conv1d:
        sides = _sides(module.padding, module.kernel_size, module.dilation)
        linear = convolution1d(
            kernel, given.shape, stride=module.stride[0], padding=sides[0], dilation=module.dilation[0],
            groups=module.groups,
        )  # fmt: skip
        shape = linear.output_shape[0], linear.output_shape[2]
    else:
        sides = _sides(module.padding, module.kernel_size, module.dilation)
        linear = Convolution2d(kernel, given.shape, module.stride, sides, **options)
        shape = linear.output_shape
    value = linear @ given.value
    if module.bias is not None:
        value = value + np.repeat(floats(f"layer {where}", array(module.bias)), value.size // shape[0])
    return Image(value, shape)


def _sides(padding: Any, taps: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    """(before, after) per axis; 'same' pads the odd pixel at the end."""
    if padding == "valid":
        padding = (0,) * len(taps)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(taps, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((int(p), int(p)) for p in padding)


def image_normalisation(given: Image, module: Any, array: Any) -> Image:
    """A batch normalisation per channel: folded into a convolution before it, else a 1x1 one of its own."""
    gain, shift = (None if v is None else array(v) for v in (module.weight, module.bias))
    mean, variance = array(module.running_mean), array(module.running_var)
    scale, offset = normalisation(gain, shift, mean, variance, module.eps)
    value, pixels = given.value, given.value.size // given.shape[0]
    each, moved = np.repeat(scale, pixels), np.repeat(offset, pixels)
    if value.bias is not None:
        moved = each * value.bias + moved
    linear, source = value.terms[0]
    smaller = None if len(value.terms) > 1 else _folded(linear, scale)
    if smaller is None:
        image = given.shape if len(given.shape) == 3 else (given.shape[0], 1, given.shape[1])
        own = Convolution2d(np.asarray(scale)[:, None, None, None], image, groups=given.shape[0])
        plain = dataclasses.replace(value, bias=None)
        return dataclasses.replace(given, value=own @ plain + moved)
    folded = dataclasses.replace(value, terms=((smaller, source),), bias=None)
    return dataclasses.replace(given, value=folded + moved)


def _folded(linear: AbstractLinearMap, scale: np.ndarray) -> AbstractLinearMap | None:
    """The convolution with its output channels scaled; None for another map."""
    if isinstance(linear, Convolution2d):
        return dataclasses.replace(linear, kernel=linear.kernel * scale[:, None, None, None])
    if isinstance(linear, TransposedMap) and isinstance(linear.original, Convolution2d):
        forward = linear.original
        each = forward.kernel.shape[1]
        group = np.arange(forward.kernel.shape[0]) // (forward.kernel.shape[0] // forward.groups)
        factors = scale[group[:, None] * each + np.arange(each)]
        return TransposedMap(dataclasses.replace(forward, kernel=forward.kernel * factors[:, :, None, None]))
    return None


def pooled(
    where: str,
    kind: str,
    given: Image,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
    dilation: Any = 1,
    return_indices: bool = False,
) -> Image:
    """Average, max or adaptive average pooling of an image; raises InputError for what is not read."""
    if len(given.shape) != 3:
        what = f"a pooling of images on a sample of shape {given.shape}"
        raise refusal(where, what, expected="(channels, height, width), as input_shape says of one sample")
    _, height, width = given.shape
    if kind == "adaptive":
        sizes = [size, size] if isinstance(size, int) else list(size)
        sizes = [n if s is None else s for s, n in zip(sizes, (height, width), strict=True)]
        if height % sizes[0] or width % sizes[1]:
            raise refusal(
                where, f"an adaptive pooling from {(height, width)} to {sizes}, which does not divide"
            )
        size = (height // sizes[0], width // sizes[1])
    if divisor_override is not None or return_indices or dilation not in (1, (1, 1), [1, 1]):
        raise refusal(where, "a pooling with a divisor, indices or dilation of its own")
    size, stride, padding = (
        v if v is None else int(v) if isinstance(v, int) else tuple(map(int, v))
        for v in (size, None if stride in (None, [], ()) else stride, padding)
    )
    mean = average_pool2d(given.shape, size, stride=stride, padding=padding)
    assert isinstance(mean, Convolution2d)
    if ceil_mode and any((a.size + a.before + a.after - a.taps) % a.stride for a in mean.axes):
        raise refusal(where, "a pooling with ceil_mode whose last windows leave the image")
    if kind == "max":
        windows = pooling_windows(given.shape, size, stride=stride, padding=padding)
        return Image(given.value.builder.max_pool(given.value, windows), mean.output_shape)
    options = {"stride": stride, "padding": padding, "count_padding": count_include_pad}
    return Image(average_pool2d(given.shape, size, **options) @ given.value, mean.output_shape)
