"""Attacks on what a problem is compiled to: a proof about another problem would be a false verdict."""

import numpy as np
import pytest

import lmikit
from lmikit import InputError
from lmikit.lmi import Problem, geo_mean, norm, quad_form, sum_squares


def problem():
    own = Problem()
    return own, own.vector(2, "x")


def test_an_affine_left_side_does_not_let_a_convex_right_side_through():
    own, x = problem()
    for build in (
        lambda: 0 * norm(x) + 1 <= norm(x),
        lambda: 0 * norm(x) + 1 >= geo_mean(x),
        lambda: 0 * geo_mean(x) + 1 <= norm(x),
        lambda: 0 * norm(x) <= 2 * norm(x),
    ):
        with pytest.raises(InputError, match="convex"):
            own.add(build())
    own.add(0 * norm(x) + 1 >= norm(x))
    own.maximise(x[0])
    found = lmikit.prove(own)
    assert found.status == "optimum"
    assert found.lower <= 1.0 <= found.upper


def test_small_eigenvalues_of_a_quadratic_constraint_are_kept():
    own, x = problem()
    own.add(quad_form(x, np.diag([1.0, 1e-15])) <= 1)
    own.maximise(x[1])
    found = lmikit.prove(own)
    assert found.status != "unbounded"
    assert not found.upper < 1e15**0.5 * (1.0 - 1e-9)
    for weight in ([[2.0, 2.0], [2.0, 2.0]], [[1.0, 1.0], [1.0, 1.0 + 1e-13]], np.diag([1.0, -1e-13])):
        own, x = problem()
        own.maximise(x[0])
        own.add(quad_form(x, np.array(weight)) <= 1)
        with pytest.raises(InputError, match="quad_form"):
            own.compile()
    own, x = problem()
    own.add(quad_form(x, np.array([[2.0, 1.0], [1.0, 2.0]])) <= 1)
    own.maximise(x[0])
    found = lmikit.prove(own)
    assert found.lower <= np.sqrt(2.0 / 3.0) * (1 + 1e-9)
    assert found.upper >= np.sqrt(2.0 / 3.0) * (1 - 1e-9)


def test_constants_of_an_objective_are_added_without_rounding():
    own = Problem()
    x = own.scalar("x")
    own.add(x >= 0)
    own.minimise(x + 1e16 + 1.0 - 1e16)
    found = lmikit.prove(own)
    assert found.lower <= 1.0 <= found.upper
    column = np.array([[1e8 + 0.3], [3e8 + 0.7], [7e7 + 0.1]])
    own.minimise(x + sum_squares(column + np.zeros((3, 1)) * x) - 9.99e16)
    exact = own.exact_offset()
    found = lmikit.prove(own)
    assert found.lower <= exact <= found.upper
