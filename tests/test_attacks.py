"""Attacks stay in their region exactly, find what is there, and are refuted or kept in rationals."""

from fractions import Fraction

import numpy as np
import pytest

import lmikit
import lmikit.training
from lmikit.attacks import Attack, attack_margins, exact_values, settle
from lmikit.claims import Ball, BallAndBox, Box, linf_ball


def network(activation="relu"):
    rng = np.random.default_rng(5)
    weights = [rng.standard_normal(s) for s in ((8, 5), (6, 8), (3, 6))]
    return lmikit.Network.from_arrays(weights, [rng.standard_normal(n) for n in (8, 6, 3)], activation)


def regions(kind, count=4):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((count, 5))
    make = {
        "ball": lambda x: Ball(x, 0.7),
        "box": lambda x: linf_ball(x, 0.3),
        "both": lambda x: BallAndBox(Ball(x, 0.7), linf_ball(x, 0.4)),
    }[kind]
    return [make(x) for x in centres]


@pytest.mark.parametrize("kind", ["ball", "box", "both"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_points_lie_in_the_region_and_are_no_worse_than_samples(kind, activation):
    net, places = network(activation), regions(kind)
    rows = np.tile(np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]), (len(places), 1, 1))
    found = attack_margins(net, places, rows, np.zeros((len(places), 2)))
    rng = np.random.default_rng(0)
    for region, x, margin in zip(places, found.points, found.margins, strict=True):
        assert region.contains(x)
        assert margin == pytest.approx((rows[0] @ net(x)).min(), abs=1e-12)
        samples = np.array([settle(region, region.anchor + 0.3 * rng.standard_normal(5)) for _ in range(300)])
        assert margin <= (net(samples) @ rows[0].T).min() + 1e-6


def test_exact_values_are_the_rational_ones():
    net = lmikit.Network.from_arrays(
        [[[0.1, 0.2]], [[3.0], [-1.0]]], [[0.05], [0.0, 0.3]], lmikit.LeakyReLU(0.1)
    )
    x = np.array([-1.0, 0.7])
    v = Fraction(0.1) * -1 + Fraction(0.2) * Fraction(0.7) + Fraction(0.05)
    w = v if v >= 0 else Fraction(0.1) * v
    values = exact_values(net, x, np.array([[1.0, -0.5]]), np.array([0.25]))
    assert values == [3 * w - Fraction(1, 2) * (-w + Fraction(0.3)) + Fraction(1, 4)]
    with pytest.raises(lmikit.InputError, match="tanh"):
        exact_values(network("tanh"), np.zeros(5), np.eye(3), np.zeros(3))


def test_settle_moves_a_point_that_rounding_put_outside():
    ball = Ball(np.zeros(3), 1.0)
    outside = np.full(3, 1.0 / np.sqrt(3.0)) * (1 + 1e-15)
    assert not ball.contains(outside)
    assert np.abs(settle(ball, outside) - outside).max() < 1e-12
    assert (settle(Box(np.zeros(3), np.ones(3)), np.full(3, 2.0)) == 1.0).all()


def test_attacks_refuse_bad_input():
    net = network()
    with pytest.raises(lmikit.OptionError, match="at least 1"):
        Attack(steps=0)
    with pytest.raises(lmikit.InputError, match="expected N"):
        attack_margins(net, regions("ball"), np.zeros((2, 1, 3)), np.zeros((2, 1)))
    with pytest.raises(lmikit.InputError, match="several kinds"):
        attack_margins(net, [*regions("ball", 1), *regions("box", 1)], np.zeros((2, 1, 3)), np.zeros((2, 1)))


def test_the_attack_of_training_is_this_rooms():
    assert lmikit.training.pgd_attack is lmikit.attacks.pgd_attack
