"""JAX's primitives that compute, as recorded steps: one function each, by the primitive's name."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..network import Abs, Activation, Atan, Cos, Erf, Sigmoid, Sin, Tanh
from ._jax_primitive import JUMPS, PRODUCT, Primitive
from ._jax_windows import convolution, window_max, window_min, window_sum
from ._onnx_linear import LINEAR, blocks
from ._onnx_values import ELEMENTWISE, Arithmetic, Tensor
from ._steps import size_of

__all__ = ["PASSED", "PRIMITIVES", "REASONS"]

_STEEP = "its slope grows without limit: return a value before it"
_CONTROL = "control flow is not followed: write the loop or the choice out in Python"
REASONS = {
    **dict.fromkeys(("argmax", "argmin", "ceil", "floor", "round", "sign", "eq", "ne"), JUMPS),
    **dict.fromkeys(("ge", "gt", "le", "lt", "is_finite", "rem", "nextafter"), JUMPS),
    **dict.fromkeys(("exp", "exp2", "expm1", "log", "sqrt", "rsqrt", "cbrt", "square"), _STEEP),
    **dict.fromkeys(("integer_pow", "pow", "tan", "log1p", "sinh", "cosh"), _STEEP),
    **dict.fromkeys(("cond", "scan", "while"), _CONTROL),
    "sort": "sorting is not read from a traced function: GraphBuilder.sort_groups and MaxMin take it",
    "select_n": f"it is no activation that lmikit names, and {JUMPS}",
}

PASSED = (
    "convert_element_type", "copy", "copy_p", "optimization_barrier", "pvary", "reduce_precision",
    "sharding_constraint", "stop_gradient",
)  # fmt: skip


def _activation(activation: Activation) -> Callable[[Primitive], Tensor]:
    def read(p: Primitive) -> Tensor:
        value = p.value()
        return Tensor(p.steps.activation(p.where, value.step, activation), value.shape)

    return read


def _named(kind: str) -> Callable[[Primitive], Tensor]:
    return lambda p: ELEMENTWISE[kind](p.arithmetic())


def _erfc(p: Primitive) -> Tensor:
    value = _activation(Erf())(p)
    return p.arithmetic().scaled(value, -1.0, 1.0)


def _max(p: Primitive) -> Tensor:
    for k, other in enumerate(p.operands):
        if isinstance(other, np.ndarray) and not other.any():
            return p.arithmetic().relu(p.arithmetic().value(1 - k))
        if isinstance(other, np.ndarray) and np.isneginf(other).all():
            return p.arithmetic().value(1 - k)
    return ELEMENTWISE["Max"](p.arithmetic())


def _mul(p: Primitive) -> Tensor:
    arithmetic = p.arithmetic()
    if not arithmetic.both():
        return LINEAR["Mul"](arithmetic)
    try:
        return LINEAR["Mul"](arithmetic)
    except InputError as error:
        raise p.refuse("of two values", PRODUCT) from error


def _div(p: Primitive) -> Tensor:
    if not isinstance(p.operands[1], np.ndarray):
        raise p.refuse("by a value", _STEEP)
    return ELEMENTWISE["Div"](p.arithmetic())


def _clamp(p: Primitive) -> Tensor:
    """clamp(low, x, high) of constants."""
    low, value, high = p.operands
    if not isinstance(value, Tensor):
        raise p.refuse("whose limits depend on the input")
    arithmetic = p.arithmetic()
    for kind, limit in (("Max", low), ("Min", high)):
        arithmetic = Arithmetic(p.steps, p.call({}), [value, limit])
        value = ELEMENTWISE[kind](arithmetic)
    return value


def _reduced(kind: str) -> Callable[[Primitive], Tensor]:
    def read(p: Primitive) -> Tensor:
        axes = [int(k) for k in p.params["axes"]]
        return LINEAR[kind](p.arithmetic(axes=axes, keepdims=0)) if axes else p.value()

    return read


def _running_sum(p: Primitive) -> Tensor:
    value, axis = p.value(), int(p.params["axis"])
    n = value.shape[axis]
    matrix = np.tril(np.ones((n, n)))
    matrix = matrix.T if p.params.get("reverse") else matrix
    before, after = size_of(value.shape[:axis]), size_of(value.shape[axis + 1 :])
    weight = blocks(p.arithmetic(), matrix, before, after)
    return Tensor(p.steps.affine(p.where, value.step, weight), value.shape)


def _dot_general(p: Primitive) -> Tensor:
    """sum over the contracted axes of value and constant, apart for each entry of the batch axes."""
    (left, right), (left_batch, right_batch) = p.params["dimension_numbers"]
    first = isinstance(p.operands[0], Tensor)
    value, weight = p.operands if first else p.operands[::-1]
    if not isinstance(value, Tensor) or not isinstance(weight, np.ndarray):
        raise p.refuse("of two values", PRODUCT)
    inner, batch = (left, left_batch) if first else (right, right_batch)
    w_inner, w_batch = (right, right_batch) if first else (left, left_batch)
    free = [k for k in range(len(value.shape)) if k not in (*inner, *batch)]
    w_free = [k for k in range(weight.ndim) if k not in (*w_inner, *w_batch)]
    given = p.rearranged(value, lambda index: index.transpose(*batch, *free, *inner))
    shape = [tuple(value.shape[k] for k in axes) for axes in (batch, free, inner)]
    count, rows, wide = (size_of(s) for s in shape)
    matrices = weight.transpose(*w_batch, *w_free, *w_inner).reshape(count, -1, wide)
    parts = [blocks(p.arithmetic(), matrix, rows, 1) for matrix in matrices]
    linear = parts[0] if count == 1 else sp.csr_array(sp.block_diag(parts, format="csr"))
    step = p.steps.affine(p.where, given.step, linear)
    outer = tuple(weight.shape[k] for k in w_free)
    result = Tensor(step, (*shape[0], *shape[1], *outer))
    if first:
        return result
    b, f = len(batch), len(free)
    order = [*range(b), *range(b + f, b + f + len(outer)), *range(b, b + f)]
    return p.rearranged(result, lambda index: index.transpose(order))


PRIMITIVES: dict[str, Callable[[Primitive], Tensor]] = {
    "abs": _activation(Abs()),
    "add": _named("Add"),
    "add_any": _named("Add"),
    "atan": _activation(Atan()),
    "clamp": _clamp,
    "conv_general_dilated": convolution,
    "cos": _activation(Cos()),
    "cumsum": _running_sum,
    "div": _div,
    "dot_general": _dot_general,
    "erf": _activation(Erf()),
    "erfc": _erfc,
    "logistic": _activation(Sigmoid()),
    "max": _max,
    "min": _named("Min"),
    "mul": _mul,
    "neg": _named("Neg"),
    "reduce_max": _reduced("ReduceMax"),
    "reduce_min": _reduced("ReduceMin"),
    "reduce_sum": _reduced("ReduceSum"),
    "reduce_window_max": window_max,
    "reduce_window_min": window_min,
    "reduce_window_sum": window_sum,
    "sin": _activation(Sin()),
    "sub": _named("Sub"),
    "tanh": _activation(Tanh()),
}
