"""Lower bounds: true Jacobian norms, never above what slopes allow, deterministic, refused for classes."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from strategies import PIECEWISE_LINEAR, SMOOTH, demo_network, networks

from lmikit import InputError, Network, OptionError
from lmikit.network import GELU, Slopes, lower_bound, vertex_maximum


@settings(max_examples=60)
@given(networks(concrete=True, max_width=3))
def test_value_is_a_jacobian_norm_and_below_the_vertex_maximum(network):
    found = lower_bound(network, starts=12, steps=10)
    assert found.point.shape == found.direction.shape == (network.input_dim,)
    ceiling = vertex_maximum(network)
    if all((a == b).all() for a, b in network.slopes):
        assert found.value >= ceiling * (1.0 - 1e-9) or ceiling < 1e-9
    assert 0.0 <= found.value <= ceiling * (1.0 + 1e-12)
    if found.value > 0.0:
        jacobian = network.jacobian(found.point)
        np.testing.assert_allclose(np.linalg.norm(jacobian, 2), found.value, rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(jacobian @ found.direction), found.value, rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(found.direction), 1.0, rtol=1e-12)


@pytest.mark.parametrize("activation", [*PIECEWISE_LINEAR, *SMOOTH], ids=repr)
def test_difference_quotients_reach_the_value(activation):
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=s) for s in ((4, 3), (4, 4), (2, 4))]
    network = Network.from_arrays(weights, [rng.normal(size=4), rng.normal(size=4), None], activation)
    found = lower_bound(network, starts=32, steps=30)
    quotients = []
    for h in 10.0 ** -np.arange(2.0, 8.0):
        ends = [network(found.point + side * h * found.direction) for side in (1.0, -1.0)]
        quotients.append(np.linalg.norm(ends[0] - ends[1]) / (2.0 * h))
    assert max(quotients) >= found.value * (1.0 - 1e-5)


def test_known_constants():
    np.testing.assert_allclose(lower_bound(demo_network()).value, np.sqrt(45.0), rtol=1e-12)
    folded = demo_network("abs")
    np.testing.assert_allclose(lower_bound(folded).value, vertex_maximum(folded), rtol=1e-12)
    difference = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]], [[0.0, -1.0], None])
    np.testing.assert_allclose(lower_bound(difference).value, 1.0, rtol=1e-12)
    plane = Network.from_arrays([[[1.1, -1.3], [0.6, -1.2]], [[1.1, -1.6]]])
    np.testing.assert_allclose(lower_bound(plane).value, 2.14663, atol=1e-5)
    linear = Network.from_arrays([[[3.0, 4.0]]])
    assert lower_bound(linear).value == 5.0


def test_points_on_kinks_do_not_count():
    """relu(x) - relu(x) is 0 though single-sided derivatives of its parts are not."""
    zero = Network.from_arrays([[[1.0], [1.0]], [[1.0, -1.0]]])
    assert lower_bound(zero).value == 0.0
    dead_beside = Network.from_arrays([[[2.0], [0.0]], [[3.0, 1.0]]])  # a constant neuron does no harm
    np.testing.assert_allclose(lower_bound(dead_beside).value, 6.0, rtol=1e-14)
    constant = Network.from_arrays([[[0.0]], [[1.0]]])  # every preactivation sits on the kink
    assert lower_bound(constant).value == 0.0


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [((0.0, 1.0), 6.70820), ((-0.1, 1.1), 8.11693), ((-1.0, 1.0), 6.70820), ((0.2, 0.9), 5.43365)],
)
def test_vertex_maximum_of_the_demo_network(slopes, expected):
    np.testing.assert_allclose(vertex_maximum(demo_network(Slopes(*slopes))), expected, atol=5e-6)


def test_vertex_maximum_of_mixed_slopes():
    pairs = Slopes([0.0, -0.2], [1.0, 0.8]), Slopes([0.1, 0.3], [1.2, 0.3])
    np.testing.assert_allclose(vertex_maximum(demo_network(list(pairs))), 4.11252, atol=5e-6)
    assert vertex_maximum(Network.from_arrays([[[3.0, 4.0]]])) == 5.0


@settings(max_examples=40)
@given(networks(max_width=3))
def test_vertex_maximum_is_above_inner_slopes(network):
    rng = np.random.default_rng(0)
    jacobian = np.eye(network.input_dim)
    for k, weight in enumerate(network.weights):
        jacobian = weight @ jacobian
        if k < network.hidden_layers:
            alpha, beta = network.slopes[k]
            jacobian = (alpha + rng.uniform(size=alpha.size) * (beta - alpha))[:, None] * jacobian
    assert np.linalg.norm(jacobian, 2) <= vertex_maximum(network) * (1.0 + 1e-12)


def test_vertex_maximum_refuses_large_networks():
    weights = [np.ones((21, 1)), np.ones((1, 21))]
    with pytest.raises(InputError, match="21 nonlinear neurons; expected at most 20"):
        vertex_maximum(Network.from_arrays(weights))
    np.testing.assert_allclose(vertex_maximum(Network.from_arrays(weights, activation="identity")), 21.0)


def test_equal_seeds_give_equal_results():
    network = demo_network(GELU())
    a, b = (lower_bound(network, starts=16, steps=10, seed=3) for _ in range(2))
    assert a.value == b.value
    assert a.evaluations == b.evaluations == 16 * 11
    np.testing.assert_array_equal(a.point, b.point)
    assert not np.array_equal(a.point, lower_bound(network, starts=16, steps=10, seed=4).point)


def test_a_time_limit_stops_the_ascent():
    found = lower_bound(demo_network("tanh"), starts=8, steps=10**6, time_limit=0.05)
    assert found.value > 0.0
    assert found.seconds < 2.0


def test_more_search_finds_no_less():
    rng = np.random.default_rng(9)
    network = Network.from_arrays(
        [rng.normal(size=s) for s in ((12, 6), (12, 12), (3, 12))], activation="relu"
    )
    points = rng.normal(size=(300, 6))
    sampled = max(np.linalg.norm(network.jacobian(x), 2) for x in points)
    assert lower_bound(network).value >= sampled


def test_every_shape_of_jacobian():
    rng = np.random.default_rng(1)
    for n, m in ((2, 60), (60, 2), (50, 45)):
        weights = [rng.normal(size=(20, n)), sp.csr_array(rng.normal(size=(m, 20)))]
        network = Network.from_arrays(weights, [rng.normal(size=20), None], "tanh")
        found = lower_bound(network, starts=8, steps=5)
        np.testing.assert_allclose(np.linalg.norm(network.jacobian(found.point), 2), found.value, rtol=1e-2)
        assert found.value <= np.linalg.norm(network.jacobian(found.point), 2) * (1.0 + 1e-12)


def test_slope_classes_and_bad_options_are_refused():
    with pytest.raises(InputError, match="slope class, which has no forward pass"):
        lower_bound(demo_network(Slopes(0.0, 1.0)))
    base = demo_network()
    with pytest.raises(OptionError, match="expected starts >= 1"):
        lower_bound(base, starts=0)
    with pytest.raises(OptionError, match="steps >= 0"):
        lower_bound(base, steps=-1)


def test_extreme_scales_give_zero_rather_than_nonsense():
    for scale in (1e-200, 1e200):
        network = Network.from_arrays([np.full((2, 2), scale)] * 3)
        value = lower_bound(network, starts=4, steps=3).value
        assert value == 0.0 or np.isfinite(value)


def test_stored_networks_reach_the_sampled_values(data_dir):
    nets = json.loads((data_dir / "networks" / "reference.json").read_text())["nets"]
    tried = 0
    for name, entry in nets.items():
        sampled, file = entry.get("sampled_lower_bound"), data_dir / "networks" / f"{name}.npz"
        if sampled is None or name.startswith("cnn") or not file.is_file():
            continue
        found = lower_bound(Network.from_file(file))
        assert found.value >= sampled["bound"] * (1.0 - 1e-12), name
        tried += 1
    assert tried >= 10
