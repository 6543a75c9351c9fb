"""Exact power-of-two normalisation of each layer.

Slope bounds do not change when an activation's argument and value are scaled alike, so
2**-p_k W_k has the same multiplier theory and L = 2**(sum p_k) times its constant.
"""

import dataclasses
import math

from .._errors import InputError
from ._network import Network

__all__ = ["normalise", "with_scaled_layers"]


def with_scaled_layers(network: Network, layer_pow2: tuple[int, ...]) -> Network:
    """The network with weights 2**-layer_pow2[k] * W_k, exact; biases are kept, not scaled.

    Its Lipschitz bound times 2**sum(layer_pow2) bounds the original one. It is for bounds
    only: with biases kept, its outputs are not the original ones. Raises InputError where
    scaling is not exact.
    """
    if not layer_pow2:
        return network
    if len(layer_pow2) != len(network.layers):
        raise InputError(f"layer_pow2 has {len(layer_pow2)} entries; expected {len(network.layers)}, one per linear map.")
    layers = tuple(
        dataclasses.replace(layer, linear=layer.linear.scaled(-p))
        for layer, p in zip(network.layers, layer_pow2, strict=True)
    )
    return Network(layers, network.input_dim)


def normalise(network: Network) -> tuple[Network, tuple[int, ...]]:
    """(network with every max |W_ij| in [1/2, 1), layer_pow2); zero layers keep power 0."""
    pow2 = tuple(math.frexp(layer.linear.largest_entry())[1] for layer in network.layers)
    return with_scaled_layers(network, pow2), pow2
