"""Bounds of gradients in the parameters: no sampled gradient on the region exceeds them, and they are met."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lmikit
from lmikit import InputError, OptionError, training
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.maps import Convolution2d

ROUNDING = 1.0 + 1e-10  # of the gradients below, computed in float64
ACTIVATIONS = {"relu": lmikit.ReLU(), "abs": lmikit.Abs(), "tanh": lmikit.Tanh(), "gelu": lmikit.GELU()}


def region_of(kind, rng, n):
    center, radius = rng.standard_normal(n), float(rng.uniform(0.05, 2.0))
    box = Box(center - rng.uniform(0.0, 1.0, n), center + rng.uniform(0.0, 1.0, n))
    if kind == "both":
        return BallAndBox(Ball(rng.uniform(box.lower, box.upper), radius + 1.0), box)
    return Ball(center, radius) if kind == "ball" else box


def samples(region, rng, count=60):
    if region.box is not None:
        corners = rng.integers(0, 2, (count, region.dim)).astype(bool)
        X = np.where(corners, region.box.lower, region.box.upper)
        X[::2] = rng.uniform(region.box.lower, region.box.upper, (len(X[::2]), region.dim))
    else:
        moves = rng.standard_normal((count, region.dim))
        X = region.ball.x0 + (1 - 1e-12) * region.ball.radius * moves / np.linalg.norm(moves, axis=1)[:, None]
    return [x for x in X if region.contains(x)]


def largest_gradients(model, weights, X, Y):
    found = np.zeros(len(weights))
    for x, y in zip(X, Y, strict=True):
        _, gradients = model.loss_and_grad(weights, x[None], np.asarray([y]))
        found = np.maximum(found, [np.linalg.norm(g) for g in gradients])
    return found


@settings(max_examples=16)
@given(
    st.sampled_from([lmikit.SpectralProduct(), lmikit.SpectralProduct(), lmikit.LipSDP()]),
    st.sampled_from(list(ACTIVATIONS)),
    st.sampled_from(["ball", "box", "both"]),
    st.sampled_from(["cross_entropy", "squared"]),
    st.sampled_from([(3, 4), (3, 6, 2), (2, 5, 4, 3)]),
    st.integers(0, 10_000),
)
def test_no_sampled_gradient_exceeds_its_bound(method, activation, kind, loss, dims, seed):
    rng = np.random.default_rng(seed)
    model = training.MLP(dims=dims, loss=loss, activation=ACTIVATIONS[activation])
    weights = model.initial(seed)
    weights = [w if w.ndim == 2 else 0.3 * rng.standard_normal(w.shape) for w in weights]
    region = region_of(kind, rng, dims[0])
    X = samples(region, rng)
    if loss == "squared":
        Y = rng.standard_normal((len(X), dims[-1]))
        Y /= np.linalg.norm(Y, axis=1, keepdims=True) * (1 + 1e-12)
        proven = training.parameter_sensitivity(
            model.network(weights), training.SquaredError(), region, targets=1.0, method=method
        )
    else:
        Y = rng.integers(0, dims[-1], len(X))
        proven = training.parameter_sensitivity(
            model.network(weights), training.CrossEntropy(), region, method=method
        )
    seen = largest_gradients(model, weights, X, Y)
    assert (seen[0::2] <= np.array(proven.weights) * ROUNDING).all()
    assert (seen[1::2] <= np.array(proven.biases) * ROUNDING).all()
    assert proven.total >= np.linalg.norm([*proven.weights, *proven.biases])


def test_a_linear_classifier_meets_its_bound():
    """|p - e_y| tends to sqrt 2 as the logits part; the largest input has norm |x0| + radius."""
    x0 = np.array([3.0, 4.0])
    region = Ball(x0, 1.0)
    W = 50.0 * np.array([[1.0, 1.0], [-1.0, -1.0]])
    proven = training.parameter_sensitivity(
        lmikit.Network.from_arrays([W]), training.CrossEntropy(temperature=5.0), region
    )
    assert proven.activations == (pytest.approx(6.0),)
    model = training.MLP(dims=(2, 2), loss="cross_entropy")
    seen = largest_gradients(model, [W, np.zeros(2)], [x0 * 1.2], [1])
    assert seen[0] <= proven.weights[0]
    assert proven.weights[0] == pytest.approx(seen[0], rel=1e-12)
    assert proven.biases[0] == pytest.approx(math.sqrt(2.0))


def test_slopes_and_ranges_of_the_region_count():
    """A neuron that is dead on the region carries no gradient, and one that is alive is linear."""
    network = lmikit.Network.from_arrays(
        [np.eye(2), np.array([[3.0, 1.0]])], [np.array([-10.0, 10.0]), np.zeros(1)]
    )
    proven = training.parameter_sensitivity(network, 1.0, Ball(np.zeros(2), 1.0))
    assert proven.activations[1] == pytest.approx(11.0)  # (0, x_2 + 10), not (x_1, x_2) moved by 10
    wide = training.parameter_sensitivity(network, 1.0, Ball(np.zeros(2), 100.0))
    assert wide.activations[1] == pytest.approx(110.0)  # |a(0)| + radius


@settings(max_examples=5)
@given(st.sampled_from([(1, 0), (2, 1), (1, 1)]), st.integers(0, 99))
def test_a_kernel_and_its_shared_bias_are_covered(geometry, seed):
    stride, padding = geometry
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((2, 1, 3, 3))
    conv = Convolution2d(kernel, (1, 5, 5), stride, padding)
    (out, height, width), hidden = conv.output_shape, conv.shape[0]
    V, b = rng.standard_normal((3, hidden)), np.repeat(rng.standard_normal(out), height * width)
    region = Ball(rng.standard_normal(25), 1.0)
    network = lmikit.Network.from_arrays([conv, V], [b, np.zeros(3)])
    proven = training.parameter_sensitivity(
        network, training.CrossEntropy(), region, method=lmikit.SpectralProduct()
    )
    model = training.MLP(dims=(25, hidden, 3), loss="cross_entropy")
    places = [
        Convolution2d(np.eye(18)[i].reshape(2, 1, 3, 3), (1, 5, 5), stride, padding).to_dense()
        for i in range(18)
    ]
    for x in samples(region, rng, 10):
        y = int(rng.integers(3))
        weights = [conv.to_dense(), b, V, np.zeros(3)]
        _, (in_W, in_b, in_V, _) = model.loss_and_grad(weights, x[None], np.array([y]))
        in_kernel = np.array([float((in_W * place).sum()) for place in places])
        in_bias = in_b.reshape(out, -1).sum(axis=1)
        assert np.linalg.norm(in_kernel) <= proven.weights[0] * ROUNDING
        assert np.linalg.norm(in_bias) <= proven.biases[0] * ROUNDING
        assert np.linalg.norm(in_V) <= proven.weights[1] * ROUNDING


def test_what_is_not_covered_is_refused():
    network = lmikit.Network.from_arrays([np.eye(2)])
    region = Ball(np.zeros(2), 1.0)
    with pytest.raises(InputError, match="expected the largest norm of a target"):
        training.parameter_sensitivity(network, training.SquaredError(), region)
    with pytest.raises(InputError, match="see Lipschitz bounds"):
        training.parameter_sensitivity(network, training.WorstCaseLogits(0.1), region)
    with pytest.raises(InputError, match="expected a Ball"):
        training.parameter_sensitivity(network, 1.0, np.zeros(2))
    with pytest.raises(InputError, match="expected an lmikit"):
        training.parameter_sensitivity(np.eye(2), 1.0, region)
    with pytest.raises(OptionError, match="AbstractMethod"):
        training.parameter_sensitivity(network, 1.0, region, method="lipsdp")
