"""Lip-Loop: the sets are what they claim, ADMM's parts obey their laws, results are proven."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lmikit
from lmikit import InputError, OptionError, training
from lmikit.formulations import loop_transform
from lmikit.network import Slopes, linear_fractional
from lmikit.solvers import SCS, LowRank
from lmikit.training._lip_loop_conditions import ChainCondition, JointCondition
from lmikit.training._lip_loop_sets import chain_set, joint_set, strictly_lower
from lmikit.training._weights import Layout

DEMO = [np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([[1.0, 1.0]])]
DEMO_BOUND = 6.71755
SLOPES = ((0.0, 1.0), (-0.2, 1.1), (-1.0, 1.0), (0.2, 0.9), (-0.9, -0.3))


def chain(dims, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    maps = [scale * rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
    return [w for m in maps for w in (m, np.zeros(m.shape[0]))]


def bound_of(weights, activation="relu"):
    return lmikit.lipschitz(lmikit.Network.from_arrays(weights[0::2], weights[1::2], activation)).bound


def condition_of(weights, activation, target):
    layout = Layout.of(weights, activation)
    return ChainCondition(layout, layout.network(weights), target)


def joint_weights(inputs, hidden, outputs, seed):
    rng, total = np.random.default_rng(seed), sum(hidden)
    shapes = ((outputs, inputs), (outputs, total), (total, inputs), (total, total))
    A, B, C, D = (rng.standard_normal(s) for s in shapes)
    return [A, B, C, D * strictly_lower(hidden), rng.standard_normal(total), rng.standard_normal(outputs)]


dims_strategy = st.lists(st.integers(1, 4), min_size=3, max_size=5)


@settings(max_examples=10)
@given(dims_strategy, st.sampled_from(SLOPES), st.floats(0.1, 10.0), st.integers(0, 999))
def test_points_of_the_chain_set_are_networks_within_the_target(dims, slopes, target, seed):
    weights = chain(dims, seed)
    activation = Slopes(*slopes)
    condition = condition_of(weights, activation, target)
    t = condition.start(weights)
    point, _ = condition.project(condition.image(weights, t), condition.metric(t), None, None)
    found = condition.recover(weights, point)
    assert bound_of(found, activation) <= target * (1 + 1e-4) + 1e-7


@settings(max_examples=10)
@given(dims_strategy, st.sampled_from(SLOPES[:3]), st.integers(0, 999))
def test_networks_within_the_target_are_points_of_the_chain_set(dims, slopes, seed):
    weights, activation = chain(dims, seed), Slopes(*slopes)
    condition = condition_of(weights, activation, 1.001 * bound_of(weights, activation))
    image = condition.image(weights, condition.start(weights))
    values = lmi_values(condition.set, compressed(condition, image))
    assert values[0] >= -1e-7 * max(1.0, values[-1])


def compressed(condition, image):
    if image[0].shape == condition.set.shapes[0]:
        return image
    return (np.linalg.qr(image[0].T)[1].T, *image[1:])


def lmi_values(convex_set, point):
    (lmi,) = convex_set.sdp.lmis
    return np.linalg.eigvalsh(lmi.evaluate(convex_set.stack(point)).toarray())


def test_the_set_is_convex_where_the_weights_and_multipliers_are_not():
    # (t, w) = (1, 1) and (5, 0.6) are feasible at rho = 1, their midpoint (3, 0.8) is not; in (t, t w) it is
    convex_set = chain_set((1, 1, 1), [(np.zeros(1), np.ones(1))], 1.0)

    def least(t, y):
        return lmi_values(convex_set, (np.array([[y]]), np.array([[1.0]]), np.array([t])))[0]

    assert least(1.0, 1.0) >= -1e-12
    assert least(5.0, 3.0) >= -1e-12
    assert least(3.0, 3.0 * 0.8) < -1e-3
    assert least(3.0, 2.0) >= -1e-12


def joint_of_chain(maps, activation="relu"):
    network = lmikit.Network.from_arrays(maps, None, activation)
    form = linear_fractional(network)
    centre, radius = 0.5 * (form.alpha + form.beta), 0.5 * (form.beta - form.alpha)
    moved = loop_transform(form, centre, radius)
    hidden = network.dims[1:-1]
    D = moved.N_vw.toarray() * strictly_lower(hidden)
    return [moved.N_yx.toarray(), moved.N_yw.toarray(), moved.N_vx.toarray(), D], hidden


def test_the_joint_form_of_a_chain_has_the_chains_bound():
    weights, hidden = joint_of_chain(DEMO)
    condition = JointCondition(weights, hidden, 10.0)
    bound = lmikit.lipschitz(condition.network(weights)).bound
    assert bound == pytest.approx(DEMO_BOUND, rel=1e-4)
    assert bound_of([w for m in DEMO for w in (m, np.zeros(m.shape[0]))]) == pytest.approx(
        DEMO_BOUND, rel=1e-4
    )


def test_a_chain_lies_in_the_joint_set_from_its_own_bound_on():
    weights, hidden = joint_of_chain(DEMO)
    zeros = [w for m in DEMO for w in (m, np.zeros(m.shape[0]))]
    bound = 1.001 * bound_of(zeros)
    T = np.concatenate(condition_of(zeros, "relu", bound).start(zeros))  # in the scale of L on both ends
    condition = JointCondition(weights, hidden, bound)
    image = condition.image(weights, (2.0 / T,))  # Gamma = 1/(2 T R^2), R = 1/2
    values = lmi_values(condition.set, image)
    assert values[0] >= -1e-7 * values[-1]


@settings(max_examples=8)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.floats(0.1, 10.0), st.integers(0, 999))
def test_points_of_the_joint_set_are_networks_within_the_target(hidden, target, seed):
    weights = joint_weights(2, hidden, 2, seed)
    condition = JointCondition(weights, hidden, target)
    t = condition.start(weights)
    point, _ = condition.project(condition.image(weights, t), condition.metric(t), None, None)
    found = condition.recover(weights, point)
    assert not found[3][~strictly_lower(hidden)].any()
    assert lmikit.lipschitz(condition.network(found)).bound <= target * (1 + 1e-4) + 1e-7


def test_the_carried_chain_is_the_network_with_skips():
    weights = joint_weights(2, (3, 2), 2, 0)
    network = JointCondition(weights, (3, 2), 1.0).network(weights)
    A, B, C, D = weights[:4]
    rng = np.random.default_rng(1)
    for _ in range(20):
        s = rng.uniform(-1, 1, 5)  # any slopes: the Jacobians agree
        jacobian = A + B @ np.linalg.solve(np.eye(5) - s[:, None] * D, s[:, None] * C)
        W0, W1, W2 = network.weights
        first, second = np.append(np.ones(2), s[:3]), np.append(np.ones(5), s[3:])
        carried = W2 @ (second[:, None] * W1) @ (first[:, None] * W0)
        np.testing.assert_allclose(carried, jacobian, atol=1e-12)


CONDITIONS = {
    "chain": lambda: (chain((3, 4, 2, 2), 0), condition_of(chain((3, 4, 2, 2), 0), "relu", 2.0)),
    "joint": lambda: (
        joint_weights(2, (3, 2), 2, 0),
        JointCondition(joint_weights(2, (3, 2), 2, 0), (3, 2), 2.0),
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_pull_is_the_adjoint_of_the_change_of_variables(name):
    weights, condition = CONDITIONS[name]()
    rng = np.random.default_rng(0)
    t = condition.start(weights)
    move = [rng.standard_normal(w.shape) for w in weights]
    if name == "joint":
        move[3] *= strictly_lower((3, 2))
    moved = [w + d for w, d in zip(weights, move, strict=True)]
    before, after = condition.image(weights, t), condition.image(moved, t)
    residual = tuple(rng.standard_normal(k.shape) for k in before)
    left = sum(float((r * (a - b)).sum()) for r, a, b in zip(residual, after, before, strict=True))
    pulls = condition.pull(t, residual)
    right = sum(float((p * d).sum()) for p, d in zip(pulls, move, strict=True) if p is not None)
    assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_best_multipliers_are_the_best(name):
    weights, condition = CONDITIONS[name]()
    rng = np.random.default_rng(2)
    t = condition.start(weights)
    goal = tuple(k + 0.1 * rng.standard_normal(k.shape) for k in condition.image(weights, t))
    metric = condition.metric(t)

    def distance(s):
        parts = zip(condition.image(weights, s), goal, metric, strict=True)
        return sum(float((m * (k - g) ** 2).sum()) for k, g, m in parts)

    best = condition.best(weights, goal)
    for _ in range(20):
        other = tuple(np.abs(s * (1 + 0.1 * rng.standard_normal(s.shape))) for s in best)
        assert distance(best) <= distance(other) * (1 + 1e-12)


@pytest.mark.parametrize("name", CONDITIONS)
def test_recovered_weights_have_the_point_as_their_image(name):
    weights, condition = CONDITIONS[name]()
    t = condition.start(weights)
    point, _ = condition.project(condition.image(weights, t), condition.metric(t), None, None)
    own = point[condition.hidden + 1 :] if name == "chain" else point[4:]
    image = condition.image(condition.recover(weights, point), own)
    for a, b in zip(image, point, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def problem(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 80)
    X = rng.standard_normal((80, 2)) + 1.5 * y[:, None]
    return training.DenseLoss(X, y, training.CrossEntropy(1.0)), X, y


def quick(**changes):
    return training.LipLoopOptions(**{"inner": 5, "optimiser": training.Adam(learning_rate=2e-2), **changes})


@pytest.mark.parametrize("solver", [None, SCS(tol=1e-6)])
def test_lip_loop_learns_within_a_proven_target(solver):
    cb, X, y = problem()
    start = training.initial_weights((2, 6, 6, 2))
    r = training.lip_loop(
        cb, start, target=1.5, iterations=80, options=quick(certify_every=10, tol=1e-2), solver=solver
    )
    assert r.certificate.bound <= 1.5
    assert r.certificate.bound <= r.product
    assert "both residuals met" in r.reason
    last = len(r.history["step"]) - 1
    assert r.history["primal"][last] < 0.1 * r.history["primal"].max()
    assert (r.network(X).argmax(1) == y).mean() > 0.8
    assert np.isfinite(r.history["bound"][9])
    assert "are returned: proven bound" in r.events[-1]


def test_a_run_that_stops_early_claims_no_convergence():
    cb, _, _ = problem()
    r = training.lip_loop(cb, training.initial_weights((2, 4, 2)), target=0.5, iterations=3, options=quick())
    assert "without both residuals meeting tol" in r.reason
    assert r.certificate.bound <= 0.5


def test_rho_follows_the_residuals():
    cb, _, _ = problem()
    start = training.initial_weights((2, 4, 2))
    runs = {
        (rho, a): training.lip_loop(
            cb, start, target=0.5, iterations=30, options=quick(rho=rho, adaptive=a, tol=1e-9)
        ).history
        for rho, a in ((1e-4, False), (1e-4, True))
    }
    assert (runs[1e-4, False]["rho"] == 1e-4).all()
    assert runs[1e-4, True]["rho"][-1] > 1e-3
    assert runs[1e-4, True]["primal"][-1] < runs[1e-4, False]["primal"][-1]


def test_the_joint_form_trains_networks_with_skips():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = np.abs(X @ np.array([1.0, -0.5]))[:, None]
    mask = strictly_lower((4, 3))

    def loss(weights):
        """v = C x + D u + b, u = |v|: two layers, so two sweeps are the fixed point."""
        A, B, C, D, b, c = weights
        u = np.zeros((60, 7))
        for _ in range(2):
            v = X @ C.T + u @ D.T + b
            u = np.abs(v)
        residual = X @ A.T + u @ B.T + c - y
        g = 2.0 * residual / 60
        back = np.zeros_like(u)
        for _ in range(2):
            back = (g @ B + back @ D) * np.sign(v)
        gradients = [g.T @ X, g.T @ u, back.T @ X, (back.T @ u) * mask, back.sum(0), g.sum(0)]
        return float((residual**2).sum() / 60), gradients

    start = joint_weights(2, (4, 3), 1, 3)
    start = [0.5 * w for w in start]
    r = training.lip_loop(
        loss, start, target=1.3, iterations=60, form="joint", hidden=(4, 3), options=quick(tol=1e-2, inner=10)
    )
    assert r.certificate.bound <= 1.3
    assert not r.weights[3][~mask].any()
    assert loss(r.weights)[0] < 0.2 * loss(start)[0]


class Stops:
    def __init__(self, inner, at):
        self.inner, self.at, self.calls = inner, at, 0

    def __call__(self, weights):
        self.calls += 1
        if self.calls > self.at:
            raise KeyboardInterrupt
        return self.inner(weights)


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path):
    cb, _, _ = problem()
    start, file = training.initial_weights((2, 4, 2)), tmp_path / "state.npz"
    whole = training.lip_loop(cb, start, target=1.0, iterations=16, options=quick(tol=1e-9))
    with pytest.raises(KeyboardInterrupt):
        training.lip_loop(
            Stops(cb, 33), start, target=1.0, iterations=16, options=quick(tol=1e-9), save_to=file
        )
    assert training.TrainingState.load(file).step == 6
    again = training.lip_loop(cb, start, target=1.0, iterations=16, options=quick(tol=1e-9), resume=file)
    assert all(np.array_equal(a, b) for a, b in zip(whole.weights, again.weights, strict=True))


def test_a_callback_that_breaks_leaves_the_last_good_state():
    cb, _, _ = problem()
    calls = []

    def breaks(weights):
        calls.append(1)
        loss, gradients = cb(weights)
        return (np.nan if len(calls) > 12 else loss), gradients

    with pytest.raises(training.TrainingDiverged, match="the loss is nan") as caught:
        training.lip_loop(
            breaks, training.initial_weights((2, 4, 2)), target=1.0, iterations=16, options=quick()
        )
    assert caught.value.state.step == 2
    with pytest.raises(training.CallbackError, match=r"gradients\[0\] has shape") as caught:
        training.lip_loop(
            lambda w: (0.0, [g.T for g in w]), training.initial_weights((2, 4, 2)), target=1.0, iterations=2
        )
    assert caught.value.state.step == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": -1.0}, InputError, "expected a positive finite Lipschitz bound"),
        ({"iterations": 0}, OptionError, "iterations is 0"),
        ({"form": "free"}, OptionError, "expected 'chain' or 'joint'"),
        ({"form": "joint"}, OptionError, "form='joint' needs hidden"),
        ({"weights": [np.ones((2, 2))]}, InputError, "no hidden layer"),
        (
            {"form": "joint", "hidden": (2,), "weights": [np.ones((1, 1))] * 4},
            InputError,
            r"expected \(1, 2\)",
        ),
        (
            {"form": "joint", "hidden": (1,), "weights": [np.ones((1, 1))] * 4},
            InputError,
            "expected a strictly lower D",
        ),
        ({"form": "joint", "hidden": (1,), "weights": [np.ones((1, 1))]}, InputError, "the joint form takes"),
        ({"solver": LowRank()}, OptionError, "use Clarabel"),
    ],
)
def test_bad_input_is_refused(changes, error, message):
    cb, _, _ = problem()
    arguments = {"weights": training.initial_weights((2, 3, 2)), "target": 1.0, "iterations": 1, **changes}
    with pytest.raises(error, match=message):
        training.lip_loop(cb, arguments.pop("weights"), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"rho": 0.0}, "rho is 0.0"), ({"inner": 0}, "inner is 0"), ({"ratio": 1.0}, "ratio is 1.0")],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        training.LipLoopOptions(**changes)


@settings(max_examples=8)
@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=4),
    st.sampled_from(["relu", "gelu", "tanh"]),
    st.integers(0, 99),
)
def test_projected_weights_meet_the_target_and_are_nearer_than_scaled_ones(dims, activation, seed):
    weights = chain(dims, seed)
    target = 0.5 * bound_of(weights, activation)
    if target == 0.0:
        return
    r = training.project_weights(weights, activation, target=target, rounds=3)
    assert r.certificate.bound <= target
    assert all(b < a for a, b in zip(r.distances[:-1], r.distances[1:], strict=True))
    pairs = zip(r.weights[0::2], weights[0::2], strict=True)
    assert r.distance == pytest.approx(
        math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in pairs)), rel=1e-9
    )
    assert all(np.array_equal(a, b) for a, b in zip(r.weights[1::2], weights[1::2], strict=True))


def test_projection_of_one_matrix_is_exact_and_of_a_feasible_net_nothing():
    W = np.diag([3.0, 1.0])
    r = training.project_weights([W], target=2.0)
    np.testing.assert_allclose(r.weights[0], np.diag([2.0, 1.0]), atol=1e-9)
    weights = chain((2, 3, 2), 0)
    same = training.project_weights(weights, target=2.0 * bound_of(weights))
    assert all(np.array_equal(a, b) for a, b in zip(same.weights, weights, strict=True))
    assert same.distance == 0.0


def test_projection_refuses_what_it_cannot_do():
    weights = chain((2, 3, 2), 0)
    with pytest.raises(InputError, match="expected a positive finite"):
        training.project_weights(weights, target=0.0)
    with pytest.raises(OptionError, match="rounds is 0"):
        training.project_weights(weights, target=1.0, rounds=0)
    with pytest.raises(OptionError, match="use Clarabel"):
        training.project_weights(weights, target=1.0, solver=LowRank())


def test_the_joint_set_without_hidden_links_still_stands():
    convex_set = joint_set(2, (3,), 1, 1.0)
    point = (np.ones((1, 2)), np.ones((1, 3)), np.ones((3, 2)), np.zeros((3, 3)), np.ones(3))
    found, _ = convex_set.project(point)
    assert lmi_values(convex_set, found)[0] >= -1e-7
