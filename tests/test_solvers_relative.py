"""Claims relative to the data: small data, problems whose points are all far out, rows that must vanish."""

import itertools
import time

import numpy as np
import pytest
import scipy.sparse as sp

import lmikit
from lmikit import InputError, OptionError
from lmikit.lmi import LMI, SDP, Problem, Status, block
from lmikit.lmi._residuals import relative_violations
from lmikit.solvers import SCS, Clarabel, Dense, LowRank, choose
from lmikit.solvers._geometric import geometric

SOLVERS = [Dense(), Clarabel(), LowRank(), SCS(max_iterations=5000), SCS(tol=1e-4, max_iterations=5000)]
each = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{type(s).__name__} {s.tol}")


def full(matrices, F0, c, **more):
    """The SDP of F0 + sum y_i matrices[i] by entries."""
    n = F0.shape[0]
    i, j = np.triu_indices(n)
    eye = sp.eye_array(n, format="csc")
    E = np.array([M[i, j] * np.where(i == j, 1.0, 2.0) for M in matrices]).T
    return SDP(c, (LMI(sp.csc_array(F0), eye[:, i], eye[:, j], sp.csc_array(E)),), **more)


def honest(solver, sdp, solution, optimum):
    """SOLVED only with the constraints and the optimum right, and never a ray."""
    assert solution.status not in (Status.INFEASIBLE, Status.UNBOUNDED), solution
    if solution.status is Status.SOLVED:
        assert max(relative_violations(sdp, solution.y)) <= solver.tol
        assert solution.objective == pytest.approx(optimum, rel=1e-3)


@each
@pytest.mark.parametrize("unit", [1.0, 1e-8])
def test_small_data_are_solved_or_called_inaccurate(solver, unit):
    pytest.importorskip(solver.module)
    sdp = full([unit * np.eye(3)], -(unit**2) * np.diag([1.0, 2.0, 3.0]), [1.0])
    solution = solver.solve(sdp)
    honest(solver, sdp, solution, 3 * unit)
    if isinstance(solver, (Dense, LowRank)):
        assert solution.status is Status.SOLVED


@each
def test_an_optimum_far_out_is_not_called_infeasible_or_solved_where_it_is_not(solver):
    pytest.importorskip(solver.module)
    sdp = full([np.diag([1.0, 0.0])], np.array([[0.0, 1.0], [1.0, 1e-12]]), [1.0])
    honest(solver, sdp, solver.solve(sdp), 1e12)


@each
@pytest.mark.parametrize("steps", [3, 5])
def test_a_chain_of_squares_is_not_called_infeasible(solver, steps):
    pytest.importorskip(solver.module)
    problem = Problem()
    x = problem.vector(steps + 1, "x")
    for k in range(steps):
        problem.add(block([[x[k + 1], x[k]], [x[k], 1.0]]) >> 0)
    problem.add(x[0] >= 2.0)
    problem.minimise(x[steps])
    sdp = problem.compile()
    honest(solver, sdp, solver.solve(sdp), 2.0 ** (2**steps))


@pytest.mark.parametrize("solver", [Dense(), Clarabel(), SCS()])
def test_rows_that_must_vanish_are_taken_out_and_their_multipliers_come_back(solver):
    pytest.importorskip(solver.module)
    problem = Problem()
    X = problem.symmetric(3, "X")
    problem.subject_to(X >> 0, X[0, 0] == 0, X[1, 1] == 1, X[2, 2] == 1)
    problem.maximise(X[1, 2] + X[0, 1])
    solution = lmikit.solve(problem, solver)
    assert solution.status is Status.SOLVED
    assert solution.maximised
    assert solution.objective == pytest.approx(1.0, abs=1e-5)
    assert problem.read(solution).bound == pytest.approx(1.0, abs=1e-5)
    multipliers = problem.compile().dual_residuals(solution.y, solution.dual)
    assert multipliers.stationarity <= 1e-4 * np.abs(solution.dual.X[0]).max() ** 0.5


def test_violations_do_not_depend_on_units():
    sdp = full([np.eye(2), np.diag([1.0, -1.0])], np.array([[-2.0, 0.5], [0.5, -1.0]]), [1.0, 0.0])
    y = np.array([1.0, 0.3])
    (plain,) = relative_violations(sdp, y)
    d = np.diag([1e-4, 1e6])
    matrices = [d @ np.eye(2) @ d * 1e3, d @ np.diag([1.0, -1.0]) @ d * 1e-2]
    other = full(matrices, d @ np.array([[-2.0, 0.5], [0.5, -1.0]]) @ d, [1.0, 0.0])
    assert plain > 0.1
    assert relative_violations(other, y / [1e3, 1e-2]) == pytest.approx((plain,), rel=1e-9)


def test_solvers_must_be_objects_and_limits_positive():
    sdp = full([np.eye(2)], -np.eye(2), [1.0])
    for wrong in ("SCS", LowRank):
        with pytest.raises(OptionError, match="solver object"):
            lmikit.solve(sdp, wrong)
    for wrong in (0, -1, True, "1", float("nan")):
        with pytest.raises(OptionError, match="time_limit"):
            lmikit.solve(sdp, time_limit=wrong)


def test_an_old_solution_is_readable_after_a_variable_is_added():
    problem = Problem()
    x = problem.scalar("x")
    problem.add(x >= 2)
    problem.minimise(x)
    solution = lmikit.solve(problem)
    z = problem.scalar("z")
    values = problem.read(solution)
    assert values[x] == pytest.approx(2)
    with pytest.raises(InputError, match="after this solution"):
        values[z]
    assert "objective" in str(solution)
    assert "status" in str(solution)


def dense_problem(n, m):
    """Full F_i of order n, with interiors on both sides."""
    rng = np.random.default_rng(0)
    matrices = [np.eye(n), *(A + A.T for A in rng.standard_normal((m - 1, n, n)))]
    F0, X = rng.standard_normal((2, n, n))
    X = X @ X.T / n + np.eye(n)
    return full(matrices, F0 + F0.T, [float(np.sum(M * X)) for M in matrices])


def test_dense_blocks_go_to_dense_and_small_problems_to_clarabel():
    assert lmikit.solve(full([np.eye(2)], -np.eye(2), [1.0])).solver == "Clarabel"
    sdp = dense_problem(60, 30)
    ((solver, reason),) = choose(sdp)
    assert isinstance(solver, Dense)
    assert "order 60" in reason
    solution = lmikit.solve(sdp)
    assert solution.solver == "Dense"
    assert solution.status is Status.SOLVED


def test_native_code_that_looks_at_no_clock_is_ended():
    sdp = dense_problem(90, 40)
    started = time.perf_counter()
    solution = Clarabel().solve(sdp, time_limit=0.3)
    assert time.perf_counter() - started < 10  # minutes without a limit
    assert solution.status is Status.FAILED
    assert "time limit" in solution.native_status
    assert "Dense()" in (Clarabel().suits(dense_problem(300, 2)) or "")


def test_dense_takes_every_way_to_the_schur_complement():
    from lmikit.solvers.dense._blocks import Parts, part_columns
    from lmikit.solvers.dense._schur import schur_block

    rng = np.random.default_rng(3)
    for n, m, density in ((6, 3, 1.0), (12, 20, 0.05), (8, 60, 1.0), (10, 12, 0.3)):
        matrices = [np.eye(n)] + [
            A + A.T for A in rng.standard_normal((m - 1, n, n)) * (rng.random((m - 1, n, n)) < density)
        ]
        (part,) = Parts.of(full(matrices, np.ones((n, n)), np.ones(m))).psd
        schur = schur_block(part.block, part_columns(part.block))
        R = rng.standard_normal((n, n))
        V = R.T @ R
        expected = [[np.sum(matrices[i] * (V @ matrices[j] @ V)) for j in part.active] for i in part.active]
        assert schur.matrix(V, R) == pytest.approx(
            np.array(expected), rel=1e-9, abs=1e-9 * np.abs(expected).max()
        )


def _reciprocal(smallest):
    """min x s.t. [[x, 1], [1, smallest]] PSD: the optimum is 1 / smallest."""
    problem = Problem()
    x = problem.scalar()
    problem.subject_to(block([[x, 1.0], [1.0, smallest]]) >> 0)
    problem.minimise(x)
    return problem.compile(), 1.0 / smallest


def _squares(steps):
    """min x_n s.t. x_1 >= 10, x_{k+1} >= x_k^2: the optimum is 10^(2^(n - 1))."""
    problem = Problem()
    x = [problem.scalar() for _ in range(steps)]
    problem.subject_to(x[0] >= 10.0)
    for before, after in itertools.pairwise(x):
        problem.subject_to(block([[after, before], [before, 1.0]]) >> 0)
    problem.minimise(x[-1])
    return problem.compile(), 10.0**2 ** (steps - 1)


@pytest.mark.parametrize("solver", [None, LowRank(), Clarabel(), Dense()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("sdp", "optimum"), [_reciprocal(1e-12), _squares(5)], ids=["1e12", "1e16"])
def test_optima_that_are_very_large_are_found_after_scaling(solver, sdp, optimum):
    solution = lmikit.solve(sdp, solver)
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(optimum, rel=1e-6)
    assert solution.bound_on_optimum == pytest.approx(optimum, rel=1e-6)


def test_geometric_scaling_is_the_same_problem():
    sdp, _ = _squares(4)
    scaling = geometric(sdp)
    y = np.array([11.0, 150.0, 3e4, 1e9])
    inner = scaling.factors.scaled(y)
    assert np.array_equal(scaling.factors.point(inner), y)
    assert scaling.sdp.objective(inner) * scaling.factors.objective == sdp.objective(y)
    for ours, theirs, d in zip(scaling.sdp.lmis, sdp.lmis, scaling.factors.rows, strict=True):
        expected = theirs.evaluate(y).toarray() * d * d[:, None]
        assert np.array_equal(ours.evaluate(inner).toarray(), expected)
    assert (np.abs(np.log2(np.abs(inner))) < 8).all()
    assert geometric(SDP(np.ones(1), (), G=sp.csc_array([[-1.0]]), h=np.array([-1.0]))) is None
