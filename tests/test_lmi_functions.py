"""Laws of the functions of expressions: values as NumPy's, optima as CVXPY's, non-convex uses refused."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, OptionError
from lmikit.lmi import (
    Problem,
    block,
    constant,
    det_rootn,
    diag,
    geo_mean,
    hstack,
    kron,
    lambda_max,
    lambda_min,
    log_det,
    multiply,
    norm,
    nuclear_norm,
    quad_form,
    quad_over_lin,
    reshape,
    sigma_max,
    sum_squares,
    trace,
    vec,
    vstack,
)
from lmikit.solvers import SCS, Clarabel, Dense

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)


def close(a, b, tol=1e-9):
    np.testing.assert_allclose(a, b, atol=tol * (1 + np.abs(np.asarray(b)).max(initial=0)))


def affine_matrix(rng, rows, cols):
    """An affine expression of a fresh problem and the same function in numpy."""
    problem = Problem()
    X = problem.matrix(rows, cols, "X")
    L, R, C = (
        rng.standard_normal((rows, rows)),
        rng.standard_normal((cols, cols)),
        rng.standard_normal((rows, cols)),
    )
    return problem, L @ X @ R + C, lambda y: L @ y.reshape(rows, cols) @ R + C


# structure


@few
@given(seeds)
def test_structure_is_numpys(seed):
    rng = np.random.default_rng(seed)
    r, c = (int(k) for k in rng.integers(1, 4, 2))
    problem, e, f = affine_matrix(rng, r, c)
    y = rng.standard_normal(problem.size)
    K, M = rng.standard_normal((2, 3)), rng.standard_normal((r, c))
    close(kron(e, K).evaluate(y), np.kron(f(y), K))
    close(kron(K, e).evaluate(y), np.kron(K, f(y)))
    close(kron(sp.csr_array(K), e).evaluate(y), np.kron(K, f(y)))
    close(vec(e).evaluate(y), f(y).reshape(-1, 1, order="F"))
    for order in "CF":
        close(reshape(e, (c, r), order).evaluate(y), f(y).reshape(c, r, order=order))
    close(multiply(M, e).evaluate(y), M * f(y))
    close(multiply(e, sp.csc_array(M)).evaluate(y), M * f(y))
    close(hstack([e, M]).evaluate(y), np.hstack([f(y), M]))
    close(vstack([M, e]).evaluate(y), np.vstack([M, f(y)]))
    gram = e @ M.T
    close(trace(gram).evaluate(y), [[np.trace(f(y) @ M.T)]])
    close(gram.diagonal().evaluate(y), np.diag(f(y) @ M.T)[:, None])
    close(diag(gram.diagonal()).evaluate(y), np.diag(np.diag(f(y) @ M.T)))
    for axis in (0, 1, None):
        close(e.sum(axis).evaluate(y), f(y).sum(axis=axis, keepdims=True))
    A, B = rng.standard_normal((2, r)), rng.standard_normal((c, 2))
    close(vec(A @ e @ B).evaluate(y), (kron(np.kron(B.T, A), np.eye(1)) @ vec(e)).evaluate(y))


def test_expressions_are_iterated_as_arrays_are():
    problem = Problem()
    x, P = problem.vector(2, "x"), problem.symmetric(2, "P")
    a, b = x
    y = np.arange(1.0, 6.0)
    assert (a.evaluate(y), b.evaluate(y)) == (1.0, 2.0)
    assert len(P) == 2
    assert [row.shape for row in P] == [(1, 2), (1, 2)]
    assert sum(x).evaluate(y) == 3.0
    with pytest.raises(IndexError):
        list(range(2))[2]
    with pytest.raises(InputError, match="does not fit"):
        x[2]


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda P: np.kron(P, np.eye(2)), r"lmikit\.lmi\.kron"),
        (lambda P: np.kron(np.eye(2), P), "lmikit.lmi.kron"),
        (np.diag, "lmikit.lmi.diag"),
        (np.trace, r"\.trace\(\)"),
        (np.sum, r"\.sum\(\)"),
        (lambda P: np.block([[P, P]]), "lmikit.lmi.block"),
        (lambda P: np.hstack([P, P]), "lmikit.lmi.hstack"),
        (np.linalg.norm, r"lmikit.lmi.norm"),
        (np.linalg.inv, "no lmikit function"),
        (lambda P: np.asarray(P, dtype=float), "not an array"),
    ],
)
def test_numpy_functions_name_what_to_call_instead(call, instead):
    P = Problem().symmetric(2, "P")
    with pytest.raises(InputError, match=instead):
        call(P)


def test_hints_for_common_slips():
    problem = Problem()
    x = problem.vector(2, "x")
    with pytest.raises(InputError, match="block"):
        x >> [[x]]
    with pytest.raises(InputError, match="subject_to"):
        problem.add([x >= 0])
    with pytest.raises(InputError, match=r"call problem\.solve"):
        x.value  # noqa: B018
    with pytest.raises(InputError, match="multiply"):
        x * np.ones(2)


# functions: values

SCALARS = {
    "norm": (norm, lambda v: np.linalg.norm(v)),
    "fro": (lambda e: norm(e, "fro"), lambda v: np.linalg.norm(v)),
    "1": (lambda e: norm(e, 1), lambda v: np.linalg.norm(v, 1)),
    "inf": (lambda e: norm(e, math.inf), lambda v: np.linalg.norm(v, np.inf)),
    "2": (lambda e: norm(e, 2), lambda v: np.linalg.norm(v, 2)),
    "nuc": (lambda e: norm(e, "nuc"), lambda v: np.linalg.norm(v, "nuc")),
    "sigma_max": (sigma_max, lambda v: np.linalg.norm(v, 2)),
    "nuclear": (nuclear_norm, lambda v: np.linalg.norm(v, "nuc")),
    "squares": (sum_squares, lambda v: (v**2).sum()),
    "over": (lambda e: quad_over_lin(e, 2 * e.sum() * 0 + 3), lambda v: (v**2).sum() / 3),
}


@few
@given(seeds, st.sampled_from(sorted(SCALARS)))
def test_values_are_numpys(seed, name):
    rng = np.random.default_rng(seed)
    r, c = (int(k) for k in rng.integers(1, 4, 2))
    problem, e, f = affine_matrix(rng, r, c)
    y = rng.standard_normal(problem.size)
    ours, theirs = SCALARS[name]
    close(ours(e).evaluate(y), theirs(f(y)))
    close((3 - 2 * ours(e) / 4).evaluate(y), 3 - theirs(f(y)) / 2)


@few
@given(seeds)
def test_values_of_symmetric_matrices_are_numpys(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    problem = Problem()
    P = problem.symmetric(n, "P")
    G = rng.standard_normal((n, n))
    value = G @ G.T + 0.1 * np.eye(n)
    y = value[np.tril_indices(n)]
    eigenvalues = np.linalg.eigvalsh(value)
    close(lambda_max(P).evaluate(y), eigenvalues[-1])
    close(lambda_min(P).evaluate(y), eigenvalues[0])
    close(log_det(P).evaluate(y), np.linalg.slogdet(value)[1])
    close(det_rootn(P).evaluate(y), np.linalg.det(value) ** (1 / n))
    close(geo_mean(P.diagonal()).evaluate(y), np.prod(np.diag(value)) ** (1 / n))
    assert log_det(-P).evaluate(y) == -math.inf
    assert geo_mean(-P.diagonal()).evaluate(y) == -math.inf


# functions: the optimum over an affine space, by every representation


def optimum(function, e, problem, sense, solver):
    """One number in three ways: as the objective, below a variable, in a sum with another function."""
    getattr(problem, sense)(function(e))
    direct = problem.solve(solver)
    t = problem.scalar("t")
    bound = problem.add(function(e) <= t if sense == "minimise" else function(e) >= t, name="bound")
    getattr(problem, sense)(t)
    below = problem.solve(solver)
    sign = 1 if sense == "minimise" else -1
    problem.replace("bound", sign * (function(e) + function(e)) <= 2 * sign * t)
    twice = problem.solve(solver)
    for values in (direct, below, twice):
        assert values.status.has_point, values
    assert bound.violation <= 1e-5
    close([below.objective, twice.objective], [direct.objective] * 2, 2e-5)
    close(direct.bound, direct.objective, 1e-4)
    return direct.objective


CONVEX = ["norm", "1", "inf", "2", "nuc"]


@pytest.mark.parametrize("solver", [Clarabel(), Dense(), SCS(tol=1e-8)], ids=["Clarabel", "Dense", "SCS"])
@pytest.mark.parametrize("name", CONVEX)
def test_norms_are_minimised_as_by_cvxpy(name, solver):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(CONVEX.index(name))
    C, N = rng.standard_normal((3, 2)), [rng.standard_normal((3, 2)) for _ in range(2)]
    problem, x = Problem(), cp.Variable(2)
    y = problem.vector(2, "y")
    ours = optimum(SCALARS[name][0], C + y[0] * N[0] + y[1] * N[1], problem, "minimise", solver)
    spelled = {"norm": "fro", "1": 1, "inf": "inf", "2": 2, "nuc": "nuc"}[name]
    theirs = cp.Problem(cp.Minimize(cp.norm(C + x[0] * N[0] + x[1] * N[1], spelled))).solve(
        solver=cp.CLARABEL
    )
    close(ours, theirs, 1e-5)


@pytest.mark.parametrize("solver", [Clarabel(), Dense()], ids=["Clarabel", "Dense"])
@pytest.mark.parametrize("name", ["lambda_max", "lambda_min", "det_rootn", "geo_mean"])
def test_functions_of_symmetric_matrices_are_optimised_as_by_cvxpy(name, solver):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(3)
    G = rng.standard_normal((3, 3))
    C = G @ G.T + 3 * np.eye(3)
    N = [(H + H.T) / 2 for H in rng.standard_normal((2, 3, 3))]
    problem, x = Problem(), cp.Variable(2)
    y = problem.vector(2, "y")
    problem.add(norm(y) <= 1)
    ours_of = {
        "lambda_max": lambda_max,
        "lambda_min": lambda_min,
        "det_rootn": det_rootn,
        "geo_mean": lambda F: geo_mean(F.diagonal()),
    }[name]
    theirs_of = {
        "lambda_max": cp.lambda_max,
        "lambda_min": cp.lambda_min,
        "det_rootn": lambda F: cp.exp(cp.log_det(F) / 3),
        "geo_mean": lambda F: cp.geo_mean(cp.diag(F)),
    }[name]
    F = C + x[0] * N[0] + x[1] * N[1]
    sense = "minimise" if name == "lambda_max" else "maximise"
    ours = optimum(ours_of, C + y[0] * N[0] + y[1] * N[1], problem, sense, solver)
    objective = (
        cp.Minimize(theirs_of(F))
        if sense == "minimise"
        else cp.Maximize(cp.log_det(F) if name == "det_rootn" else theirs_of(F))
    )
    theirs = cp.Problem(objective, [cp.norm(x) <= 1]).solve(solver=cp.CLARABEL)
    close(ours, math.exp(theirs / 3) if name == "det_rootn" else theirs, 1e-5)


def test_quadratics_stand_in_constraints_too():
    problem = Problem()
    x, t = problem.vector(2, "x"), problem.scalar("t")
    W = np.array([[2.0, 0.5], [0.5, 1.0]])
    problem.add(quad_form(x, W) + norm(x, 1) + sum_squares(x - np.ones(2)) <= t, name="all")
    problem.minimise(t - x.sum())
    values = problem.solve()
    direct = Problem()
    z = direct.vector(2, "z")
    direct.minimise(quad_form(z, W) + norm(z, 1) + sum_squares(z - np.ones(2)) - z.sum())
    close(values.objective, direct.solve().objective, 1e-6)
    close(values.dual("all"), [[1.0]], 1e-5)
    over = Problem()
    u, s = over.vector(2, "u"), over.scalar("s")
    over.add(s <= 4)
    over.add(u >= 1)
    over.minimise(quad_over_lin(u, s))
    assert over.solve().objective == pytest.approx(0.5, abs=1e-6)


def refused():
    p = Problem()
    x, P, t = p.vector(2, "x"), p.symmetric(2, "P"), p.scalar("t")
    return {
        "norm from below": (lambda: norm(x) >= 1, "not convex"),
        "lambda_max from below": (lambda: lambda_max(P) >= t, "lambda_max.* is convex; only"),
        "lambda_min from above": (lambda: lambda_min(P) <= t, "lambda_min.* is concave; only"),
        "log_det from above": (lambda: log_det(P) <= 1, "concave"),
        "geo_mean from above": (lambda: geo_mean(x) <= 1, "concave"),
        "negative norm": (lambda: -norm(x) <= 1, "not convex"),
        "maximise": (lambda: p.maximise(sigma_max(P)), "not a convex problem"),
        "minimise": (lambda: p.minimise(det_rootn(P)), "not a convex problem"),
        "mixed": (lambda: norm(x) + lambda_min(P), "neither"),
        "difference": (lambda: norm(x) - norm(x, 1), "neither"),
        "product": (lambda: norm(x) * t, "number only"),
        "equality of kron": (lambda: kron(P, P), "not affine"),
        "square": (lambda: lambda_max(x), "square matrix"),
        "ord": (lambda: norm(P, 3), "ord is 3"),
        "order": (lambda: norm(x) >> 0, "scalar"),
        "list": (lambda: norm([[x]]), "block"),
    }


@pytest.mark.parametrize("case", refused())
def test_non_convex_uses_are_refused(case):
    call, pattern = refused()[case]
    with pytest.raises(InputError, match=pattern):
        call()


# cones that not every solver has


def test_log_det_goes_to_solvers_that_have_exponential_cones():
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    points = rng.standard_normal((8, 2))
    problem = Problem()
    A, b = problem.symmetric(2, "A"), problem.vector(2, "b")
    for point in points:
        problem.add(norm(A @ point + b) <= 1)
    problem.maximise(log_det(A))
    for solver in (None, Clarabel(), SCS(tol=1e-9)):
        values = problem.solve(solver)
        assert values.status is lmikit.lmi.Status.SOLVED, values
        close(values.bound, values.objective, 1e-5)
    X, x = cp.Variable((2, 2), symmetric=True), cp.Variable(2)
    peer = cp.Problem(cp.Maximize(cp.log_det(X)), [cp.norm(X @ p + x) <= 1 for p in points])
    assert problem.solve().objective == pytest.approx(peer.solve(solver=cp.CLARABEL), abs=1e-6)
    log = problem.solve().objective
    problem.maximise(det_rootn(A))
    assert problem.solve(Dense()).objective == pytest.approx(math.exp(log / 2), abs=1e-6)
    problem.maximise(log_det(A))
    with pytest.raises(OptionError, match="Dense takes no exponential cones; Clarabel"):
        problem.solve(Dense())
    with pytest.raises(InputError, match="exponential cones, which an SDP does not hold"):
        lmikit.prove(problem)


def test_names_and_printing():
    A = constant([[0.5, 0.4], [0.0, 0.3]], "A")
    problem = Problem()
    P, t = problem.symmetric(2, "P"), problem.scalar("t")
    problem.add(A.T @ P @ A - P << -np.eye(2), "decrease", margin=0.5)
    problem.add(block([[t * np.eye(2), P], [P, np.eye(2)]]) >> 0)
    problem.add(2 * norm(P[0, :].T) <= t + 3)
    problem.minimise(P.trace() + 2 * t)
    text = str(problem)
    for line in (
        "minimise  trace(P) + 2 t",
        "decrease:  A' P A - P ⪯ -I",
        "with margin 0.5",
        "[t I  P; P  I] ⪰ 0",
        "over  P (2x2), t (1x1)",
    ):
        assert line in text
