"""ONNX's operators that only move entries: one function each, for arrays of constants and of indices alike.

Each takes the arrays of its operands, a `NodeCall` with the node's attributes and integer operands, and
gives the arrays of its outputs. `apart` says that the first axis counts samples (it has the stand-in
size 1); what would mix them is refused.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._chain import refusal

__all__ = ["SHAPES", "Arrays", "NodeCall", "pad_amounts"]

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class NodeCall:
    """One node: its name, kind, attributes, operands that are constants (None: absent) and the opset."""

    where: str
    kind: str
    attributes: dict[str, Any]
    constants: list[Any]
    opset: int
    outputs: int
    apart: bool  # whether the first axis of the value counts samples
    samples: int | None  # how many the file states, None where it leaves them open
    spend: Callable[[str, int], None]

    def refuse(self, what: str, why: str = "") -> Exception:
        return refusal(self.where, f"{self.kind} {what}".strip(), why)

    def integers(self, name: str, operand: int) -> list[int] | None:
        """Integers from the attribute `name` or the operand; None where neither is there."""
        value: Any = self.attributes.get(name)
        if value is None and operand < len(self.constants):
            value = self.constants[operand]
        if value is None:
            return None
        array = np.asarray(value).reshape(-1)
        if array.dtype.kind not in "iu" or array.size > 2**20:
            raise self.refuse(f"whose {name} are no integers")
        return [int(v) for v in array]

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front; refused where it is none, or counts samples."""
        if not -rank <= axis < rank:
            raise self.refuse(f"along axis {axis} of {rank}")
        axis %= rank
        if self.apart and axis == 0:
            raise self.refuse("along axis 0", "it would mix samples")
        return axis

    def sizes_per_sample(self, sizes: list[int]) -> list[int]:
        """A stated number of samples replaced by the stand-in 1."""
        if not self.apart or self.samples is None or not sizes or sizes[0] != self.samples:
            return sizes
        return [1, *sizes[1:]]


def _identity(arrays: Arrays, call: NodeCall) -> Arrays:
    return arrays[:1]


def _transpose(arrays: Arrays, call: NodeCall) -> Arrays:
    order = call.integers("perm", 99) or list(range(arrays[0].ndim))[::-1]
    if sorted(order) != list(range(arrays[0].ndim)):
        raise call.refuse(f"by {order} of {arrays[0].ndim} axes")
    if call.apart and order[0] != 0:
        raise call.refuse(f"by {order}", "it moves the axis of the samples")
    return [np.transpose(arrays[0], order)]


def _reshape(arrays: Arrays, call: NodeCall) -> Arrays:
    value = arrays[0]
    stated = call.integers("shape", 1)
    if stated is None:
        raise call.refuse("to a shape that is no constant")
    wanted = call.sizes_per_sample(stated)
    copies = not call.attributes.get("allowzero", 0)
    sizes = [value.shape[k] if n == 0 and copies and k < value.ndim else n for k, n in enumerate(wanted)]
    known = math.prod(n for n in sizes if n != -1)
    good = sizes.count(-1) <= 1 and min(sizes, default=0) >= -1 and known > 0
    if good and -1 in sizes:
        sizes[sizes.index(-1)] = value.size // known
    fixed = call.samples is not None and stated[:1] == [1]  # one row of all samples
    if not good or math.prod(sizes) != value.size or (call.apart and (sizes[:1] != [1] or fixed)):
        shown = value.shape[1:] if call.apart else value.shape
        raise call.refuse(f"of samples of shape {shown} to {tuple(stated)}")
    return [value.reshape(sizes)]


def _flatten(arrays: Arrays, call: NodeCall) -> Arrays:
    value = arrays[0]
    axis = int(call.attributes.get("axis", 1))
    if not -value.ndim <= axis <= value.ndim or (call.apart and axis % value.ndim != 1 and value.ndim > 1):
        raise call.refuse(f"at axis {axis}; only 1 keeps samples apart")
    axis = axis + value.ndim if axis < 0 else axis
    return [value.reshape(math.prod(value.shape[:axis]), -1)]


def _squeeze(arrays: Arrays, call: NodeCall) -> Arrays:
    value = arrays[0]
    given = call.integers("axes", 1)
    if given is None:
        axes = [k for k, n in enumerate(value.shape) if n == 1 and not (call.apart and k == 0)]
    else:
        axes = [call.axis(axis, value.ndim) for axis in given]
    if any(value.shape[axis] != 1 for axis in axes):
        raise call.refuse(f"of axes {axes} of shape {value.shape}")
    return [np.squeeze(value, tuple(set(axes)))]


def _unsqueeze(arrays: Arrays, call: NodeCall) -> Arrays:
    axes = call.integers("axes", 1)
    if axes is None or len(axes) > 16:
        raise call.refuse("at axes that are no constants")
    rank = arrays[0].ndim + len(axes)
    return [np.expand_dims(arrays[0], tuple(call.axis(axis, rank) for axis in axes))]


def _slice(arrays: Arrays, call: NodeCall) -> Arrays:
    value = arrays[0]
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise call.refuse("between limits that are no constants")
    axes = call.integers("axes", 3) or list(range(len(starts)))
    steps = call.integers("steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.refuse("with limits that do not match")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % value.ndim if -value.ndim <= axis < value.ndim else axis
        if call.apart and place == 0 and start == 0 and step == 1 and end >= 2**31 - 1:
            continue  # all samples
        place = call.axis(axis, value.ndim)
        value = value[(slice(None),) * place + (slice(start, end, step),)]
    return [value]


def _split(arrays: Arrays, call: NodeCall) -> Arrays:
    axis = call.axis(int(call.attributes.get("axis", 0)), arrays[0].ndim)
    length, parts = arrays[0].shape[axis], call.outputs
    sizes = call.integers("split", 1)
    if sizes is None:
        each = -(-length // parts)
        sizes = [min(each, length - k * each) for k in range(parts)]
    if len(sizes) != parts or sum(sizes) != length or min(sizes) < 1:
        raise call.refuse(f"of {length} entries into {sizes}")
    return np.split(arrays[0], np.cumsum(sizes)[:-1], axis)


def _gather(arrays: Arrays, call: NodeCall) -> Arrays:
    axis = call.axis(int(call.attributes.get("axis", 0)), arrays[0].ndim)
    indices = call.constants[1] if len(call.constants) > 1 else None
    if indices is None or np.asarray(indices).dtype.kind not in "iu":
        raise call.refuse("of entries whose numbers are no constants")
    length = arrays[0].shape[axis]
    if indices.size and not (-length <= indices.min() and indices.max() < length):
        raise call.refuse(f"of entries beyond the {length} there are")
    call.spend(call.where, arrays[0].size // max(length, 1) * indices.size)
    return [np.take(arrays[0], indices, axis)]


def _concat(arrays: Arrays, call: NodeCall) -> Arrays:
    ranks = {a.ndim for a in arrays}
    if len(ranks) != 1 or "axis" not in call.attributes:
        raise call.refuse(f"of shapes {[a.shape for a in arrays]}")
    axis = call.axis(int(call.attributes["axis"]), ranks.pop())
    rests = {(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays}
    if len(rests) != 1:
        raise call.refuse(f"of shapes {[a.shape for a in arrays]} along axis {axis}")
    call.spend(call.where, sum(a.size for a in arrays))
    return [np.concatenate(arrays, axis)]


def _expand(arrays: Arrays, call: NodeCall) -> Arrays:
    wanted = call.integers("shape", 1)
    if wanted is None or len(wanted) > 16:
        raise call.refuse("to a shape that is no constant")
    wanted = call.sizes_per_sample(wanted)
    try:
        shape = np.broadcast_shapes(arrays[0].shape, tuple(wanted))
    except ValueError as error:
        raise call.refuse(f"of shape {arrays[0].shape} to {wanted}") from error
    if call.apart and (len(shape) != arrays[0].ndim or shape[0] != 1):
        raise call.refuse(f"to {wanted}", "it would repeat samples")
    call.spend(call.where, math.prod(shape))
    return [np.broadcast_to(arrays[0], shape)]


def pad_amounts(rank: int, call: NodeCall) -> list[tuple[int, int]]:
    """(before, after) of each axis of a Pad."""
    amounts, axes = call.integers("pads", 1), call.integers("axes", 3)
    axes = list(range(rank)) if axes is None else axes
    if amounts is None or len(amounts) != 2 * len(axes) or any(not -rank <= axis < rank for axis in axes):
        raise call.refuse("by amounts that are no constants")
    pairs = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        pairs[axis] = amounts[k], amounts[k + len(axes)]
    if call.apart and pairs[0] != (0, 0):
        raise call.refuse(f"by {amounts}", "it would add samples")
    return pairs


def _pad(arrays: Arrays, call: NodeCall) -> Arrays:
    """arrays[1] holds the constant; negative amounts cut off."""
    value, pairs = arrays[0], pad_amounts(arrays[0].ndim, call)
    mode = call.attributes.get("mode", b"constant")
    mode = mode.decode("latin-1") if isinstance(mode, bytes) else str(mode)
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise call.refuse(f"with mode {mode[:40]!r}")
    sizes = [n + a + b for n, (a, b) in zip(value.shape, pairs, strict=True)]
    if min(sizes, default=1) < 1:
        raise call.refuse(f"by {pairs} of shape {value.shape}")
    call.spend(
        call.where, math.prod(n + abs(a) + abs(b) for n, (a, b) in zip(value.shape, pairs, strict=True))
    )
    more = {"constant_values": arrays[1].reshape(-1)[0]} if mode == "constant" else {}
    value = np.pad(value, [(max(a, 0), max(b, 0)) for a, b in pairs], mode=mode, **more)  # type: ignore[call-overload]
    return [
        value[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(value.shape, pairs, strict=True))]
    ]


SHAPES: dict[str, Callable[[Arrays, NodeCall], Arrays]] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
