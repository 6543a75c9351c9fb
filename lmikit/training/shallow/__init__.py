"""Convex training of shallow ReLU networks, and the reduction of their Lipschitz constants."""

from ._convex import convex_shallow
from ._reduce import reduce_lipschitz
from ._result import ShallowResult, ShallowStep

__all__ = ["ShallowResult", "ShallowStep", "convex_shallow", "reduce_lipschitz"]
