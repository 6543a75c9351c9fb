"""What is written by hand is proven: optima of the functions of expressions, on both sides."""

import math

import numpy as np
import pytest

import lmikit
from lmikit.lmi import Problem, det_rootn, lambda_max, norm, nuclear_norm


def assert_proven(problem, optimum, known_to=0.0):
    result = lmikit.prove(problem)
    assert result.status == "optimum", result
    assert result.lower <= optimum + known_to
    assert result.upper >= optimum - known_to
    assert result.width <= 1e-6


def test_theta_of_the_pentagon_is_the_root_of_five():
    problem = Problem()
    X = problem.symmetric(5, "X")
    problem.add(X >> 0)
    problem.add(X.trace() == 1)
    for i in range(5):
        problem.add(X[i, (i + 1) % 5] == 0)
    problem.maximise(X.sum())
    assert_proven(problem, math.sqrt(5), known_to=1e-15)


def test_the_largest_ellipsoid_in_a_polytope():
    cp = pytest.importorskip("cvxpy")
    A = np.random.default_rng(0).standard_normal((8, 2))
    problem = Problem()
    B, d = problem.symmetric(2, "B"), problem.vector(2, "d")
    for a in A:
        problem.add(norm(B @ a) + a @ d <= 1)
    problem.maximise(det_rootn(B))
    C, c = cp.Variable((2, 2), PSD=True), cp.Variable(2)
    peer = cp.Problem(cp.Maximize(cp.log_det(C)), [cp.norm(C @ a) + a @ c <= 1 for a in A])
    optimum = math.exp(peer.solve(solver=cp.CLARABEL) / 2)
    assert problem.solve().objective == pytest.approx(optimum, abs=1e-6)
    result = lmikit.prove(problem)
    assert result.status == "optimum"
    assert result.lower - 1e-6 <= optimum <= result.upper + 1e-6
    assert result.width <= 1e-6


@pytest.mark.parametrize("case", ["eigenvalue", "nuclear norm", "Hermitian"])
def test_functions_are_proven(case):
    C = [(G + G.T) / 2 for G in np.random.default_rng(1).standard_normal((3, 3, 3))]
    problem = Problem()
    y = problem.vector(2, "y")
    F = C[0] + y[0] * C[1] + y[1] * C[2]
    if case == "eigenvalue":
        problem.minimise(lambda_max(F))
    elif case == "nuclear norm":
        problem.minimise(nuclear_norm(F) + norm(y, 1))
    else:
        problem.add(y[0] * np.eye(2) >> np.array([[0, 1j], [-1j, 0]]))
        problem.add(norm(y) <= 3)
        problem.minimise(y[0])
    if case == "Hermitian":
        assert_proven(problem, 1.0)
    else:  # the optimum is the solver's, to its tolerance
        assert_proven(problem, problem.solve().objective, known_to=1e-6)
