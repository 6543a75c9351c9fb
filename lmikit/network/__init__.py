"""Networks: linear maps, slope-restricted activations, the linear fractional form."""

from ._activations import Activation, Identity, LeakyReLU, ReLU, Slopes, Tanh, resolve_activation
from ._maps import AbstractLinearMap, DenseMap, SparseMap
from ._network import Layer, Network
from ._scaling import normalise, with_scaled_layers

__all__ = [
    "AbstractLinearMap",
    "Activation",
    "DenseMap",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Network",
    "ReLU",
    "Slopes",
    "SparseMap",
    "Tanh",
    "normalise",
    "resolve_activation",
    "with_scaled_layers",
]
