"""Eclipse: layer problems, both criteria, repair without silent fallbacks."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import demo_network, networks

from lmikit import Network, OptionError, Progress, SolveFailed
from lmikit.certificates import verify
from lmikit.formulations import EclipseStep, asked_by_next
from lmikit.lmi import Solution, Status
from lmikit.methods import Eclipse, EclipseFast, LayerScaling, LipSDP
from lmikit.network import Slopes, vertex_maximum
from lmikit.solvers import SCS, AbstractSolver, Clarabel, available
from lmikit.solvers import __dict__ as solver_room

READY = [info.name for info in available() if info.ready]
LOOKAHEAD = Eclipse(criterion="lookahead")


def proven(network, method=None, **options):
    return verify(network, (method or Eclipse()).propose(network, **options)).bound


def random_network(seed, depth, width=6):
    rng = np.random.default_rng(seed)
    return Network.from_arrays([rng.standard_normal((width, width)) / 2 for _ in range(depth)])


@pytest.mark.parametrize("name", READY)
def test_demo_greedy_value_through_every_ready_solver(name):
    assert proven(demo_network(), solver=solver_room[name]()) == pytest.approx(6.78992, abs=1.5e-5)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.1, 1.1), (-1.0, 1.0), (0.2, 0.9), (-0.9, -0.2)])
def test_order_of_the_methods_at_any_slopes(slopes):
    network = demo_network(Slopes(*slopes))
    lipsdp = proven(network, LipSDP())
    assert vertex_maximum(network) <= lipsdp
    for method in (Eclipse(), LOOKAHEAD):
        assert lipsdp <= proven(network, method) * (1 + 1e-6)
    assert proven(network, LOOKAHEAD) <= proven(network, LayerScaling()) * (1 + 1e-9)


@settings(max_examples=15)
@given(networks(min_hidden=1, max_hidden=1, max_width=4, kinds=("gaussian", "integers")))
def test_one_hidden_layer_is_lipsdp(network):
    """There the greedy choice is the joint problem."""
    expected = proven(network, LipSDP())
    assert proven(network) == pytest.approx(expected, rel=2e-5, abs=1e-9)


@pytest.mark.parametrize("criterion", ["greedy", "lookahead"])
@settings(max_examples=20)
@given(network=networks(max_hidden=3, max_width=3, concrete=True, layer_pow2=8))
def test_proven_and_above_sampled_quotients(criterion, network):
    bound = proven(network, Eclipse(criterion=criterion))
    x = np.random.default_rng(5).standard_normal((2, 40, network.input_dim))
    dy = np.linalg.norm(network(x[0]) - network(x[1]), axis=1)
    assert (dy <= bound * np.linalg.norm(x[0] - x[1], axis=1) * (1 + 1e-12)).all()


@settings(max_examples=20)
@given(networks(max_hidden=3, max_width=3, kinds=("gaussian", "integers", "duplicate_rows", "dead_rows")))
def test_lookahead_is_never_above_its_start(network):
    bound = proven(network, LOOKAHEAD)
    assert vertex_maximum(network) <= bound * (1 + 1e-12)
    assert bound <= proven(network, LayerScaling()) * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("depth", [3, 5, 8])
def test_sweeps_only_improve(depth):
    network = random_network(depth, depth)
    one, three = (proven(network, Eclipse(criterion="lookahead", sweeps=s)) for s in (1, 3))
    assert three <= one * (1 + 1e-9)
    assert proven(network, LipSDP()) <= three * (1 + 1e-6)


def test_sound_where_a_peer_is_not():
    """alpha = -0.1, beta = 1.1, W = 1, 1: the class has constant 1.1, and 1.0 has been reported for it."""
    network = Network.from_arrays([[[1.0]], [[1.0]]], activation=Slopes(-0.1, 1.1))
    for method in (Eclipse(), LOOKAHEAD):
        assert 1.1 <= proven(network, method) <= 1.1 * (1 + 1e-6)


def test_tighter_than_the_closed_form_on_trained_weights(data_dir):
    with np.load(data_dir / "networks" / "fnn2_seed0.npz") as file:
        network = Network.from_arrays([file["W0"], file["W1"]])
    assert proven(network) == pytest.approx(7.8814958, rel=1e-6)
    assert proven(network, EclipseFast()) > 7.95


@pytest.mark.slow
def test_mnist_where_a_peer_falls_back(data_dir):
    with np.load(data_dir / "networks" / "mnist_weights.npz") as file:
        network = Network.from_arrays([file["W0"], file["W1"]])
    assert proven(network) <= 24.367


@settings(max_examples=25)
@given(networks(min_hidden=1, max_hidden=1, max_width=4, kinds=("gaussian",)))
def test_backward_elimination_is_the_schur_complement(network):
    """asked_by_next against the Schur complement of the two-layer LMI, formed entry by entry."""
    (alpha, beta), W, R = network.slopes[0], *network.weights
    B = R.T @ R
    T = np.full(alpha.size, 0.5 * np.linalg.norm(B, 2) + 1.0)
    top = 2 * W.T @ np.diag(alpha * beta * T) @ W
    cross = -W.T @ np.diag((alpha + beta) * T)
    expected = cross @ np.linalg.inv(2 * np.diag(T) - B) @ cross.T - top
    found = asked_by_next(B, W, alpha, beta, T)
    np.testing.assert_allclose(found, expected, atol=1e-9 * (1 + np.abs(expected).max()))
    assert np.linalg.eigvalsh(found)[0] >= -1e-12 * (1 + np.abs(found).max())


@settings(max_examples=15)
@given(networks(min_hidden=1, max_hidden=1, max_width=4, kinds=("gaussian",)))
def test_layer_problem_level_is_attained(network):
    """X_k >= c B_k at the reported c and multipliers, from the definition of X_k."""
    (alpha, beta), W, R = network.slopes[0], *network.weights
    if (alpha == beta).any():
        return
    B = R.T @ R
    step = EclipseStep(W @ W.T, alpha, beta, B)
    solution = Clarabel(tol=1e-9).solve(step.sdp())
    Lambda = 1.0 / step.reciprocals(solution)
    Xhat = np.eye(W.shape[1]) + W.T @ np.diag(alpha * beta * Lambda) @ W
    S = np.diag(alpha + beta)
    X = np.diag(Lambda) - 0.25 * np.diag(Lambda) @ S @ W @ np.linalg.solve(Xhat, W.T @ S @ np.diag(Lambda))
    excess = X - step.level(solution) * B
    assert np.linalg.eigvalsh(excess)[0] >= -1e-5 * max(np.abs(X).max(), np.abs(B).max())
    assert "Theorem" in step.theorem


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "best"}, "'greedy' or 'lookahead'"),
        ({"sweeps": 0}, "at least 1"),
        ({"sweeps": True}, "at least 1"),
        ({"sweeps": 2}, "criterion='lookahead'"),
        ({"tol": 1.5}, "between 0 and 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        Eclipse(**options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailsAt(AbstractSolver):
    """Clarabel, except for one call."""

    module = "numpy"
    extra = ""
    call: int
    status: Status = Status.FAILED
    seen: list = dataclasses.field(default_factory=list)

    def solve(self, sdp, **options):
        self.seen.append(options.get("time_limit"))
        if len(self.seen) == self.call:
            y = np.full(sdp.variables, 5.0) if self.status.has_point else None
            return Solution(self.status, y, None, 0.0, -np.inf, 0.0, 0, "Stub", "odd")
        return Clarabel().solve(sdp, **options)


@pytest.mark.parametrize("criterion", ["greedy", "lookahead"])
@pytest.mark.parametrize("status", [Status.FAILED, Status.INFEASIBLE, Status.UNBOUNDED])
def test_a_failed_layer_is_named_and_nothing_is_replaced(criterion, status):
    with pytest.raises(SolveFailed, match=f"layer 2 of 3: Stub ended {status.name}"):
        Eclipse(criterion=criterion).propose(random_network(1, 4), solver=FailsAt(call=2, status=status))


def test_a_point_beyond_repair_is_a_failure():
    with pytest.raises(SolveFailed, match=r"layer 1 of 3.*too far"):
        Eclipse().propose(random_network(1, 4), solver=FailsAt(call=1, status=Status.LIMIT))


def test_loose_points_are_repaired():
    network = random_network(2, 4)
    loose = proven(network, solver=SCS(tol=None))
    assert loose == pytest.approx(proven(network), rel=2e-2)


def test_time_limit_is_for_all_layers():
    solver = FailsAt(call=0)
    Eclipse().propose(random_network(1, 4), solver=solver, time_limit=60.0)
    assert len(solver.seen) == 3
    assert 60.0 > solver.seen[0] > solver.seen[1] > solver.seen[2] > 0.0
    with pytest.raises(SolveFailed, match=r"time limit of 1e-09 s ended before layer 1 of 3"):
        Eclipse().propose(random_network(1, 4), time_limit=1e-9)


def test_progress_counts_layers():
    seen: list[Progress] = []
    Eclipse().propose(random_network(1, 4), progress=seen.append)
    assert [(p.iteration, p.total) for p in seen if p.stage == "Eclipse"] == [(1, 3), (2, 3), (3, 3)]


def test_linear_constant_and_partly_linear_networks():
    W = np.random.default_rng(0).standard_normal((3, 4))
    for method in (Eclipse(), LOOKAHEAD):
        assert proven(Network.from_arrays([W]), method) == pytest.approx(np.linalg.norm(W, 2), rel=1e-8)
        assert proven(Network.from_arrays([W, np.zeros((1, 3))]), method) == 0.0
    phis = [Slopes([0.0, -0.2], [1.0, 0.8]), Slopes([0.1, 0.3], [1.2, 0.3])]
    assert 4.1125 <= proven(demo_network(phis), LOOKAHEAD) <= 4.1135
    assert 4.1125 <= proven(demo_network(phis)) <= 4.25
