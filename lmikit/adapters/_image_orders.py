"""What a state dict with convolutions does not say: image, strides, paddings, dilation, pooling; asked for.

Several choices lead to the same shapes, and another choice is another network: what fits the first dense
layer with one stride and padding for each size of kernel is listed in the error, and never taken.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._errors import InputError, OptionError
from ._image_tensors import Entry, Layers, Shape
from ._steps import size_of

__all__ = ["image_of", "is_kernel", "unplaced_images"]


_MOST_TRIED = 10**5  # choices of strides and paddings


def is_kernel(parts: Mapping[str, Any]) -> bool:
    """Whether these are the tensors of a convolution."""
    return "running_mean" not in parts and parts["weight"].ndim > 2


def _is_dense(parts: Mapping[str, Any]) -> bool:
    return "running_mean" not in parts and parts["weight"].ndim == 2


def image_of(file: str, layers: Layers, input_shape: Sequence[int] | None) -> Shape:
    """(channels, height, width) of one sample; a signal (channels, length) has height 1."""
    kernels = {name: parts["weight"] for name, parts in layers.items() if is_kernel(parts)}
    ndim = {weight.ndim for weight in kernels.values()}
    first = next(iter(kernels.values()))
    wanted = f"({first.shape[1]}, {'28, 28' if 4 in ndim else '128'})"
    if input_shape is None:
        raise OptionError(
            f"{file} holds convolutions ({', '.join(kernels)[:80]}) and does not say their image's "
            f"shape; pass input_shape= (--input-shape), channels first, such as {wanted}."
        )
    shape = tuple(input_shape)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape)
    if len(ndim) > 1 or len(shape) != ndim.pop() - 1 or not whole:
        raise OptionError(f"input_shape is {str(shape)[:80]}; expected positive integers, such as {wanted}.")
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def unplaced_images(file: str, layers: Layers, image: Shape) -> InputError:
    """Asks for the order with its options, and lists some that fit the shapes."""
    names = list(layers)
    shown = [
        _example(layers, names, choice, pool)
        for pool in (False, True)
        for choice in _fitting(layers, names, image, pool)[:2]
    ]
    kernels = [name for name in names if is_kernel(layers[name])]
    fits = f"; these fit the shapes: {' or '.join(shown)}" if shown else ""
    example = f"{kernels[0]}:stride=2:padding=1,relu,maxpool:2"
    return InputError(
        f"{file} holds convolutions ({', '.join(kernels)[:80]}), but not their strides, "
        f"paddings and pooling: pass order= (--order) with them, such as {example}{fits}. Where it "
        "has skips, load it into its torch module and pass that: from_torch(module, input_shape=...)."
    )


def _example(layers: Layers, names: Sequence[str], choice: Mapping[str, Entry], pool: bool) -> str:
    said: list[str] = []
    inside = False  # after a convolution, perhaps with its normalisation
    for name, after in zip(names, [*names[1:], None], strict=True):
        said.append(str(choice.get(name, name)))
        inside = name in choice or (inside and "running_mean" in layers[name])
        if after is not None and "running_mean" not in layers[after]:
            said += ["relu", "maxpool:2"] if pool and inside else ["relu"]
    return ",".join(said)


def _fitting(
    layers: Layers, names: Sequence[str], image: Shape, pool: bool = False
) -> list[dict[str, Entry]]:
    """Every choice of one stride and padding for each size of kernel that reaches the first dense layer.

    Strides up to the kernel's size, paddings less than half of it, torch's defaults elsewhere; with `pool`
    windows of two by two pixels follow every convolution. Empty where nothing says what is reached, or too
    many would have to be tried.
    """
    kernels = {name: layers[name]["weight"].shape for name in names if is_kernel(layers[name])}
    dense = next((layers[name]["weight"].shape[1] for name in names if _is_dense(layers[name])), None)
    sizes = sorted({shape[-1] for shape in kernels.values()})
    square = all(len(set(shape[2:])) == 1 for shape in kernels.values())
    tried = math.prod(k * ((k + 1) // 2) for k in sizes)
    if dense is None or not square or tried > _MOST_TRIED:
        return []
    return [
        {name: _entry(name, *choice[shape[-1]]) for name, shape in kernels.items()}
        for choice in _choices(sizes)
        if _reached([(shape, *choice[shape[-1]]) for shape in kernels.values()], image, pool) == dense
    ]


def _entry(name: str, stride: int, padding: int) -> Entry:
    options = {"stride": (stride, stride)} if stride > 1 else {}
    return Entry(name, options | ({"padding": (padding, padding)} if padding else {}))


def _choices(sizes: Sequence[int]) -> Iterator[dict[int, tuple[int, int]]]:
    each = [[(s, p) for s in range(1, k + 1) for p in range((k + 1) // 2)] for k in sizes]
    for pairs in itertools.product(*each):
        yield dict(zip(sizes, pairs, strict=True))


def _reached(kernels: Sequence[tuple[tuple[int, ...], int, int]], image: Shape, pool: bool) -> int | None:
    """The number of features after all convolutions; None where an image becomes empty."""
    channels, sides = image[0], list(image[1:])
    for shape, stride, padding in kernels:
        if channels % shape[1]:
            return None
        channels = shape[0]
        moving = range(2) if len(shape) == 4 else range(1, 2)
        for axis in moving:
            sides[axis] = (sides[axis] + 2 * padding - shape[-1]) // stride + 1
            sides[axis] = sides[axis] // 2 if pool else sides[axis]
        if min(sides) < 1:
            return None
    return channels * size_of(sides)
