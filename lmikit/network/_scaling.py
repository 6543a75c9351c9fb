"""Exact power-of-two normalisation of each layer.

Slope bounds do not change when an activation's argument and value are scaled alike, so
2**-p_k W_k has the same multiplier theory and L = 2**(sum p_k) times its constant.
"""

import math

import numpy as np

from .._errors import InputError
from ._maps import AbstractLinearMap
from ._network import Network

__all__ = ["normalise", "with_scaled_layers"]

_SMALLEST_NORMAL = -1021  # the frexp exponent of 2**-1022
_SMALLEST_BIT = -1074  # 2**-1074 is the smallest positive float64


def with_scaled_layers(network: Network, layer_pow2: tuple[int, ...]) -> Network:
    """The network with weights 2**-layer_pow2[k] * W_k, exact; biases are kept, not scaled.

    Its Lipschitz bound times 2**sum(layer_pow2) bounds the original one. It is for bounds
    only: with biases kept, its outputs are not the original ones. Raises InputError where
    scaling is not exact.
    """
    if not layer_pow2:
        return network
    if len(layer_pow2) != len(network.layers):
        raise InputError(
            f"layer_pow2 has {len(layer_pow2)} entries; expected {len(network.layers)}, one per linear map."
        )
    layers = tuple(
        layer.with_map(layer.linear.scaled(-p)) for layer, p in zip(network.layers, layer_pow2, strict=True)
    )
    return Network(layers, network.input_dim)


def normalise(network: Network) -> tuple[Network, tuple[int, ...]]:
    """(network with every max |W_ij| in [1/2, 1), layer_pow2); zero layers keep power 0.

    Where a layer's entries span so many binades that this would push bits of the smallest
    below the subnormals, the nearest power that is exact is taken and the layer stays larger.
    """
    pow2 = tuple(_exact_power(layer.linear) for layer in network.layers)
    return with_scaled_layers(network, pow2), pow2


def _exact_power(linear: AbstractLinearMap) -> int:
    """The largest p, up to the exponent of the largest entry, for which 2**-p W is exact."""
    smallest, largest = linear.extremes()
    if largest == 0.0:
        return 0
    wanted = math.frexp(largest)[1]
    if math.frexp(smallest)[1] - wanted >= _SMALLEST_NORMAL:
        return wanted
    values = linear.nonzeros()
    mantissas, exponents = np.frexp(values)
    integers = np.abs(np.ldexp(mantissas, 53)).astype(np.int64)
    trailing = np.frexp((integers & -integers).astype(np.float64))[1] - 1
    lowest_bit = int((exponents - 53 + trailing).min())
    return min(wanted, lowest_bit - _SMALLEST_BIT)
