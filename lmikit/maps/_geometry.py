"""Where the taps of a two-dimensional window read: strides, padding, dilation, one axis at a time."""

import dataclasses
from typing import Any

import numpy as np

from .._errors import InputError

__all__ = ["Axis", "axes_of", "image_shape", "pair"]


@dataclasses.dataclass(frozen=True)
class Axis:
    """Output i reads the inputs stride i + dilation a - before, a = 0 .. taps - 1; others are zeros."""

    size: int
    taps: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def outputs(self) -> int:
        """How many positions the output has."""
        return (self.size + self.before + self.after - self.dilation * (self.taps - 1) - 1) // self.stride + 1

    def reads(self) -> np.ndarray:
        """The input position of each (output, tap), outside 0 .. size - 1 for a zero; (outputs, taps)."""
        taps = self.dilation * np.arange(self.taps) - self.before
        return np.asarray(self.stride * np.arange(self.outputs)[:, None] + taps)


def axes_of(
    where: str, image: tuple[int, int], taps: tuple[int, int], stride: Any, padding: Any, dilation: Any
) -> tuple[Axis, Axis]:
    """The two axes; raises InputError for numbers that do not fit."""
    strides, dilations = pair(f"{where}: stride", stride, 1), pair(f"{where}: dilation", dilation, 1)
    pads = _padding(where, padding)
    axes = tuple(
        Axis(n, k, s, p[0], p[1], d)
        for n, k, s, p, d in zip(image, taps, strides, pads, dilations, strict=True)
    )
    for axis in axes:
        if axis.outputs < 1:
            reach = axis.dilation * (axis.taps - 1) + 1
            raise InputError(
                f"{where}: a window of {reach} pixels does not fit into {axis.size} pixels with padding "
                f"({axis.before}, {axis.after}); expected an output of at least one pixel."
            )
    return axes[0], axes[1]


def image_shape(where: str, shape: Any) -> tuple[int, int, int]:
    """(channels, height, width), each at least 1."""
    try:
        found = tuple(shape)
    except TypeError:
        found = ()
    if len(found) != 3 or not all(_is_integer(n) and n >= 1 for n in found):
        raise InputError(f"{where}: input_shape is {shape!r}; expected (channels, height, width).")
    return int(found[0]), int(found[1]), int(found[2])


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """One integer for both axes, or two."""
    found = (value, value) if _is_integer(value) else value
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise InputError(f"{name} is {value!r}; expected one integer or two.")
    if not all(_is_integer(v) and v >= least for v in found):
        raise InputError(f"{name} is {value!r}; expected integers, at least {least}.")
    return int(found[0]), int(found[1])


def _padding(where: str, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """One integer, two (each for both sides of an axis), or ((top, bottom), (left, right))."""
    name = f"{where}: padding"
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and not _is_integer(padding[0]):
        return pair(name, padding[0], 0), pair(name, padding[1], 0)
    rows, columns = pair(name, padding, 0)
    return (rows, rows), (columns, columns)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
