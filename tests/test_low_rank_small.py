"""LowRank's dense path for small LMIs with a feasible start: the answers of the general method."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_helpers import random_network
from strategies import networks

from lmikit import LipSDP, Network, lipschitz
from lmikit.formulations import JointLipSDP
from lmikit.formulations.graph import GraphGain
from lmikit.formulations.iqc import Dissipation, SlopeRestricted
from lmikit.graph import chain_graph
from lmikit.lmi import LMI, SDP, Status
from lmikit.methods._start import closed_form_start
from lmikit.network import Slopes, linear_fractional
from lmikit.solvers import Clarabel, LowRank

GENERAL = LowRank(memory_limit=2**62)  # a limit that binds nothing asks for the general method


def warm_problem(network, multipliers="neuron"):
    form = JointLipSDP(network, multipliers)
    return form.sdp(), form.point(closed_form_start(network, multipliers), 0.5)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    dims=st.lists(st.integers(1, 12), min_size=3, max_size=6),
    slopes=st.sampled_from([(0.0, 1.0), (-0.1, 1.1), (0.2, 0.9), (-1.0, 1.0)]),
    multipliers=st.sampled_from(["neuron", "layer"]),
)
def test_the_optimum_its_gap_and_its_multipliers(seed, dims, slopes, multipliers):
    network = random_network(np.random.default_rng(seed), dims, Slopes(*slopes))
    sdp, start = warm_problem(network, multipliers)
    solution = LowRank().solve(sdp, warm_start=start)
    assert solution.status is Status.SOLVED, solution
    np.linalg.cholesky(sdp.lmis[0].evaluate(solution.y).toarray())
    assert (sdp.G @ solution.y <= sdp.h).all()
    assert -1e-9 <= (solution.objective - solution.bound_on_optimum) / abs(solution.objective) <= 1e-7
    general = GENERAL.solve(sdp, warm_start=start)
    assert solution.objective == pytest.approx(general.objective, rel=1e-6)
    residuals = sdp.dual_residuals(solution.y, solution.dual)
    assert np.linalg.eigvalsh(solution.dual.X[0])[0] > 0.0
    assert (solution.dual.z >= 0.0).all()
    scale = max(1.0, np.abs(solution.dual.X[0]).max())
    assert residuals.stationarity <= 1e-6 * scale


@settings(max_examples=25)
@given(network=networks(), multipliers=st.sampled_from(["neuron", "layer"]))
def test_the_direct_assembly_is_the_general_one(network, multipliers):
    """Entry by entry: the chain's LMI is what `Dissipation` makes of its linear fractional form."""
    form, general = JointLipSDP(network, multipliers), linear_fractional(network)
    direct = form.sdp()
    slopes = [SlopeRestricted(general.alpha, general.beta)]
    problem = Dissipation(general, slopes, partition=network.dims[:-1])
    nonnegative = np.zeros(direct.variables - 1, dtype=bool)
    nonnegative[direct.G.tocoo().col] = True
    expected = problem.sdp(nonnegative, None if multipliers == "neuron" else form.incidence)
    assert np.array_equal(direct.c, expected.c)
    assert np.array_equal(direct.h, expected.h)
    assert (direct.G != expected.G).nnz == 0
    (ours,), (theirs,) = direct.lmis, expected.lmis
    assert ours.partition == theirs.partition
    for name in ("F0", "P", "Q", "E"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.shape == b.shape, name
        assert (a != b).nnz == 0, name


def test_with_inequalities_and_an_empty_block():
    """min x + y s.t. [[x, 1], [1, y]] PSD, x <= 1/2: the optimum is 2.5, at (1/2, 2)."""
    eye = sp.eye_array(2, format="csc")
    lmi = LMI(sp.csc_array(np.array([[0.0, 1.0], [1.0, 0.0]])), eye, eye, eye)
    empty = LMI(sp.csc_array((0, 0)), sp.csc_array((0, 0)), sp.csc_array((0, 0)), sp.csc_array((0, 2)))
    sdp = SDP(np.ones(2), (lmi, empty), G=sp.csc_array([[1.0, 0.0]]), h=np.array([0.5]))
    solution = LowRank().solve(sdp, warm_start=np.array([0.4, 9.0]))
    assert solution.status is Status.SOLVED
    assert solution.y == pytest.approx([0.5, 2.0], rel=1e-5)
    assert solution.dual.z == pytest.approx([3.0], rel=1e-4)  # d(x + 1/x)/dx = -3 at 1/2
    assert solution.dual.X[1].shape == (0, 0)


def test_limits_and_progress_hold():
    rng = np.random.default_rng(3)
    sdp, start = warm_problem(random_network(rng, [6, 8, 8, 2]))
    seen = []
    few = LowRank(max_iterations=3).solve(sdp, warm_start=start, progress=seen.append)
    assert few.status is Status.LIMIT
    assert few.iterations == 3
    assert len(seen) == 4
    assert sdp.objective(few.y) <= sdp.objective(start)
    late = LowRank().solve(sdp, warm_start=start, time_limit=1e-9)
    assert late.status is Status.LIMIT
    assert late.y is not None

    def interrupt(progress):
        if progress.iteration >= 2:
            raise KeyboardInterrupt

    stopped = LowRank().solve(sdp, warm_start=start, progress=interrupt)
    assert stopped.status is Status.LIMIT
    assert stopped.native_status == "interrupted"


def test_starts_that_are_no_use_leave_the_general_method():
    rng = np.random.default_rng(3)
    sdp, start = warm_problem(random_network(rng, [6, 8, 8, 2]))
    expected = LowRank().solve(sdp, warm_start=start).objective
    for useless in (np.full(start.size, np.nan), -start, np.zeros(start.size)):
        solution = LowRank().solve(sdp, warm_start=useless)
        assert solution.status is Status.SOLVED
        assert solution.objective == pytest.approx(expected, rel=1e-6)


def test_an_unbounded_problem_is_not_solved():
    """min -x s.t. 1 + x >= 0 in a 1 x 1 LMI: from x = 1 the multipliers never become feasible."""
    one = sp.csc_array(np.ones((1, 1)))
    sdp = SDP(np.array([-1.0]), (LMI(one, one, one, one),))
    solution = LowRank().solve(sdp, warm_start=np.ones(1))
    assert solution.status in (Status.UNBOUNDED, Status.FAILED)


def test_the_bound_of_a_small_network_is_clarabels():
    rng = np.random.default_rng(3)
    network = random_network(rng, [10, 20, 20, 1])
    ours = lipschitz(network, solver=LowRank())
    assert "LowRank" in ours.produced_by
    reference = lipschitz(network, LipSDP(), solver=Clarabel(tol=1e-9))
    assert ours.bound == pytest.approx(reference.bound, rel=1e-6)
    assert ours.witness.optimum_at_least <= ours.bound


@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1), column=st.sampled_from([None, 1]))
def test_problems_that_share_all_but_one_vector_have_the_optima_of_each(seed, column):
    rng = np.random.default_rng(seed)
    graph = chain_graph(random_network(rng, [4, 7, 6, 3]))
    gain = GraphGain(graph, column=column, each_output=True)
    sdp, ends = gain.by_rows()
    assert ends.shape == (sdp.lmis[0].size, 3)
    for row, solutions in enumerate(
        zip(*(s.solve_ends(sdp, ends) for s in (LowRank(), GENERAL)), strict=True)
    ):
        alone = LowRank().solve(GraphGain(graph, row, column).sdp())
        for solution in (*solutions, alone):
            assert solution.status is Status.SOLVED
            assert solution.objective == pytest.approx(alone.objective, rel=3e-7)
        found = [gain.witness(solutions[0], row), GraphGain(graph, row, column).witness(alone)]
        assert found[0].parts[0].row == row
        assert found[0].parts[0].d_in == pytest.approx(found[1].parts[0].d_in, rel=3e-7)


def test_an_output_that_is_constant_has_a_part_too():
    rng = np.random.default_rng(5)
    W, V = rng.standard_normal((5, 3)), rng.standard_normal((3, 5))
    V[1] = 0.0
    certificate = lipschitz(chain_graph(Network.from_arrays([W, V])), norm=(2, np.inf))
    rows = [lipschitz(Network.from_arrays([W, V[[k]]])).bound for k in (0, 2)]
    assert certificate.bound == pytest.approx(max(rows), rel=1e-6)
