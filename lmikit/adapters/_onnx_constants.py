"""ONNX's operators on constants and shapes, folded while reading."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._onnx_shapes import Call

__all__ = ["FOLDED", "NOT_LIPSCHITZ", "constant_of"]

_GIVEN = ("value", "value_float", "value_floats", "value_int", "value_ints")
_ATTENTION = "its Lipschitz constant grows without limit with its input: pass output= of a value before it"
_JUMPS = "it jumps, so no Lipschitz constant covers it: pass output= of a value before it"
_STEEP = "its slope grows without limit: pass output= of a value before it"

NOT_LIPSCHITZ = {
    "Attention": _ATTENTION,
    "Ceil": _JUMPS,
    "Exp": _STEEP,
    "Floor": _JUMPS,
    "LayerNormalization": "its slope is 1 / sqrt(epsilon) near constant inputs",
    "Log": _STEEP,
    "Pow": _STEEP,
    "Reciprocal": _STEEP,
    "Round": _JUMPS,
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
    "Add": np.add,
    "Div": _divide,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
}


def constant_of(onnx: Any, call: Call, kind: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """The constant that a node gives; `shape` is that of its first operand."""
    if kind == "Shape":
        if shape is None:
            raise call.refuse("of nothing")
        part = slice(call.attributes.get("start", 0), call.attributes.get("end"))
        return np.asarray(shape, dtype=np.int64)[part]
    if kind == "Constant":
        return _stated(onnx, call)
    if not call.constants or any(value is None for value in call.constants):
        raise call.refuse("with operands left out")
    if kind == "ConstantOfShape":
        return _filled(onnx, call)
    if kind == "Cast":
        dtype = onnx.helper.tensor_dtype_to_np_dtype(call.attributes.get("to"))
        return np.asarray(call.constants[0]).astype(dtype)
    if kind not in FOLDED:
        raise call.refuse("of constants")
    call.spend(call.where, math.prod(np.broadcast_shapes(*(v.shape for v in call.constants))))
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        return np.asarray(FOLDED[kind](*call.constants))


def _stated(onnx: Any, call: Call) -> np.ndarray:
    found = [call.attributes[name] for name in _GIVEN if name in call.attributes]
    if len(found) != 1:
        raise call.refuse("that is not a tensor of numbers")
    if "value" in call.attributes:
        return np.asarray(onnx.numpy_helper.to_array(found[0]))
    return np.asarray(found[0])


def _filled(onnx: Any, call: Call) -> np.ndarray:
    sizes = call.integers("shape", 0) or []
    if min(sizes, default=0) < 0:
        raise call.refuse(f"of shape {sizes}")
    call.spend(call.where, math.prod(sizes))
    value = call.attributes.get("value")
    entry = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(sizes, entry.reshape(-1)[0])
