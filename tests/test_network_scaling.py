"""Exact power-of-two normalisation, also where the exponent range of float64 is at its end."""

import numpy as np
import pytest
from hypothesis import given
from strategies import networks

from lmikit import InputError, Network
from lmikit.network import normalise, with_scaled_layers


@given(networks(layer_pow2=400))
def test_normalisation_is_exact(network):
    scaled, pow2 = normalise(network)
    for before, after, p in zip(network.weights, scaled.weights, pow2, strict=True):
        np.testing.assert_array_equal(np.ldexp(after, p), before)
        largest = np.abs(after).max()
        assert largest == 0.0 or 0.5 <= largest < 1.0
    again = with_scaled_layers(network, pow2)
    assert again.digest == scaled.digest
    assert with_scaled_layers(network, ()) is network


@pytest.mark.parametrize(
    "weight",
    [
        [[1e300, 5e-324]],
        [[1e300, 3e-300]],
        [[5e-324, 1e-320]],
        [[1.7e308, 0.0]],
        [[2.0**1000, 2.0**-100 + 2.0**-150]],
    ],
)
def test_normalisation_of_extreme_layers_keeps_every_bit(weight):
    weight = np.array(weight)
    scaled, (p,) = normalise(Network.from_arrays([weight]))
    np.testing.assert_array_equal(np.ldexp(scaled.weights[0], p), weight)
    if p:
        with np.errstate(over="ignore"):
            bigger = np.ldexp(weight, -(p + 1))
        assert np.abs(scaled.weights[0]).max() < 1.0 or not np.array_equal(np.ldexp(bigger, p + 1), weight)


def test_inexact_scaling_is_refused():
    network = Network.from_arrays([[[1.0, 1e-300]]])
    with pytest.raises(InputError, match="not exact"):
        with_scaled_layers(network, (200,))
    with pytest.raises(InputError, match="not exact"):
        with_scaled_layers(network, (-1025,))
    with pytest.raises(InputError, match="layer_pow2 has 2 entries; expected 1"):
        with_scaled_layers(network, (1, 2))
