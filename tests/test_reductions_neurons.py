"""Neurons of very different scale: the balanced network, and bounds that do not depend on the scale."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import networks

from lmikit import ClosedForm, LayerScaling, LipSDP, Network, NeuronScaling, lipschitz
from lmikit.certificates import verify
from lmikit.reductions import NeuronPowers, prepare

METHODS = [ClosedForm(), LayerScaling(), NeuronScaling(), LipSDP()]


@st.composite
def rescaled_pairs(draw):
    """(a net with Gaussian weights, the same with every neuron scaled by its own power of two)."""
    network = draw(networks(min_hidden=1, max_hidden=3, max_width=6, kinds=("gaussian",)))
    # linear neurons, whose multipliers should be infinite, loosen proofs by themselves
    assume(all((alpha < beta).all() for alpha, beta in network.slopes))
    seed, spread = draw(st.integers(0, 2**32 - 1)), draw(st.integers(4, 25))
    rng = np.random.default_rng(seed)
    weights = [np.array(w) for w in network.weights]
    for k in range(network.hidden_layers):
        p = rng.integers(-spread, spread + 1, weights[k].shape[0])
        weights[k] = np.ldexp(weights[k], p[:, None])
        weights[k + 1] = np.ldexp(weights[k + 1], -p)
    slopes = [layer.activation for layer in network.layers[:-1]]
    return network, Network.from_arrays(weights, activation=slopes)


@settings(max_examples=40)
@given(rescaled_pairs())
def test_balancing_is_exact_and_evens_the_scales_out(pair):
    _, spread = pair
    found = NeuronPowers.apply(spread, True)
    if found is None:
        return
    balanced, powers = found.network, found.powers
    for k, weight in enumerate(spread.weights):
        row = powers[k] if k < len(powers) else np.zeros(weight.shape[0], int)
        column = powers[k - 1] if k else np.zeros(weight.shape[1], int)
        np.testing.assert_array_equal(np.ldexp(balanced.weights[k], row[:, None] - column), weight)
    again = NeuronPowers.apply(balanced, True)
    assert again is None or max(np.ptp(p) for p in again.powers) <= max(np.ptp(p) for p in powers)


@settings(max_examples=25)
@given(rescaled_pairs())
def test_the_exact_bound_does_not_depend_on_the_scale_of_neurons(pair):
    plain, spread = (lipschitz(network).bound for network in pair)
    assert spread == pytest.approx(plain, rel=2e-6, abs=0.0)


@settings(max_examples=10)
@given(rescaled_pairs())
def test_no_method_is_above_the_closed_form_on_widely_scaled_neurons(pair):
    closed = lipschitz(pair[1], ClosedForm()).bound
    for method in METHODS:
        assert lipschitz(pair[1], method).bound <= closed * (1 + 1e-7)


def test_a_neuron_of_no_weight_does_not_loosen_the_closed_form():
    """Its weights are 2**30 and 2**-30 times the others', its part of the function is no larger."""
    rng = np.random.default_rng(8)
    first, last = rng.standard_normal((20, 5)), rng.standard_normal((2, 20))
    even = lipschitz(Network.from_arrays([first, last]), ClosedForm()).bound
    first[0], last[:, 0] = first[0] * 2.0**30, last[:, 0] * 2.0**-30
    assert lipschitz(Network.from_arrays([first, last]), ClosedForm()).bound <= 1.2 * even


@settings(max_examples=25)
@given(rescaled_pairs())
def test_witnesses_of_the_balanced_network_are_proven_for_the_original(pair):
    prepared = prepare(pair[1], [NeuronPowers])
    witness = ClosedForm().propose(prepared.network)
    claimed = math.ldexp(math.sqrt(witness.rho), sum(witness.layer_pow2))
    assert verify(pair[1], prepared.undo(witness)).bound <= claimed * (1 + 1e-6)
