"""RS-LMI: sketched taus, SDP blocks, penalties and gradients, the sketched global LMI, slopes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmikit import BackendMissing, InputError, Network, OptionError, SolveFailed
from lmikit import rs_lmi as public
from lmikit._arrays import array_module
from lmikit.formulations.rs_lmi import (
    PENALTIES,
    Hinge,
    LogDet,
    Pencil,
    SoftplusPenalty,
    SquaredHinge,
    gain_product,
    layer_operator,
    loop_transformed_bound,
    loop_transformed_norms,
    network_operators,
    objective,
    sketched_block,
    sketched_lipsdp,
    sketched_lipsdp_estimate,
    sketched_network_sdp,
    sketched_penalty,
    sketched_taus,
    slope_gains,
)
from lmikit.lmi import Solution, Status
from lmikit.network import Slopes
from lmikit.sketching import DenseProjection, Gaussian, Haar, as_operator
from lmikit.solvers import Clarabel

DEMO = ([[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, 1.0]])


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def am(request):
    try:
        return array_module(request.param)
    except BackendMissing as error:
        pytest.skip(str(error))


def demo(activation="relu"):
    return Network.from_arrays(DEMO, activation=activation)


@st.composite
def networks(draw):
    dims = draw(st.lists(st.integers(1, 6), min_size=3, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
    names = ["relu", "tanh", "gelu", "identity", Slopes(0.2, 0.9), Slopes(-1.0, 1.0), Slopes(-0.5, 2.0)]
    return Network.from_arrays(weights, activation=draw(st.sampled_from(names)))


def exact_norm(operator):
    return float(np.linalg.norm(operator.matmat(np.eye(operator.shape[1])), 2)) * (1 + 1e-12)


@given(networks(), st.integers(1, 4), st.integers(0, 99))
def test_sketched_taus_estimate_from_below(network, m, seed):
    taus = sketched_taus(network_operators(network), m, seed=seed)
    for estimate, weight in zip(taus, network.weights, strict=True):
        assert estimate.value <= np.linalg.norm(weight, 2) ** 2 * (1 + 1e-11)
    full = sketched_taus(network_operators(network), 99, Haar(), seed=seed)
    for estimate, weight in zip(full, network.weights, strict=True):
        assert estimate.value == pytest.approx(np.linalg.norm(weight, 2) ** 2, rel=1e-9)


def test_the_sdp_has_the_closed_form_as_its_optimum():
    rng = np.random.default_rng(0)
    network = Network.from_arrays([rng.standard_normal(s) for s in ((30, 20), (25, 30), (4, 25))])
    solution = Clarabel().solve(sketched_network_sdp(network, 8, seed=3))
    taus = [e.value for e in sketched_taus(network_operators(network), 8, seed=3)]
    np.testing.assert_allclose(solution.y, taus, rtol=1e-6)


def test_blocks_are_the_sketched_lmi():
    rng = np.random.default_rng(1)
    weight, s = rng.standard_normal((5, 6)), rng.standard_normal((6, 3))
    block = sketched_block(Pencil(s.T @ weight.T @ weight @ s, s.T @ s), 1, 3)
    expected = s.T @ (7.0 * np.eye(6) - weight.T @ weight) @ s
    np.testing.assert_allclose(block.evaluate(np.array([0.0, 7.0, 0.0])).toarray(), expected, atol=1e-12)
    with pytest.raises(InputError, match="dependent columns"):
        sketched_block(Pencil(np.zeros((2, 2)), np.ones((2, 2))), 0, 1)


@pytest.mark.parametrize("m", [0, -3, 1.5, True])
def test_bad_sizes_are_refused(m):
    with pytest.raises(OptionError, match="sketch size m is"):
        sketched_taus(network_operators(demo()), m)


SMOOTH = [SoftplusPenalty(), SoftplusPenalty(sharpness=3.0), SquaredHinge(), Hinge(), LogDet()]


def penalty_case(penalty, seed=2, out=7, n=6, m=3):
    rng = np.random.default_rng(seed)
    weight, s = rng.standard_normal((out, n)), rng.standard_normal((n, m)) / np.sqrt(n)
    top = float(np.linalg.eigvals(np.linalg.solve(s.T @ s, s.T @ weight.T @ weight @ s)).real.max())
    return weight, (1.3 if isinstance(penalty, LogDet) else 0.6) * top, s


@pytest.mark.parametrize("penalty", SMOOTH)
def test_gradients_against_finite_differences(am, penalty):
    weight, tau, s = penalty_case(penalty)
    projection = DenseProjection(am.asarray(s), am)

    def value(w, t):
        return float(sketched_penalty(am.asarray(w), t, projection, penalty).value)

    term = sketched_penalty(am.asarray(weight), tau, projection, penalty)
    gradient, h = am.to_numpy(term.weight_gradient), 1e-5
    numeric = np.zeros_like(weight)
    for index in np.ndindex(*weight.shape):
        step = np.zeros_like(weight)
        step[index] = h
        numeric[index] = (value(weight + step, tau) - value(weight - step, tau)) / (2 * h)
    scale = np.abs(numeric).max()
    np.testing.assert_allclose(gradient, numeric, atol=1e-6 * scale)
    numeric_tau = (value(weight, tau + h) - value(weight, tau - h)) / (2 * h)
    assert float(term.tau_gradient) == pytest.approx(numeric_tau, rel=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(1e-9, 2.0))
def test_hinges_vanish_exactly_when_the_sketched_lmi_holds(seed, m, excess):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((7, 6))
    projection = Haar().draw(as_operator(weight), m, seed=seed % 1000)
    tau = sketched_taus([as_operator(weight)], m, Haar(), seed=seed % 1000)[0].value
    for penalty in (SquaredHinge(), Hinge()):
        assert penalty.exact
        above = sketched_penalty(weight, tau * (1 + excess), projection, penalty)
        assert float(above.value) == 0.0
        assert not above.weight_gradient.any()
        assert float(above.tau_gradient) == 0.0
        below = sketched_penalty(weight, tau / (1 + excess), projection, penalty)
        assert float(below.value) > 0.0
        assert float(below.tau_gradient) < 0.0


def test_smooth_forms_bracket_the_exact_one():
    """0 <= softplus - hinge <= m log(2)/sharpness; the barrier is infinite where the LMI fails."""
    weight, tau, s = penalty_case(SquaredHinge())
    projection = DenseProjection(s, array_module())
    hinge = sketched_penalty(weight, tau, projection, Hinge()).value
    for sharpness in (1.0, 10.0, 100.0):
        soft = sketched_penalty(weight, tau, projection, SoftplusPenalty(sharpness)).value
        assert 0.0 <= soft - hinge <= 3 * np.log(2) / sharpness
    assert sketched_penalty(weight, tau, projection, LogDet()).value == np.inf
    inside = 3.0 * tau
    expected = -np.linalg.slogdet(s.T @ (inside * np.eye(6) - weight.T @ weight) @ s)[1]
    assert sketched_penalty(weight, inside, projection, LogDet()).value == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_derivatives_of_phi(name):
    penalty = PENALTIES[name]()
    x = np.array([-2.0, -0.5, -1e-3]) if name == "log_det" else np.array([-2.0, -0.1, 0.2, 3.0])
    numeric = (penalty.value(np, x + 1e-6) - penalty.value(np, x - 1e-6)) / 2e-6
    np.testing.assert_allclose(penalty.derivative(np, x), numeric, rtol=1e-5, atol=1e-7)


def test_objective_and_its_gradients(am):
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal((5, 4)), rng.standard_normal((3, 5))]
    taus, alphas = [1.5, 0.7], [2.0, 0.5]
    operators = [as_operator(am.asarray(w), am) for w in weights]
    projections = [Gaussian().draw(op, 3, seed=k) for k, op in enumerate(operators)]

    def value(ws, ts):
        return float(objective([am.asarray(w) for w in ws], ts, projections, alphas).value)

    result = objective([op.matrix for op in operators], taus, projections, alphas)
    assert float(result.value) == pytest.approx(
        sum(taus) + sum(a * float(t.value) for a, t in zip(alphas, result.terms, strict=True))
    )
    direction = [rng.standard_normal(w.shape) for w in weights]
    h = 1e-6
    moved = [value([w + s * h * d for w, d in zip(weights, direction, strict=True)], taus) for s in (1, -1)]
    expected = sum(
        float((am.to_numpy(g) * d).sum()) for g, d in zip(result.weight_gradients, direction, strict=True)
    )
    assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(expected, rel=1e-6)
    for k in range(2):
        up, down = list(taus), list(taus)
        up[k], down[k] = up[k] + h, down[k] - h
        numeric = (value(weights, up) - value(weights, down)) / (2 * h)
        assert float(result.tau_gradients[k]) == pytest.approx(numeric, rel=1e-6)


def test_bad_penalty_input():
    projection = Haar().draw(as_operator(np.eye(3)), 2)
    with pytest.raises(InputError, match="rows of the sketch"):
        sketched_penalty(np.ones((2, 4)), 1.0, projection)
    with pytest.raises(InputError, match="one of each per layer"):
        objective([np.eye(3)], [1.0, 2.0], [projection], [1.0])
    with pytest.raises(InputError, match="one of each per layer"):
        objective([], [], [], [])
    with pytest.raises(OptionError, match="sharpness is 0"):
        SoftplusPenalty(sharpness=0.0)


def test_full_sketch_of_the_global_lmi_is_lipsdp():
    """m = n_0 + N: the demo network's published optimum; smaller m: nested estimates below it."""
    full = sketched_lipsdp_estimate(Clarabel().solve(sketched_lipsdp(demo(), 6, Haar())))
    assert full.value == pytest.approx(6.71755, abs=1e-5)
    assert full.side == "below"
    last = 0.0
    for m in (2, 4, 6):
        value = sketched_lipsdp_estimate(
            Clarabel().solve(sketched_lipsdp(demo(), m, Gaussian(), seed=1))
        ).value
        assert last - 1e-6 <= value <= full.value + 1e-6  # Gaussian draws of one seed are nested
        last = value


@pytest.mark.parametrize(
    ("activation", "optimum"),
    [(Slopes(-0.1, 1.1), 8.13161), (Slopes(-1.0, 1.0), 6.78910), (Slopes(0.2, 0.9), 5.43723)],
)
def test_full_sketch_with_general_slopes(activation, optimum):
    solution = Clarabel().solve(sketched_lipsdp(demo(activation), 6, Haar()))
    assert sketched_lipsdp_estimate(solution).value == pytest.approx(optimum, abs=2e-5)


def test_no_dual_bound_is_no_estimate():
    failed = Solution(Status.FAILED, None, None, np.nan, np.nan, 0.0, 0)
    with pytest.raises(SolveFailed, match="FAILED"):
        sketched_lipsdp_estimate(failed)


def test_loop_transformed_bound_of_the_demo():
    operators = network_operators(demo())
    calls = []

    def norm(operator):
        calls.append(operator)
        return exact_norm(operator)

    assert loop_transformed_bound(demo(), operators, norm) == pytest.approx(7.15376, abs=1e-5)
    assert len(calls) == loop_transformed_norms(demo()) == 6
    product = gain_product([exact_norm(op) for op in operators], slope_gains(demo()))
    assert product == pytest.approx(7.49926, abs=1e-5)


@given(networks())
def test_equal_slopes_loop_is_never_looser_than_gains(network):
    operators = network_operators(network)
    loop = loop_transformed_bound(network, operators, exact_norm)
    gains = gain_product([exact_norm(op) for op in operators], slope_gains(network))
    assert loop <= gains * (1 + 1e-9)


@given(networks(), st.integers(0, 2**32))
def test_both_bounds_hold_for_every_frozen_slope(network, seed):
    """Both are at or above the norm of W_L D_L ... D_1 W_0 for diagonal D within the slopes."""
    rng = np.random.default_rng(seed)
    operators = network_operators(network)
    loop = loop_transformed_bound(network, operators, exact_norm)
    gains = gain_product([exact_norm(op) for op in operators], slope_gains(network))
    for _ in range(5):
        jacobian = network.weights[0]
        for weight, (alpha, beta) in zip(network.weights[1:], network.slopes, strict=True):
            frozen = np.where(rng.random(alpha.size) < 0.5, alpha, beta)
            jacobian = weight @ (frozen[:, None] * jacobian)
        assert np.linalg.norm(jacobian, 2) <= min(loop, gains)


def test_mixed_slopes_can_favour_the_gains():
    """Slopes [1, 1] and [-1, 1] in one layer: max|c| + max r = 2 exceeds m = 1."""
    network = Network.from_arrays([np.eye(2), np.eye(2)], activation=Slopes([1.0, -1.0], [1.0, 1.0]))
    operators = network_operators(network)
    assert loop_transformed_bound(network, operators, exact_norm) == pytest.approx(2.0)
    assert gain_product([exact_norm(op) for op in operators], slope_gains(network)) == pytest.approx(1.0)


def test_layer_operators_keep_the_map(am):
    network = demo()
    for layer, weight in zip(network.layers, network.weights, strict=True):
        operator = layer_operator(layer.linear, am)
        product = operator.matmat(am.asarray(np.eye(weight.shape[1])))
        np.testing.assert_allclose(am.to_numpy(product), weight)


def test_public_alias():
    assert public.sketched_taus is sketched_taus
    assert "sketched_penalty" in public.__all__
