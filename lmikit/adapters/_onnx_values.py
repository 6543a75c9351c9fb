"""ONNX's operators that compute with values, entry by entry: each records steps and gives its output."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .._convert import floats
from ..network import Hardtanh, ReLU
from ._onnx_shapes import NodeCall
from ._steps import Steps, size_of

__all__ = ["ELEMENTWISE", "Arithmetic", "Operand", "Tensor", "added", "half_clip"]


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
    call: NodeCall
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


def added(a: Arithmetic) -> Tensor:
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
            total = added(dataclasses.replace(a, operands=[total, constant]))
    return total


def _neg(a: Arithmetic) -> Tensor:
    return a.scaled(a.value(0), -1.0, 0.0)


def _div(a: Arithmetic) -> Tensor:
    if a.both() or isinstance(a.operands[0], np.ndarray):
        raise a.call.refuse("that is not a division by nonzero constants")
    value, constant, _ = a.pair()
    if (constant == 0.0).any():
        raise a.call.refuse("that is not a division by nonzero constants")
    return a.scaled(value, 1.0 / constant, 0.0)


def _mean(a: Arithmetic) -> Tensor:
    return a.scaled(_sum(a), 1.0 / len(a.operands), 0.0)


def _pow(a: Arithmetic) -> Tensor:
    if not isinstance(a.operands[0], np.ndarray) and (a.constant(1) == 1).all():
        return a.pair()[0]
    raise a.call.refuse("other than to the power 1", "its slope grows without limit: pass output= before it")


def _larger(a: Arithmetic) -> Tensor:
    """max(x, c) = relu(x - c) + c and max(x, z) = z + relu(x - z)."""
    if a.both():
        difference = a.relu(a.total([a.value(0), a.value(1)], [1, -1]))
        return a.total([a.value(1), difference], [1, 1])
    value, constant, _ = a.pair()
    return a.scaled(a.relu(a.scaled(value, 1.0, -constant)), 1.0, constant)


def _smaller(a: Arithmetic) -> Tensor:
    """min(x, c) = c - relu(c - x) and min(x, z) = x - relu(x - z)."""
    if a.both():
        difference = a.relu(a.total([a.value(0), a.value(1)], [1, -1]))
        return a.total([a.value(0), difference], [1, -1])
    value, constant, _ = a.pair()
    return a.scaled(a.relu(a.scaled(value, -1.0, constant)), -1.0, constant)


def _each(of_two: Callable[[Arithmetic], Tensor]) -> Callable[[Arithmetic], Tensor]:
    """An operator of any number of operands, one after the other; values first."""

    def operator(a: Arithmetic) -> Tensor:
        ordered = sorted((o for o in a.operands if o is not None), key=lambda o: isinstance(o, np.ndarray))
        result = ordered[0]
        for operand in ordered[1:]:
            result = of_two(dataclasses.replace(a, operands=[result, operand]))
        return dataclasses.replace(a, operands=[result]).value(0)

    return operator


def half_clip(a: Arithmetic) -> Tensor | None:
    """A Clip with one limit; None where it has both (an activation) or none."""
    low, high = ([*a.operands, None, None])[1:3]
    low = a.call.attributes.get("min") if low is None else low
    high = a.call.attributes.get("max") if high is None else high
    if (low is None) == (high is None):
        return None if low is not None else a.value(0)
    limit = np.asarray(low if high is None else high)
    make = _larger if high is None else _smaller
    return make(dataclasses.replace(a, operands=[a.value(0), limit]))


def _hard_sigmoid(a: Arithmetic) -> Tensor:
    """clip(alpha x + beta, 0, 1)."""
    alpha, beta = a.call.attributes.get("alpha", 0.2), a.call.attributes.get("beta", 0.5)
    value = a.scaled(a.value(0), alpha, beta)
    return Tensor(a.steps.activation(a.call.where, value.step, Hardtanh(0.0, 1.0)), value.shape)


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


ELEMENTWISE: dict[str, Callable[[Arithmetic], Tensor]] = {
    "Add": added,
    "Div": _div,
    "Dropout": _dropout,
    "HardSigmoid": _hard_sigmoid,
    "LogSoftmax": _softmax,
    "Max": _each(_larger),
    "Mean": _mean,
    "Min": _each(_smaller),
    "Neg": _neg,
    "Pow": _pow,
    "Softmax": _softmax,
    "Sub": _sub,
    "Sum": _sum,
}
