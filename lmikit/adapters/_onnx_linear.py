"""ONNX's operators that mix entries: products with constants, sums and extremes along axes, normalisation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from ..network import Abs
from ._chain import normalisation
from ._onnx_gates import gated
from ._onnx_values import Arithmetic, Operand, Tensor, added
from ._steps import size_of

__all__ = ["LINEAR", "blocks"]


def _matmul(a: Arithmetic) -> Tensor:
    if a.both():
        raise a.call.refuse(
            "of two values", "a product of values has no global Lipschitz constant: pass output= of a value"
        )
    if isinstance(a.operands[0], np.ndarray):
        return _from_left(a, a.constant(0), a.value(1))
    value, weight = a.value(0), _squeezed(a, a.constant(1), len(a.value(0).shape))
    shape = value.shape
    if weight.ndim not in (1, 2) or not shape or weight.shape[0] != shape[-1]:
        raise a.call.refuse(f"of samples of shape {shape} with a constant of shape {weight.shape}")
    if a.call.apart and len(shape) < 2:
        raise a.call.refuse("over the axis of the samples")
    columns = weight.reshape(weight.shape[0], -1)
    rows = size_of(shape[:-1])
    step = a.steps.affine(a.call.where, value.step, blocks(a, columns.T, rows, 1))
    return Tensor(step, shape[:-1] + weight.shape[1:])


def _from_left(a: Arithmetic, weight: np.ndarray, value: Tensor) -> Tensor:
    weight = _squeezed(a, weight, len(value.shape))
    shape = value.shape
    inner = shape[-2] if len(shape) > 1 else (shape[0] if shape else 0)
    if weight.ndim not in (1, 2) or weight.shape[-1] != inner:
        raise a.call.refuse(f"of a constant of shape {weight.shape} with samples of shape {shape}")
    if a.call.apart and len(shape) < 3:
        raise a.call.refuse("over the axis of the samples")
    rows = weight.reshape(-1, weight.shape[-1])
    last = shape[-1:] if len(shape) > 1 else ()
    outer = shape[:-2]
    matrix = blocks(a, rows, size_of(outer), size_of(last))
    step = a.steps.affine(a.call.where, value.step, matrix)
    return Tensor(step, outer + weight.shape[:-1] + last)


def _squeezed(a: Arithmetic, weight: np.ndarray, rank: int) -> np.ndarray:
    """Without leading axes of size 1."""
    if weight.ndim > max(rank, 2):
        raise a.call.refuse(f"with a constant of shape {weight.shape}")
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    return weight


def blocks(a: Arithmetic, weight: np.ndarray, before: int, after: int) -> Any:
    """The matrix of I (x) weight (x) I with identities of these sizes; the weight itself for 1 and 1."""
    if before == 1 and after == 1:
        return weight
    a.call.spend(a.call.where, weight.size * before * after)
    core = sp.csr_array(floats(f"layer {a.call.where}", weight))
    wide = sp.kron(core, sp.eye_array(after), format="csr") if after > 1 else core
    return sp.csr_array(sp.kron(sp.eye_array(before), wide, format="csr") if before > 1 else wide)


def _gemm(a: Arithmetic) -> Tensor:
    """alpha op(A) op(B) + beta C; A or B is a constant."""
    attributes = a.call.attributes
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    left = isinstance(a.operands[0], np.ndarray)
    value, weight = (a.value(1), a.constant(0)) if left else (a.value(0), a.constant(1))
    if a.call.opset < 7 and size_of(value.shape[:-1]) == 1 and not left:  # read as the row that it is
        value = Tensor(value.step, (1, *value.shape[-1:]))
    if weight.ndim != 2 or len(value.shape) != 2:
        what = value.shape[1:] if a.call.apart else value.shape
        raise a.call.refuse(f"of samples of shape {what} with a constant of shape {weight.shape}")
    if attributes.get("transA" if left else "transB", 0):
        weight = weight.T
    if attributes.get("transB" if left else "transA", 0):
        value = _transposed(a, value)
    if alpha != 1.0:
        weight = alpha * floats(f"layer {a.call.where}", weight)
    operands: list[Operand] = [weight, value] if left else [value, weight]
    product = _matmul(dataclasses.replace(a, operands=operands))
    offset = a.operands[2] if len(a.operands) > 2 else None
    if offset is None or beta == 0.0:
        return product
    if isinstance(offset, Tensor):
        scaled = offset if beta == 1.0 else a.scaled(offset, beta, 0.0)
        return a.total([product, scaled], [1, 1])
    constant = beta * floats(f"layer {a.call.where}", offset)
    return added(dataclasses.replace(a, operands=[product, constant]))


def _transposed(a: Arithmetic, value: Tensor) -> Tensor:
    if a.call.apart:
        raise a.call.refuse("that transposes its input", "it would mix samples")
    index = np.arange(size_of(value.shape)).reshape(value.shape).T.reshape(-1)
    step = a.steps.gather(
        a.call.where, [value.step], np.zeros(index.size, np.int64), index, np.zeros(index.size)
    )
    return Tensor(step, value.shape[::-1])


def _batch_normalization(a: Arithmetic) -> Tensor:
    attributes, call = a.call.attributes, a.call
    legacy = call.opset < 7 and not attributes.get("is_test", 0)
    training = attributes.get("training_mode", 0) or legacy or not attributes.get("spatial", 1)
    if training or call.outputs > 1:
        raise call.refuse("in training mode", "export the model in evaluation mode")
    gain, shift, mean, variance = (a.constant(k).reshape(-1) for k in range(1, 5))
    scale, offset = normalisation(gain, shift, mean, variance, attributes.get("epsilon", 1e-5))
    value = a.value(0)
    channels = (scale.size,) + (1,) * (len(value.shape) - 2)
    shape = value.shape
    if len(shape) < 2 or scale.size not in (1, shape[1]):
        raise call.refuse(f"of {scale.size} channels for samples of shape {shape[1:]}")
    pair = [np.broadcast_to(v.reshape(channels), shape).reshape(-1) for v in (scale, offset)]
    return a.scaled(value, *pair)


def _axes(a: Arithmetic) -> tuple[Tensor, list[int]]:
    """The value and the axes that are reduced; none where the node leaves its value alone."""
    value, call = a.value(0), a.call
    rank = len(value.shape)
    given = call.integers("axes", 1)
    if not given and call.attributes.get("noop_with_empty_axes", 0):
        return value, []
    return value, sorted({call.axis(k, rank) for k in (given or range(rank))})


def _groups(a: Arithmetic, value: Tensor, axes: list[int]) -> tuple[np.ndarray, Any, tuple[int, ...]]:
    """(the group of each entry, how many, the shape of the result)."""
    kept = tuple(1 if k in axes else n for k, n in enumerate(value.shape))
    a.call.spend(a.call.where, size_of(value.shape))
    group = np.broadcast_to(np.arange(size_of(kept)).reshape(kept), value.shape).reshape(-1)
    without = tuple(n for k, n in enumerate(value.shape) if k not in axes)
    return group, size_of(kept), kept if a.call.attributes.get("keepdims", 1) else without


def _reduced(a: Arithmetic, mean: bool) -> Tensor:
    """Sums or means along axes, as a sparse matrix."""
    value, axes = _axes(a)
    if not axes:
        return value
    group, count, shape = _groups(a, value, axes)
    each = 1.0 / (group.size // count) if mean else 1.0
    entries = (np.full(group.size, each), (group, np.arange(group.size)))
    matrix = sp.csr_array(sp.coo_array(entries, shape=(count, group.size)))
    return Tensor(a.steps.affine(a.call.where, value.step, matrix), shape)


def _extreme(a: Arithmetic, sign: float) -> Tensor:
    """The largest or smallest entry along axes."""
    value, axes = _axes(a)
    if not axes:
        return value
    group, count, shape = _groups(a, value, axes)
    order = np.argsort(group, kind="stable").reshape(count, -1)
    given = value if sign > 0 else a.scaled(value, -1.0, 0.0)
    found = Tensor(a.steps.largest(a.call.where, given.step, list(order)), shape)
    return found if sign > 0 else a.scaled(found, -1.0, 0.0)


def _reduced_l1(a: Arithmetic) -> Tensor:
    sizes = Tensor(a.steps.activation(a.call.where, a.value(0).step, Abs()), a.value(0).shape)
    return _reduced(dataclasses.replace(a, operands=[sizes, *a.operands[1:]]), mean=False)


def _running_sum(a: Arithmetic) -> Tensor:
    value, options = a.value(0), a.call.attributes
    axis = a.call.axis((a.call.integers("axis", 1) or [0])[0], len(value.shape))
    n = value.shape[axis]
    matrix = np.tril(np.ones((n, n)), -1 if options.get("exclusive", 0) else 0)
    matrix = matrix.T if options.get("reverse", 0) else matrix
    wide = blocks(a, matrix, size_of(value.shape[:axis]), size_of(value.shape[axis + 1 :]))
    return Tensor(a.steps.affine(a.call.where, value.step, wide), value.shape)


def _mul(a: Arithmetic) -> Tensor:
    if a.both():
        return gated(a)
    value, constant, _ = a.pair()
    return a.scaled(value, constant, 0.0)


def _of_pixels(of_axes: Callable[[Arithmetic], Tensor]) -> Callable[[Arithmetic], Tensor]:
    """An operator along all axes after the channels."""

    def operator(a: Arithmetic) -> Tensor:
        axes = list(range(2, len(a.value(0).shape)))
        if not axes:
            raise a.call.refuse(f"of samples of shape {a.value(0).shape[1:]}")
        call = dataclasses.replace(a.call, attributes={"axes": axes})
        return of_axes(dataclasses.replace(a, call=call))

    return operator


LINEAR: dict[str, Callable[[Arithmetic], Tensor]] = {
    "BatchNormalization": _batch_normalization,
    "CumSum": _running_sum,
    "Gemm": _gemm,
    "GlobalAveragePool": _of_pixels(lambda a: _reduced(a, mean=True)),
    "GlobalMaxPool": _of_pixels(lambda a: _extreme(a, 1.0)),
    "MatMul": _matmul,
    "Mul": _mul,
    "ReduceL1": _reduced_l1,
    "ReduceMax": lambda a: _extreme(a, 1.0),
    "ReduceMean": lambda a: _reduced(a, mean=True),
    "ReduceMin": lambda a: _extreme(a, -1.0),
    "ReduceSum": lambda a: _reduced(a, mean=False),
}
