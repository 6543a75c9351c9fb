"""Attacks on claims: multipliers, files and numbers at the edges, where a careless proof says too much."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

import lmikit
from lmikit import Network
from lmikit.attacks import exact_values
from lmikit.certificates import PrimalSide, SDPWitness, verify_sdp
from lmikit.certificates.graph import verify_graph
from lmikit.certificates.point import (
    MultiplierGroup,
    PointWitness,
    TermMultipliers,
    point_digest,
    verify_point,
)
from lmikit.certificates.sdp._enclosure import row_dots
from lmikit.claims import Ball, BallAndBox, Box, PointClaim
from lmikit.graph import Affine, Apply, Graph, GraphWitness
from lmikit.graph._nodes import Input
from lmikit.intervals import local_intervals, rounding_bound
from lmikit.lmi import LMI, SDP
from lmikit.network import Abs, DenseMap, LeakyReLU, PReLU, ReLU

MODES = (False, True)


def checks(certificate_or_path, subject):
    return [bool(lmikit.check(certificate_or_path, subject, exact=mode)) for mode in MODES]


def rewritten(certificate, tmp_path, change):
    data = json.loads(certificate.to_text())
    change(data)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(data))
    return path


def step_down():
    """f(x) = 1 - 10 max(x - 1, 0): positive below 1.1 only, and the neuron is off below 1."""
    return Network.from_arrays([[[1.0]], [[-10.0]]], [[-1.0], [1.0]])


def radius_witness(network, radius, box=None):
    """The neuron is taken as off, which holds for radius < 1; mu = 0.001 would allow a radius of 31."""
    layer = (
        TermMultipliers("stable_line", np.array([-10.0]), {"slope": np.zeros(1)}),
        TermMultipliers("stable_square", np.array([-1.0]), {"slope": np.zeros(1)}),
    )
    ball = Ball(np.zeros(1), radius)
    region = ball if box is None else BallAndBox(ball, box)
    claim = PointClaim(region, np.ones((1, 1)), np.zeros(1), np.zeros(1), "radius")
    tau = np.zeros(0 if box is None else 1)
    group = MultiplierGroup((0,), np.ones(1), 1e-3, tau, (layer,))
    return PointWitness(point_digest(network), claim, (group,))


@pytest.mark.parametrize("box", [None, Box(np.array([-3.0]), np.array([3.0]))])
def test_a_radius_is_no_larger_than_the_ball_on_which_its_terms_were_proven(box):
    network = step_down()
    certificate = verify_point(network, radius_witness(network, 0.5, box))
    assert certificate.radius <= 0.5
    assert checks(certificate, network) == [True, True]
    with pytest.raises(lmikit.NotCertified):
        verify_point(network, radius_witness(network, 1.05, box))


def test_a_graph_without_maps_is_not_taken_for_a_constant(tmp_path):
    graph = Graph((Input(2), Apply(ReLU(), 0, 2)))
    certificate = verify_graph(graph, GraphWitness("norms"))
    assert certificate.bound == 1.0
    lower = rewritten(certificate, tmp_path, lambda d: d["claim"].update(L=(0.5).hex()))
    assert checks(lower, graph) == [False, False]


@pytest.mark.parametrize("gain", [-2.9, -1.0, -(2.0**-1074)])
def test_a_negative_gain_of_a_zero_map_lowers_no_bound(gain, tmp_path):
    graph = Graph((Input(2), Affine((DenseMap(3.0 * np.eye(2)), DenseMap(np.zeros((2, 2)))), (0, 0))))
    certificate = verify_graph(graph, GraphWitness("norms", gains=(3.0, 0.0)))

    def change(data):
        data["proof"]["gains"][1] = gain.hex()
        data["claim"]["L"] = (0.2).hex()

    assert checks(rewritten(certificate, tmp_path, change), graph) == [False, False]
    with pytest.raises(lmikit.LmikitError):
        verify_graph(graph, GraphWitness("norms", gains=(3.1, gain)), repair=False)


@pytest.mark.parametrize("weight", [65536.0, -65536.0, 2.0**20])
def test_a_weight_beyond_the_format_is_no_exact_weight(weight):
    network = Network.from_arrays([[[weight]], [[2.0**-20]]], [np.zeros(1)] * 2)
    region = Box(np.zeros(1), np.array([2.0**-10]))
    assert rounding_bound(network, region, [[1.0]], "float16") == np.inf
    assert np.isfinite(rounding_bound(network, region, [[1.0]], "float32"))


@pytest.mark.parametrize("activation", [LeakyReLU(1024.0), PReLU(-1024.0)])
def test_a_product_that_overflows_in_the_activation_is_seen(activation):
    network = Network.from_arrays([[[1.0]], [[2.0**-12]]], [np.zeros(1)] * 2, activation)
    region = Box(np.array([-128.0]), np.array([0.25]))  # 1024 * 128 = 2**17 > 65504
    assert rounding_bound(network, region, [[1.0]], "float16") == np.inf
    assert np.isfinite(rounding_bound(network, region, [[1.0]], "float32"))


@pytest.mark.parametrize("exact", MODES)
def test_an_unbounded_problem_with_a_bound_and_no_point_is_refused(exact, tmp_path):
    half_line = SDP(np.array([-1.0]), (LMI(np.zeros((1, 1)), np.eye(1), np.eye(1), np.eye(1)),))
    witness = SDPWitness(PrimalSide(np.ones(1)), primal_ray=PrimalSide(np.ones(1)))
    certificate = verify_sdp(half_line, witness)
    assert certificate.status == "unbounded"
    assert lmikit.check(certificate, half_line, exact=exact)
    path = rewritten(certificate, tmp_path, lambda d: d.update(primal=None))
    assert not lmikit.check(path, half_line, exact=exact)


@pytest.mark.parametrize("power", [0, -1000])
def test_a_rounded_dot_product_is_not_called_exact(power):
    a = sp.csr_array(np.array([[np.ldexp(1.0 + 2.0**-30, power), -1.0 * np.ldexp(1.0, power)]]))
    x = np.array([1.0 + 2.0**-30, 1.0 + 2.0**-29])
    value, error = row_dots(a, np.ldexp(x, -60))
    exact = sum(Fraction(v) * Fraction(w) for v, w in zip(a.toarray()[0], np.ldexp(x, -60), strict=True))
    assert exact != 0
    assert abs(exact - Fraction(float(value[0]))) <= Fraction(min(float(error[0]), 1e300))


def random_point_attack(seed):
    """A small network, a region and multipliers of every kind of term, at a random overall scale."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 4, rng.integers(3, 5))]
    activations = [
        (ReLU(), Abs(), LeakyReLU(float(rng.choice([-0.5, 0.1, 2.0]))), PReLU(rng.uniform(-2, 2, n)))[
            rng.integers(4)
        ]
        for n in sizes[1:-1]
    ]
    power = int(rng.integers(-40, 41)) if rng.random() < 0.3 else 0
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
    biases = [rng.standard_normal(b) * (rng.random() < 0.7) for b in sizes[1:]]
    weights[0] = np.ldexp(weights[0], power)
    network = Network.from_arrays(weights, biases, activations)
    x0 = rng.standard_normal(sizes[0])
    radius = float(np.ldexp(rng.uniform(0.05, 2.0), -power))
    x0 = np.ldexp(x0, -power)
    box = Box(x0 - radius * rng.uniform(0.1, 1.5), x0 + radius * rng.uniform(0.1, 1.5))
    region = (Ball(x0, radius), box, BallAndBox(Ball(x0, radius), box))[rng.integers(3)]
    rows, offsets = rng.standard_normal((1, sizes[-1])), rng.standard_normal(1)
    kind = "radius" if region.ball is not None and rng.random() < 0.5 else "margin"
    claim = PointClaim(region, rows, np.zeros(1), offsets, kind)
    found = local_intervals(network, region)
    layers = []
    for k, n in enumerate(sizes[1:-1]):
        phi = activations[k]
        left = {ReLU: 0.0, Abs: -1.0}.get(
            type(phi), getattr(phi, "weight", getattr(phi, "negative_slope", 0.0))
        )
        span = np.abs(1.0 - np.full(n, left))
        low, high = found.lower[k], found.upper[k]
        on, off = low >= 0.0, high <= 0.0
        slope = np.where(on, 1.0, np.full(n, left))
        worth = 0.02**k  # M is positive definite where later layers weigh less
        steady = worth * (on | off) * rng.standard_normal(n)
        grown = 1.0 + 1e-12
        layers.append(
            (
                TermMultipliers("piece_product", worth * rng.uniform(0.5, 4.5, n)),
                TermMultipliers("piece_left", worth * rng.uniform(0, 1, n)),
                TermMultipliers("piece_right", worth * rng.uniform(0, 1, n)),
                TermMultipliers(
                    "piece_left_limit",
                    worth * rng.uniform(0, 1, n),
                    {"limit": span * np.maximum(high, 0.0) * grown},
                ),
                TermMultipliers(
                    "piece_right_limit",
                    worth * rng.uniform(0, 1, n),
                    {"limit": span * np.maximum(-low, 0.0) * grown},
                ),
                TermMultipliers("stable_line", steady, {"slope": slope}),
                TermMultipliers("stable_square", -np.abs(steady), {"slope": slope}),
            )
        )
    strength = float(10.0 ** rng.uniform(1, 6))
    weight = float(np.ldexp(strength, 2 * power))
    mu = weight if region.ball is not None else 0.0
    tau = np.full(sizes[0], weight) if region.box is not None else np.zeros(0)
    scale = float(10.0 ** rng.uniform(-2, 2))
    group = MultiplierGroup((0,), np.array([scale]), mu, tau, tuple(layers))
    return network, PointWitness(point_digest(network), claim, (group,)), rng


def attack_a_point(seed):
    """1 where something was proven; the exact checker agrees and no exact value contradicts it."""
    network, witness, rng = random_point_attack(seed)
    try:
        certificate = verify_point(network, witness)
    except lmikit.NotCertified:
        return 0
    assert checks(certificate, network) == [True, True]
    claim = certificate.claim
    region, radius = claim.region, claim.region.ball and claim.region.ball.radius
    n = region.dim
    for _ in range(40):
        x = region.anchor
        if region.ball is not None:
            step = rng.standard_normal(n)
            x = x + step / np.linalg.norm(step) * radius * rng.uniform(0.3, 1.0)
            if region.box is not None:
                x = np.clip(x, region.box.lower, region.box.upper)
        else:
            x = np.where(rng.random(n) < 0.5, region.box.lower, region.box.upper)
            x = np.where(rng.random(n) < 0.3, rng.uniform(region.box.lower, region.box.upper), x)
        if region.contains(x):
            value = exact_values(network, x, claim.rows, claim.offsets)[0]
            assert value >= Fraction(float(claim.lower[0]))
    return 1


def test_random_multipliers_never_prove_a_false_margin_or_radius():
    assert sum(attack_a_point(seed) for seed in range(60)) >= 10


@pytest.mark.slow
def test_many_random_multipliers_never_prove_a_false_margin_or_radius():
    assert sum(attack_a_point(seed) for seed in range(1000, 3000)) >= 200
