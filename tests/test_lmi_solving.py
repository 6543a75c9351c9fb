"""Solving where the problem is written: values, duals, parameters, Hermitian matrices, explanations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, OptionError
from lmikit.lmi import (
    ConicProgram,
    ExponentialCone,
    PowerCone,
    Problem,
    Status,
    block,
    exponential_cone,
    lambda_max,
    log_det,
    norm,
    nuclear_norm,
    power_cone,
    rotated_cone,
    sigma_max,
    sum_squares,
    sym,
)
from lmikit.solvers import SCS, Clarabel, Dense, LowRank, available
from lmikit.solvers._available import concrete_solvers

few = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def close(a, b, tol=1e-9):
    np.testing.assert_allclose(a, b, atol=tol * (1 + np.abs(np.asarray(b)).max(initial=0)))


def hermitian(rng, n):
    G = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    return (G + G.conj().T) / 2


# values


def test_values_duals_and_violations_are_read_from_the_expressions():
    problem = Problem()
    x, t = problem.vector(2, "x"), problem.scalar("t")
    low = problem.add(x >= np.array([1.0, 2.0]), name="low")
    total = problem.add(x.sum() == 4.0)
    ball = problem.add(norm(x) <= t)
    assert problem.minimize == problem.minimise
    problem.minimize(t + 1)
    values = problem.solve()
    close(x.value, [2, 2], 1e-3)
    close([t.value, (2 * t).value, norm(x).value], [np.sqrt(8), 2 * np.sqrt(8), np.sqrt(8)], 1e-6)
    assert values.objective == pytest.approx(np.sqrt(8) + 1, abs=1e-6)
    assert max(c.violation for c in (low, total, ball)) <= 1e-7
    close(low.dual + 0 * total.dual, values.dual("low"))
    close(ball.dual[0], 1.0, 1e-6)
    assert "multiplier" in str(values)
    shifted = x >= 3
    assert shifted.violation == pytest.approx(1.0, abs=1e-3)


def test_constraints_are_removed_and_replaced():
    problem = Problem()
    x = problem.scalar("x")
    first = problem.add(x >= 1, name="first")
    problem.add(x >= 2, name="second")
    problem.minimise(x)
    assert problem.solve().objective == pytest.approx(2, abs=1e-6)
    problem.replace("second", x >= 3)
    assert list(problem.constraints) == ["first", "second"]
    assert problem.solve().objective == pytest.approx(3, abs=1e-6)
    problem.remove("second")
    assert problem.solve().objective == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="takes a constraint"):
        problem.replace("first", 3)
    assert problem.constraints == {"first": first}
    with pytest.raises(InputError, match="no such constraint: second; there are: first"):
        problem.remove("second")


def test_infeasibility_is_explained_by_the_names_of_the_constraints():
    A = np.array([[0.5, 0.4], [0.0, 0.3]])
    problem = Problem()
    P, z = problem.symmetric(2, "P"), problem.scalar("z")
    problem.add(P >> np.eye(2), "P above I")
    problem.add(A.T @ P @ A - P << -np.eye(2), "decrease")
    problem.add(P.trace() <= 1, "small")
    problem.add(z >= 0, "elsewhere")
    problem.minimise(z)
    values = problem.solve()
    assert values.status is Status.INFEASIBLE
    text = values.explain()
    assert "small" in text
    assert "trace(P) ≤ 1" in text
    assert "elsewhere" not in text
    assert "plays no part" in text
    assert text in str(values)
    with pytest.raises(InputError, match="no point"):
        P.value  # noqa: B018
    problem.remove("small")
    problem.maximise(P.trace() - z)
    unbounded = problem.solve()
    assert unbounded.status is Status.UNBOUNDED
    assert "grows without end" in unbounded.explain()
    problem.minimise(P.trace() + z)
    with pytest.raises(InputError, match="is SOLVED"):
        problem.solve().explain()


# parameters


@settings(max_examples=5)
@given(seeds)
def test_a_problem_at_a_parameter_is_the_problem_with_that_constant(seed):
    """The compiled form with new values equals what is compiled from constants."""
    rng = np.random.default_rng(seed)
    n = 3
    problem = Problem()
    P, x = problem.symmetric(n, "P"), problem.vector(n, "x")
    A, Q = problem.parameter((n, n), "A"), problem.parameter((n, n), "Q", symmetric=True)
    g, b = problem.parameter((), "g"), problem.parameter(n, "b")

    def write(into, P, x, A, Q, g, b):
        F = A.T @ P + P @ A + Q - g * P
        into.add(block([[F, x + b], [(x + b).T, g * np.eye(1) + 1.0]]) >> 0, margin=0.1)
        into.add(norm(g * x - b) <= P.trace() + g)
        into.add(lambda_max(g * P + Q) <= 5)
        into.add(A @ x == b)
        into.add(b.T @ x >= g)
        into.minimise(g * P.trace() + b.T @ x + g + sum_squares(x - b) + norm(b.T @ x, 1))
        return into.compile()

    sdps = []
    for _ in range(2):
        M, G = rng.standard_normal((n, n)), rng.standard_normal((n, n))
        values = {"A": M, "Q": G + G.T, "g": float(rng.standard_normal()), "b": rng.standard_normal(n)}
        problem.update(**values)
        if not sdps:
            sdps.append(write(problem, P, x, A, Q, g, b))
        plain = Problem()
        known = {k: v.reshape(-1, 1) if np.ndim(v) == 1 else v for k, v in values.items()}
        expected = write(plain, plain.symmetric(n), plain.vector(n), **known)
        form = problem._form
        found = problem.compile()
        assert problem._form is form
        y = rng.standard_normal(found.variables)
        ours, theirs = found.residuals(y), expected.residuals(y)
        close(ours.lmis, theirs.lmis)
        close(ours.socs, theirs.socs)
        close([ours.inequality, ours.equality], [theirs.inequality, theirs.equality])
        close(ours.objective + problem.offset, theirs.objective + plain.offset)
        close((A @ x).evaluate(y[: problem.size]), known["A"] @ y[6:9, None])


def test_parameters_refuse_what_is_not_affine_and_what_does_not_fit():
    problem = Problem()
    x, g, A = (
        problem.vector(2, "x"),
        problem.parameter((), "g"),
        problem.parameter((2, 2), "A", symmetric=True),
    )
    problem.add(g * x >= 1)
    with pytest.raises(InputError, match=r"'g' has no value; set it: problem.update\(g="):
        problem.compile()
    for call, pattern in (
        (lambda: g * g, "not affine in the parameters"),
        (lambda: A @ (A @ x), "not affine in the parameters"),
        (lambda: norm(x) * g, "number only"),
        (lambda: problem.update(A=np.ones((3, 3))), r"shape \(3, 3\); expected \(2, 2\)"),
        (lambda: problem.update(A=[[0, 1], [2, 0]]), "not symmetric"),
        (lambda: problem.update(h=1), "no parameter is named 'h'; there are: g, A"),
        (lambda: problem.parameter((2, 3), symmetric=True), "symmetric parameter"),
        (lambda: problem.parameter(2, "x"), "already"),
        (lambda: setattr(x, "value", 1), "only a parameter's value"),
    ):
        with pytest.raises(InputError, match=pattern):
            call()
    g.value, A.value = 2.0, np.eye(2)
    assert g.value == 2.0
    assert problem.compile().G.toarray()[0, 0] == -2.0


def test_warm_starts_carry_multipliers_to_solvers_that_take_them():
    rng = np.random.default_rng(0)
    problem = Problem()
    P, g = problem.symmetric(4, "P"), problem.parameter((), "g", 1.0)
    A = rng.standard_normal((4, 4)) - 3 * np.eye(4)
    problem.add(P >> np.eye(4))
    problem.add(A.T @ P + P @ A << -g * np.eye(4))
    problem.minimise(P.trace())
    solver = SCS(tol=1e-7)
    cold = problem.solve(solver).solution.iterations
    assert problem.solve(solver, warm_start=True).solution.iterations < cold / 2
    g.value = 1.01
    again = problem.solve(solver, warm_start=True)
    fresh = problem.solve(Clarabel())
    close(again.objective, fresh.objective, 1e-4)
    for other in (Clarabel(), Dense(), LowRank()):
        close(problem.solve(other, warm_start=True).objective, fresh.objective, 1e-5)


# Hermitian


def test_hermitian_constants_are_embedded_with_the_right_multiplier():
    problem = Problem()
    t = problem.scalar("t")
    lmi = problem.add(t * np.eye(2) >> np.array([[0, 1j], [-1j, 0]]))
    problem.minimise(t)
    problem.solve()
    assert t.value == pytest.approx(1, abs=1e-7)
    close(lmi.dual, np.array([[0.5, 0.5j], [-0.5j, 0.5]]), 1e-4)
    assert lmi.dual.dtype.kind == "c"


@pytest.mark.parametrize("solver", [Clarabel(), Dense()], ids=["Clarabel", "Dense"])
def test_hermitian_variables_and_duals_are_cvxpys(solver):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(1)
    n = 3
    C, B = hermitian(rng, n), hermitian(rng, n)
    problem = Problem()
    X = problem.hermitian(n, "X")
    cone = problem.add(X >> 0)
    problem.add(X.trace().real == 1)
    cut = problem.add((B @ X).trace().real <= 0.1)
    off = problem.add(X[0, 1] == 0.1 - 0.05j)
    problem.minimise((C @ X).trace().real)
    values = problem.solve(solver)
    Y = cp.Variable((n, n), hermitian=True)
    theirs = [Y >> 0, cp.real(cp.trace(Y)) == 1, cp.real(cp.trace(B @ Y)) <= 0.1, Y[0, 1] == 0.1 - 0.05j]
    peer = cp.Problem(cp.Minimize(cp.real(cp.trace(C @ Y))), theirs)
    peer.solve(solver=cp.CLARABEL)
    assert values.objective == pytest.approx(peer.value, abs=1e-6)
    close(X.value, Y.value, 1e-4)
    close(cut.dual, [[theirs[2].dual_value]], 1e-4)
    # the multiplier by the Lagrangian itself: C - Z + ... = 0 on the Hermitian matrices
    Z, v = cone.dual, off.dual[0, 0]
    close(Z, Z.conj().T, 1e-12)
    assert np.linalg.eigvalsh(Z)[0] >= -1e-7
    assert abs(np.trace(Z @ X.value)) <= 1e-5
    unit = np.zeros((n, n), dtype=complex)
    unit[0, 1], unit[1, 0] = v / 2, np.conj(v) / 2
    gradient = C - Z + cut.dual[0, 0] * B + unit
    close(gradient - np.trace(gradient) / n * np.eye(n), 0 * C, 1e-4)
    close(Z, theirs[0].dual_value, 1e-3)


@few
@given(seeds)
def test_complex_arithmetic_is_numpys(seed):
    rng = np.random.default_rng(seed)
    problem = Problem()
    X, K = problem.hermitian(3, "X"), problem.matrix(3, 2, "K")
    y = rng.standard_normal(problem.size)
    V = X.evaluate(y)
    assert np.array_equal(V, V.conj().T)
    M = rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))
    W, k = M @ V, y[9:].reshape(3, 2)
    close((M @ X).evaluate(y), W)
    close((M @ X).H.evaluate(y), W.conj().T)
    close((M @ X).T.evaluate(y), W.T)
    close((M @ X).real.evaluate(y), W.real)
    close((M @ X).imag.evaluate(y), W.imag)
    close((K @ M * 1j).evaluate(y), k @ M * 1j)
    close(K.imag.evaluate(y), 0 * k)
    for function, numpy in (
        (norm, np.linalg.norm),
        (lambda e: norm(e, 1), lambda a: np.linalg.norm(a, 1)),
        (sigma_max, lambda a: np.linalg.norm(a, 2)),
        (nuclear_norm, lambda a: np.linalg.norm(a, "nuc")),
    ):
        close(function(M @ X).evaluate(y), numpy(W))


def test_functions_of_hermitian_matrices_are_cvxpys():
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(2)
    C, N = hermitian(rng, 2), hermitian(rng, 2)
    for ours, theirs in (
        (lambda_max, cp.lambda_max),
        (sigma_max, cp.sigma_max),
        (nuclear_norm, cp.normNuc),
        (lambda e: norm(e, 1), lambda e: cp.max(cp.sum(cp.abs(e), axis=0))),
    ):
        problem, s = Problem(), cp.Variable()
        t = problem.scalar("t")
        problem.minimise(ours(C + t * N))
        peer = cp.Problem(cp.Minimize(theirs(C + s * N))).solve(solver=cp.CLARABEL)
        assert problem.solve().objective == pytest.approx(peer, abs=1e-5)
    problem = Problem()
    X = problem.hermitian(2, "X")
    bound = C @ C + np.eye(2)
    problem.add(X << bound)
    problem.maximise(log_det(X))
    assert problem.solve().objective == pytest.approx(np.linalg.slogdet(bound)[1], abs=1e-6)
    for call, pattern in (
        (lambda: X >= 0, "compare real expressions"),
        (lambda: problem.minimise((1j * X).trace()), "is complex"),
    ):
        with pytest.raises(InputError, match=pattern):
            call()
    skew = Problem()
    Y = skew.hermitian(2, "Y")
    skew.add(1j * Y >> 0, name="skew")
    with pytest.raises(InputError, match="'skew' is not symmetric"):
        skew.compile()


# cones


def test_cones_by_hand_have_their_textbook_optima():
    problem = Problem()
    x, y, z = problem.scalar("x"), problem.scalar("y"), problem.scalar("z")
    problem.add(exponential_cone(x, 1, y), name="exp")
    problem.add(x == 1)
    problem.minimise(y + z)
    problem.add(z >= 0)
    for solver in (Clarabel(), SCS(tol=1e-9)):
        values = problem.solve(solver)
        assert values.objective == pytest.approx(np.e, abs=1e-6)
        w = values.dual("exp")[:, 0]  # gradient of y - w'(x, 1, y) is 0 in y
        close(w[2], 1.0, 1e-5)
        close(w[:2], [-np.e, 0.0], 1e-4)
    other = Problem()
    u, v, s = other.scalar("u"), other.scalar("v"), other.scalar("s")
    other.add(power_cone(u, v, s, 0.3))
    other.add(u + v <= 1)
    other.maximise(s)
    for solver in (Clarabel(), SCS(tol=1e-9)):
        assert other.solve(solver).objective == pytest.approx(0.3**0.3 * 0.7**0.7, abs=1e-6)
    rotated = Problem()
    a, b = rotated.scalar("a"), rotated.scalar("b")
    rotated.add(rotated_cone(np.array([3.0, 4.0]), a, b))
    rotated.minimise(a + b)
    assert rotated.solve(Dense()).objective == pytest.approx(10, abs=1e-6)
    with pytest.raises(InputError, match="between 0 and 1"):
        power_cone(u, v, s, 1.5)
    with pytest.raises(InputError, match="scalars u, v"):
        rotated_cone(1, np.ones(2), a)


def test_infeasible_and_unbounded_cone_programs_are_told():
    problem = Problem()
    x, y = problem.scalar("x"), problem.scalar("y")
    problem.add(exponential_cone(x, 1, y), name="exp")
    problem.add(x >= 2, name="x")
    problem.add(y <= 7, name="y")
    values = problem.solve(Clarabel())
    assert values.status is Status.INFEASIBLE  # e^2 > 7
    assert "exp(x / 1)" in values.explain()
    problem.remove("y")
    problem.maximise(y)
    assert problem.solve(Clarabel()).status is Status.UNBOUNDED


@pytest.mark.parametrize("solver", [s() for s in concrete_solvers()], ids=lambda s: type(s).__name__)
def test_cones_are_refused_by_name_where_a_solver_has_them_not(solver):
    ready = {info.name for info in available() if info.ready}
    C = np.eye(3)
    sdp = Problem()
    sdp.vector(3)
    plain = sdp.compile()
    cases = {
        "exponential": (ConicProgram(plain, (ExponentialCone(C, np.zeros(3)),)), solver.takes_exponential),
        "power": (ConicProgram(plain, (), (PowerCone(C, np.zeros(3), 0.5),)), solver.takes_power),
    }
    for kind, (program, taken) in cases.items():
        if not taken:
            with pytest.raises(OptionError, match=f"{type(solver).__name__} takes no {kind} cones"):
                lmikit.solve(program, solver)
        elif type(solver).__name__ in ready:
            assert lmikit.solve(program, solver).status is Status.SOLVED


def test_symmetric_parts_and_labels_of_scalars():
    problem = Problem()
    K = problem.matrix(2, 2, "K")
    assert str(sym(K)) == "0.5 (K + K')"
    assert str(2 * K[0, 1] - 3) == "2 K[0, 1] - 3"
    assert str(-K.trace()) == "-trace(K)"


@pytest.mark.parametrize("solver", [Clarabel(), SCS(tol=1e-9)], ids=repr)
def test_diagonal_inequalities_keep_their_matrix_multipliers(solver):
    """They go to the solvers as rows; X is diagonal, and the optimum that of the full cone."""
    problem = Problem()
    x, P = problem.diagonal(3, "x"), problem.symmetric(2, "P")
    order, shifted = x >> np.diag([1.0, 2.0, 0.5]), P - np.diag([0.5, 1.0]) >> x[:2, :2] * 0.25
    problem.add(order)
    problem.add(shifted)
    problem.minimize(2.0 * x.trace() + P.trace())
    solution = problem.solve(solver)
    assert solution.status is Status.SOLVED
    close(solution.objective, 7.0 + 1.5 + 0.75, 1e-7)
    close(order.dual, np.diag([2.25, 2.25, 2.0]), 1e-6)
    close(shifted.dual, np.eye(2), 1e-6)
    sdp = problem.compile()
    raw = solver.solve(sdp)
    gap = sdp.dual_residuals(raw.y, raw.dual)
    assert max(gap.violation, abs(gap.gap)) < 1e-6
