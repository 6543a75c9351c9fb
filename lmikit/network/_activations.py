"""The registry of activations: lower-case names as torch spells them, and nothing by default."""

import dataclasses
from typing import Any

from .._errors import InputError
from ._activation_base import Activation, Slopes
from ._more_activations import (
    CELU,
    SELU,
    Atan,
    Cos,
    Erf,
    Hardsigmoid,
    LogSigmoid,
    ReLU6,
    Softshrink,
    Softsign,
    Tanhshrink,
)
from ._piecewise import ELU, Abs, Hardswish, Hardtanh, Identity, LeakyReLU, PReLU, ReLU
from ._smooth import GELU, Mish, Sigmoid, SiLU, Sin, Softplus, Tanh

__all__ = ["ACTIVATIONS", "resolve_activation"]

_ALL: tuple[type[Activation], ...] = (
    Identity, ReLU, LeakyReLU, PReLU, ELU, Softplus, Tanh, Sigmoid, GELU, SiLU, Mish, Hardswish, Hardtanh,
    Abs, Sin, ReLU6, SELU, CELU, Softsign, Hardsigmoid, LogSigmoid, Softshrink, Tanhshrink, Cos, Atan, Erf,
    Slopes,
)  # fmt: skip

ACTIVATIONS: dict[str, type[Activation]] = {a.name: a for a in _ALL}


def resolve_activation(value: Any) -> Activation:
    """An `Activation` from an instance or a lower-case name (default parameters).

    Raises InputError for anything else: an unknown activation has no known slope bounds.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, type) and issubclass(value, Activation):
        raise InputError(
            f"activation is the class {value.__name__}; expected an instance: {value.__name__}(...)."
        )
    if value == "hardshrink":
        raise InputError(
            "hardshrink jumps at -lambd and lambd, so no Lipschitz constant covers it; softshrink does not."
        )
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise InputError(
            f"activation is {value!r}; expected one of {', '.join(sorted(ACTIVATIONS))}, or an instance "
            "such as Slopes(alpha, beta). An unknown activation has no known slope bounds."
        )
    missing = required_parameters(ACTIVATIONS[value])
    if missing:
        name = ACTIVATIONS[value].__name__
        raise InputError(
            f"activation {value!r} needs parameters; pass an instance: {name}({', '.join(missing)})."
        )
    return ACTIVATIONS[value]()


def required_parameters(kind: type[Activation]) -> list[str]:
    """Names of the parameters without a default."""
    return [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
