"""Robust gains cover sampled uncertainties; the circle and Popov criteria have their known limits."""

import numpy as np
import pytest
from control_helpers import random_system
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, NotCertified
from lmikit.certificates.control import RobustGain, verify_control
from lmikit.control import (
    NormBlock,
    RepeatedGain,
    Sector,
    System,
    UncertainLoop,
    absolute_stability,
    h_infinity_norm,
    robust_gain,
    sector_loop,
)

LAG3 = System([[-1.0, 1, 0], [0, -1, 1], [0, 0, -1]], [[0.0], [0], [1]], [[1.0, 0, 0]])


def test_the_circle_and_popov_criteria_of_three_lags():
    circle = absolute_stability(LAG3)
    assert 4.0 - 1e-5 < circle.lower < 4.0
    assert lmikit.check(circle.certificate, sector_loop(LAG3, circle.lower), exact=True).ok
    assert not lmikit.check(circle.certificate, sector_loop(LAG3, 4.1)).ok
    with pytest.raises(NotCertified):
        verify_control(RobustGain(1.0), sector_loop(LAG3, 4.1), circle.certificate.witness)
    popov = absolute_stability(LAG3, popov=True)
    assert 8.0 - 1e-4 < popov.lower < 8.0  # beyond 8 a constant gain makes the loop unstable
    assert lmikit.check(popov.certificate, sector_loop(LAG3, popov.lower, popov=True), exact=True).ok
    assert not lmikit.check(popov.certificate, sector_loop(LAG3, popov.lower)).ok


@settings(max_examples=6)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([None, 1.0]), st.sampled_from(["norm", "repeated", "sector"])
)
def test_robust_gains_cover_constant_uncertainties(seed, dt, kind):
    rng = np.random.default_rng(seed)
    S = random_system(rng, 3, 3, 3, dt)
    S = System(S.A, S.B, S.C, S.D * [[0.1, 0.1, 1], [0.1, 0.1, 1], [1, 1, 1]], dt)
    bound = 0.3 / h_infinity_norm(System(S.A, S.B[:, :2], S.C[:2], S.D[:2, :2], dt)).upper
    blocks = {
        "norm": (NormBlock(bound, 2, 2),),
        "repeated": (RepeatedGain(bound, 2),),
        "sector": (Sector([-bound, 0.0], [bound, bound]),),
    }[kind]
    loop = UncertainLoop(S, blocks)
    result = robust_gain(loop)
    assert result
    assert lmikit.check(result.certificate, loop, exact=True).ok
    for _ in range(6):
        if kind == "norm":
            gain = np.linalg.qr(rng.standard_normal((2, 2)))[0] * bound
        elif kind == "repeated":
            gain = bound * rng.choice([-1.0, 0.3, 1.0]) * np.eye(2)
        else:
            gain = np.diag([bound * rng.uniform(-1, 1), bound * rng.uniform(0, 1)])
        sampled = h_infinity_norm(loop.at(gain))
        assert sampled.lower <= result.upper * (1 + 1e-9)


def test_one_norm_block_has_the_small_gain_limit():
    gain = h_infinity_norm(LAG3).upper
    assert robust_gain(UncertainLoop(LAG3, (NormBlock(0.999 / gain),)))
    assert not robust_gain(UncertainLoop(LAG3, (NormBlock(1.001 / gain),)))


def test_forged_multipliers_are_refused():
    S = System([[0.0, 1], [-1, -0.5]], [[0.0, 0], [1, 1]], [[1.0, 0], [1, 0]])
    loop = UncertainLoop(S, (RepeatedGain(0.2),))
    witness = robust_gain(loop).certificate.witness
    gain = robust_gain(loop).upper
    for change in ({"X0": -witness["X0"]}, {"P": -witness["P"]}, {"X0": 0.0 * witness["X0"]}):
        with pytest.raises(NotCertified):
            verify_control(RobustGain(gain), loop, {**witness, **change})
    with pytest.raises(NotCertified, match="skew"):
        verify_control(RobustGain(gain), loop, {**witness, "Y0": np.ones((1, 1))})
    other = UncertainLoop(S, (RepeatedGain(0.3),))
    assert "another system" in lmikit.check(robust_gain(loop).certificate, other).reason


def test_loops_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="the system has 1 inputs"):
        UncertainLoop(LAG3, (NormBlock(1.0, 1, 2),))
    with pytest.raises(InputError, match="lower <= upper"):
        Sector(1.0, 0.0)
    with pytest.raises(InputError, match="number >= 0"):
        NormBlock(-1.0)
    with pytest.raises(InputError, match="number >= 0"):
        RepeatedGain(-1.0)
    with pytest.raises(InputError, match="expected Sector"):
        UncertainLoop(LAG3, ("delta",))
    with pytest.raises(InputError, match="one input and one output"):
        absolute_stability(System(np.eye(2)))
    with pytest.raises(InputError, match="Popov's criterion"):
        absolute_stability(System([[0.5]], [[1.0]], [[1.0]], dt=1.0), popov=True)
    with pytest.raises(InputError, match="expected an UncertainLoop"):
        robust_gain(LAG3)
