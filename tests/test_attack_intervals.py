"""Enclosures on a region against 220-bit arithmetic at its worst points; local bounds against Jacobians."""

import numpy as np
import pytest

import lmikit
from lmikit import Network
from lmikit.claims import Ball, BallAndBox, linf_ball
from lmikit.intervals import local_intervals

flint = pytest.importorskip("flint")
arb = flint.arb

FUNCTIONS = {
    "relu": lambda v: v if v > 0 else arb(0),
    "abs": abs,
    "tanh": lambda v: v.tanh(),
    "sigmoid": lambda v: 1 / (1 + (-v).exp()),
    "silu": lambda v: v / (1 + (-v).exp()),
    "gelu": lambda v: v * (1 + (v / arb(2).sqrt()).erf()) / 2,
    "elu": lambda v: v if v > 0 else v.expm1(),
    "sin": lambda v: v.sin(),
    "mish": lambda v: v * (1 + v.exp()).log().tanh(),
}


@pytest.fixture(autouse=True)
def enough_bits():
    before, flint.ctx.prec = flint.ctx.prec, 220
    yield
    flint.ctx.prec = before


def random_network(rng, activations):
    """Widths 1 to 5, layers and biases of distant scales."""
    depth = int(rng.integers(1, 4))
    sizes = [int(k) for k in rng.integers(1, 6, depth + 2)]
    names = [str(rng.choice(activations)) for _ in range(depth)]
    scale = [10.0 ** rng.uniform(-4, 4) if rng.random() < 0.3 else 1.0 for _ in range(depth + 1)]
    weights = [s * rng.standard_normal((b, a)) for a, b, s in zip(sizes[:-1], sizes[1:], scale, strict=True)]
    biases = [rng.standard_normal(b) * 10.0 ** rng.uniform(-3, 2) for b in sizes[1:]]
    return Network.from_arrays(weights, biases, names), names


def random_region(rng, n):
    x0 = rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3)
    eps = 10.0 ** rng.uniform(-8, 2)
    ball, box = Ball(x0, eps), linf_ball(x0, eps * rng.uniform(0.2, 1.5))
    return [ball, box, BallAndBox(ball, box)][rng.integers(3)], x0, eps


def points_of(rng, region, x0, eps, row):
    """The centre and points at the rim, some along a row of the first weight, where its neuron is extreme."""
    found = [x0]
    for sign in (1.0, -1.0, 1.0, -1.0):
        direction = sign * (row if rng.random() < 0.5 else rng.standard_normal(x0.size))
        step = eps * (1 - 1e-12) * direction / (np.linalg.norm(direction) or 1.0)
        x = x0 + (step if region.ball is not None else eps * np.sign(direction))
        if region.box is not None:
            x = np.clip(x, region.box.lower, region.box.upper)
        if region.contains(x):
            found.append(x)
    return found


def image(w, b, a):
    return [
        sum((arb(float(e)) * t for e, t in zip(row, a, strict=True)), arb(float(c)))
        for row, c in zip(w, b, strict=True)
    ]


def attack_enclosures(seed):
    rng = np.random.default_rng(seed)
    network, names = random_network(rng, list(FUNCTIONS))
    region, x0, eps = random_region(rng, network.input_dim)
    found = local_intervals(network, region)
    rows = rng.standard_normal((2, network.output_dim))
    margins = found.margins(rows)
    for x in points_of(rng, region, x0, eps, network.weights[0][0]):
        a = [arb(float(t)) for t in x]
        for k, name in enumerate(names):
            v = image(network.weights[k], network.layers[k].bias, a)
            for t, low, high in zip(v, found.lower[k], found.upper[k], strict=True):
                assert not t < arb(float(low)), (seed, k)
                assert not t > arb(float(high)), (seed, k)
            a = [FUNCTIONS[name](t) for t in v]
        y = image(network.weights[-1], network.layers[-1].bias, a)
        for value, margin in zip(image(rows, np.zeros(2), y), margins, strict=True):
            assert not value < arb(float(margin)), seed


def attack_local_bound(seed):
    """Jacobians on the region, and the global bound on either side."""
    rng = np.random.default_rng(seed)
    network, _ = random_network(rng, ["relu", "abs", "tanh", "sigmoid"])
    region, x0, eps = random_region(rng, network.input_dim)
    try:
        bound = lmikit.lipschitz(network, region=region).bound
    except lmikit.NotCertified:
        return
    assert bound <= lmikit.lipschitz(network).bound * (1 + 1e-9)
    for x in points_of(rng, region, x0, eps, network.weights[0][0]):
        inside = x0 + 0.999 * (x - x0)  # derivatives at the rim may be those of outside
        assert np.linalg.norm(network.jacobian(inside), 2) <= bound * (1 + 1e-9) + 1e-300, seed


@pytest.mark.parametrize("attack", [attack_enclosures, attack_local_bound])
def test_random_networks_stay_inside(attack):
    for seed in [*range(15), 2127]:  # 2127: slopes of 1e-300
        attack(seed)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [attack_enclosures, attack_local_bound])
def test_many_random_networks_stay_inside(attack):
    for seed in range(1000, 4000):
        attack(seed)
