"""Attacks: inputs of a region with small margins or large losses, and exact refutations."""

from ._ascent import ascend
from ._conjunction import attack_conjunction, exact_outputs, sensitivities
from ._exact import exact_values, upper_values
from ._losses import pgd_attack
from ._margins import Attack, Attacked, attack_margins, settle

__all__ = [
    "Attack",
    "Attacked",
    "ascend",
    "attack_conjunction",
    "attack_margins",
    "exact_outputs",
    "exact_values",
    "pgd_attack",
    "sensitivities",
    "settle",
    "upper_values",
]
