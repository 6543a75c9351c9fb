"""LipSDP from its dual in factored form: between the two ends of the SDP, anytime, on every array module."""

import itertools

import numpy as np
import pytest
from low_rank_helpers import random_network
from strict_arrays import registered

import lmikit
from lmikit import BurerMonteiro, EclipseFast, LipSDP, OptionError, Progress
from lmikit._arrays import array_module
from lmikit.certificates import verify
from lmikit.methods import _lipsdp
from lmikit.methods._gate_dual import GateAscent, GateChain
from lmikit.methods._gate_polish import corrected
from lmikit.methods._recursion import chain_of

ROUNDING = 1e-8  # of a value that a hundred rows of products give


def gaussian(seed, dims, alpha=0.0, beta=1.0):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    return lmikit.Network.from_arrays(weights, activation=lmikit.Slopes(alpha, beta))


def gates_of(network):
    chain = chain_of(network)
    return GateChain(array_module(), chain.weights, chain.centre, chain.radius)


@pytest.mark.parametrize("dims", [(3, 12, 12, 12, 1), (10, 6, 15, 6, 10), (1, 5, 1)], ids=str)
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.13, 1.13), (-1.0, 1.0), (0.2, 0.9), (-1.0, 0.2)], ids=str)
def test_bound_and_dual_value_enclose_the_optimum(dims, slopes):
    network = gaussian(1, dims, *slopes)
    exact = LipSDP(tol=1e-9).propose(network)
    witness = BurerMonteiro(gap=1e-5).propose(network)
    bound, lower = verify(network, witness).bound, witness.optimum_at_least
    assert lower <= verify(network, exact).bound * (1.0 + ROUNDING)  # proven, so not below the optimum
    assert bound >= exact.optimum_at_least * (1.0 - ROUNDING)
    assert bound <= lower * (1.0 + 1.1e-5)


def test_neurons_of_any_scale_and_linear_ones_among_them():
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal(shape) for shape in ((12, 4), (12, 12), (2, 12))]
    alpha, beta = np.zeros(12), np.ones(12)
    alpha[:3], beta[3:5] = 1.0, 0.0  # linear ones, dead ones
    slopes = [lmikit.Slopes(alpha, beta), lmikit.Slopes(0.0, 1.0)]
    scales = 2.0 ** rng.integers(-40, 40, 12)
    spread = [scales[:, None] * weights[0], weights[1] / scales, weights[2]]
    plain, scaled = (lmikit.Network.from_arrays(w, activation=slopes) for w in (weights, spread))
    exact = lmikit.lipschitz(plain, LipSDP(tol=1e-9)).bound
    for network in (plain, scaled):
        witness = BurerMonteiro(gap=1e-5).propose(network)
        assert exact * (1.0 - ROUNDING) <= verify(network, witness).bound <= exact * (1.0 + 1e-5)
        assert witness.optimum_at_least <= exact * (1.0 + ROUNDING)


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_any_gates_are_feasible_in_the_dual(rank):
    network = gaussian(5, (3, 8, 8, 2), -0.2, 1.0)
    optimum = lmikit.lipschitz(network, LipSDP(tol=1e-9)).bound ** 2
    gates, rng = gates_of(network), np.random.default_rng(rank)
    for _ in range(50):
        assert gates.at(gates.random(rank, rng)).value <= optimum


def test_multipliers_are_those_of_lagrange():
    """(rho E_0'E_0 - Y'Y + sum T_a A_a) V = 0 where the ascent has converged."""
    network = gaussian(6, (3, 7, 6, 2), -0.2, 1.0)
    gates = gates_of(network)
    ascent = GateAscent(gates, 8)
    for _ in range(300):
        ascent.step()
    d = gates.inverse_multipliers(ascent.point.x, [np.zeros(7), np.zeros(6)])
    rho = ascent.point.value
    T = np.diag(np.concatenate([rho / x for x in d]))
    W = network.weights
    V = np.zeros((13, 16))
    V[:7, :3], V[7:, 3:10] = W[0], W[1]
    J = np.eye(16)[3:]
    M = (
        rho * np.diag([1.0] * 3 + [0.0] * 13)
        - 0.2 * V.T @ T @ V
        - 0.4 * (V.T @ T @ J + J.T @ T @ V)
        + J.T @ T @ J
    )
    M[10:, 10:] -= W[2].T @ W[2]
    assert np.linalg.eigvalsh(M)[0] >= -1e-6 * rho
    values = gates._forward(ascent.point.x)[1]  # the columns X = V V' is made of
    assert np.abs(M @ np.concatenate(values)).max() <= 1e-6 * rho


def test_values_rise_and_more_columns_end_a_rank_that_is_too_small():
    rng = np.random.default_rng(0)
    network = random_network(rng, (4, *[12] * 10, 1))
    optimum = lmikit.lipschitz(network, LipSDP(tol=1e-9)).bound ** 2
    ascent = GateAscent(gates_of(network), 2)
    for _ in range(2):
        values = []
        for _ in range(150):
            ascent.step()
            values.append(ascent.point.value)
        assert (np.diff(values[-140:]) >= -1e-12 * optimum).all()
        if ascent.rank == 2:
            assert values[-1] < optimum * (1.0 - 1e-4)
            ascent.widen(12)
    assert optimum * (1.0 - 1e-4) < values[-1] <= optimum * (1.0 + ROUNDING)


def test_the_time_limit_keeps_the_best_point_and_progress_shows_both_ends():
    network = random_network(np.random.default_rng(2), (4, *[20] * 8, 3))
    seen: list[Progress] = []
    fast = EclipseFast().propose(network)
    stopped = BurerMonteiro().propose(network, time_limit=0.0)
    assert stopped.rho <= fast.rho
    found = BurerMonteiro(gap=1e-4).propose(network, progress=seen.append)
    assert found.rho < stopped.rho
    assert verify(network, stopped).proven
    ends = [(p.objective, p.bound_on_optimum) for p in seen]
    assert all(lower <= upper for upper, lower in ends)
    assert [upper for upper, _ in ends] == sorted((upper for upper, _ in ends), reverse=True)
    passes = BurerMonteiro(gap=1e-12, max_passes=7).propose(network)
    assert found.rho <= passes.rho <= fast.rho


def test_on_another_array_module(monkeypatch):
    registered(monkeypatch)
    for slopes in ((0.0, 1.0), (0.2, 0.9), (0.89, 0.9)):  # the last takes the other form of the recursion
        network = gaussian(7, (3, 9, 8, 7, 2), *slopes)
        there, here = (BurerMonteiro(gap=1e-6, array_module=name) for name in ("strict", "numpy"))
        found, expected = (method.propose(network) for method in (there, here))
        assert found.rho == pytest.approx(expected.rho, rel=3e-6)
        assert found.optimum_at_least == pytest.approx(expected.optimum_at_least, rel=3e-6)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.2, 0.9)], ids=str)
def test_corrected_multipliers_close_the_gap_of_deep_chains(monkeypatch, slopes):
    registered(monkeypatch)
    network = gaussian(8, (4, *[8] * 16, 1), *slopes)
    exact = LipSDP(tol=1e-9).propose(network, solver=lmikit.solvers.LowRank(tol=1e-9))
    optimum = exact.optimum_at_least
    for name in ("numpy", "strict")[: 1 if slopes[0] else 2]:
        seen: list[Progress] = []
        method = BurerMonteiro(gap=1e-7, max_passes=200, array_module=name)
        witness = method.propose(network, progress=seen.append)
        bound, lower = verify(network, witness).bound, witness.optimum_at_least
        assert optimum * (1.0 - ROUNDING) <= bound <= lower * (1.0 + 3e-7)
        assert lower <= verify(network, exact).bound * (1.0 + ROUNDING)
        lowers = [p.bound_on_optimum for p in seen]
        assert lowers == sorted(lowers)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.3, 1.0)], ids=str)
def test_corrections_lift_the_least_eigenvalue_and_give_columns_of_the_dual(slopes):
    """One step moves M(rho, t) nearer to the feasible set, and its X gives gates about as good."""
    network = gaussian(9, (3, 8, 9, 7, 6, 2), *slopes)
    gates, chain = gates_of(network), chain_of(network)
    ascent = GateAscent(gates, 8)
    for _ in range(8):
        ascent.step()
    floors = [np.zeros(w.shape[0]) for w in network.weights[:-1]]
    d, rho = gates.inverse_multipliers(ascent.point.x, floors), ascent.point.value
    values, before = gates.values(ascent.point.x), least_eigenvalue(network, *slopes, d, rho)
    assert before < 0.0
    found = corrected(
        gates.am, gates.weights, (chain.centre, chain.radius), values, rho, d, -before, curvature=10.0
    )
    assert least_eigenvalue(network, *slopes, found.d, found.rho) > 0.5 * before
    assert gates.at(gates.gates(found.values)).value > 0.99 * rho
    assert gates.at(gates.gates(values)).value == pytest.approx(rho, rel=1e-12)  # gates are found again


def least_eigenvalue(network, alpha, beta, d, rho):
    """Of E_0'E_0 - Y'Y/rho + sum A_a/d_a, scaled to a unit diagonal of multipliers; d_a = rho/t_a."""
    sizes = [w.shape[1] for w in network.weights]
    starts = np.cumsum([0, *sizes])
    scale = np.concatenate([np.ones(sizes[0]), *d]) ** 0.5
    M = np.diag(np.repeat([1.0, 0.0], [sizes[0], starts[-1] - sizes[0]]))
    for k, (W, x) in enumerate(zip(network.weights[:-1], d, strict=True)):
        v, w = np.zeros((x.size, starts[-1])), np.zeros((x.size, starts[-1]))
        v[:, starts[k] : starts[k + 1]] = W
        w[:, starts[k + 1] : starts[k + 2]] = np.eye(x.size)
        low, high = (w - alpha * v) / x[:, None], w - beta * v
        M += 0.5 * (low.T @ high + high.T @ low)
    Y = network.weights[-1]
    M[starts[-2] :, starts[-2] :] -= Y.T @ Y / rho
    return np.linalg.eigvalsh(M * scale * scale[:, None])[0]


@pytest.mark.parametrize(
    ("name", "optimum"), [("eclipse_rand_L5_n80", 0.0779153871), ("mnist_weights", 24.366349)]
)
def test_known_optima(data_dir, name, optimum):
    arrays = np.load(data_dir / "networks" / f"{name}.npz")
    count = sum(key.startswith("W") for key in arrays)
    network = lmikit.Network.from_arrays([arrays[f"W{k}"] for k in range(count)])
    witness = BurerMonteiro(gap=1e-5).propose(network)
    assert optimum * (1.0 - 1e-7) <= verify(network, witness).bound <= optimum * (1.0 + 1.1e-5)
    assert optimum * (1.0 - 1.1e-5) <= witness.optimum_at_least <= optimum * (1.0 + 1e-7)


@pytest.mark.parametrize(
    "options", [{"gap": 0.0}, {"gap": 1.0}, {"max_passes": 0}, {"gap": float("nan")}], ids=str
)
def test_options_out_of_range(options):
    with pytest.raises(OptionError):
        BurerMonteiro(**options)


def test_lipsdp_of_some_hundred_neurons_comes_from_here():
    network = random_network(np.random.default_rng(4), (5, 110, 110, 100, 2))
    here, there = lmikit.lipschitz(network), lmikit.lipschitz(network, solver=lmikit.solvers.LowRank())
    assert here.produced_by == "LipSDP (neuron), BurerMonteiro"
    assert here.bound == pytest.approx(there.bound, rel=4e-7)
    stopped = lmikit.lipschitz(network, time_limit=0.0)
    assert stopped.bound >= there.bound * (1.0 - 1e-6)
    narrow = lmikit.lipschitz(random_network(np.random.default_rng(4), (5, *[2] * 20, 2)))
    assert "BurerMonteiro" not in narrow.produced_by


def test_a_gap_that_stays_open_goes_to_the_next_solver(monkeypatch):
    monkeypatch.setattr(_lipsdp, "_FACTORED", 10)
    monkeypatch.setattr(_lipsdp, "_FACTORED_PASSES", 20)
    network = random_network(np.random.default_rng(0), (4, *[12] * 10, 1))
    exact = lmikit.lipschitz(network, solver=lmikit.solvers.LowRank()).bound
    found = lmikit.lipschitz(network)
    assert "LowRank" in found.produced_by
    assert found.bound == pytest.approx(exact, rel=1e-6)
    monkeypatch.setattr(_lipsdp, "_ONLY_FACTORED", 100)
    assert "BurerMonteiro" in lmikit.lipschitz(network).produced_by
    assert lmikit.lipschitz(network).bound <= exact * 1.002


def test_functions_without_slope():
    zero = lmikit.Network.from_arrays([np.ones((3, 2)), np.zeros((3, 3)), np.ones((1, 3))])
    blocked = lmikit.Network.from_arrays(
        [np.ones((2, 2)), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, -1.0]])]
    )
    assert verify(zero, BurerMonteiro().propose(zero)).bound <= 1e-12
    exact = lmikit.lipschitz(blocked).bound
    assert verify(blocked, BurerMonteiro().propose(blocked)).bound == pytest.approx(exact, rel=2e-3)


def test_a_correction_without_digits_is_none():
    chain = chain_of(random_network(np.random.default_rng(0), (3, 6, 6, 2)))
    d, slopes = [np.ones(6), np.ones(6)], (chain.centre, chain.radius)
    for fill in (np.nan, np.inf, 0.0):
        values = [np.full((n, 4), fill) for n in (3, 6, 6)]
        assert corrected(array_module(), chain.weights, slopes, values, 1e3, d, 1e-3, 10.0) is None
