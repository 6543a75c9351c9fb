"""Robust gains cover sampled uncertainties; the circle and Popov criteria have their known limits."""

import numpy as np
import pytest
from control_helpers import random_system
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, NotCertified
from lmikit.certificates.control import RobustGain, RobustGainWithMemory, verify_control
from lmikit.control import (
    Delay,
    NormBlock,
    RepeatedGain,
    Sector,
    SlopeRestricted,
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
    assert 8.0 - 1e-4 < popov.lower < 8.0 < popov.upper < 8.0 + 1e-4  # from 8 on a constant gain is unstable
    assert circle.upper == popov.upper
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


# plant 6 of Carrasco et al. (2020), (2 z + 0.92)/(z^2 - 0.5 z): Nyquist value 1.087, circle criterion 0.651
PLANT6 = System([[0.5, 0.0], [1.0, 0.0]], [[1.0], [0.0]], [[2.0, 0.92]], dt=1.0)


def test_zames_and_falb_beat_the_circle_criterion():
    circle = absolute_stability(PLANT6).lower
    assert abs(circle - 0.6510) < 1e-4
    assert robust_gain(sector_loop(PLANT6, 0.91, taps=1), taps=1)  # the limit for one step is 0.9108
    assert not robust_gain(sector_loop(PLANT6, 0.912, taps=1), taps=1)
    found = absolute_stability(PLANT6, taps=1, odd=True)
    assert 1.0869 < found.lower < 1.0 / 0.92 < found.upper < 1.08697  # 1/.92: the unstable constant gain
    loop, general = (sector_loop(PLANT6, found.lower, taps=1, odd=odd) for odd in (True, False))
    assert lmikit.check(found.certificate, loop, exact=True).ok
    assert "another system" in lmikit.check(found.certificate, general).reason
    witness = found.certificate.witness
    with pytest.raises(InputError, match="the witness has the arrays"):  # no multipliers for odd functions
        verify_control(RobustGainWithMemory(1.0, 1), general, witness)
    with pytest.raises(NotCertified):
        verify_control(RobustGainWithMemory(1.0, 1), loop, {**witness, "zames0": -witness["zames0"]})


def saturation(q, k):
    return k * np.clip(q, -1.0, 1.0)


def dead_zone(q, k):
    return k * (q - np.clip(q, -0.7, 0.7))


def half(q, k):  # not odd
    return k * np.maximum(q, 0.0)


@pytest.mark.parametrize(("phi", "odd"), [(saturation, True), (dead_zone, True), (half, False)])
def test_gains_with_memory_cover_simulations(phi, odd):
    k = 0.9
    S = System(PLANT6.A, np.hstack([-PLANT6.B, [[0.3], [1.0]]]), np.vstack([PLANT6.C, [[1.0, 0.5]]]),
               [[0.0, 0.0], [0.2, 0.0]], 1.0)  # fmt: skip
    loop = UncertainLoop(S, (SlopeRestricted(0.0, k, odd),))
    result = robust_gain(loop, taps=2)
    assert result
    assert not robust_gain(UncertainLoop(S, (Sector(0.0, k),)))
    rng = np.random.default_rng(0)
    x, spent, gained = np.zeros((200, 2)), 0.0, 0.0
    for t in range(300):
        d = rng.standard_normal((200, 1)) * rng.uniform(0, 3, (200, 1)) * (t < 60)
        q = x @ S.C[0][:, None]
        p = phi(q, k)
        e = x @ S.C[1][:, None] + 0.2 * p
        gained, spent = gained + e[:, 0] ** 2, spent + d[:, 0] ** 2
        x = x @ S.A.T + np.hstack([p, d]) @ S.B.T
    assert (gained <= result.upper**2 * spent).all()
    assert np.abs(x).max() < 1e-3


def test_delays_have_their_known_limits():
    A, B = np.array([[-2.0, 0.0], [0.0, -0.9]]), np.array([[-1.0, 0.0], [-1.0, -1.0]])
    inside = UncertainLoop(System(A, B, np.eye(2)), (Delay(4.47, 2),))
    assert lmikit.check(robust_gain(inside).certificate, inside, exact=True).ok  # 2 sqrt 5 = 4.4721 by Jensen
    assert not robust_gain(UncertainLoop(System(A, B, np.eye(2)), (Delay(4.48, 2),)))
    for bound, proven in ((1.41, True), (1.42, False)):  # x' = -x(t - tau): sqrt 2, the truth is pi/2
        scalar = UncertainLoop(System([[0.0]], [[-1.0]], [[1.0]]), (Delay(bound),))
        assert bool(robust_gain(scalar)) == proven
    assert not robust_gain(UncertainLoop(System([[0.0]], [[-1.0]], [[1.0]]), (Delay(1.41, constant=False),)))


@pytest.mark.parametrize("constant", [True, False])
def test_gains_cover_delays(constant):
    S = System([[0.8, 0.0], [0.05, 0.7]], [[-0.1, 0.05, 1.0], [-0.2, -0.1, 0.0]],
               [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dt=1.0)  # fmt: skip
    loop = UncertainLoop(S, (Delay(3, 2, constant),))
    result = robust_gain(loop)
    assert result
    for delay in range(4):
        n = 2
        A = np.eye(n * (delay + 1), k=-n)
        A[:n, :n] = S.A
        A[:n, n * delay :] += S.B[:, :2]
        B, C = np.pad(S.B[:, 2:], ((0, n * delay), (0, 0))), np.pad(S.C[2:], ((0, 0), (0, n * delay)))
        lifted = System(A, B, C, dt=1.0)
        assert h_infinity_norm(lifted).lower <= result.upper
    rng = np.random.default_rng(1)
    x, past, spent, gained = np.zeros((100, 2)), [np.zeros((100, 2))] * 4, 0.0, 0.0
    for _ in range(100):
        past = [x, *past[:3]]
        chosen = rng.integers(0, 4, 100) if not constant else np.full(100, 2)
        p = np.stack(past)[chosen, np.arange(100)]
        d = rng.standard_normal((100, 1))
        gained, spent = gained + x.sum(axis=1) ** 2, spent + d[:, 0] ** 2
        x = x @ S.A.T + np.hstack([p, d]) @ S.B.T
    assert (gained <= result.upper**2 * spent).all()


def test_slopes_and_delays_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="lower <= upper"):
        SlopeRestricted(1.0, 0.0)
    with pytest.raises(InputError, match="number >= 0"):
        Delay(-1.0)
    with pytest.raises(InputError, match="depends directly on an input"):
        UncertainLoop(System([[0.5]], [[1.0]], [[1.0]], [[1.0]]), (Delay(1.0),))
    with pytest.raises(InputError, match="whole steps"):
        UncertainLoop(System([[0.5]], [[1.0]], [[1.0]], dt=0.1), Delay(0.3))
    with pytest.raises(InputError, match="taps is 2"):
        robust_gain(sector_loop(LAG3, 1.0), taps=2)
    with pytest.raises(InputError, match="taps is 2"):
        absolute_stability(LAG3, taps=2)
    with pytest.raises(InputError, match="taps is 0"):
        verify_control(RobustGainWithMemory(1.0, 0), sector_loop(PLANT6, 0.5, taps=1), {})
