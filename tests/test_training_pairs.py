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


GAINS = {a: T.TrainableMultipliers(a) for a in ("relu", "abs", "tanh")}


def trained_arrays(dims, seed, gain):
    rng = np.random.default_rng(seed)
    weights = gain.start(T.initial_weights(dims, seed))
    return [w + 0.2 * rng.standard_normal(w.shape) for w in weights]


@settings(max_examples=12)
@given(seeds, st.sampled_from(DIMS), st.sampled_from(sorted(GAINS)))
def test_multipliers_are_differentiated_with_the_weights(seed, dims, activation):
    weights = trained_arrays(dims, seed, GAINS[activation])
    rng = np.random.default_rng(seed + 1)
    c = rng.random((dims[-1], dims[-1]))
    L, pull = GAINS[activation](weights)
    gradients = pull(c)

    def value(move):
        return float((c * GAINS[activation](move)[0]).sum())

    for k, own in gradients.items():
        direction = rng.standard_normal(weights[k].shape)
        ahead, behind = (
            value([w + s * 1e-6 * direction if i == k else w for i, w in enumerate(weights)]) for s in (1, -1)
        )
        kink = abs(ahead + behind - 2.0 * (c * L).sum()) / 1e-6  # where an eigenvalue is double
        assert abs((ahead - behind) / 2e-6 - float((own * direction).sum())) <= 1e-4 * (1.0 + L.sum()) + kink


@settings(max_examples=6)
@given(seeds, st.sampled_from(DIMS), st.sampled_from(sorted(GAINS)))
def test_whatever_the_multipliers_their_bound_is_proven(seed, dims, activation):
    gain = GAINS[activation]
    weights = trained_arrays(dims, seed, gain)
    L, _ = gain(weights)
    network = T.dense_network(gain.split(weights)[0], activation)
    proven = lmikit.pairwise_bounds(network, witnesses=gain.witnesses(weights))
    assert (proven.bounds <= L * (1.0 + 1e-7)).all()  # the proof may find a better one


@settings(max_examples=3, deadline=None)
@given(seeds)
def test_training_them_alone_leads_to_the_optimum(seed):
    gain = T.TrainableMultipliers()
    weights = T.initial_weights((5, 6, 4, 3), seed)
    fixed = len(weights)

    def sum_of_bounds(arrays):
        L, pull = gain([*weights, *arrays])
        gradients = pull(np.ones_like(L))
        return float(L.sum()), [gradients[k] for k in range(fixed, fixed + len(arrays))]

    adam = T.Adam(learning_rate=0.05, decay="cosine")
    found = T.sgd(sum_of_bounds, gain.start(weights)[fixed:], steps=400, optimiser=adam).weights
    least = T.pairwise_gradient(T.dense_network(weights)).L
    L, _ = gain([*weights, *found])
    ratio = (L / np.where(least > 0.0, least, 1.0))[np.triu_indices(3, 1)]
    assert ratio.min() >= 1.0 - 1e-6
    assert ratio.max() <= 1.02


@settings(max_examples=4)
@given(seeds, st.sampled_from(DIMS), st.sampled_from(sorted(GAINS)))
def test_a_start_from_the_optimum_is_the_optimum(seed, dims, activation):
    gain, weights = GAINS[activation], T.initial_weights(dims, seed)
    solved = T.pairwise_gradient(T.dense_network(weights, activation))
    L, _ = gain(gain.start(weights, solved.witnesses))
    assert (L <= solved.L * (1.0 + 1e-3)).all()
    assert (solved.L * (1.0 - 1e-6) <= L).all()


def test_single_precision_and_equal_rows():
    gain = T.TrainableMultipliers()
    weights = T.initial_weights((5, 6, 4, 3), 2, np.float32)
    weights[4][1] = weights[4][0]
    X, y = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32), np.arange(20) % 3
    callback = T.DenseLoss(X, y, T.WorstCaseLogits(0.3), gain=gain)
    found = T.sgd(callback, gain.start(weights), steps=5).weights
    assert {w.dtype for w in found} == {np.dtype(np.float32)}
    assert all(np.isfinite(w).all() for w in found)
    with pytest.raises(InputError, match="what `start` returns"):
        gain(weights)
    with pytest.raises(lmikit.OptionError, match="expected one of"):
        T.TrainableMultipliers("sine")


def traced_case(activation, dims):
    weights = trained_arrays(dims, 1, GAINS[activation])
    c = np.random.default_rng(0).random((dims[-1], dims[-1]))
    L, pull = GAINS[activation](weights)
    return weights, c, L, pull(c)


CASES = [("relu", (5, 6, 4, 3)), ("abs", (5, 4, 3))]


@pytest.mark.parametrize("case", CASES)
def test_torch_sees_the_same_bounds_and_gradients(case):
    torch = pytest.importorskip("torch")
    weights, c, L, own = traced_case(*case)
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    found = T.pairwise_gains(tensors, case[0])
    assert np.allclose(found.detach().numpy(), L, rtol=1e-10)
    (found * torch.tensor(c)).sum().backward()
    assert all(np.allclose(tensors[k].grad.numpy(), g, rtol=1e-7, atol=1e-9) for k, g in own.items())
    assert np.allclose(T.pairwise_gains(weights, case[0]), L, rtol=1e-10)
    with pytest.raises(InputError, match="0 multipliers"):
        T.pairwise_gains(tensors[: 2 * len(case[1]) - 2])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_jax_sees_the_same_bounds_and_gradients(case):
    jax = pytest.importorskip("jax")
    weights, c, L, own = traced_case(*case)

    def weighted(arrays):
        return (T.pairwise_gains(arrays, case[0]) * c).sum()

    with jax.enable_x64(True):
        value, there = jax.value_and_grad(weighted)([jax.numpy.asarray(w) for w in weights])
    assert abs(float(value) - float((c * L).sum())) <= 1e-9 * L.sum()
    assert all(np.allclose(there[k], g, rtol=1e-7, atol=1e-9) for k, g in own.items())
