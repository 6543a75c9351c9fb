"""More of ONNX's operators that only move entries: blocks, tiles, nearest pixels, scattering, choices.

As in `_onnx_shapes`, each works on arrays of constants and of indices alike.
"""

import math
from collections.abc import Callable

import numpy as np

from ._onnx_shapes import Arrays, NodeCall

__all__ = ["LAYOUTS"]


def _depth_to_space(arrays: Arrays, call: NodeCall) -> Arrays:
    value, b = arrays[0], int(call.attributes.get("blocksize", 0))
    if value.ndim != 4 or b < 1 or value.shape[1] % (b * b):
        raise call.refuse(f"of shape {value.shape} with blocks of {b}")
    n, c, h, w = value.shape
    if call.attributes.get("mode", b"DCR") == b"CRD":
        moved = value.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        moved = value.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return [moved.reshape(n, c // b**2, h * b, w * b)]


def _space_to_depth(arrays: Arrays, call: NodeCall) -> Arrays:
    value, b = arrays[0], int(call.attributes.get("blocksize", 0))
    if value.ndim != 4 or b < 1 or value.shape[2] % b or value.shape[3] % b:
        raise call.refuse(f"of shape {value.shape} with blocks of {b}")
    n, c, h, w = value.shape
    moved = value.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return [moved.reshape(n, c * b * b, h // b, w // b)]


def _tile(arrays: Arrays, call: NodeCall) -> Arrays:
    value, repeats = arrays[0], call.integers("repeats", 1)
    if repeats is None or len(repeats) != value.ndim or min(repeats, default=1) < 1:
        raise call.refuse(f"by {repeats} of shape {value.shape}")
    if call.apart and repeats[0] != 1:
        raise call.refuse(f"by {repeats}", "it would repeat samples")
    call.spend(call.where, value.size * math.prod(repeats))
    return [np.tile(value, repeats)]


def _where(arrays: Arrays, call: NodeCall) -> Arrays:
    """arrays are the two that are chosen from; the condition is a constant."""
    condition = call.constants[0]
    if condition is None:
        raise call.refuse("whose condition is a value", "it jumps unless both sides meet")
    try:
        shape = np.broadcast_shapes(condition.shape, *(a.shape for a in arrays))
    except ValueError as error:
        raise call.refuse(f"of shapes {[condition.shape, *(a.shape for a in arrays)]}") from error
    if call.apart and (shape[:1] != (1,) or len(shape) != max(a.ndim for a in arrays)):
        raise call.refuse(f"to shape {shape}", "it would mix samples")
    call.spend(call.where, math.prod(shape))
    return [np.broadcast_to(np.where(condition.astype(bool), *arrays), shape)]


def _gather_elements(arrays: Arrays, call: NodeCall) -> Arrays:
    value, indices = arrays[0], call.constants[1]
    axis = call.axis(int(call.attributes.get("axis", 0)), value.ndim)
    if indices is None or indices.ndim != value.ndim or indices.dtype.kind not in "iu":
        raise call.refuse("of entries whose numbers are no constants")
    _check_range(call, indices, value.shape[axis])
    if call.apart and indices.shape[0] != 1:
        raise call.refuse(f"of shape {indices.shape}", "it would repeat samples")
    call.spend(call.where, indices.size)
    places = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    try:
        return [value[tuple(places)]]
    except IndexError as error:
        raise call.refuse(f"of shape {value.shape} by {indices.shape}") from error


def _gather_nd(arrays: Arrays, call: NodeCall) -> Arrays:
    value, indices = arrays[0], call.constants[1]
    depth = 0 if indices is None or not indices.ndim else int(indices.shape[-1])
    if call.apart or call.attributes.get("batch_dims", 0) or not 1 <= depth <= value.ndim:
        raise call.refuse("other than by constants within one sample")
    for k in range(depth):
        _check_range(call, indices[..., k], value.shape[k])
    call.spend(call.where, indices.size // depth * math.prod(value.shape[depth:]))
    return [value[tuple(np.moveaxis(indices, -1, 0))]]


def _scatter_nd(arrays: Arrays, call: NodeCall) -> Arrays:
    """arrays[0] with arrays[1] written at constant places."""
    indices = call.constants[1]
    value, updates = arrays
    depth = 0 if indices is None or not indices.ndim else int(indices.shape[-1])
    if not 1 <= depth <= value.ndim or call.attributes.get("reduction", b"none") not in (b"none", "none"):
        raise call.refuse("other than at constant places without a reduction")
    for k in range(depth):
        _check_range(call, indices[..., k], value.shape[k])
    if updates.shape != indices.shape[:-1] + value.shape[depth:] or (
        call.apart and (indices[..., 0] != 0).any()
    ):
        raise call.refuse(f"of shape {updates.shape} into {value.shape}")
    call.spend(call.where, value.size)
    result = value.copy()
    result[tuple(np.moveaxis(indices, -1, 0))] = updates
    return [result]


def _check_range(call: NodeCall, indices: np.ndarray, length: int) -> None:
    if indices.size and not (-length <= indices.min() and indices.max() < length):
        raise call.refuse(f"of entries beyond the {length} there are")


def _resize(arrays: Arrays, call: NodeCall) -> Arrays:
    """The nearest pixel, in float32 as runtimes compute its place."""
    value = arrays[0]
    mode = _text(call, "mode", "nearest")
    if mode != "nearest":
        raise call.refuse(f"with mode {mode!r}; only 'nearest' is read", "resize by a convolution instead")
    scales, sizes = _scales_and_sizes(call, value.shape)
    if call.apart and sizes[0] != 1:
        raise call.refuse("along axis 0", "it would repeat samples")
    call.spend(call.where, math.prod(sizes))
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        if size != value.shape[axis] or scale != 1.0:
            value = np.take(value, _nearest(call, value.shape[axis], size, scale), axis)
    return [value]


def _text(call: NodeCall, name: str, default: str) -> str:
    value = call.attributes.get(name, default)
    return value.decode("latin-1")[:40] if isinstance(value, bytes) else str(value)


def _scales_and_sizes(call: NodeCall, shape: tuple[int, ...]) -> tuple[list[float], list[int]]:
    scales, sizes = call.attributes.get("scales"), None
    if scales is None:
        place = 1 if call.opset < 11 else 2
        scales = call.constants[place] if len(call.constants) > place else None
        sizes = call.integers("sizes", 3) if call.opset >= 11 else None
    axes = call.integers("axes", 99) or list(range(len(shape)))
    given = sizes if sizes else [] if scales is None else [float(s) for s in np.asarray(scales).reshape(-1)]
    policy = _text(call, "keep_aspect_ratio_policy", "stretch")
    if len(given) != len(axes) or policy != "stretch" or not all(g > 0 and math.isfinite(g) for g in given):
        raise call.refuse("whose sizes are no constants")
    all_scales, all_sizes = [1.0] * len(shape), list(shape)
    for axis, g in zip(axes, given, strict=True):
        if not -len(shape) <= axis < len(shape):
            raise call.refuse(f"along axis {axis} of {len(shape)}")
        n = shape[axis]
        all_scales[axis] = float(np.float32(g / n if sizes else g))
        all_sizes[axis] = int(g) if sizes else math.floor(n * g)
    if min(all_sizes) < 1:
        raise call.refuse(f"to {all_sizes}")
    return all_scales, all_sizes


def _nearest(call: NodeCall, length: int, size: int, scale: float) -> np.ndarray:
    """The entry that each of `size` places takes among `length` (ONNX, Resize)."""
    i, s = np.arange(size, dtype=np.float32), np.float32(scale)
    old = call.opset < 11
    place = "asymmetric" if old else _text(call, "coordinate_transformation_mode", "half_pixel")
    if place == "asymmetric":
        x = i / s
    elif place == "align_corners":
        x = i * np.float32(length - 1) / np.float32(size - 1) if size > 1 else 0 * i
    elif place in ("half_pixel", "pytorch_half_pixel"):
        x = (i + np.float32(0.5)) / s - np.float32(0.5)
        x = 0 * i if place == "pytorch_half_pixel" and size == 1 else x
    else:
        raise call.refuse(f"with coordinates {place!r}")
    kind = "floor" if old else _text(call, "nearest_mode", "round_prefer_floor")
    half = np.float32(0.5)
    rounded: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "round_prefer_floor": lambda v: np.ceil(v - half),
        "round_prefer_ceil": lambda v: np.floor(v + half),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if kind not in rounded:
        raise call.refuse(f"with nearest_mode {kind!r}")
    return np.clip(rounded[kind](x), 0, length - 1).astype(np.int64)


LAYOUTS: dict[str, Callable[[Arrays, NodeCall], Arrays]] = {
    "DepthToSpace": _depth_to_space,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Resize": _resize,
    "ScatterND": _scatter_nd,
    "SpaceToDepth": _space_to_depth,
    "Tile": _tile,
    "Upsample": _resize,
    "Where": _where,
}
