"""JAX's activations by function object, with keyword arguments bound by `functools.partial`."""

import functools
from collections.abc import Callable
from typing import Any

from ..network import (
    ELU,
    GELU,
    Abs,
    Activation,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Tanh,
)

__all__ = ["function_name", "jax_activation"]


def _table(jax: Any) -> dict[Any, Callable[..., Activation]]:
    nn = jax.nn
    return {
        nn.relu: ReLU,
        nn.relu6: lambda: Hardtanh(0.0, 6.0),
        nn.leaky_relu: lambda negative_slope=0.01: LeakyReLU(negative_slope),
        nn.elu: lambda alpha=1.0: ELU(alpha),
        nn.softplus: Softplus,
        nn.sigmoid: Sigmoid,
        jax.lax.logistic: Sigmoid,
        nn.tanh: Tanh,
        jax.numpy.tanh: Tanh,
        jax.lax.tanh: Tanh,
        nn.gelu: lambda approximate=True: GELU("tanh" if approximate else "none"),
        nn.silu: SiLU,
        nn.mish: Mish,
        nn.hard_swish: Hardswish,
        nn.hard_tanh: Hardtanh,
        nn.identity: Identity,
        jax.numpy.abs: Abs,
        jax.numpy.sin: Sin,
    }


def jax_activation(jax: Any, function: Any) -> Activation | None:
    """The activation that a JAX function computes; None where it is not known."""
    keywords: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        if function.args:
            return None
        function, keywords = function.func, function.keywords
    try:
        make = _table(jax).get(function)
        return None if make is None else make(**keywords)
    except TypeError:  # an unhashable callable, or a keyword that the function does not have
        return None


def function_name(function: Any) -> str:
    """What a refusal calls a function."""
    module = getattr(function, "__module__", "") or ""
    return f"{module}.{getattr(function, '__qualname__', None) or type(function).__name__}".lstrip(".")
