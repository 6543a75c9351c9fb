"""What a state dict with convolutions does not say: image, strides, paddings, pooling; deduced or asked for.

They are deduced only where names are numbered as in an `nn.Sequential` that leaves no room for pooling,
and where exactly one stride and padding for each convolution takes the image to the width of the first dense
layer (strides up to the kernel's size, paddings below half of it, no dilation); else they are asked for.
"""

import itertools
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._errors import InputError, OptionError
from ._image_tensors import Entry, Layers, Shape
from ._steps import size_of

__all__ = ["deduced", "image_of", "is_kernel", "only_activations", "unplaced_images"]

_log = logging.getLogger("lmikit.adapters")

_MOST_TRIED = 10**5  # choices of strides and paddings
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.ASCII)


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


def only_activations(layers: Layers) -> bool:
    """Whether the numbers in the names leave room for nothing but activations and one flattening."""
    parts = {name: _NUMBERED.fullmatch(name) for name in layers}
    if len({match.group(1) if match else None for match in parts.values()}) > 1 or None in parts.values():
        return False
    places = sorted((int(m.group(2)), name) for name, m in parts.items() if m)
    linear = [(n, layers[name]) for n, name in places if "running_mean" not in layers[name]]
    for (a, before), (b, after) in itertools.pairwise(linear):
        room = sum(n not in {place for place, _ in places} for n in range(a + 1, b))
        if is_kernel(before) and room != (1 if is_kernel(after) else 2):
            return False
    return True


def deduced(file: str, layers: Layers, plan: Sequence[str] | None, image: Shape) -> list[Entry]:
    """The plan with the one choice of options that fits, which is logged; raises InputError otherwise."""
    found = [] if plan is None else _fitting(layers, [n for n in plan if n in layers], image, alike=False)
    if plan is None or len(found) != 1:
        raise unplaced_images(file, layers, image)
    said = ",".join(str(found[0].get(n, n)) for n in plan if n in layers)
    _log.warning("%s: strides and paddings deduced from the shapes: %s; order= states others", file, said)
    return [found[0].get(name, Entry(name, {})) for name in plan]


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
    layers: Layers, names: Sequence[str], image: Shape, pool: bool = False, alike: bool = True
) -> list[dict[str, Entry]]:
    """Every choice of strides and paddings that reaches the first dense layer.

    One for each convolution, or, `alike`, for each size of kernel. Strides up to the kernel's size, paddings
    less than half of it, torch's defaults elsewhere; with `pool` windows of two by two pixels follow every
    convolution. Empty where nothing says what is reached, or too many would have to be tried.
    """
    kernels = {name: layers[name]["weight"].shape for name in names if is_kernel(layers[name])}
    dense = next((layers[name]["weight"].shape[1] for name in names if _is_dense(layers[name])), None)
    kinds = {name: shape[-1] if alike else name for name, shape in kernels.items()}
    sizes = {kinds[name]: shape[-1] for name, shape in kernels.items()}
    square = all(len(set(shape[2:])) == 1 for shape in kernels.values())
    tried = math.prod(k * ((k + 1) // 2) for k in sizes.values())
    if dense is None or not square or tried > _MOST_TRIED:
        return []
    return [
        {name: _entry(name, *choice[kind]) for name, kind in kinds.items()}
        for choice in _choices(sizes)
        if _reached([(kernels[n], *choice[kind]) for n, kind in kinds.items()], image, pool) == dense
    ]


def _entry(name: str, stride: int, padding: int) -> Entry:
    options = {"stride": (stride, stride)} if stride > 1 else {}
    return Entry(name, options | ({"padding": (padding, padding)} if padding else {}))


def _choices(sizes: Mapping[Any, int]) -> Iterator[dict[Any, tuple[int, int]]]:
    each = [[(s, p) for s in range(1, k + 1) for p in range((k + 1) // 2)] for k in sizes.values()]
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
