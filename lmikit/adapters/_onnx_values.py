"""ONNX's operators that compute with values: each records steps and gives the value of its output."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from ..network import ReLU, Sigmoid, SiLU
from ._chain import normalisation
from ._onnx_shapes import Call
from ._steps import ActivationStep, Steps, size_of

__all__ = ["OPERATORS", "Arithmetic", "Tensor", "half_clip"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value that depends on the input: the number of its step, and its shape."""

    step: int
    shape: tuple[int, ...]


Operand = Tensor | np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Arithmetic:
    """What the operators need: the recorder, the node, and its operands as values, constants or None."""

    steps: Steps
    call: Call
    operands: list[Operand]

    def value(self, k: int) -> Tensor:
        operand = self.operands[k] if k < len(self.operands) else None
        if not isinstance(operand, Tensor):
            raise self.call.refuse("whose operands are not (value, constant)")
        return operand

    def constant(self, k: int) -> np.ndarray:
        operand = self.operands[k] if k < len(self.operands) else None
        if not isinstance(operand, np.ndarray):
            raise self.call.refuse("whose operands are not (value, constant)")
        return operand

    def pair(self) -> tuple[Tensor, np.ndarray, bool]:
        """(value, constant, whether the constant comes first), both spread to the common shape."""
        first = isinstance(self.operands[0], np.ndarray)
        value, constant = self.value(1 if first else 0), self.constant(0 if first else 1)
        legacy = self.call.attributes.get("axis")
        if self.call.opset < 7 and legacy is not None and not first:
            trailing = len(value.shape) - int(legacy) % max(len(value.shape), 1) - constant.ndim
            constant = constant.reshape(constant.shape + (1,) * max(trailing, 0))
        value = self.spread(value, self.common(value.shape, constant.shape, "a constant"))
        wide = np.broadcast_to(constant, value.shape)
        return value, floats(f"layer {self.call.where}", wide).reshape(-1), first

    def common(self, shape: tuple[int, ...], other: tuple[int, ...], what: str) -> tuple[int, ...]:
        try:
            result = np.broadcast_shapes(shape, other)
        except ValueError:
            result = None
        apart = self.call.apart
        if result is None or (apart and (len(result) != len(shape) or result[:1] != (1,))):
            shown = shape[1:] if apart else shape
            raise self.call.refuse(f"with {what} of shape {other} for samples of shape {shown}")
        return tuple(int(n) for n in result)

    def spread(self, value: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The value broadcast to `shape`."""
        if value.shape == shape:
            return value
        self.call.spend(self.call.where, size_of(shape))
        index = np.broadcast_to(np.arange(size_of(value.shape)).reshape(value.shape), shape).reshape(-1)
        step = self.steps.gather(
            self.call.where, [value.step], np.zeros(index.size, np.int64), index, np.zeros(index.size)
        )
        return Tensor(step, shape)

    def scaled(self, value: Tensor, scale: Any, offset: Any) -> Tensor:
        return Tensor(self.steps.scaling(self.call.where, value.step, scale, offset), value.shape)

    def relu(self, value: Tensor) -> Tensor:
        return Tensor(self.steps.activation(self.call.where, value.step, ReLU()), value.shape)

    def both(self) -> bool:
        return sum(isinstance(operand, Tensor) for operand in self.operands) > 1

    def total(self, values: list[Tensor], signs: list[int]) -> Tensor:
        """The signed sum of values, spread to their common shape."""
        shape = values[0].shape
        for v in values[1:]:
            apart = self.call.apart and len(v.shape) != len(shape)
            if apart:
                raise self.call.refuse(f"of values of shapes {shape} and {v.shape}")
            shape = self.common(shape, v.shape, "a value")
        wide = [self.spread(v, shape) for v in values]
        return Tensor(self.steps.sum(self.call.where, [v.step for v in wide], signs), shape)


def _add(a: Arithmetic) -> Tensor:
    if a.both():
        return a.total([a.value(0), a.value(1)], [1, 1])
    value, constant, _ = a.pair()
    return a.scaled(value, 1.0, constant)


def _sub(a: Arithmetic) -> Tensor:
    if a.both():
        return a.total([a.value(0), a.value(1)], [1, -1])
    value, constant, first = a.pair()
    return a.scaled(value, -1.0, constant) if first else a.scaled(value, 1.0, -constant)


def _sum(a: Arithmetic) -> Tensor:
    """Any number of operands, values and constants."""
    values = [v for v in a.operands if isinstance(v, Tensor)]
    total = values[0] if len(values) == 1 else a.total(values, [1] * len(values))
    for constant in a.operands:
        if isinstance(constant, np.ndarray):
            total = _add(dataclasses.replace(a, operands=[total, constant]))
    return total


def _neg(a: Arithmetic) -> Tensor:
    return a.scaled(a.value(0), -1.0, 0.0)


def _mul(a: Arithmetic) -> Tensor:
    if a.both():
        return _gated(a)
    value, constant, _ = a.pair()
    return a.scaled(value, constant, 0.0)


def _gated(a: Arithmetic) -> Tensor:
    """x sigmoid(x), which exporters write out; no other product of values is globally Lipschitz."""
    x, gate = a.value(0), a.value(1)
    for value, other in ((x, gate), (gate, x)):
        step = a.steps.steps[other.step]
        sigmoid = isinstance(step, ActivationStep) and isinstance(step.activation, Sigmoid)
        if sigmoid and step.parents == (value.step,) and value.shape == other.shape:
            return Tensor(a.steps.activation(a.call.where, value.step, SiLU()), value.shape)
    raise a.call.refuse(
        "of two values",
        "a product has no global Lipschitz constant: pass output= of a value before",
    )


def _div(a: Arithmetic) -> Tensor:
    if a.both() or isinstance(a.operands[0], np.ndarray):
        raise a.call.refuse("that is not a division by nonzero constants")
    value, constant, _ = a.pair()
    if (constant == 0.0).any():
        raise a.call.refuse("that is not a division by nonzero constants")
    return a.scaled(value, 1.0 / constant, 0.0)


def _max(a: Arithmetic) -> Tensor:
    """max(x, c) = relu(x - c) + c."""
    if len(a.operands) == 1:
        return a.value(0)
    if len(a.operands) != 2:
        raise a.call.refuse(f"of {len(a.operands)} operands", "write it as several of two")
    if a.both():  # max(x, z) = z + relu(x - z)
        difference = a.relu(a.total([a.value(0), a.value(1)], [1, -1]))
        return a.total([a.value(1), difference], [1, 1])
    value, constant, _ = a.pair()
    return a.scaled(a.relu(a.scaled(value, 1.0, -constant)), 1.0, constant)


def _min(a: Arithmetic) -> Tensor:
    """min(x, c) = c - relu(c - x)."""
    if len(a.operands) == 1:
        return a.value(0)
    if len(a.operands) != 2:
        raise a.call.refuse(f"of {len(a.operands)} operands", "write it as several of two")
    if a.both():  # min(x, z) = x - relu(x - z)
        difference = a.relu(a.total([a.value(0), a.value(1)], [1, -1]))
        return a.total([a.value(0), difference], [1, -1])
    value, constant, _ = a.pair()
    return a.scaled(a.relu(a.scaled(value, -1.0, constant)), -1.0, constant)


def half_clip(a: Arithmetic) -> Tensor | None:
    """A Clip with one limit; None where it has both (an activation) or none."""
    low, high = ([*a.operands, None, None])[1:3]
    low = a.call.attributes.get("min") if low is None else low
    high = a.call.attributes.get("max") if high is None else high
    if (low is None) == (high is None):
        return None if low is not None else a.value(0)
    limit = np.asarray(low if high is None else high)
    make = _max if high is None else _min
    return make(dataclasses.replace(a, operands=[a.value(0), limit]))


def _hard_sigmoid(a: Arithmetic) -> Tensor:
    """clip(alpha x + beta, 0, 1)."""
    from ..network import Hardtanh

    alpha, beta = a.call.attributes.get("alpha", 0.2), a.call.attributes.get("beta", 0.5)
    value = a.scaled(a.value(0), alpha, beta)
    return Tensor(a.steps.activation(a.call.where, value.step, Hardtanh(0.0, 1.0)), value.shape)


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
    step = a.steps.affine(a.call.where, value.step, _blocks(a, columns.T, rows, 1))
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
    matrix = _blocks(a, rows, size_of(outer), size_of(last))
    step = a.steps.affine(a.call.where, value.step, matrix)
    return Tensor(step, outer + weight.shape[:-1] + last)


def _squeezed(a: Arithmetic, weight: np.ndarray, rank: int) -> np.ndarray:
    """Without leading axes of size 1."""
    if weight.ndim > max(rank, 2):
        raise a.call.refuse(f"with a constant of shape {weight.shape}")
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    return weight


def _blocks(a: Arithmetic, weight: np.ndarray, before: int, after: int) -> Any:
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
    added = beta * floats(f"layer {a.call.where}", offset)
    return _add(dataclasses.replace(a, operands=[product, added]))


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


def _reduced(a: Arithmetic, mean: bool) -> Tensor:
    """Sums or means along axes, as a sparse matrix."""
    value, call = a.value(0), a.call
    rank = len(value.shape)
    given = call.integers("axes", 1)
    if not given and call.attributes.get("noop_with_empty_axes", 0):
        return value
    axes = sorted({call.axis(k, rank) for k in (given or range(rank))})
    kept = tuple(1 if k in axes else n for k, n in enumerate(value.shape))
    size = size_of(value.shape)
    call.spend(call.where, size)
    rows = np.broadcast_to(np.arange(size_of(kept)).reshape(kept), value.shape).reshape(-1)
    each = 1.0 / (size // size_of(kept)) if mean else 1.0
    matrix = sp.coo_array((np.full(size, each), (rows, np.arange(size))), shape=(size_of(kept), size))
    step = a.steps.affine(call.where, value.step, sp.csr_array(matrix))
    without = tuple(n for k, n in enumerate(value.shape) if k not in axes)
    return Tensor(step, kept if call.attributes.get("keepdims", 1) else without)


def _global_average(a: Arithmetic) -> Tensor:
    axes = list(range(2, len(a.value(0).shape)))
    if not axes:
        raise a.call.refuse(f"of samples of shape {a.value(0).shape[1:]}")
    call = dataclasses.replace(a.call, attributes={"axes": axes})
    return _reduced(dataclasses.replace(a, call=call), mean=True)


def _dropout(a: Arithmetic) -> Tensor:
    training = a.operands[2] if len(a.operands) > 2 else None
    legacy = a.call.opset < 7 and not a.call.attributes.get("is_test", 0)
    if legacy or isinstance(training, Tensor) or (training is not None and bool(np.any(training))):
        raise a.call.refuse("in training mode", "export the model in evaluation mode")
    return a.value(0)


def _softmax(a: Arithmetic) -> Tensor:
    value = a.value(0)
    rank = len(value.shape)
    axis = int(a.call.attributes.get("axis", 1 if a.call.opset < 13 else -1))
    if axis not in (1, -1, rank - 1):
        raise a.call.refuse(f"along axis {axis}")
    return Tensor(a.steps.softmax(a.call.where, value.step, a.call.kind), value.shape)


OPERATORS: dict[str, Callable[[Arithmetic], Tensor]] = {
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Div": _div,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "HardSigmoid": _hard_sigmoid,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Max": _max,
    "Min": _min,
    "Mul": _mul,
    "Neg": _neg,
    "ReduceMean": lambda a: _reduced(a, mean=True),
    "ReduceSum": lambda a: _reduced(a, mean=False),
    "Softmax": _softmax,
    "Sub": _sub,
    "Sum": _sum,
}
