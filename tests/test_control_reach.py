"""Reach sets: worked numbers, simulated states, ellipsoids, forged certificates."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, Network, NotCertified
from lmikit.certificates.control import ReachSets, verify_control
from lmikit.certificates.control._arithmetic import Floats
from lmikit.certificates.control._reach import ReachStep, multiplier_shapes, preactivation_bounds
from lmikit.certificates.control._reach_terms import NeuronFacts
from lmikit.claims import Box
from lmikit.control import NetworkLoop, StateSet, System, reach_sets

NET = Network.from_arrays(
    [[[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, -1.0]]],
    [[0.1, -0.2], [0.0, -0.3], None],
    activation="relu",
)
REGULATED = NetworkLoop(  # u = relu(-k x) - relu(k x) = -k x
    System([[1.0, 1.0], [0.0, 1.0]], [[0.5], [1.0]], dt=1.0),
    Network.from_arrays([[[-0.5, -0.8], [0.5, 0.8]], [[1.0, -1.0]]], activation="relu"),
    (0,),
)
START = StateSet([1.0, -0.2], [1.5, 0.2])


def test_the_image_of_the_worked_network():
    result = reach_sets(NET, Box([-0.5, -0.5], [0.5, 0.5]))
    assert result
    low, high = result.sets[1].lower[0], result.sets[1].upper[0]
    assert -1.87123 < low <= -1.8  # DeepSDP with coupling -1.87122 and .2, the range [-1.8, .15]
    assert 0.15 <= high < 0.20001
    assert lmikit.check(result.certificate, NET, exact=True).ok
    biased = Network.from_arrays(NET.weights, [[0.1, -0.2], [0.0, -0.3], [1e-9]], "relu")
    assert "another system" in lmikit.check(result.certificate, biased).reason


def test_the_step_of_the_worked_loop():
    result = reach_sets(REGULATED, START)
    assert result
    goal = result.sets[1]
    for found, exact in ((goal.lower, (0.63, -0.79)), (goal.upper, (1.245, -0.46))):
        assert np.abs(found - exact).max() < 1e-6
    assert (goal.lower <= (0.63, -0.79)).all()
    assert (goal.upper >= (1.245, -0.46)).all()


def test_steps_with_facets_and_ellipsoids(tmp_path):
    result = reach_sets(REGULATED, START, rows=[[1.0, 1.0]], ellipsoids=True)
    later = reach_sets(REGULATED, START, 2)
    assert result
    assert later
    x = np.random.default_rng(0).uniform(START.lower, START.upper, (20000, 2))
    for goals in ((result.sets[1], later.sets[1]), (later.sets[2],)):
        x = REGULATED.field(x)
        assert all(goal.contains(x).all() for goal in goals)
    first = result.sets[1]
    ellipse = np.pi / np.linalg.det(first.shape)
    assert ellipse < np.pi / 2 * np.prod(first.upper - first.lower)  # less than a box's own ellipse
    assert lmikit.check(result.certificate, REGULATED, exact=True).ok
    path = tmp_path / "reach.json"
    result.save(path)
    assert lmikit.check(path, REGULATED).ok
    again = reach_sets(REGULATED, first, rows=[[1.0, 1.0]])  # from a set with all three kinds of facets
    assert again
    assert (again.sets[1].upper <= later.sets[2].upper + 1e-6).all()
    assert again.sets[1].contains(x).all()


def random_subject(seed, activation, *, closed):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(s) for s in ((4, 2), (3, 4), (1 if closed else 2, 3))]
    biases = [0.5 * rng.standard_normal(len(w)) for w in weights]
    network = Network.from_arrays(weights, biases, activation=activation)
    if not closed:
        return network, network
    plant = System(
        rng.standard_normal((2, 2)), rng.standard_normal((2, 1)), rng.standard_normal((2, 2)), dt=1.0
    )
    loop = NetworkLoop(plant, network, (0,), (1, 0))
    return loop, loop.field


@settings(max_examples=2)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["tanh", "relu", "gelu", "leaky_relu", "hardtanh"]),
    st.booleans(),
)
def test_sampled_images_are_inside(seed, activation, closed):
    subject, apply = random_subject(seed, activation, closed=closed)
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((2, 2))
    start = StateSet.ellipsoid(root @ root.T + np.eye(2), rng.standard_normal(2))
    result = reach_sets(subject, start, rows=[[1.0, -1.0]])
    assert result, result
    assert result.certificate.claim.start == "whole ellipsoid"
    circle = rng.standard_normal((2, 5000))
    circle *= (1.0 - 1e-12) / np.linalg.norm(circle, axis=0)
    x = np.linalg.solve(start.shape, circle + start.shift[:, None]).T
    y = apply(x)
    assert result.sets[1].contains(y).all()


ACTIVATIONS = ["tanh", "relu", "gelu", "leaky_relu", "sigmoid", "elu", "sin", "abs", "softplus", "mish"]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ACTIVATIONS), st.booleans())
def test_every_fact_holds_at_every_point(seed, activation, closed):
    subject, _ = random_subject(seed, activation, closed=closed)
    network = subject.network if closed else subject
    rng = np.random.default_rng(seed)
    center, half = 2.0 * rng.standard_normal(2), rng.uniform(0.01, 2.0, 2)
    angle = rng.standard_normal((3, 2))
    given = StateSet(center - half, center + half, angle, angle @ center + 0.3, np.eye(2), center)
    facts = NeuronFacts(network, *preactivation_bounds(subject, given))
    step = ReachStep(Floats(), subject, given, facts)
    multipliers = {name: rng.exponential(size=s) for name, s in multiplier_shapes(given, facts).items()}
    multipliers = {name: array * (rng.random(array.shape) < 0.1) for name, array in multipliers.items()}
    multipliers["domain"] = multipliers["domain"] + multipliers["domain"].T
    multipliers["sector"] = multipliers["sector"] * facts.sectors[2]
    matrix = step.facts_matrix(multipliers, ())
    x = center + half * rng.uniform(-1, 1, (2000, 2))
    x = x[given.contains(x)]
    value, before, hidden = x @ subject.wiring.measurement()[0].T if closed else x, [], []
    for layer, W in zip(network.layers[:-1], network.weights, strict=False):
        before.append(value @ W.T + layer.bias)
        value = layer.activation(before[-1])
        hidden.append(value)
    v, w = np.hstack(before), np.hstack(hidden)
    of_v, of_w, constant = facts.facets
    assert (of_v * v[:, None] + of_w * w[:, None] + constant >= -1e-12 * (1.0 + np.abs(constant))).all()
    z = np.hstack([x, w, np.ones((len(x), 1))])
    assert (np.einsum("ni,ij,nj->n", z, matrix.mid, z) >= -1e-9 * np.abs(matrix.mid).max()).all()


def test_tighter_than_intervals():
    subject, _ = random_subject(3, "tanh", closed=False)
    box = Box([-1.0, -1.0], [1.0, 1.0])
    goal = reach_sets(subject, box).sets[1]
    found = lmikit.intervals.local_intervals(subject, box)
    assert (goal.upper - goal.lower < 0.9 * (found.upper[-1] - found.lower[-1])).all()


def test_forged_sets_are_refused(tmp_path):
    result = reach_sets(REGULATED, START, 2)
    claim, witness = result.certificate.claim, result.certificate.witness
    for change in (
        {"upper": claim.upper - 1e-4},
        {"lower": claim.lower + 1e-4},
        {"start_upper": claim.start_upper + 1e-3},
        {"shape": np.stack([np.eye(2)] * 2)},
        {"start": "whole ellipsoid"},
        {"start": "whole ellipsoid", "start_shape": np.eye(2)},  # the unit disc is not within the box
        {"start": "anything"},
    ):
        with pytest.raises(NotCertified):
            verify_control(dataclasses.replace(claim, **change), REGULATED, witness)
    for name, change in (
        ("lower", lambda a: a + 1e-3),
        ("first neurons", lambda a: -a),
        ("first domain", lambda a: a - 1e-3),
        ("later domain", lambda a: a + np.triu(np.ones(a.shape[-2:]), 1)),
        ("first coupling", lambda a: a - 1.0),
    ):
        with pytest.raises(NotCertified):
            verify_control(claim, REGULATED, {**witness, name: change(witness[name])})
    path = tmp_path / "reach.json"
    result.save(path)
    data = json.loads(path.read_text())
    parameters = data["claim"]["parameters"]
    scalar = {"shape": [], "data": base64.b64encode(bytes(8)).decode()}
    for name in set(parameters) - {"start_shape"}:  # an ellipsoid only makes X_0 smaller
        for value in (parameters["lower"], scalar, parameters["start_offsets"]):
            changed = {**parameters, name: value if name != "start" else "whole ellipsoid"}
            if changed != parameters:
                data["claim"]["parameters"] = changed
                path.write_text(json.dumps(data))
                assert not lmikit.check(path, REGULATED).ok


def test_sectors_are_for_functions_through_zero():
    shifted = Network.from_arrays(NET.weights, [[0.1, -0.2], [0.0, -0.3], None], "sigmoid")
    result = reach_sets(shifted, Box([-0.5, -0.5], [0.5, 0.5]))
    witness = result.certificate.witness
    assert not witness["first sector"].any()
    with pytest.raises(NotCertified, match="nonnegative"):
        verify_control(
            result.certificate.claim, shifted, {**witness, "first sector": witness["first sector"] + 1e-3}
        )


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="start has dimension 3 and steps is 1; expected 2"):
        reach_sets(NET, Box(np.zeros(3), np.ones(3)))
    with pytest.raises(InputError, match="one step for a network"):
        reach_sets(NET, Box(np.zeros(2), np.ones(2)), steps=2)
    with pytest.raises(InputError, match="start is a list"):
        reach_sets(NET, [0.0, 1.0])
    with pytest.raises(InputError, match=r"rows has shape \(3,\)"):
        reach_sets(NET, Box(np.zeros(2), np.ones(2)), rows=[1.0, 0.0, 0.0])
    wide = Network.from_arrays([np.ones((101, 2)), np.ones((1, 101))], activation="relu")
    with pytest.raises(InputError, match="101 hidden neurons; expected at most 100"):
        reach_sets(wide, Box(np.zeros(2), np.ones(2)))
    continuous = NetworkLoop(System(-np.eye(2), np.ones((2, 1))), REGULATED.network, (0,))
    with pytest.raises(InputError, match="continuous time"):
        reach_sets(continuous, START)
    with pytest.raises(InputError, match="lower > upper"):
        StateSet([1.0], [0.0])
    with pytest.raises(InputError, match="without a shape"):
        StateSet([0.0], [1.0], shift=[1.0])
    with pytest.raises(InputError, match="P is not positive definite"):
        StateSet.ellipsoid([[-1.0]])
    empty = np.zeros((0, 2))
    start = (np.zeros(2), np.zeros(2), empty, np.zeros(0), np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(InputError, match="at least one"):
        verify_control(ReachSets(*start, *([empty] * 6)), REGULATED, {})
