"""Networks: linear maps, slope-restricted activations, the linear fractional form."""

from ._activation_base import Activation, Slopes
from ._activations import resolve_activation
from ._compound_maps import ProductMap, SelectMap, StackMap, SumMap, TransposedMap, identity_map
from ._file_entries import read_npz_entries as read_npz_entries
from ._fractional import LinearFractional, linear_fractional
from ._lower import LowerBound, lower_bound
from ._maps import AbstractLinearMap, DenseMap, SparseMap
from ._maps import is_wide as is_wide
from ._maps import require_dense as require_dense
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
from ._network import Layer, Network
from ._perron import perron_weights as perron_weights
from ._piecewise import ELU, Abs, Hardswish, Hardtanh, Identity, LeakyReLU, PReLU, ReLU
from ._scaling import normalise, with_scaled_layers
from ._smooth import GELU, Mish, Sigmoid, SiLU, Sin, Softplus, Tanh
from ._vertices import vertex_maximum

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Abs",
    "AbstractLinearMap",
    "Activation",
    "Atan",
    "Cos",
    "DenseMap",
    "Erf",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "Layer",
    "LeakyReLU",
    "LinearFractional",
    "LogSigmoid",
    "LowerBound",
    "Mish",
    "Network",
    "PReLU",
    "ProductMap",
    "ReLU",
    "ReLU6",
    "SelectMap",
    "SiLU",
    "Sigmoid",
    "Sin",
    "Slopes",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SparseMap",
    "StackMap",
    "SumMap",
    "Tanh",
    "Tanhshrink",
    "TransposedMap",
    "identity_map",
    "linear_fractional",
    "lower_bound",
    "normalise",
    "resolve_activation",
    "vertex_maximum",
    "with_scaled_layers",
]
