"""Operators: every one against its dense matrix, adjoints, bad input; on every array module."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from hypothesis import given
from hypothesis import strategies as st

from lmikit import BackendMissing, InputError
from lmikit._arrays import array_module
from lmikit.network import DenseMap, SparseMap
from lmikit.sketching import (
    ConvolutionOperator,
    DiagonalOperator,
    MatrixFreeOperator,
    ProductOperator,
    as_operator,
    check_adjoint,
    norm_bound,
)


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def am(request):
    try:
        return array_module(request.param)
    except BackendMissing as error:
        pytest.skip(str(error))


def dense(operator):
    eye = operator.am.asarray(np.eye(operator.shape[1]), dtype=operator.dtype)
    return operator.am.to_numpy(operator.matmat(eye))


def dense_adjoint(operator):
    eye = operator.am.asarray(np.eye(operator.shape[0]), dtype=operator.dtype)
    return operator.am.to_numpy(operator.rmatmat(eye)).T


def reference_convolution(kernel, shape, stride, padding, mode):
    """The matrix of the convolution, straight from its definition, one entry at a time."""
    out, channels, kh, kw = kernel.shape
    (h, w), (sy, sx), (py, px) = shape, stride, padding
    ho, wo = (h + 2 * py - kh) // sy + 1, (w + 2 * px - kw) // sx + 1
    matrix = np.zeros((out, ho, wo, channels, h, w))
    for i, j, a, b in np.ndindex(ho, wo, kh, kw):
        y, x = i * sy + a - py, j * sx + b - px
        if mode == "circular":
            y, x = y % h, x % w
        if 0 <= y < h and 0 <= x < w:
            matrix[:, i, j, :, y, x] += kernel[:, :, a, b]
    return matrix.reshape(out * ho * wo, channels * h * w)


@st.composite
def convolutions(draw):
    h, w = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    out, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    mode = draw(st.sampled_from(["zeros", "circular"]))
    kernel = np.random.default_rng(draw(st.integers(0, 2**32))).standard_normal((out, channels, kh, kw))
    return kernel, (h, w), stride, padding, mode


@given(convolutions())
def test_convolution_is_its_definition(case):
    kernel, shape, stride, padding, mode = case
    operator = ConvolutionOperator(kernel, shape, stride=stride, padding=padding, mode=mode)
    matrix = reference_convolution(kernel, shape, stride, padding, mode)
    assert operator.shape == matrix.shape
    np.testing.assert_allclose(dense(operator), matrix, atol=1e-13)
    np.testing.assert_allclose(dense_adjoint(operator), matrix, atol=1e-13)
    check_adjoint(operator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolution_on_every_module(am, dtype):
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(dtype)
    for mode in ("zeros", "circular"):
        for stride in (1, 2):
            operator = ConvolutionOperator(kernel, (7, 6), stride=stride, padding=1, mode=mode, am=am)
            matrix = reference_convolution(kernel, (7, 6), (stride, stride), (1, 1), mode)
            assert operator.dtype == dtype
            np.testing.assert_allclose(dense(operator), matrix, rtol=1e-4, atol=1e-5)
            check_adjoint(operator)


def test_zero_padding_can_exceed_the_circular_norm():
    """A known counterexample: the circular norm at the same size is no bound for zero padding."""
    kernel = np.array([[0.1, -0.5, -0.5], [2.4, 0.4, -0.1], [-0.2, -0.4, 1.1]])[None, None]
    norms = {
        mode: norm_bound(ConvolutionOperator(kernel, (4, 4), padding=1, mode=mode), 1e-10, rtol=1e-9)
        for mode in ("circular", "zeros")
    }
    assert norms["circular"].value == pytest.approx(3.47131, abs=2e-5)
    assert norms["zeros"].value == pytest.approx(3.60022, abs=2e-5)
    assert norms["zeros"].estimate > norms["circular"].value


def test_laplacian_stays_below_its_symbol():
    """[1, -2, 1] x [1, -2, 1] with zero padding: below sup of the symbol, 16, above coarse grids."""
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])[None, None]
    bound = norm_bound(ConvolutionOperator(kernel, (60, 60), padding=1), 1e-10, rtol=1e-6)
    assert 15.95 < bound.estimate <= bound.value < 16.0


def test_every_input_kind_becomes_the_same_operator(am):
    matrix = np.random.default_rng(1).standard_normal((5, 4))
    kinds = [as_operator(am.asarray(matrix), am), as_operator(am.asarray(np.asfortranarray(matrix)), am)]
    if am.name == "numpy":
        kinds += [
            as_operator(sp.csr_array(matrix)),
            as_operator(sp.coo_matrix(matrix)),
            as_operator(spla.aslinearoperator(matrix)),
            as_operator(DenseMap(matrix)),
            as_operator(SparseMap(sp.csr_array(matrix))),
            as_operator(matrix.tolist()),
        ]
    else:
        kinds.append(as_operator(am.sparse(sp.csr_matrix(matrix))))
    for operator in kinds:
        np.testing.assert_allclose(dense(operator), matrix, atol=1e-14)
        np.testing.assert_allclose(dense_adjoint(operator), matrix, atol=1e-14)
        np.testing.assert_allclose(dense(operator.transposed), matrix.T, atol=1e-14)
        assert operator.transposed.transposed is operator
        assert operator.smaller_side.shape[1] == 4


def test_dtype_is_kept_or_widened():
    assert as_operator(np.ones((2, 2), np.float32)).dtype == np.float32
    assert as_operator(np.ones((2, 2), np.float16)).dtype == np.float64
    assert as_operator(np.ones((2, 2), int)).dtype == np.float64


def test_products_and_diagonals(am):
    rng = np.random.default_rng(2)
    a, b, d = rng.standard_normal((4, 3)), rng.standard_normal((5, 4)), rng.standard_normal(4)
    product = ProductOperator(
        [as_operator(am.asarray(a), am), DiagonalOperator(d, am, np.float64), as_operator(am.asarray(b), am)]
    )
    np.testing.assert_allclose(dense(product), b @ np.diag(d) @ a, atol=1e-13)
    check_adjoint(product)


def test_a_wrong_adjoint_is_refused():
    matrix = np.random.default_rng(3).standard_normal((40, 40))
    MatrixFreeOperator(matrix.shape, lambda x: matrix @ x, lambda u: matrix.T @ u)
    with pytest.raises(InputError, match="rmatvec is not the adjoint"):
        MatrixFreeOperator(matrix.shape, lambda x: matrix @ x, lambda u: matrix @ u)
    nearly = matrix.T.copy()
    nearly[7, 3] += 1e-6
    with pytest.raises(InputError, match="rmatvec is not the adjoint"):
        MatrixFreeOperator(matrix.shape, lambda x: matrix @ x, lambda u: nearly @ u)
    with pytest.raises(InputError, match="not the adjoint"):
        as_operator(spla.LinearOperator((40, 40), matvec=lambda x: matrix @ x, rmatvec=lambda u: matrix @ u))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1.0, np.nan]]), "NaN or infinity"),
        (np.array([[1.0, np.inf]], dtype=np.float32), "NaN or infinity"),
        (sp.csr_array([[0.0, np.nan]]), "NaN or infinity"),
        (np.ones(3), "expected a matrix"),
        (np.ones((0, 3)), "at least 1"),
        (np.ones((2, 2), complex), "real numbers"),
    ],
)
def test_bad_layers_are_refused(value, message):
    with pytest.raises(InputError, match=message):
        as_operator(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"padding": -1}, "padding is -1"),
        ({"padding": (1, 2, 3)}, "padding is"),
        ({"mode": "reflect"}, "padding mode"),
        ({"padding": 9, "mode": "circular"}, "wraps once"),
    ],
)
def test_bad_convolutions_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ConvolutionOperator(np.ones((1, 1, 3, 3)), (5, 5), **options)


def test_bad_kernels_are_refused():
    with pytest.raises(InputError, match="larger than the padded image"):
        ConvolutionOperator(np.ones((1, 1, 3, 3)), (2, 2))
    with pytest.raises(InputError, match="expected \\(out, in, kh, kw\\)"):
        ConvolutionOperator(np.ones((3, 3)), (5, 5))
    with pytest.raises(InputError, match="NaN"):
        ConvolutionOperator(np.full((1, 1, 2, 2), np.nan), (5, 5))
    with pytest.raises(InputError, match="do not chain"):
        ProductOperator([as_operator(np.ones((2, 3))), as_operator(np.ones((2, 3)))])
    with pytest.raises(InputError, match="at least one factor"):
        ProductOperator([])


def test_products_of_wrong_shape_or_value_are_refused():
    with pytest.raises(InputError, match="returned shape"):
        MatrixFreeOperator((3, 2), lambda x: np.ones((3, 1, 1)), lambda u: np.ones((2, 1)))
    with pytest.raises(InputError, match="holds NaN or infinity"):
        MatrixFreeOperator(
            (3, 2), lambda x: np.full((3, x.shape[1]), np.nan), lambda u: np.ones((2, u.shape[1]))
        )


def test_dense_svd_agrees_on_small_convolutions():
    rng = np.random.default_rng(4)
    for mode in ("zeros", "circular"):
        for stride in (1, 2):
            operator = ConvolutionOperator(
                rng.standard_normal((4, 3, 3, 3)), (8, 8), stride=stride, padding=1, mode=mode
            )
            norm = scipy.linalg.svdvals(dense(operator))[0]
            bound = norm_bound(operator, 1e-10, rtol=1e-6)
            assert bound.estimate * (1 - 1e-12) <= norm <= bound.value <= norm * (1 + 2e-6)
