"""ONNX's convolutions and poolings of images (samples, channels, height, width) and signals.

A convolution keeps its kernel's numbers exactly; a padding with zeros before it becomes its own.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError
from ..maps import Convolution2d, average_pool2d, pooling_windows, transposed_convolution2d
from ._onnx_values import Arithmetic, Tensor
from ._steps import size_of

__all__ = ["IMAGES"]

Pads = list[tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Windows:
    """The numbers of a node's windows, one entry per spatial axis."""

    taps: list[int]
    strides: list[int]
    dilations: list[int]
    pads: Pads

    def flat(self, values: list[Any], fill: Any) -> tuple[Any, Any]:
        """A signal is an image of height 1."""
        pair = [fill] * (2 - len(values)) + list(values)
        return pair[0], pair[1]

    def reach(self, k: int) -> int:
        return self.dilations[k] * (self.taps[k] - 1) + 1


def _image(a: Arithmetic, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) of one sample."""
    if len(shape) not in (3, 4) or shape[0] != 1:
        raise a.call.refuse(
            f"of values of shape {shape}; one sample of an image or signal is read",
            "export it for one sample",
        )
    return shape[1], (1 if len(shape) == 3 else shape[2]), shape[-1]


def _windows(a: Arithmetic, sizes: tuple[int, ...], taps: list[int]) -> _Windows:
    n = len(sizes)
    strides = a.call.integers("strides", 99) or [1] * n
    dilations = a.call.integers("dilations", 99) or [1] * n
    if not len(taps) == len(strides) == len(dilations) == n or min(*taps, *strides, *dilations) < 1:
        raise a.call.refuse(f"with windows {taps}, strides {strides} and dilations {dilations} on {sizes}")
    found = _Windows(taps, strides, dilations, [(0, 0)] * n)
    return dataclasses.replace(found, pads=_pads(a, sizes, found))


def _mode(a: Arithmetic) -> str:
    return bytes(a.call.attributes.get("auto_pad", b"NOTSET")).decode("latin-1") or "NOTSET"


def _pads(a: Arithmetic, sizes: tuple[int, ...], windows: _Windows) -> Pads:
    mode, n = _mode(a), len(sizes)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for k, size in enumerate(sizes):
            s = windows.strides[k]
            total = max((-(-size // s) - 1) * s + windows.reach(k) - size, 0)
            pads.append(
                (total // 2, total - total // 2) if mode == "SAME_UPPER" else (-(-total // 2), total // 2)
            )
        return pads
    if mode not in ("NOTSET", "VALID"):
        raise a.call.refuse(f"with auto_pad {mode[:40]!r}")
    given = a.call.integers("pads", 99) or [0] * (2 * n)
    if mode == "VALID":
        given = [0] * (2 * n)
    if len(given) != 2 * n or min(given) < 0:
        raise a.call.refuse(f"with pads {given}", "slice the image first where pads are negative")
    return list(zip(given[:n], given[n:], strict=True))


def _before_padding(a: Arithmetic, value: Tensor, pads: Pads) -> tuple[Tensor, Pads]:
    """A padding with zeros of the pixels alone is taken into the window's own."""
    found = a.steps.paddings.get(value.step)
    if found is None or _mode(a) not in ("NOTSET", "VALID") or found.amounts[:2] != ((0, 0), (0, 0)):
        return value, pads
    both = [(p + q, r + s) for (p, r), (q, s) in zip(found.amounts[2:], pads, strict=True)]
    return Tensor(found.parent, found.shape), both


def _conv(a: Arithmetic) -> Tensor:
    value, kernel = a.value(0), a.constant(1)
    if kernel.ndim != len(value.shape):
        raise a.call.refuse(f"of values of shape {value.shape} with a kernel of shape {kernel.shape}")
    _image(a, value.shape)
    windows = _windows(a, value.shape[2:], [int(n) for n in kernel.shape[2:]])
    value, pads = _before_padding(a, value, windows.pads)
    flat = kernel if kernel.ndim == 4 else kernel[:, :, None]
    linear = Convolution2d(
        flat,
        _image(a, value.shape),
        windows.flat(windows.strides, 1),
        windows.flat(pads, (0, 0)),
        windows.flat(windows.dilations, 1),
        int(a.call.attributes.get("group", 1)),
    )
    return _mapped(a, value, linear, linear.output_shape)


def _mapped(a: Arithmetic, value: Tensor, linear: Any, shape: tuple[int, int, int]) -> Tensor:
    bias = a.operands[2] if len(a.operands) > 2 else None
    if isinstance(bias, Tensor) or (bias is not None and bias.shape != shape[:1]):
        raise a.call.refuse("whose bias is no constant per channel")
    wide = None
    if bias is not None:
        wide = np.repeat(floats(f"layer {a.call.where}", bias), shape[1] * shape[2])
    step = a.steps.affine(a.call.where, value.step, linear, wide)
    return Tensor(step, (1, *shape) if len(value.shape) == 4 else (1, shape[0], shape[2]))


def _conv_transpose(a: Arithmetic) -> Tensor:
    value, kernel = a.value(0), a.constant(1)
    if kernel.ndim != len(value.shape):
        raise a.call.refuse(f"of values of shape {value.shape} with a kernel of shape {kernel.shape}")
    image, sizes = _image(a, value.shape), value.shape[2:]
    windows = _windows(a, sizes, [int(n) for n in kernel.shape[2:]])
    extra = a.call.integers("output_padding", 99) or [0] * len(sizes)
    wanted = a.call.integers("output_shape", 99)
    if wanted is None and _mode(a).startswith("SAME"):
        wanted = [n * s for n, s in zip(sizes, windows.strides, strict=True)]
    pads = windows.pads
    if wanted is not None:
        if len(wanted) != len(sizes):
            raise a.call.refuse(f"with output_shape {wanted}")
        pads = []
        for k, n in enumerate(sizes):
            total = windows.strides[k] * (n - 1) + extra[k] + windows.reach(k) - wanted[k]
            half = total // 2
            pads.append((half, total - half) if _mode(a) == "SAME_UPPER" else (total - half, half))
    linear = transposed_convolution2d(
        kernel if kernel.ndim == 4 else kernel[:, :, None],
        image,
        stride=windows.flat(windows.strides, 1),
        padding=windows.flat(pads, (0, 0)),
        output_padding=windows.flat(extra, 0),
        dilation=windows.flat(windows.dilations, 1),
        groups=int(a.call.attributes.get("group", 1)),
    )
    forward = linear.original
    assert isinstance(forward, Convolution2d)
    return _mapped(a, value, linear, forward.input_shape)


def _pool(a: Arithmetic, largest: bool) -> Tensor:
    value = a.value(0)
    image, sizes = _image(a, value.shape), value.shape[2:]
    windows = _windows(a, sizes, a.call.integers("kernel_shape", 99) or [])
    counted = bool(a.call.attributes.get("count_include_pad", 0))
    if set(windows.dilations) != {1}:
        raise a.call.refuse("with dilations")
    pads = _with_ceiling(a, windows, sizes, largest)
    if not largest and (counted or not any(p for pair in pads for p in pair)):
        before = value
        value, pads = _before_padding(a, value, pads)
        image, counted = _image(a, value.shape), counted or value is not before
    taps, strides = windows.flat(windows.taps, 1), windows.flat(windows.strides, 1)
    both = windows.flat(pads, (0, 0))
    mean = average_pool2d(image, taps, stride=strides, padding=both)
    assert isinstance(mean, Convolution2d)
    shape = mean.output_shape
    if largest:
        if a.call.outputs > 1:
            raise a.call.refuse("that gives indices too")
        a.call.spend(a.call.where, size_of(shape) * size_of(taps))
        found = pooling_windows(image, taps, stride=strides, padding=both)
        step = a.steps.largest(a.call.where, value.step, found)
        return Tensor(step, (1, *shape) if len(value.shape) == 4 else (1, shape[0], shape[2]))
    linear = average_pool2d(image, taps, stride=strides, padding=both, count_padding=counted)
    return _mapped(dataclasses.replace(a, operands=[value]), value, linear, shape)


def _with_ceiling(a: Arithmetic, windows: _Windows, sizes: tuple[int, ...], largest: bool) -> Pads:
    """The pads, longer at the end where ceil_mode lets a last window leave the image."""
    if not a.call.attributes.get("ceil_mode", 0):
        return windows.pads
    pads = []
    for k, (before, after) in enumerate(windows.pads):
        s, n = windows.strides[k], sizes[k]
        count = -(-(n + before + after - windows.taps[k]) // s) + 1
        if (count - 1) * s >= n + before:  # a window that would begin in the padding at the end
            count -= 1
        needed = (count - 1) * s + windows.taps[k] - n - before
        if needed > after and not largest:
            raise a.call.refuse("with ceil_mode whose last windows leave the image")
        pads.append((before, max(needed, after)))
    return pads


def _named(operator: Callable[[Arithmetic], Tensor]) -> Callable[[Arithmetic], Tensor]:
    """Errors of the maps with the node's name before them."""

    def wrapped(a: Arithmetic) -> Tensor:
        try:
            return operator(a)
        except InputError as error:
            text = str(error)
            named = text.startswith(("layer ", "a layer "))
            raise error if named else InputError(f"layer {a.call.where} ({a.call.kind}): {text}") from error

    return wrapped


IMAGES: dict[str, Callable[[Arithmetic], Tensor]] = {
    "AveragePool": _named(lambda a: _pool(a, largest=False)),
    "Conv": _named(_conv),
    "ConvTranspose": _named(_conv_transpose),
    "MaxPool": _named(lambda a: _pool(a, largest=True)),
}
