"""Layers that are 1-Lipschitz for every value of their parameters, for torch, JAX and optax."""

from ._optax import orthogonal_updates
from ._torch import activation, aol, cayley, keep_orthogonal, make_orthogonal, sll
from ._weights import aol_kernel, aol_weight, cayley_weight, half_abs, max_min, sll_scales

__all__ = [
    "activation",
    "aol",
    "aol_kernel",
    "aol_weight",
    "cayley",
    "cayley_weight",
    "half_abs",
    "keep_orthogonal",
    "make_orthogonal",
    "max_min",
    "orthogonal_updates",
    "sll",
    "sll_scales",
]
