"""Bounds per pair of outputs in training: their gradients, and that what they export is proven."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError
from lmikit import training as T

seeds = st.integers(0, 2**32 - 1)
DIMS = [(4, 5, 3), (3, 6, 4, 3), (9, 4, 5, 3, 2)]


def matrices(dims, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((b, a)) / a**0.5 for a, b in itertools.pairwise(dims)]


def network_of(weights, activation="relu"):
    return lmikit.Network.from_arrays(weights, activation=activation)


@settings(max_examples=4)
@given(seeds, st.sampled_from(DIMS), st.sampled_from(["relu", "abs", "tanh"]))
def test_gradients_of_the_optimum_are_those_of_differences(seed, dims, activation):
    weights = matrices(dims, seed)
    found = T.pairwise_gradient(network_of(weights, activation))
    rng = np.random.default_rng(seed + 1)
    c = rng.random(found.L.shape)
    direction = [rng.standard_normal(w.shape) for w in weights]

    def value(size):
        moved = [w + size * d for w, d in zip(weights, direction, strict=True)]
        return float((c * T.pairwise_gradient(network_of(moved, activation)).L).sum())

    own = sum(float((g * d).sum()) for g, d in zip(found.pull(c), direction, strict=True))
    ahead, here, behind = value(1e-4), float((c * found.L).sum()), value(-1e-4)
    kink = abs(ahead - 2.0 * here + behind) / 1e-4  # of the optimum, where one-sided derivatives differ
    assert abs((ahead - behind) / 2e-4 - own) <= 1e-3 * (1.0 + abs(own)) + kink


@settings(max_examples=4)
@given(seeds, st.sampled_from(DIMS))
def test_its_witnesses_are_proven_without_a_solve_and_tight(seed, dims):
    network = network_of(matrices(dims, seed))
    found = T.pairwise_gradient(network)
    proven = lmikit.pairwise_bounds(network, witnesses=found.witnesses)
    assert (proven.bounds >= found.L * (1.0 - 1e-7)).all()
    assert (proven.bounds <= found.L * (1.0 + 1e-6)).all()
    solved = lmikit.pairwise_bounds(network, each_pair=True)
    assert (proven.bounds <= solved.bounds * (1.0 + 1e-6)).all()
    X = np.random.default_rng(seed).standard_normal((2, 50, dims[0]))
    moved = np.abs((network(X[0]) - network(X[1]))[:, :, None] - (network(X[0]) - network(X[1]))[:, None, :])
    assert (moved <= proven.bounds * np.linalg.norm(X[0] - X[1], axis=1)[:, None, None]).all()


def test_dead_neurons_equal_rows_and_scales():
    weights = matrices((5, 6, 4, 3), 1)
    weights[1][2] = 0.0  # a neuron without input
    weights[2][1] = weights[2][0]  # f_0 - f_1 is constant
    found = T.pairwise_gradient(network_of(weights))
    assert found.L[0, 1] == 0.0
    assert not any(g[0].any() for g in found.gradients)
    larger = T.pairwise_gradient(network_of([1e3 * weights[0], 1e-5 * weights[1], weights[2]]))
    assert np.allclose(larger.L, 1e-2 * found.L, rtol=1e-6)
    assert np.allclose(larger.gradients[0], 1e-5 * found.gradients[0], rtol=1e-4, atol=1e-9)


def test_multipliers_of_another_pair_prove_another_bound_or_none():
    network = network_of(matrices((4, 5, 3), 3))
    found = T.pairwise_gradient(network)
    swapped = lmikit.pairwise_bounds(network, witnesses=found.witnesses[::-1])
    assert (swapped.bounds >= found.L * (1.0 - 1e-7)).all()


def test_what_cannot_be_differentiated_is_refused():
    (weights,) = [matrices((4, 5, 3), 0)]
    with pytest.raises(InputError, match="at least 2"):
        T.pairwise_gradient(network_of([weights[0], weights[1][:1]]))
    with pytest.raises(InputError, match="alpha < beta"):
        T.pairwise_gradient(network_of(weights, "identity"))
    with pytest.raises(InputError, match="one per pair"):
        lmikit.pairwise_bounds(network_of(weights), witnesses=[])
