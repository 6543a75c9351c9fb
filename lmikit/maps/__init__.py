"""Linear maps as objects: matrices, selections, stacks, sums (`+`), products (`@`), transposes (`.T`)."""

from ..network import (
    AbstractLinearMap,
    DenseMap,
    ProductMap,
    SelectMap,
    SparseMap,
    StackMap,
    SumMap,
    TransposedMap,
    identity_map,
)

__all__ = [
    "AbstractLinearMap",
    "DenseMap",
    "ProductMap",
    "SelectMap",
    "SparseMap",
    "StackMap",
    "SumMap",
    "TransposedMap",
    "identity_map",
]
