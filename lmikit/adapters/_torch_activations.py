"""torch's activations by class, function and method name; whatever is not here is refused."""

from collections.abc import Callable
from typing import Any

from .._errors import InputError
from ..network import (
    ELU,
    GELU,
    Abs,
    Activation,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Tanh,
)

__all__ = ["activation_functions", "activation_modules"]

_LEAST_THRESHOLD = 20.0  # from there on torch's jump to the identity is below 2.1e-9 / beta


def _softplus(beta: float, threshold: float) -> Activation:
    if threshold < _LEAST_THRESHOLD:
        raise InputError(
            f"a softplus has threshold {threshold}; expected at least 20: torch's step to the identity "
            "there is a jump, which no Lipschitz bound covers."
        )
    return Softplus(beta)


def activation_modules(torch: Any) -> dict[type, Callable[[Any, Any], Activation]]:
    """By exact class: (module, function from tensor to array) -> activation."""
    nn = torch.nn
    return {
        nn.ReLU: lambda m, _: ReLU(),
        nn.ReLU6: lambda m, _: Hardtanh(0.0, 6.0),
        nn.LeakyReLU: lambda m, _: LeakyReLU(m.negative_slope),
        nn.PReLU: lambda m, array: PReLU(array(m.weight)),
        nn.ELU: lambda m, _: ELU(m.alpha),
        nn.Softplus: lambda m, _: _softplus(m.beta, m.threshold),
        nn.Tanh: lambda m, _: Tanh(),
        nn.Sigmoid: lambda m, _: Sigmoid(),
        nn.GELU: lambda m, _: GELU(m.approximate),
        nn.SiLU: lambda m, _: SiLU(),
        nn.Mish: lambda m, _: Mish(),
        nn.Hardswish: lambda m, _: Hardswish(),
        nn.Hardtanh: lambda m, _: Hardtanh(m.min_val, m.max_val),
    }


Signature = tuple[tuple[tuple[str, Any], ...], Callable[..., Activation]]


def activation_functions(torch: Any) -> tuple[dict[Any, Signature], dict[str, Callable[[], Activation]]]:
    """Functions with their parameters (name, default), and tensor methods without parameters."""
    functional = torch.nn.functional
    inplace = ("inplace", False)
    plain: dict[str, Callable[[], Activation]] = {
        "relu": ReLU,
        "tanh": Tanh,
        "sigmoid": Sigmoid,
        "abs": Abs,
        "sin": Sin,
    }
    functions: dict[Any, Signature] = {
        getattr(torch, name): ((), lambda kind=kind: kind()) for name, kind in plain.items()
    }
    functions |= {
        functional.relu: ((inplace,), lambda _: ReLU()),
        functional.relu6: ((inplace,), lambda _: Hardtanh(0.0, 6.0)),
        functional.tanh: ((), Tanh),
        functional.sigmoid: ((), Sigmoid),
        functional.leaky_relu: ((("negative_slope", 0.01), inplace), lambda s, _: LeakyReLU(s)),
        functional.prelu: ((("weight", None),), PReLU),
        functional.elu: ((("alpha", 1.0), inplace), lambda a, _: ELU(a)),
        functional.softplus: ((("beta", 1.0), ("threshold", 20.0)), _softplus),
        functional.gelu: ((("approximate", "none"),), GELU),
        functional.silu: ((inplace,), lambda _: SiLU()),
        functional.mish: ((inplace,), lambda _: Mish()),
        functional.hardswish: ((inplace,), lambda _: Hardswish()),
        functional.hardtanh: (
            (("min_val", -1.0), ("max_val", 1.0), inplace),
            lambda low, high, _: Hardtanh(low, high),
        ),
    }
    methods = {**plain, **{f"{name}_": kind for name, kind in plain.items()}}
    return functions, methods
