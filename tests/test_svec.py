"""svec orders: each is an isometry where it promises to be, and agrees with dense evaluation."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from lmikit import InputError
from lmikit.lmi import LMI
from lmikit.lmi import _svec as module
from lmikit.lmi._svec import SvecOrder, smat, svec, svec_index, svec_pairs, svec_size, to_svec

ORDERS = pytest.mark.parametrize("order", list(SvecOrder), ids=lambda order: order.name)


def _symmetric(rng, n):
    matrix = rng.standard_normal((n, n))
    return matrix + matrix.T


def _lmi(rng, n, r, m):
    P, Q = (sp.random_array((n, r), density=0.5, rng=rng) for _ in range(2))
    E = sp.random_array((r, m), density=0.6, rng=rng)
    return LMI(sp.csc_array(_symmetric(rng, n)), P, Q, E)


lmis = st.builds(
    lambda seed, n, r, m: _lmi(np.random.default_rng(seed), n, r, m),
    st.integers(0, 2**32 - 1),
    st.integers(0, 7),
    st.integers(0, 6),
    st.integers(0, 5),
)


def test_the_three_orders_of_a_matrix_of_order_3():
    matrix = np.array([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    root = np.sqrt(2)
    assert svec(matrix, SvecOrder.LOWER) == pytest.approx([1, 2 * root, 3 * root, 4, 5 * root, 6])
    assert svec(matrix, SvecOrder.UPPER) == pytest.approx([1, 2 * root, 4, 3 * root, 5 * root, 6])
    assert svec(matrix, SvecOrder.TRIPLETS) == pytest.approx([1, 2, 3, 4, 5, 6])


@ORDERS
@given(n=st.integers(0, 12))
def test_index_and_pairs_are_inverse_and_cover_one_triangle(order, n):
    i, j = svec_pairs(n, order)
    assert (i <= j).all() if order is SvecOrder.UPPER else (i >= j).all()
    assert np.array_equal(svec_index(i, j, n, order), np.arange(svec_size(n)))
    assert np.array_equal(svec_index(j, i, n, order), np.arange(svec_size(n)))


@ORDERS
@given(n=st.integers(0, 8), seed=st.integers(0, 2**32 - 1))
def test_smat_inverts_svec(order, n, seed):
    matrix = _symmetric(np.random.default_rng(seed), n)
    back = smat(svec(matrix, order), order)
    assert np.array_equal(back, back.T)
    np.testing.assert_allclose(back, matrix, rtol=4e-16, atol=0)


@pytest.mark.parametrize("order", [SvecOrder.LOWER, SvecOrder.UPPER])
@given(n=st.integers(0, 8), seed=st.integers(0, 2**32 - 1))
def test_scaled_orders_keep_inner_products(order, n, seed):
    rng = np.random.default_rng(seed)
    first, second = _symmetric(rng, n), _symmetric(rng, n)
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    assert abs(svec(first, order) @ svec(second, order) - np.sum(first * second)) <= 1e-13 * scale


@ORDERS
@given(lmi=lmis, seed=st.integers(0, 2**32 - 1))
def test_to_svec_agrees_with_dense_evaluation(order, lmi, seed):
    y = np.random.default_rng(seed).standard_normal(lmi.variables)
    F0, F = to_svec(lmi, order)
    assert F.shape == (svec_size(lmi.size), lmi.variables)
    assert F0.shape == (svec_size(lmi.size),)
    half = (lmi.P.toarray() * (lmi.E.toarray() @ y)) @ lmi.Q.toarray().T
    dense = lmi.F0.toarray() + (half + half.T) / 2
    atol = 1e-13 * (1 + abs(dense).max(initial=0))
    np.testing.assert_allclose(F0 + F @ y, svec(dense, order), rtol=0, atol=atol)


@ORDERS
@given(lmi=lmis)
def test_chunks_do_not_change_the_result(order, lmi):
    whole = to_svec(lmi, order)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", 3)
        assert abs(to_svec(lmi, order)[1] - whole).max() == 0 if whole.size else True


@ORDERS
def test_to_svec_adds_repeated_terms_and_drops_what_cancels(order):
    P = sp.csc_array(np.array([[1.0, 1.0], [0.0, 0.0]]))
    Q = sp.csc_array(np.array([[0.0, 0.0], [1.0, 1.0]]))
    cancels = LMI(sp.csc_array((2, 2)), P, Q, sp.csc_array(np.array([[1.0], [-1.0]])))
    doubles = LMI(sp.csc_array((2, 2)), P, Q, sp.csc_array(np.array([[1.0], [1.0]])))
    assert to_svec(cancels, order)[1].nnz == 0
    assert to_svec(doubles, order)[1].toarray().ravel() == pytest.approx([0, order.scale, 0])


@pytest.mark.parametrize("size", [2, 4, 5, 7])
def test_smat_refuses_a_length_that_is_not_triangular(size):
    with pytest.raises(InputError, match=f"length {size}; expected"):
        smat(np.zeros(size), SvecOrder.LOWER)


def test_orders_are_distinct():
    assert all(first.value != second.value for first, second in itertools.combinations(SvecOrder, 2))
