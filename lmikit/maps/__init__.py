"""Linear maps as objects: matrices, convolutions, selections, stacks, sums (`+`), products (`@`), `.T`."""

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
from ._convolution import Convolution2d, convolution1d, transposed_convolution2d
from ._pooling import average_pool2d, pooling_windows

__all__ = [
    "AbstractLinearMap",
    "Convolution2d",
    "DenseMap",
    "ProductMap",
    "SelectMap",
    "SparseMap",
    "StackMap",
    "SumMap",
    "TransposedMap",
    "average_pool2d",
    "convolution1d",
    "identity_map",
    "pooling_windows",
    "transposed_convolution2d",
]
