"""Controllers: the loop with the float gains is what is proven."""

import math

import numpy as np
import pytest
import scipy.linalg
from control_helpers import random_system, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, OptionError, SolveFailed
from lmikit.control import System, h2_feedback, h_infinity_feedback, lqr


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3), st.sampled_from([None, 1.0]))
def test_lqr_is_scipys(seed, n, m, dt):
    rng = np.random.default_rng(seed)
    plant = random_system(rng, n, m, 1, dt, stable=False)
    Q, R = np.diag(rng.uniform(0.5, 2, n)), np.eye(m) + 0.1
    design = lqr(plant, Q, R)
    assert len(str(design).splitlines()) == 2
    riccati = scipy.linalg.solve_discrete_are if dt else scipy.linalg.solve_continuous_are
    P = riccati(plant.A, plant.B, Q, R)
    assert design
    assert abs(design.bound - math.sqrt(np.trace(P))) <= 1e-7 * (1 + design.bound)
    H = R + plant.B.T @ P @ plant.B if dt else R
    assert np.allclose(H @ design.gain, -plant.B.T @ P @ (plant.A if dt else np.eye(n)), rtol=1e-7, atol=1e-7)
    assert lmikit.check(design.proof.certificate, design.loop, exact=True).ok


def plant(dt=None):
    """An oscillator: inputs disturbance, noise, control; outputs position, effort, measurement."""
    A = np.array([[0.0, 1.0], [-1.0, 0.2]])
    A = A if dt is None else scipy.linalg.expm(0.5 * A)
    B = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    C = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    D = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.1, 0.0]])
    return System(A, B, C, D, dt)


@pytest.mark.parametrize("dt", [None, 0.5])
@pytest.mark.parametrize("measured", [None, (2,)])
def test_h_infinity_loops_meet_the_optimum_and_are_proven(dt, measured):
    design = h_infinity_feedback(plant(dt), (2,), measured)
    assert design
    assert design.estimate * (1 - 1e-4) <= design.bound <= design.estimate * 1.15
    assert abs(sweep(design.loop.rounded(), 2000) / design.bound - 1) < 1e-3
    assert lmikit.check(design.proof.certificate, design.loop).ok


@pytest.mark.parametrize("dt", [None, 0.5])
def test_h2_loops_meet_the_riccati_optimum(dt):
    s = plant(dt)
    Bw, Bu = s.B[:, :2], s.B[:, [2]]
    Q, R = np.diag([1.0, 0.0]), np.eye(1)
    riccati = scipy.linalg.solve_discrete_are if dt else scipy.linalg.solve_continuous_are
    P = riccati(s.A, Bu, Q, R)
    best = math.sqrt(np.trace(Bw.T @ P @ Bw))
    state = System(s.A, s.B, s.C[:2], s.D[:2], dt)
    design = h2_feedback(state, (2,))
    assert best * (1 - 1e-6) <= design.bound <= best * 1.02
    output = h2_feedback(s, (2,), (2,))
    assert output
    assert output.bound >= best * (1 - 1e-9)


def test_a_limit_on_the_gain_holds_and_costs():
    s = plant()
    state = System(s.A, s.B, s.C[:1], s.D[:1])  # nothing penalises the effort
    free, limited = h_infinity_feedback(state, (2,)), h_infinity_feedback(state, (2,), gain_limit=3.0)
    assert limited
    assert np.linalg.norm(limited.gain, 2) <= 3.0 * (1 + 1e-6) < np.linalg.norm(free.gain, 2)
    assert free.bound < limited.bound


def test_what_cannot_be_designed_is_refused():
    lost = System(np.eye(2), [[1.0, 0.0], [1.0, 1.0]], np.eye(2))  # control does not reach a state
    with pytest.raises(SolveFailed, match="no controller was found"):
        h_infinity_feedback(lost, (1,))
    with pytest.raises(SolveFailed, match="stabilising"):
        lqr(System(np.eye(2), [[0.0], [1.0]]), np.eye(2), np.eye(1))
    with pytest.raises(OptionError, match="slack"):
        h2_feedback(plant(), (2,), slack=-1.0)
    with pytest.raises(OptionError, match="state feedback"):
        h_infinity_feedback(plant(), (2,), (2,), gain_limit=1.0)
    with pytest.raises(InputError, match="negative eigenvalue"):
        lqr(plant(), -np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="symmetric"):
        lqr(plant(), np.eye(3), np.eye(3))
    s = plant()
    direct = System(s.A, s.B, s.C, np.ones((3, 3)))
    with pytest.raises(InputError, match="H2 norm is infinite"):
        h2_feedback(direct, (2,))
