"""The kernels of the NumPy array module, for every order in memory."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmikit._arrays import array_module

am = array_module()
ORDERS = ("C", "F", "strided")


def stored(a, order):
    """The same matrix, row by row, column by column, or as a view with gaps."""
    if order == "strided":
        wide = np.full((2 * a.shape[0], 2 * a.shape[1]), np.nan)
        wide[::2, ::2] = a
        return wide[::2, ::2]
    return np.array(a, order=order)


def definite(rng, n):
    root = rng.standard_normal((n, n + 2))
    return root @ root.T + 0.1 * np.eye(n)


@given(st.tuples(*[st.integers(0, 7)] * 3), st.sampled_from(list(itertools.product(ORDERS, ORDERS))))
def test_products(shape, orders):
    n, k, m = shape
    rng = np.random.default_rng(n + 10 * k + 100 * m)
    a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
    found = am.product(stored(a, orders[0]), stored(b, orders[1]))
    assert found.shape == (n, m)
    np.testing.assert_allclose(found, a @ b, atol=1e-13)


def test_products_keep_other_precisions():
    a = np.ones((2, 3), dtype=np.float32)
    assert am.product(a, a.T).dtype == np.float32


@given(st.integers(1, 7), st.integers(0, 7), st.sampled_from(list(itertools.product(ORDERS, ORDERS))))
def test_differences_with_gram_matrices(n, k, orders):
    rng = np.random.default_rng(n + 10 * k)
    s, v = definite(rng, n), rng.standard_normal((k, n))
    given_s = stored(s, orders[0])
    found = am.less_gram(given_s, stored(v, orders[1]))
    np.testing.assert_allclose(np.tril(found), np.tril(s - v.T @ v), atol=1e-12)
    np.testing.assert_array_equal(given_s, s)  # not overwritten


@given(st.integers(1, 7), st.integers(0, 5), st.sampled_from(list(itertools.product(ORDERS, ORDERS))))
def test_factorisations_and_solves(n, k, orders):
    rng = np.random.default_rng(n + 10 * k)
    a, b = definite(rng, n), rng.standard_normal((n, k))
    garbage = stored(np.tril(a) + np.triu(rng.standard_normal((n, n)), 1), orders[0])
    factor = am.cholesky(garbage)  # reads the lower triangle only
    np.testing.assert_allclose(factor, np.linalg.cholesky(a), atol=1e-12)
    np.testing.assert_allclose(am.inverse_from_cholesky(factor) @ a, np.eye(n), atol=1e-8)
    for transposed, triangle in ((False, factor), (True, factor.T)):
        solved = am.solve_triangular(factor, stored(b, orders[1]), transposed=transposed)
        assert solved.shape == b.shape
        np.testing.assert_allclose(triangle @ solved, b, atol=1e-9)
    vector = rng.standard_normal(n)
    np.testing.assert_allclose(factor @ am.solve_triangular(factor, vector), vector, atol=1e-9)
    for right in (vector, stored(b, orders[1])):
        np.testing.assert_allclose(a @ am.cholesky_solve(factor, right), right, atol=1e-8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf, 5.0, -5.0])
@pytest.mark.parametrize("where", [(0, 0), (3, 3), (4, 4), (3, 1), (4, 0)])
def test_what_is_not_definite_has_no_factor(order, entry, where):
    a = np.eye(5)
    a[where] = entry if where[0] != where[1] else -abs(entry)
    with np.errstate(all="ignore"):
        assert am.cholesky(stored(a, order)) is None


def test_a_large_matrix_with_one_nan_has_no_factor():
    a = definite(np.random.default_rng(0), 300)  # beyond the size of one block of the factorisation
    for i, j in ((299, 0), (150, 149), (290, 200)):
        b = a.copy()
        b[i, j] = np.nan
        assert am.cholesky(b) is None
