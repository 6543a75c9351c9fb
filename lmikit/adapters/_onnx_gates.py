"""Products of two values that are activations written out: x sigmoid(x), x (1 + erf(x / sqrt 2)) and others.

No other product of values is globally Lipschitz. A constant inside, z = c x, is kept as it stands:
x phi(c x) = (1/c) z phi(z), a scaling before and after the activation.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from ..network import GELU, Activation, Erf, Hardswish, Hardtanh, Mish, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from ._onnx_values import Arithmetic, Tensor
from ._steps import ActivationStep, ScalingStep, Steps

__all__ = ["gated"]

# What a gate is: the activation, its factor on z = c x, and the factor of the product.
_Found = tuple[Activation, Any, Any]


def gated(a: Arithmetic) -> Tensor:
    """The activation that the product of two values writes out; raises InputError for any other product."""
    values = a.value(0), a.value(1)
    moved = [a.steps.permutation(v.step) for v in values]
    if moved[0] is not None and moved[1] is not None and np.array_equal(moved[0].index, moved[1].index):
        before = [Tensor(m.parents[0], (m.size,)) for m in moved if m is not None]
        inner, first = gated(dataclasses.replace(a, operands=[*before])), moved[0]
        step = a.steps.gather(a.call.where, [inner.step], first.which, first.index, first.fill)
        return Tensor(step, values[0].shape)
    if values[0].shape == values[1].shape:
        for x, gate in (values, values[::-1]):
            for base, factor in _bases(a.steps, x.step):
                found = _gate(a.steps, gate.step, base)
                if found is not None:
                    return _written(a, Tensor(base, x.shape), factor, found)
    raise a.call.refuse(
        "of two values", "a product has no global Lipschitz constant: pass output= of a value before"
    )


def _written(a: Arithmetic, base: Tensor, factor: Any, found: _Found) -> Tensor:
    activation, inner, outer = found
    ones = bool(np.all(np.asarray(inner) == 1.0))
    given = base if ones else a.scaled(base, inner, 0.0)
    applied = Tensor(a.steps.activation(a.call.where, given.step, activation), base.shape)
    last = np.asarray(factor) * outer / inner
    return applied if bool(np.all(last == 1.0)) else a.scaled(applied, last, 0.0)


def _bases(steps: Steps, step: int) -> list[tuple[int, Any]]:
    """(step, factor): the value is factor times that step's."""
    recorded = steps.steps[step]
    result: list[tuple[int, Any]] = [(step, 1.0)]
    if isinstance(recorded, ScalingStep) and not recorded.offset.any():
        result.append((recorded.parents[0], recorded.scale))
    return result


def _scaled(steps: Steps, step: int) -> tuple[Any, Any, int]:
    recorded = steps.steps[step]
    if isinstance(recorded, ScalingStep):
        return recorded.scale, recorded.offset, recorded.parents[0]
    return 1.0, 0.0, step


def _inside(steps: Steps, step: int, base: int) -> tuple[Any, Any] | None:
    """(c, o) where the step is c x + o of the base."""
    if step == base:
        return 1.0, 0.0
    scale, offset, parent = _scaled(steps, step)
    return (scale, offset) if parent == base and np.all(scale != 0.0) else None


def _gate(steps: Steps, step: int, base: int) -> _Found | None:
    outer, moved, place = _scaled(steps, step)
    recorded = steps.steps[place]
    if not isinstance(recorded, ActivationStep):
        return None
    activation, parent = recorded.activation, steps.steps[recorded.parents[0]]
    if isinstance(activation, Tanh) and isinstance(parent, ActivationStep):
        plain = parent.activation
        soft = isinstance(plain, Softplus) and plain.beta == 1.0 and parent.parents == (base,)
        return (Mish(), 1.0, outer) if soft and not np.any(moved) else None
    inside = _inside(steps, recorded.parents[0], base)
    return None if inside is None else _known(activation, *inside, outer, moved)


def _known(activation: Activation, c: Any, o: Any, outer: Any, moved: Any) -> _Found | None:
    if isinstance(activation, Sigmoid) and not np.any(o) and not np.any(moved):
        return SiLU(), c, outer
    if isinstance(activation, Erf) and not np.any(o) and np.all(np.asarray(moved) == outer):
        return GELU(), c * math.sqrt(2.0), 2.0 * outer
    if isinstance(activation, ReLU6):
        activation = Hardtanh(0.0, 6.0)
    if not isinstance(activation, Hardtanh) or activation.min_val != 0.0 or np.any(moved):
        return None
    if activation.max_val == 1.0 and np.all(np.asarray(o) == 0.5):
        return Hardswish(), 6.0 * c, outer
    if activation.max_val == 6.0 and np.all(np.asarray(o) == 3.0):
        return Hardswish(), c, 6.0 * outer
    return None
