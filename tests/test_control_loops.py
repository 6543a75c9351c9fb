"""A network in the loop: gains and ellipsoids hold for simulated trajectories."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, Network, NotCertified
from lmikit.certificates.control import LoopGain, RegionOfAttraction, verify_control
from lmikit.certificates.control._sectors import sectors
from lmikit.control import NetworkLoop, System, loop_gain, region_of_attraction
from lmikit.graph import GraphBuilder, chain_graph
from lmikit.network import Layer

GAIN = NetworkLoop(
    System([[0.9, 0.2], [-0.1, 0.8]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0]], dt=1.0),
    Network.from_arrays([[[0.5, 0.2], [-0.3, 0.4]], [[-0.4, -0.3]]], activation="tanh"),
    (1,),
)
UNSTABLE = NetworkLoop(
    System([[1.0, 0.1], [0.2, 1.0]], [[0.0], [0.1]], dt=1.0),
    Network.from_arrays([[[1.0, 0.5], [0.5, 1.0]], [[-3.0, -3.0]]], activation="tanh"),
    (0,),
)


def test_the_gain_of_the_worked_loop():
    result = loop_gain(GAIN)
    assert result
    assert abs(result.upper - 6.34646) < 1e-5
    assert lmikit.check(result.certificate, GAIN, exact=True).ok
    assert not lmikit.check(result.certificate, UNSTABLE).ok
    with pytest.raises(NotCertified):
        verify_control(LoopGain(6.346), GAIN, result.certificate.witness)


def test_ellipsoids_of_the_worked_loop():
    for delta, area in ((1.0, 3.628), (2.1, 15.997)):
        result = region_of_attraction(UNSTABLE, delta)
        assert result
        assert abs(result.volume - area) < 1e-3
        assert lmikit.check(result.certificate, UNSTABLE, exact=True).ok
        x = result.boundary(400)
        for _ in range(400):
            x = UNSTABLE.field(x)
        assert np.abs(x).max() < 1e-6
    assert not region_of_attraction(UNSTABLE, 2.2)


@pytest.mark.slow
def test_the_search_finds_an_ellipsoid_at_least_as_large():
    result = region_of_attraction(UNSTABLE)
    assert result.volume > 15.99
    assert 2.0 < result.delta < 2.2


def random_loop(seed, *, dt, activation="tanh", biased=True):
    rng = np.random.default_rng(seed)
    A = 0.5 * rng.standard_normal((2, 2))
    A = A * (0.8 / max(abs(np.linalg.eigvals(A)).max(), 0.1)) if dt else A - 1.5 * np.eye(2)
    shapes = [(4, 2), (3, 4), (1, 3)]
    weights = [0.4 * rng.standard_normal(s) for s in shapes]
    biases = [0.5 * rng.standard_normal(s[0]) * biased for s in shapes]
    network = Network.from_arrays(weights, biases, activation=activation)
    plant = System(
        A, rng.standard_normal((2, 2)), rng.standard_normal((2, 2)), rng.standard_normal((2, 2)), dt
    )
    return NetworkLoop(plant, network, (0,))


def test_a_loop_without_inputs_has_no_gain():
    plant = System(-np.eye(1), np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1)))
    network = Network.from_arrays([np.ones((2, 1)), np.ones((1, 2))])
    with pytest.raises(InputError, match=r"0 inputs and . outputs left; expected at least one of each"):
        loop_gain(NetworkLoop(plant, network, (0,)))


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["tanh", "relu", "sigmoid", "gelu", "leaky_relu"]))
def test_the_gain_covers_simulated_differences(seed, activation):
    loop = random_loop(seed, dt=1.0, activation=activation)
    result = loop_gain(loop)
    if not result:
        return
    rng = np.random.default_rng(seed)
    C, D = loop.plant.C, loop.plant.D
    x, z = np.zeros((2, 50, 2))
    spent = gained = np.zeros(50)
    for _ in range(60):
        d = rng.standard_normal((2, 50, 1)) * rng.uniform(0, 2, (1, 50, 1))
        e = [
            s @ C.T + loop.network(s) @ D[:, [0]].T + di @ D[:, [1]].T
            for s, di in zip((x, z), d, strict=True)
        ]
        gained = gained + ((e[0] - e[1]) ** 2).sum(axis=1)
        spent = spent + ((d[0] - d[1]) ** 2).sum(axis=1)
        x, z = loop.field(x, d[0]), loop.field(z, d[1])
    assert (gained <= result.upper**2 * spent).all()


def assert_invariant(loop, result):
    """Trajectories from the boundary stay inside and reach the center."""
    level = np.linalg.cholesky(result.P).T
    x = result.boundary(100)
    for _ in range(200):
        before = ((x - result.center) @ level.T) ** 2
        x = loop.field(x)
        after = ((x - result.center) @ level.T) ** 2
        assert (after.sum(axis=1) <= before.sum(axis=1) + 1e-9).all()
    assert np.abs(x - result.center).max() < 1e-4


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["tanh", "relu", "sigmoid"]))
def test_ellipsoids_around_shifted_equilibria_are_invariant(seed, activation):
    loop = random_loop(seed, dt=1.0, activation=activation)
    result = region_of_attraction(loop, 0.5)
    if not result:
        return
    assert_invariant(loop, result)


def test_continuous_time():
    loop = random_loop(1, dt=None)
    result = region_of_attraction(loop, 0.5)
    assert result
    x = result.boundary(50)
    for _ in range(4000):
        x = x + 0.01 * loop.field(x)
    assert np.abs(x - result.center).max() < 1e-4
    assert loop_gain(loop)


@settings(max_examples=40)
@given(
    st.sampled_from(
        ["tanh", "relu", "sigmoid", "gelu", "silu", "elu", "softplus", "hardtanh", "sin", "mish"]
    ),
    st.floats(-4, 4),
    st.floats(1e-3, 5),
    st.integers(0, 2**32 - 1),
)
def test_sectors_hold_and_are_tight(activation, center, delta, seed):
    layer = Network.from_arrays([np.eye(1), np.eye(1)], activation=activation).layers[0]
    assert isinstance(layer, Layer)
    c = np.array([center])
    alpha, beta = sectors(layer, c, c, np.array([delta]))
    t = np.random.default_rng(seed).uniform(-delta, delta, 2000)
    t = np.concatenate([t[np.abs(t) > 1e-3 * delta], [delta, -delta]])
    phi = layer.activation
    chords = (phi((center + t)[:, None], axis=1)[:, 0] - phi(c[:, None], axis=1)[0, 0]) / t
    room = 1e-13 / (1e-3 * delta)  # the chords round
    assert alpha[0] <= chords.min() + room
    assert chords.max() <= beta[0] + room
    assert chords.min() - alpha[0] < 0.06
    assert beta[0] - chords.max() < 0.06


def test_sectors_at_the_origin_are_those_of_tanh():
    layer = UNSTABLE.network.layers[0]
    for delta in (0.1, 1.0, 2.1):
        alpha, beta = sectors(layer, np.zeros(2), np.zeros(2), np.full(2, delta))
        assert np.abs(alpha - np.tanh(delta) / delta).max() < 1e-12
        assert (alpha <= np.tanh(delta) / delta + 1e-15).all()
        assert (beta == 1.0).all()


def test_forged_ellipsoids_are_refused(tmp_path):
    result = region_of_attraction(UNSTABLE, 1.0)
    path = tmp_path / "region.json"
    result.certificate.save(path)
    assert lmikit.check(path, UNSTABLE).ok
    witness = result.certificate.witness
    for P, center, radius in (
        (0.9 * result.P, result.center, result.radius),
        (result.P, result.center + 1e-6, result.radius),
        (result.P, result.center, 1e-300),
        (result.P + np.array([[0.0, 1e-9], [0.0, 0.0]]), result.center, result.radius),
    ):
        with pytest.raises(NotCertified):
            verify_control(RegionOfAttraction(P, center, radius), UNSTABLE, witness)
    with pytest.raises(NotCertified):
        verify_control(
            RegionOfAttraction(result.P, result.center, result.radius),
            UNSTABLE,
            {**witness, "T": -witness["T"]},
        )
    data = json.loads(path.read_text())
    data["witness"]["delta"] = data["witness"]["T"]
    path.write_text(json.dumps(data))
    assert not lmikit.check(path, UNSTABLE).ok
    other = NetworkLoop(
        UNSTABLE.plant, Network.from_arrays(UNSTABLE.network.weights, [np.full(2, 1e-3), None], "tanh"), (0,)
    )
    assert "another system" in lmikit.check(result.certificate, other).reason


def test_graphs_that_are_chains_are_taken():
    graph = chain_graph(UNSTABLE.network)
    for loop in (NetworkLoop(UNSTABLE.plant, graph, (0,)), NetworkLoop.of(UNSTABLE.plant, graph, (0,))):
        assert lmikit.check(region_of_attraction(UNSTABLE, 1.0).certificate, loop).ok


def skipping(loop, gain):
    """The loop with u = f(y) + gain y, the sum inside the network."""
    g = GraphBuilder()
    x = g.input(loop.network.input_dim)
    h = x
    for layer in loop.network.layers[:-1]:
        h = g.apply(layer.activation, layer.linear @ h + layer.bias)
    last = loop.network.layers[-1]
    return dataclasses.replace(loop, network=g.output(last.linear @ h + gain @ x + last.bias))


@settings(max_examples=2)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["tanh", "relu"]))
def test_a_skip_is_a_gain_of_the_plant(seed, activation):
    loop = random_loop(seed, dt=1.0, activation=activation)
    gain = 0.2 * np.random.default_rng(seed).standard_normal((1, 2))
    P = loop.plant
    moved = System(P.A + P.B[:, :1] @ gain, P.B, P.C + P.D[:, :1] @ gain, P.D, 1.0)
    for proven in (loop_gain, lambda one: region_of_attraction(one, 0.5)):
        inside = proven(skipping(loop, gain))
        outside = proven(dataclasses.replace(loop, plant=moved))
        assert inside.verdict == outside.verdict
        if inside:
            assert lmikit.check(inside.certificate, skipping(loop, gain), exact=True).ok
            assert not lmikit.check(inside.certificate, skipping(loop, 1.01 * gain)).ok
            assert not lmikit.check(inside.certificate, loop).ok
            mine, other = (getattr(r, "upper", None) or r.volume for r in (inside, outside))
            assert abs(mine / other - 1.0) < 1e-4


def residual_loop(seed):
    """u = W3 (h + relu(W2 h + W x)) + K x with h = tanh(W1 x + b): the second neurons read the state too."""
    loop, rng = random_loop(seed, dt=1.0), np.random.default_rng(seed)
    g = GraphBuilder()
    x = g.input(2)
    h = g.apply("tanh", 0.4 * rng.standard_normal((3, 2)) @ x + 0.3 * rng.standard_normal(3))
    r = 0.3 * rng.standard_normal((3, 3)) @ h + 0.3 * rng.standard_normal((3, 2)) @ x
    y = 0.4 * rng.standard_normal((1, 3)) @ (h + g.relu(r)) + 0.1 * rng.standard_normal((1, 2)) @ x
    return dataclasses.replace(loop, network=g.output(y))


@settings(max_examples=3)
@given(st.integers(0, 2**32 - 1))
def test_ellipsoids_with_residual_networks_are_invariant(seed):
    loop = residual_loop(seed)
    result = region_of_attraction(loop, 0.5)
    if not result:
        return
    assert_invariant(loop, result)
    witness = result.certificate.witness
    assert witness["delta"].shape == (6,)
    claim = RegionOfAttraction(result.P, result.center, result.radius)
    with pytest.raises(NotCertified):
        verify_control(claim, loop, {**witness, "delta": 0.1 * witness["delta"]})


def test_residual_networks_find_an_ellipsoid():
    assert any(region_of_attraction(residual_loop(seed), 0.5) for seed in range(3))


def test_loops_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"expected an lmikit\.Network"):
        NetworkLoop(UNSTABLE.plant, None, (0,))
    with pytest.raises(InputError, match="1 outputs and 2 inputs; expected 2 and 2"):
        NetworkLoop(System(np.eye(2), np.eye(2), dt=1.0), UNSTABLE.network, (0, 1))
    with pytest.raises(InputError, match="delta"):
        region_of_attraction(UNSTABLE, -1.0)
    with pytest.raises(InputError, match="near has shape"):
        region_of_attraction(UNSTABLE, 1.0, near=np.zeros(3))
    linear = NetworkLoop(UNSTABLE.plant, Network.from_arrays([[[-1.0, -2.0]]]), (0,))
    with pytest.raises(InputError, match="the network is linear"):
        region_of_attraction(linear)
