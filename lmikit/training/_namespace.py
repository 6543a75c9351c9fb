"""Which framework an array is of: NumPy, torch or JAX. What follows is written once, for all of them."""

import importlib
from typing import Any

from .._errors import InputError

__all__ = ["eye_like", "namespace"]

_MODULES = {"numpy": "numpy", "torch": "torch", "jaxlib": "jax.numpy", "jax": "jax.numpy"}


def namespace(array: Any) -> Any:
    """numpy, torch or jax.numpy; raises InputError for what is no array of these, nor a tracer of one."""
    for base in type(array).__mro__:
        module = _MODULES.get(base.__module__.partition(".")[0])
        if module is not None:
            return importlib.import_module(module)
    raise InputError(f"got a {type(array).__name__}; expected torch tensors, JAX or NumPy arrays.")


def eye_like(xp: Any, square: Any) -> Any:
    """Identities with the shape, dtype and device of (..., n, n) arrays."""
    return xp.tril(xp.triu(xp.ones_like(square)))
