"""ONNX's operators on constants and shapes, folded while reading."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._onnx_shapes import NodeCall

__all__ = ["FOLDED", "NOT_LIPSCHITZ", "constant_of"]

_GIVEN = ("value", "value_float", "value_floats", "value_int", "value_ints")
_ATTENTION = "its Lipschitz constant grows without limit with its input: pass output= of a value before it"
_JUMPS = "it jumps, so no Lipschitz constant covers it: pass output= of a value before it"
_STEEP = "its slope grows without limit: pass output= of a value before it"

_VARIES = "its slope grows without limit near constant inputs: pass output= of a value before it"
_CONTROL = "control flow is not followed: simplify the model first (python -m onnxsim net.onnx simple.onnx)"

NOT_LIPSCHITZ = {
    "ArgMax": _JUMPS,
    "ArgMin": _JUMPS,
    "Attention": _ATTENTION,
    "Ceil": _JUMPS,
    "Exp": _STEEP,
    "Floor": _JUMPS,
    "Equal": _JUMPS,
    "Greater": _JUMPS,
    "GreaterOrEqual": _JUMPS,
    "If": _CONTROL,
    "InstanceNormalization": _VARIES,
    "GroupNormalization": _VARIES,
    "LayerNormalization": (
        "its slope is 1 / sqrt(epsilon) near constant inputs: pass output= of a value before it, or train "
        "with batch normalisation"
    ),
    "Less": _JUMPS,
    "LessOrEqual": _JUMPS,
    "Log": _STEEP,
    "Loop": _CONTROL,
    "LpNormalization": _VARIES,
    "LRN": "it divides by a sum over channels: pass output= of a value before it",
    "QuantizeLinear": _JUMPS,
    "ReduceL2": "only sums, means and extremes are read: pass output= of a value before it",
    "Reciprocal": _STEEP,
    "Round": _JUMPS,
    "Scan": _CONTROL,
    "Sign": _JUMPS,
    "Sqrt": _STEEP,
    "ThresholdedRelu": _JUMPS,
}


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers are divided towards zero."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        quotient = np.abs(a) // np.abs(b)
        return np.asarray(np.sign(a) * np.sign(b) * quotient)
    return np.asarray(a / b)


FOLDED: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Div": _divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Log": np.log,
    "Max": lambda *arrays: functools.reduce(np.maximum, arrays),
    "Min": lambda *arrays: functools.reduce(np.minimum, arrays),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
    "Reciprocal": lambda a: (1 / a).astype(a.dtype),
    "Relu": lambda a: np.maximum(a, 0).astype(a.dtype),
    "Round": np.round,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Sum": lambda *arrays: functools.reduce(np.add, arrays),
    "Tanh": np.tanh,
}


def constant_of(onnx: Any, call: NodeCall, kind: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """The constant that a node gives; `shape` is that of its first operand."""
    if kind in ("Shape", "Size"):
        return _of_shape(call, kind, shape)
    if kind == "Constant":
        return _stated(onnx, call)
    if not call.constants or any(value is None for value in call.constants):
        raise call.refuse("with operands left out")
    if kind in _OF_CONSTANTS:
        return _OF_CONSTANTS[kind](onnx, call)
    if kind not in FOLDED:
        raise call.refuse("of constants", "simplify the model first (python -m onnxsim net.onnx simple.onnx)")
    call.spend(call.where, math.prod(np.broadcast_shapes(*(v.shape for v in call.constants))))
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        return np.asarray(FOLDED[kind](*call.constants))


def _of_shape(call: NodeCall, kind: str, shape: tuple[int, ...] | None) -> np.ndarray:
    if shape is None:
        raise call.refuse("of nothing")
    if kind == "Size":
        return np.asarray(math.prod(shape), dtype=np.int64)
    part = slice(call.attributes.get("start", 0), call.attributes.get("end"))
    return np.asarray(shape, dtype=np.int64)[part]


def _stated(onnx: Any, call: NodeCall) -> np.ndarray:
    found = [call.attributes[name] for name in _GIVEN if name in call.attributes]
    if len(found) != 1:
        raise call.refuse("that is not a tensor of numbers")
    if "value" in call.attributes:
        return np.asarray(onnx.numpy_helper.to_array(found[0]))
    dtype = {"value_float": np.float32, "value_floats": np.float32}
    return np.asarray(found[0], dtype=next((d for n, d in dtype.items() if n in call.attributes), None))


def _filled(onnx: Any, call: NodeCall) -> np.ndarray:
    sizes = call.integers("shape", 0) or []
    if min(sizes, default=0) < 0:
        raise call.refuse(f"of shape {sizes}")
    call.spend(call.where, math.prod(sizes))
    value = call.attributes.get("value")
    entry = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(sizes, entry.reshape(-1)[0])


def _cast(onnx: Any, call: NodeCall) -> np.ndarray:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(call.attributes.get("to"))
    return np.asarray(call.constants[0]).astype(dtype)


def _range(onnx: Any, call: NodeCall) -> np.ndarray:
    start, limit, step = (np.asarray(v).reshape(-1)[0] for v in call.constants[:3])
    count = math.ceil((float(limit) - float(start)) / float(step)) if step else -1
    call.spend(call.where, max(count, 0) if step else 2**62)
    return np.asarray(start + np.arange(max(count, 0)) * step).astype(start.dtype)


def _matmul(onnx: Any, call: NodeCall) -> np.ndarray:
    a, b = call.constants
    inner = a.shape[-1] if a.ndim else 0
    if not inner or not b.ndim or b.shape[-2 if b.ndim > 1 else 0] != inner:
        raise call.refuse(f"of shapes {a.shape} and {b.shape}")
    call.spend(call.where, a.size // inner * b.size)
    return np.asarray(np.matmul(a, b))


def _reduced(of: Callable[..., Any]) -> Callable[[Any, NodeCall], np.ndarray]:
    def folded(onnx: Any, call: NodeCall) -> np.ndarray:
        value, given = call.constants[0], call.integers("axes", 1)
        if not given and call.attributes.get("noop_with_empty_axes", 0):
            return np.asarray(value)
        axes = tuple({call.axis(k, value.ndim) for k in (given or range(value.ndim))})
        keep = bool(call.attributes.get("keepdims", 1))
        return np.asarray(of(value, axis=axes, keepdims=keep)).astype(value.dtype)

    return folded


def _dequantised(onnx: Any, call: NodeCall) -> np.ndarray:
    """(q - zero point) scale, per tensor or along one axis."""
    q, scale = call.constants[:2]
    zero = call.constants[2] if len(call.constants) > 2 else np.zeros_like(scale)
    if scale.ndim > 1 or call.attributes.get("block_size", 0):
        raise call.refuse("in blocks")
    if scale.ndim and scale.size > 1:
        axis = call.axis(int(call.attributes.get("axis", 1)), q.ndim)
        shape = [1] * q.ndim
        shape[axis] = scale.size
        if q.shape[axis] != scale.size:
            raise call.refuse(f"of shape {q.shape} with {scale.size} scales")
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((q.astype(np.float32) - zero.astype(np.float32)) * scale)


_OF_CONSTANTS: dict[str, Callable[[Any, NodeCall], np.ndarray]] = {
    "Cast": _cast,
    "ConstantOfShape": _filled,
    "DequantizeLinear": _dequantised,
    "MatMul": _matmul,
    "Range": _range,
    "ReduceMax": _reduced(np.max),
    "ReduceMean": _reduced(np.mean),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
}
