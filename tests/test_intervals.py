"""Preactivations never leave their enclosures: sampled, and in exact rationals."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from strategies import demo_network, networks
from test_certificates_environment import FLUSH_TO_ZERO, in_thread, needs_x86_glibc, set_mxcsr

from lmikit import InputError, LeakyReLU, Network, NotCertified, OptionError
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.intervals import CrownOnBoxes, crown_margin, local_intervals
from lmikit.network import PReLU

RATIONAL = ("relu", "abs", "leaky_relu", "hardtanh")


@st.composite
def domains(draw, inputs):
    grid = st.integers(-8, 8)
    center = np.array([draw(grid) for _ in range(inputs)]) / 4.0
    radius = draw(st.integers(1, 12)) / 4.0
    kind = draw(st.sampled_from(("ball", "box", "both")))
    low, high = center - draw(st.integers(0, 6)) / 8.0, center + draw(st.integers(0, 6)) / 8.0
    if kind == "ball":
        return Ball(center, radius)
    return Box(low, high) if kind == "box" else BallAndBox(Ball(center, radius), Box(low, high))


def samples(domain, seed, count=60):
    """Points of the domain on a binary grid, so that the exact evaluation stays small."""
    rng = np.random.default_rng(seed)
    n, ball, box = domain.dim, domain.ball, domain.box
    direction = rng.standard_normal((count, n))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = domain.anchor + direction * (10.0 if ball is None else ball.radius) * rng.choice(
        [0.0, 0.3, 0.9, 0.999], (count, 1)
    )
    if box is not None:
        corners = np.where(rng.choice([True, False], (count, n)), box.lower, box.upper)
        x = np.vstack([np.clip(x, box.lower, box.upper), corners])
    x = np.ldexp(np.rint(np.ldexp(x, 20)), -20)
    return x[[domain.contains(point) for point in x]]


def exact_preactivations(network, x):
    """v_1, ..., v_L, f(x) in rationals, for piecewise linear activations."""
    value, found = [Fraction(v) for v in x], []
    for layer in network.layers:
        w = layer.linear.to_dense()
        v = [
            sum((Fraction(a) * b for a, b in zip(row, value, strict=True)), Fraction(c))
            for row, c in zip(w, layer.bias, strict=True)
        ]
        found.append(v)
        value = [exact_activation(layer.activation, a, i) for i, a in enumerate(v)]
    return found


def exact_activation(phi, v, index):
    if phi.name == "relu":
        return max(v, Fraction(0))
    if phi.name == "abs":
        return abs(v)
    if phi.name in ("leaky_relu", "prelu"):
        slope = phi.negative_slope if isinstance(phi, LeakyReLU) else np.broadcast_to(phi.weight, 9)[index]
        return v if v >= 0 else Fraction(float(slope)) * v
    if phi.name == "hardtanh":
        return min(max(v, Fraction(phi.min_val)), Fraction(phi.max_val))
    return v


@settings(max_examples=40)
@given(data=st.data(), name=st.sampled_from(RATIONAL), method=st.sampled_from(("crown", "ibp")))
def test_exact_preactivations_stay_inside(data, name, method):
    network = data.draw(networks(activation=name, min_hidden=1, layer_pow2=20))
    domain = data.draw(domains(network.input_dim))
    bounds = local_intervals(network, domain, method)
    for x in samples(domain, 0, 12):
        for v, low, high in zip(exact_preactivations(network, x), bounds.lower, bounds.upper, strict=True):
            assert all(Fraction(a) <= b for a, b in zip(low, v, strict=True))
            assert all(b <= Fraction(a) for a, b in zip(high, v, strict=True))


@settings(max_examples=80)
@given(data=st.data(), method=st.sampled_from(("crown", "ibp")))
def test_sampled_preactivations_stay_inside(data, method):
    network = data.draw(networks(concrete=True))
    domain = data.draw(domains(network.input_dim))
    bounds = local_intervals(network, domain, method)
    value = samples(domain, 1).T
    for k, layer in enumerate(network.layers):
        v = layer.preactivation(value)
        room = 1e-13 * (1.0 + np.abs(v))  # of this forward pass
        assert (v >= bounds.lower[k][:, None] - room).all()
        assert (v <= bounds.upper[k][:, None] + room).all()
        value = layer.activation(v, axis=0)


@settings(max_examples=40)
@given(data=st.data())
def test_any_lower_slope_is_sound_and_margins_hold(data):
    network = data.draw(networks(activation="relu", min_hidden=1))
    domain = data.draw(domains(network.input_dim))
    rng = np.random.default_rng(0)
    slopes = [rng.uniform(0.0, 1.0, n) for n in network.dims[1:-1]]
    rows = rng.integers(-2, 3, (3, network.output_dim)).astype(float)
    for chosen in (None, slopes):
        bounds = local_intervals(network, domain, low_slopes=chosen)
        margins = bounds.margins(rows)
        for x in samples(domain, 2, 12):
            f = exact_preactivations(network, x)[-1]
            for row, margin in zip(rows, margins, strict=True):
                exact = sum(Fraction(a) * b for a, b in zip(row, f, strict=True))
                assert Fraction(float(margin)) <= exact


def test_a_point_is_enclosed_within_rounding():
    network = demo_network()
    bounds = local_intervals(network, Box([0.3, -0.7], [0.3, -0.7]))
    assert all((h - lo < 1e-12).all() for h, lo in zip(bounds.upper, bounds.lower, strict=True))


def test_crown_is_inside_ibp_and_both_sets_help():
    rng = np.random.default_rng(3)
    network = Network.from_arrays([rng.standard_normal((8, 8)) for _ in range(4)])
    center = rng.standard_normal(8)
    box = (center - 0.04, center + 0.04)
    both = local_intervals(network, BallAndBox(Ball(center, 0.1), Box(*box)))
    for other in (
        local_intervals(network, Ball(center, 0.1)),
        local_intervals(network, Box(*box)),
        local_intervals(network, BallAndBox(Ball(center, 0.1), Box(*box)), "ibp"),
    ):
        assert all((a >= b - 1e-12).all() for a, b in zip(both.lower, other.lower, strict=True))
    assert (both.lower[0] > local_intervals(network, Ball(center, 0.1)).lower[0] + 1e-3).any()


def test_known_intervals():
    """Design figures: W0 = [[1, 2], [-1, 1]], b0 = (.1, -.2), x0 = (.2, .1), radius .5."""
    network = Network.from_arrays(
        [[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, -1.0]]],
        [[0.1, -0.2], [0.0, -0.3], [0.0]],
    )
    bounds = local_intervals(network, Ball([0.2, 0.1], 0.5))
    assert np.allclose(bounds.lower[0], (-0.61803, -1.00711), atol=1e-5)
    assert np.allclose(bounds.upper[0], (1.61803, 0.40711), atol=1e-5)
    assert np.allclose(bounds.lower[1], (-0.40711, -0.3), atol=1e-5)
    assert np.allclose(bounds.upper[1], (1.61803, 3.21504), atol=1e-5)
    assert abs(crown_margin(network, Ball([0.2, 0.1], 0.5), [[1.0]])[0] + 1.936671) < 1e-5


def test_overflow_gives_no_bound():
    network = Network.from_arrays([[[1e200]], [[1e200]], [[1.0]]])
    bounds = local_intervals(network, Box([-1.0], [1.0]))
    assert bounds.upper[-1][0] == np.inf


@needs_x86_glibc
def test_another_floating_point_environment_is_refused():
    domain = Ball([0.0, 0.0], 1.0)
    refusal = in_thread(lambda: set_mxcsr(FLUSH_TO_ZERO), lambda: local_intervals(demo_network(), domain))
    assert isinstance(refusal, NotCertified)


def test_messages():
    with pytest.raises(InputError, match="dimension 2"):
        local_intervals(Network.from_arrays([[[1.0]]]), Ball([0.0, 0.0], 1.0))
    with pytest.raises(OptionError, match="'crown' or 'ibp'"):
        local_intervals(demo_network(), Ball([0.0, 0.0], 1.0), "exact")
    with pytest.raises(InputError, match="low_slopes has shapes"):
        local_intervals(demo_network(), Ball([0.0, 0.0], 1.0), low_slopes=[np.zeros(1)])
    with pytest.raises(InputError, match="rows has shape"):
        crown_margin(demo_network(), Ball([0.0, 0.0], 1.0), [[1.0, 2.0]])


def test_per_neuron_slopes_follow_their_neurons():
    network = Network.from_arrays([np.eye(2), np.eye(2)], activation=PReLU([0.5, -2.0]))
    bounds = local_intervals(network, Box([-1.0, -1.0], [1.0, 1.0]))
    assert np.allclose(bounds.lower[1], (-0.5, 0.0), atol=1e-9)
    assert np.allclose(bounds.upper[1], (1.0, 2.0), atol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", LeakyReLU(0.1)], ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_of_boxes_is_as_rigorous_as_one(activation, sparse):
    """Sound on samples with zero tolerance, and equal to one box at a time up to rounding.

    A curved function has lines of equal worth at times; which is taken may depend on the order of sums, and
    one box of a sparse network sums in another order than a batch.
    """
    rng = np.random.default_rng(8)
    close = 0.03 if sparse and activation == "tanh" else 1e-12
    weights = [rng.standard_normal(s) for s in ((7, 3), (6, 7), (5, 6), (2, 5))]
    weights = [scipy.sparse.csr_array(w) for w in weights] if sparse else weights
    network = Network.from_arrays(weights, [rng.standard_normal(n) for n in (7, 6, 5, 2)], activation)
    center, half = rng.standard_normal((9, 3)), rng.uniform(0.0, 0.5, (9, 3))
    half[0] = 0.0
    lower, upper = center - half, center + half
    rows = np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, -1.0]])
    found = CrownOnBoxes(network).margins(lower, upper, rows)
    for k in range(9):
        np.testing.assert_allclose(
            found[k], crown_margin(network, Box(lower[k], upper[k]), rows), rtol=close, atol=close
        )
        x = rng.uniform(lower[k], upper[k], (200, 3))
        assert (found[k] <= (network(x) @ rows.T).min(axis=0) + 1e-13).all()
    with pytest.raises(InputError, match="the boxes have shapes"):
        CrownOnBoxes(network).margins(lower[:, :2], upper[:, :2], rows)
