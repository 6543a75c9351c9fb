"""LowRank on LipSDP and max-cut: optimum, true gap, anytime, odd networks."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_helpers import lipsdp, max_cut, random_network, ring_cut

from lmikit import LeakyReLU, Network, OptionError, Slopes
from lmikit.formulations import JointLipSDP
from lmikit.lmi import LMI, SDP, SOC, Status, read_sdpa
from lmikit.solvers import Clarabel, LowRank
from lmikit.solvers.low_rank import _direction, _interior_point
from lmikit.solvers.low_rank._direction import SchurFactor
from lmikit.solvers.low_rank._iterative import IterativeSchur


def gap(solution):
    return (solution.objective - solution.bound_on_optimum) / abs(solution.objective)


def check_feasible(sdp, y):
    """Strictly: the dual iterate never touches the boundary."""
    for lmi in sdp.lmis:
        np.linalg.cholesky(lmi.evaluate(y).toarray())
    assert (sdp.G @ y <= sdp.h).all()


def check_against_clarabel(sdp, solution, rel=2e-6):
    reference = Clarabel().solve(sdp)
    assert reference.status is Status.SOLVED
    assert solution.objective == pytest.approx(reference.objective, rel=rel)
    assert solution.bound_on_optimum <= reference.objective + rel * abs(reference.objective)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    dims=st.lists(st.integers(1, 8), min_size=3, max_size=5),
    multipliers=st.sampled_from(["neuron", "layer"]),
)
def test_lipsdp_optimum_and_gap_against_clarabel(seed, dims, multipliers):
    sdp = lipsdp(random_network(np.random.default_rng(seed), dims), multipliers)
    solution = LowRank().solve(sdp)
    assert solution.status is Status.SOLVED, solution
    assert -1e-9 <= gap(solution) <= 1e-7
    check_feasible(sdp, solution.y)
    check_against_clarabel(sdp, solution)


@st.composite
def odd_networks(draw):
    """Dead, duplicate, rank-deficient, badly scaled, alpha = beta, negative alpha, 1-neuron layers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = draw(st.lists(st.sampled_from([1, 1, 2, 3, 5, 8]), min_size=3, max_size=6))
    weights = [rng.standard_normal(s) for s in zip(dims[1:], dims[:-1], strict=True)]
    for W in weights:
        fault = draw(st.sampled_from(["none", "row", "column", "twin", "rank one", "scale", "tiny"]))
        if fault == "row":
            W[0] = 0.0
        elif fault == "column":
            W[:, 0] = 0.0
        elif fault == "twin":
            W[-1] = W[0]
        elif fault == "rank one":
            W[:] = np.outer(W[:, 0], W[0])
        elif fault == "scale":
            W *= 10.0 ** rng.uniform(-8, 8)
        elif fault == "tiny":
            W[0] *= 1e-9
    kinds = [draw(st.sampled_from(["relu", "negative", "equal", "sector"])) for _ in dims[1:-1]]
    slopes = {
        "relu": lambda n: (np.zeros(n), np.ones(n)),
        "negative": lambda n: (-rng.uniform(0, 1, n), rng.uniform(0, 1.2, n)),
        "equal": lambda n: (np.full(n, 0.7), np.where(np.arange(n) == 0, 0.7, 1.0)),
        "sector": lambda n: (rng.uniform(0.1, 0.5, n), rng.uniform(0.5, 1.0, n)),
    }
    return Network.from_arrays(
        weights, activation=[Slopes(*slopes[k](n)) for k, n in zip(kinds, dims[1:-1], strict=True)]
    )


@settings(max_examples=30)
@given(network=odd_networks())
def test_odd_networks_end_honestly(network):
    sdp = lipsdp(network)
    solution = LowRank(max_iterations=60).solve(sdp)
    if solution.status.has_point:
        check_scaled_feasible(sdp, solution.y)
    if solution.status is Status.SOLVED:
        assert gap(solution) <= 1e-7


def check_scaled_feasible(sdp, y):
    """PSD after scaling to a unit diagonal, up to rounding: entries may span forty decades."""
    for lmi in sdp.lmis:
        Z = lmi.evaluate(y).toarray()
        diagonal = Z.diagonal()
        assert (diagonal > 0).all()
        d = 1.0 / np.sqrt(diagonal)
        assert np.linalg.eigvalsh(Z * d * d[:, None])[0] >= -1e-9


def test_iterations_stay_few_on_deep_networks():
    sdp = lipsdp(random_network(np.random.default_rng(3), (4, *[16] * 20, 1)))
    solution = LowRank().solve(sdp)
    assert solution.status is Status.SOLVED
    assert solution.iterations <= 40


@pytest.mark.parametrize("iterations", [0, 1, 3, 5, 8])
def test_stopped_early_the_point_is_feasible_and_the_bound_holds(iterations):
    sdp = lipsdp(random_network(np.random.default_rng(4), (5, 12, 12, 12, 2)))
    best = LowRank().solve(sdp)
    early = LowRank(max_iterations=iterations).solve(sdp)
    assert early.status is Status.LIMIT
    assert early.iterations == iterations
    check_feasible(sdp, early.y)
    assert early.objective >= best.objective - 1e-9
    assert early.bound_on_optimum <= best.objective + 1e-6 * abs(best.objective)


def test_an_interrupt_returns_the_best_point_so_far():
    sdp = lipsdp(random_network(np.random.default_rng(5), (5, 12, 12, 2)))

    def interrupt(step):
        if step.iteration == 4:
            raise KeyboardInterrupt

    solution = LowRank().solve(sdp, progress=interrupt)
    assert solution.status is Status.LIMIT
    assert solution.native_status == "interrupted"
    check_feasible(sdp, solution.y)


def test_a_time_limit_returns_a_feasible_point():
    sdp = lipsdp(random_network(np.random.default_rng(6), (5, 30, 30, 30, 2)))
    solution = LowRank().solve(sdp, time_limit=1e-6)
    assert solution.status is Status.LIMIT
    check_feasible(sdp, solution.y)


def test_the_answer_is_never_worse_than_the_warm_start():
    network = random_network(np.random.default_rng(7), (5, 12, 12, 2))
    sdp = JointLipSDP(network).sdp()
    best = LowRank().solve(sdp)
    warm = best.y.copy()
    warm[-1] *= 0.999
    stopped = LowRank(max_iterations=0).solve(sdp, warm_start=warm)
    assert stopped.objective == pytest.approx(0.999 * best.objective, rel=1e-12)
    outside = LowRank(max_iterations=2).solve(sdp, warm_start=10 * best.y)
    check_feasible(sdp, outside.y)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scaling_a_layer_scales_the_bound(scale):
    rng = np.random.default_rng(8)
    weights = [rng.standard_normal(s) for s in ((6, 4), (6, 6), (2, 6))]
    plain = LowRank().solve(lipsdp(Network.from_arrays(weights)))
    weights[1] = weights[1] * scale
    scaled = LowRank().solve(lipsdp(Network.from_arrays(weights)))
    assert scaled.status is Status.SOLVED
    assert scaled.objective * scale**2 == pytest.approx(plain.objective, rel=3e-7)


def test_max_cut_against_clarabel_dense_and_by_levels():
    for sdp in (max_cut(np.random.default_rng(9), 40), ring_cut(240, 5)):
        solution = LowRank().solve(sdp)
        assert solution.status is Status.SOLVED
        check_against_clarabel(sdp, solution)
        assert solution.dual.X[0].diagonal() == pytest.approx(np.ones(sdp.variables), abs=1e-6)


def test_sdplib_mcp100(data_dir):
    solution = LowRank().solve(read_sdpa(data_dir / "sdplib" / "mcp100.dat-s"))
    assert abs(solution.objective) == pytest.approx(226.1574, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "exact"),
    [("lyr2n80test1", 0.73725698), ("fnn3_seed0", 15.581398), ("eclipse_rand_L5_n80", 0.0779153871)],
)
def test_exact_bounds_of_known_networks(data_dir, name, exact):
    with np.load(data_dir / "networks" / f"{name}.npz") as data:
        weights = [data[f"W{k}"] for k in range(sum(key.startswith("W") for key in data.files))]
    solution = LowRank().solve(lipsdp(Network.from_arrays(weights)))
    assert (-solution.objective) ** -0.5 == pytest.approx(exact, rel=1e-7)
    assert gap(solution) <= 1e-7


def test_linear_inequalities_bind():
    network = random_network(np.random.default_rng(10), (4, 8, 8, 1))
    sdp = lipsdp(network)
    free = LowRank().solve(sdp)
    limit = 0.9 * free.y[0]
    G = sp.csc_array(([1.0], ([0], [0])), shape=(1, sdp.variables))
    bound = dataclasses.replace(sdp, G=G, h=np.array([limit]))
    solution = LowRank().solve(bound)
    assert solution.status is Status.SOLVED
    assert solution.y[0] <= limit
    check_against_clarabel(bound, solution, rel=1e-5)


@pytest.mark.parametrize("option", [{"tol": 0.0}, {"tol": "x"}, {"max_iterations": -1}, {"memory_limit": 0}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(OptionError):
        LowRank(**option)


def test_what_it_does_not_suit_names_a_solver():
    one = sp.csc_array(np.ones((1, 1)))
    sdp = lipsdp(random_network(np.random.default_rng(0), (2, 2, 1)))
    m = sdp.variables
    problems = [
        SDP([1.0], G=-one, h=[0.0]),
        dataclasses.replace(sdp, socs=(SOC(sp.csc_array((2, m)), [1.0, 0.0]),)),
        dataclasses.replace(sdp, A=sp.csc_array(np.ones((1, m))), b=[0.0]),
        dataclasses.replace(sdp, H=sp.eye_array(m, format="csc")),
    ]
    for problem in problems:
        assert "Clarabel" in LowRank().suits(problem)
        with pytest.raises(OptionError, match="Clarabel"):
            LowRank().solve(problem)
    assert LowRank().suits(sdp) is None


def test_the_matrix_free_mode_knows_its_gap():
    sdp = lipsdp(random_network(np.random.default_rng(11), (4, 20, 20, 20, 20, 2)))
    exact = LowRank().solve(sdp)
    free = LowRank(memory_limit=1).solve(sdp)
    assert free.status is Status.SOLVED
    assert gap(free) <= 1e-7
    assert free.bound_on_optimum <= exact.objective + 1e-9 * abs(exact.objective)
    assert free.objective == pytest.approx(exact.objective, rel=1e-6)
    check_feasible(sdp, free.y)


@pytest.mark.slow
def test_conjugate_gradients_take_few_products_on_deep_networks(monkeypatch):
    """The windows of the preconditioner share levels: without that, it takes hundreds per solve."""
    counts = []
    solve = IterativeSchur.solve

    def counted(self, b):
        before = self.products
        x = solve(self, b)
        counts.append(self.products - before)
        return x

    monkeypatch.setattr(IterativeSchur, "solve", counted)
    network = random_network(np.random.default_rng(12), (4, *[12] * 40, 1))
    assert gap(LowRank(memory_limit=1).solve(lipsdp(network))) <= 1e-6
    assert np.mean(counts) <= 10


def test_terms_with_weights_are_not_taken_for_max_cut():
    # minimise y s.t. 4 y >= 2: P = Q, but the weight 4 belongs to the term
    one = sp.csc_array(np.ones((1, 1)))
    solution = LowRank().solve(SDP([1.0], (LMI(-2 * one, one, one, 4 * one),)))
    assert solution.y == pytest.approx([0.5], abs=1e-6)


@pytest.fixture
def precisions(monkeypatch):
    """Single precision whatever the size; the precisions in which the Schur complement was formed."""
    used = []
    form = SchurFactor.form

    def watched(self, pair, z_over_s):
        done = form(self, pair, z_over_s)
        used.append((pair.dtype.itemsize, done))
        return done

    monkeypatch.setattr(_interior_point, "_LARGE", 1)
    monkeypatch.setattr(_interior_point, "_WIDE", 1)
    monkeypatch.setattr(SchurFactor, "form", watched)
    return used


@pytest.mark.parametrize("activation", ["relu", LeakyReLU(0.2)], ids=["relu", "leaky"])
def test_single_precision_far_from_the_optimum_changes_nothing(precisions, activation):
    sdp = lipsdp(random_network(np.random.default_rng(13), (5, 70, 60, 50, 3), activation))
    mixed, widths = LowRank().solve(sdp), list(precisions)
    precisions.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_interior_point, "_LARGE", 10**9)
        double = LowRank().solve(sdp)
    assert {4, 8} == {width for width, _ in widths}
    assert {8} == {width for width, _ in precisions}
    assert mixed.status is double.status is Status.SOLVED
    assert gap(mixed) <= 1e-7
    assert mixed.objective == pytest.approx(double.objective, rel=2e-7)
    assert abs(mixed.iterations - double.iterations) <= 1


def test_where_single_precision_does_not_do_double_takes_over(precisions, monkeypatch):
    monkeypatch.setattr(_direction, "_ENOUGH", 1e-13)
    network = random_network(np.random.default_rng(14), (5, 90, 80, 2))
    solution = LowRank().solve(lipsdp(network))
    assert solution.status is Status.SOLVED
    assert gap(solution) <= 1e-7
    assert [width for width, _ in precisions].count(4) == 1


def test_data_beyond_the_range_of_single_precision(precisions):
    """Weights of 1e60: X is brought near 1 before it is narrowed."""
    rng = np.random.default_rng(15)
    weights = [rng.standard_normal(s) / s[1] for s in ((90, 5), (80, 90), (2, 80))]
    plain = LowRank().solve(lipsdp(Network.from_arrays(weights)))
    scaled = LowRank().solve(lipsdp(Network.from_arrays([1e60 * weights[0], *weights[1:]])))
    assert scaled.status is Status.SOLVED
    assert scaled.objective * 1e120 == pytest.approx(plain.objective, rel=1e-6)
    assert any(width == 4 and done for width, done in precisions)
