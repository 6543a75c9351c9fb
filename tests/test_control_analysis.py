"""What is proven of linear systems agrees with sweeps and Gramians, and nothing else is accepted."""

import base64
import json
import math

import numpy as np
import pytest
import scipy.linalg
from control_helpers import random_system, sweep, systems
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, NotCertified
from lmikit.certificates.control import ControlCertificate, HInfinityNorm, verify_control
from lmikit.certificates.control._arithmetic import Floats, Integers
from lmikit.control import (
    Feedback,
    Region,
    System,
    disc,
    h2_norm,
    h_infinity_norm,
    half_plane,
    lyapunov,
    passivity,
    poles,
    sector,
)

LAG3 = System([[-1.0, 1, 0], [0, -1, 1], [0, 0, -1]], [[0.0], [0], [1]], [[1.0, 0, 0]])


@settings(max_examples=15)
@given(systems())
def test_the_h_infinity_norm_is_that_of_a_sweep(system):
    result = h_infinity_norm(system)
    assert result
    assert result.upper / result.lower < 1.0 + 1e-5
    found = sweep(system, 400)
    assert found <= result.upper * (1.0 + 1e-12)  # the sweep rounds
    assert lmikit.check(result.certificate, system, exact=True).ok


@settings(max_examples=15)
@given(systems(direct=False))
def test_the_h2_norm_is_that_of_the_gramian(system):
    result = h2_norm(system)
    if system.discrete:
        W = scipy.linalg.solve_discrete_lyapunov(system.A, system.B @ system.B.T)
    else:
        W = scipy.linalg.solve_continuous_lyapunov(system.A, -system.B @ system.B.T)
    expected = math.sqrt(np.trace(system.C @ W @ system.C.T))
    assert result
    assert result.upper / result.lower < 1.0 + 1e-6
    assert result.lower * (1 - 1e-7) <= expected <= result.upper * (1 + 1e-7)
    assert lmikit.check(result.certificate, system).ok


@settings(max_examples=15)
@given(systems(), systems(stable=False))
def test_stability_is_proven_or_refuted(stable, unstable):
    assert lyapunov(stable).verdict == "proven"
    result = lyapunov(unstable)
    assert result.verdict == "refuted"
    assert lmikit.check(result.certificate, unstable, exact=True).ok
    assert h_infinity_norm(unstable).verdict == "refuted"
    assert h2_norm(unstable).verdict == "refuted"


@settings(max_examples=25)
@given(systems(states=4), st.floats(-1.0, 1.5), st.floats(0.1, 1.5))
def test_verdicts_on_poles_are_those_of_the_eigenvalues(system, where, size):
    for region in (half_plane(where), disc(where, size), sector(size), half_plane(where) & sector(size)):
        result = poles(system, region)
        inside = [np.linalg.eigvalsh(region.matrix(z)).max() for z in np.linalg.eigvals(system.A).tolist()]
        if result.verdict == "proven":
            assert max(inside) < 1e-9
        elif result.verdict == "refuted":
            assert max(inside) > -1e-9
        else:
            assert abs(max(inside)) < 1e-4


def test_decay_rates():
    A = np.array([[-1.0, 5.0], [0.0, -2.0]])
    assert lyapunov(A, rate=0.999)
    assert lyapunov(A, rate=1.001).verdict == "refuted"
    discrete = System(np.diag([0.5, 0.8]), dt=1.0)
    assert lyapunov(discrete, rate=0.801)
    assert lyapunov(discrete, rate=0.799).verdict == "refuted"


def test_systems_on_the_boundary_stay_undecided():
    assert lyapunov(np.array([[0.0, 1.0], [-1.0, 0.0]])).verdict == "undecided"
    assert not lyapunov(np.zeros((1, 1)))


def test_a_common_function_or_that_there_is_none():
    A1, A2 = np.array([[-1.0, 1.0], [-1.0, -1.0]]), np.array([[-1.0, 3.0], [-0.2, -1.0]])
    both = lyapunov([A1, A2])
    assert both
    for A in (A1, A2):
        assert np.linalg.eigvalsh(A.T @ both.P + both.P @ A).max() < 0
    B = np.array([[-1.0, 10.0], [-0.1, -1.0]])
    none = lyapunov([B, B.T])
    assert none.verdict == "refuted"
    assert lmikit.check(none.certificate, (System(B), System(B.T)), exact=True).ok
    assert not lmikit.check(none.certificate, (System(B), System(A1))).ok
    discrete = [System(0.6 * scipy.linalg.expm(A), dt=1.0) for A in (A1, A2)]
    assert lyapunov(discrete)
    with pytest.raises(InputError, match="one state space"):
        lyapunov([A1, np.eye(3)])


@settings(max_examples=15)
@given(systems(square=True))
def test_the_passivity_index_is_the_least_real_part(system):
    result = passivity(system)
    top = np.pi if system.discrete else 50.0
    found = min(
        np.linalg.eigvalsh(G + G.conj().T).min() / 2 for G in map(system.response, np.linspace(0, top, 300))
    )
    assert result.lower <= found + 1e-9
    assert result.upper - result.lower < 1e-4 * (1 + abs(found))
    assert lmikit.check(result.certificate, system, exact=True).ok
    assert result.verdict == (
        "proven" if result.lower >= 0 else "refuted" if result.upper < 0 else "undecided"
    )


def test_passivity_without_a_direct_term():
    assert passivity(System([[-1.0]], [[1.0]], [[1.0]])).lower == 0.0
    assert passivity(System([[0.0, 1.0], [-1.0, -1.0]], [[0.0], [1.0]], [[0.0, 1.0]]))
    assert passivity(System([[0.0, 1.0], [-1.0, -1.0]], [[0.0], [1.0]], [[1.0, 1.0]]))
    lag = passivity(LAG3)
    assert lag.verdict == "refuted"
    assert abs(lag.upper + 0.25) < 1e-6
    with pytest.raises(InputError, match="as many outputs"):
        passivity(System([[-1.0]], [[1.0]], [[1.0], [1.0]]))


def test_a_norm_in_closed_form():
    result = h_infinity_norm(LAG3)
    assert result.lower <= 1.0 <= result.upper < 1.0 + 1e-6
    static = h_infinity_norm(System(np.zeros((0, 0)), np.zeros((0, 2)), np.zeros((1, 0)), [[3.0, 4.0]]))
    assert static.lower <= 5.0 <= static.upper < 5.0 + 1e-6
    resonant = h_infinity_norm(System([[0.0, 1.0], [-1.0, -0.01]], [[0.0], [1.0]], [[1.0, 0.0]]))
    exact = 1.0 / (0.01 * math.sqrt(1.0 - 0.01**2 / 4))
    assert resonant.lower <= exact * (1 + 1e-12)
    assert exact <= resonant.upper * (1 + 1e-12)


def test_certificates_are_of_one_system_and_unchanged(tmp_path):
    rng = np.random.default_rng(3)
    system, other = random_system(rng, 3, 2, 2), random_system(rng, 3, 2, 2)
    result = h_infinity_norm(system)
    path = tmp_path / "gain.json"
    result.save(path)
    assert lmikit.check(path, system).ok
    assert lmikit.check(path, system, exact=True).ok
    assert ControlCertificate.load(path, system).claim.upper == result.upper
    assert "another system" in lmikit.check(path, other).reason
    with pytest.raises(NotCertified, match="another system"):
        ControlCertificate.load(path, other)
    data = json.loads(path.read_text())

    def refused(change):
        copy = json.loads(json.dumps(data))
        change(copy)
        path.write_text(json.dumps(copy))
        return not lmikit.check(path, system).ok and not lmikit.check(path, system, exact=True).ok

    def claims(lower, upper):
        claim = HInfinityNorm(lower, upper)
        return lambda d: d["claim"].update(
            statement=claim.statement(), parameters={"lower": lower.hex(), "upper": upper.hex()}
        )

    assert not refused(lambda d: None)
    assert refused(claims(result.lower, result.lower * (1 - 1e-6)))
    assert refused(claims(result.upper * (1 + 1e-6), result.upper))
    assert refused(lambda d: d["claim"].update(statement="the norm is 0"))
    assert refused(lambda d: d["claim"].update(kind="stable"))
    assert refused(lambda d: d["witness"].pop("P"))
    assert refused(lambda d: d["witness"]["P"].update(shape=[9]))
    assert refused(lambda d: d["witness"].update(P=d["witness"]["x"]))
    assert refused(lambda d: d.update(version=2))
    assert refused(lambda d: d.update(extra=1))
    assert refused(lambda d: d["subject"].update(sha256="0" * 64))


@settings(max_examples=20)
@given(systems(), st.integers(0, 2**32 - 1))
def test_wrong_witnesses_prove_nothing_that_is_false(system, seed):
    rng = np.random.default_rng(seed)
    result = h_infinity_norm(system)
    witness = {
        name: a + 0.3 * rng.standard_normal(a.shape) * np.abs(a).max()
        for name, a in result.certificate.witness.items()
    }
    witness["P"] = (witness["P"] + witness["P"].T) / 2
    claim = HInfinityNorm(0.0, result.lower * (1 - 1e-9))
    with pytest.raises(NotCertified):
        verify_control(claim, system, {**result.certificate.witness, "P": witness["P"]})
    claim = HInfinityNorm(result.upper * (1 + 1e-9), 2 * result.upper)
    with pytest.raises(NotCertified):
        verify_control(claim, system, {**witness, "P": result.certificate.witness["P"]})


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 4))
def test_radii_cover_the_exact_numbers(seed, inner, outer):
    rng = np.random.default_rng(seed)
    shapes = [(outer, inner), (inner, outer), (outer, outer)]
    a, b, c = (rng.standard_normal(s) * 10.0 ** rng.integers(-12, 12, s) for s in shapes)

    def value(ops):
        A, B, C = ops.of(a), ops.of(b), ops.of(c)
        F = A @ B @ C - C.T @ C + ops.scaled(0.1, C)
        return ops.block([[F, C], [C.T, ops.times(ops.number(0.3), F)]]), ops.trace(F)

    for ball, exact in zip(value(Floats()), value(Integers()), strict=True):
        inside = Integers().of(ball.mid) - exact
        room = Integers().of(ball.rad)
        assert (room - inside).least() >= 0
        assert (room + inside).least() >= 0


def test_a_state_feedback_is_proven_with_its_floats():
    plant = System([[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0]])
    loop = Feedback.of_gain(plant, [[-3.1, -1.7]], control=(1,))
    assert lyapunov(loop)
    result = h_infinity_norm(loop)
    assert result.lower * (1 - 1e-5) <= sweep(loop.rounded()) <= result.upper * (1 + 1e-12)
    assert lmikit.check(result.certificate, loop, exact=True).ok
    assert not lmikit.check(result.certificate, Feedback.of_gain(plant, [[-3.1, -1.8]], control=(1,))).ok


def test_regions_are_refused_where_they_are_none():
    with pytest.raises(InputError, match="symmetric L"):
        Region([[0.0, 1.0], [0.0, 0.0]], np.eye(2))
    with pytest.raises(InputError, match="radius"):
        disc(0.0, 0.0)
    with pytest.raises(InputError, match="radians"):
        sector(2.0)
    with pytest.raises(InputError, match="expected half_plane"):
        poles(np.eye(1), 0.5)
    with pytest.raises(InputError, match="rate"):
        lyapunov(np.eye(1), rate=-1.0)


def test_a_file_with_a_broken_region_is_refused(tmp_path):
    system = System([[-1.0]])
    for result in (poles(system, half_plane()), poles(system, half_plane(2.0))):
        path = tmp_path / "poles.json"
        result.save(path)
        data = json.loads(path.read_text())
        assert lmikit.check(path, system).ok
        for shape, size in (([], 1), ([1], 1), ([0, 0], 0)):
            numbers = base64.b64encode(np.zeros(size).tobytes()).decode()
            broken = {"shape": shape, "data": numbers}
            data["claim"]["parameters"] = {"L": broken, "M": broken}
            path.write_text(json.dumps(data))
            assert not lmikit.check(path, system).ok
            assert not lmikit.check(path, system, exact=True).ok
