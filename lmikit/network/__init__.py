"""Networks: linear maps, slope-restricted activations, the linear fractional form."""

from ._activation_base import Activation, Slopes
from ._activations import resolve_activation
from ._balancing import balanced_neurons
from ._compound_maps import ProductMap, SelectMap, StackMap, SumMap, TransposedMap, identity_map
from ._fractional import LinearFractional, linear_fractional
from ._lower import LowerBound, lower_bound
from ._maps import AbstractLinearMap, DenseMap, SparseMap
from ._network import Layer, Network
from ._piecewise import ELU, Abs, Hardswish, Hardtanh, Identity, LeakyReLU, PReLU, ReLU
from ._reduction import Reduction, reduce
from ._scaling import normalise, with_scaled_layers
from ._smooth import GELU, Mish, Sigmoid, SiLU, Sin, Softplus, Tanh
from ._vertices import vertex_maximum

__all__ = [
    "ELU",
    "GELU",
    "Abs",
    "AbstractLinearMap",
    "Activation",
    "DenseMap",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "Layer",
    "LeakyReLU",
    "LinearFractional",
    "LowerBound",
    "Mish",
    "Network",
    "PReLU",
    "ProductMap",
    "ReLU",
    "Reduction",
    "SelectMap",
    "SiLU",
    "Sigmoid",
    "Sin",
    "Slopes",
    "Softplus",
    "SparseMap",
    "StackMap",
    "SumMap",
    "Tanh",
    "TransposedMap",
    "balanced_neurons",
    "identity_map",
    "linear_fractional",
    "lower_bound",
    "normalise",
    "reduce",
    "resolve_activation",
    "vertex_maximum",
    "with_scaled_layers",
]
