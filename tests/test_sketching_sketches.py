"""Sketches against their stated distributions, and the estimates that they give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmikit import BackendMissing, OptionError
from lmikit._arrays import array_module
from lmikit.sketching import (
    SKETCHES,
    DiagonalOperator,
    Gaussian,
    Haar,
    PowerRefined,
    SparseSign,
    SubsampledCosine,
    SubsampledHadamard,
    as_operator,
    largest_pencil_value,
    nested_estimate,
    sketched_estimate,
)

OBLIVIOUS = [s for name, s in SKETCHES.items() if name != "power_refined"]


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def am(request):
    try:
        return array_module(request.param)
    except BackendMissing as error:
        pytest.skip(str(error))


def identity(n, am=None, dtype=np.float64):
    return DiagonalOperator(np.ones(n), am or array_module(), dtype)


@pytest.mark.parametrize("sketch", OBLIVIOUS)
@pytest.mark.parametrize("n", [12, 16])
def test_second_moments(sketch, n):
    """E[S'S] = I_m and E[SS'] = (m/n) I_n, to six standard errors over 4000 draws."""
    m, draws = 5, 4000
    total, outer, square, outer_square = (
        np.zeros((m, m)),
        np.zeros((n, n)),
        np.zeros((m, m)),
        np.zeros((n, n)),
    )
    for seed in range(draws):
        s = sketch().draw(identity(n), m, seed=seed).matrix
        gram, wide = s.T @ s, s @ s.T
        total, outer = total + gram, outer + wide
        square, outer_square = square + gram**2, outer_square + wide**2
    for mean, second, expected in ((total, square, np.eye(m)), (outer, outer_square, m / n * np.eye(n))):
        mean, second = mean / draws, second / draws
        error = np.sqrt(np.maximum(second - mean**2, 0.0) / draws)
        assert (np.abs(mean - expected) <= 6 * error + 1e-12).all()


@pytest.mark.parametrize("sketch", SKETCHES.values())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_seed_one_sketch(am, sketch, dtype):
    weight = np.random.default_rng(0).standard_normal((9, 12)).astype(dtype)
    operator = as_operator(am.asarray(weight, dtype=dtype), am)
    first, again = (am.to_numpy(sketch().draw(operator, 4, seed=3).matrix) for _ in range(2))
    other = am.to_numpy(sketch().draw(operator, 4, seed=4).matrix)
    host = sketch().draw(as_operator(weight), 4, seed=3).matrix
    assert first.dtype == dtype
    assert first.shape == (12, 4)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(first, host, atol=tolerance)


@pytest.mark.parametrize("sketch", SKETCHES.values())
def test_after_is_the_product(am, sketch):
    weight = np.random.default_rng(1).standard_normal((7, 10))
    operator = as_operator(am.asarray(weight), am)
    projection = sketch().draw(operator, 3, seed=0)
    product = weight @ am.to_numpy(projection.matrix)
    np.testing.assert_allclose(am.to_numpy(projection.after(operator)), product, atol=1e-12)


@pytest.mark.parametrize("sketch", [SubsampledHadamard(), SubsampledCosine()])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
def test_fast_transforms_are_their_matrices(am, sketch, n):
    weight = np.random.default_rng(2).standard_normal((6, n))
    projection = sketch.draw(identity(n, am), n, seed=1)
    s = am.to_numpy(projection.matrix)
    np.testing.assert_allclose(am.to_numpy(projection.transform(am.asarray(weight))), weight @ s, atol=1e-12)
    if n in (1, 2, 16) or isinstance(sketch, SubsampledCosine):
        np.testing.assert_allclose(s.T @ s, np.eye(n), atol=1e-12)
    if isinstance(sketch, SubsampledHadamard):
        np.testing.assert_allclose(np.abs(s), 1 / np.sqrt(n), atol=1e-14)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000), st.data())
def test_sparse_sign_has_its_nonzeros(n, nonzeros, seed, data):
    m = data.draw(st.integers(1, n))
    s = SparseSign(nonzeros).draw(identity(n), m, seed=seed).matrix
    count = min(nonzeros, m)
    assert (np.count_nonzero(s, axis=1) == count).all()
    np.testing.assert_allclose(np.abs(s[s != 0]), np.sqrt(m / (n * count)))


def test_haar_is_orthonormal_and_not_just_a_qr_factor():
    s = np.stack([Haar().draw(identity(6), 3, seed=k).matrix for k in range(4000)])
    np.testing.assert_allclose(
        np.einsum("kij,kil->kjl", s, s), np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12
    )
    # Without the sign correction the first entries of Q would have a non-zero mean.
    assert np.abs(s.mean(axis=0)).max() < 6 / np.sqrt(6 * 4000)


def test_a_smaller_gaussian_is_a_prefix():
    big, small = (Gaussian().draw(identity(20), m, seed=5).matrix for m in (8, 3))
    np.testing.assert_array_equal(big[:, :3], small)


@pytest.mark.parametrize("seed", [0, 1])
def test_sketches_do_not_repeat_the_stream_that_drew_a_layer(seed):
    """NumPy pads seeds with zeros: default_rng([0, 0]) is default_rng(0), which draws many a test layer."""
    weight = np.random.default_rng(seed).standard_normal((400, 400))
    s = Gaussian().draw(as_operator(weight), 4, seed=seed).matrix
    cosines = (weight / np.linalg.norm(weight, axis=1, keepdims=True)) @ (s / np.linalg.norm(s, axis=0))
    assert np.abs(cosines).max() < 0.3


@st.composite
def layers(draw):
    out, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = rng.standard_normal((out, n)) * 10.0 ** draw(st.integers(-8, 8))
    if draw(st.booleans()):
        weight = np.outer(weight[:, 0], weight[0])
    return weight, draw(st.integers(1, n)), draw(st.integers(0, 99))


@given(layers(), st.sampled_from(sorted(SKETCHES)))
def test_estimates_never_exceed_the_squared_norm(layer, name):
    """Rayleigh-Ritz: at or below sigma_max^2, to rounding; equal for m = n with independent columns."""
    weight, m, seed = layer
    operator = as_operator(weight)
    norm = np.linalg.norm(weight, 2) ** 2
    estimate = sketched_estimate(operator, m, SKETCHES[name](), seed=seed)
    assert estimate.side == "below"
    assert estimate.value <= norm * (1 + 1e-11)
    full = sketched_estimate(operator, weight.shape[1], Haar(), seed=seed)
    assert full.value == pytest.approx(norm, rel=1e-9)


@given(layers())
def test_power_refinement_never_lowers_the_estimate(layer):
    weight, m, seed = layer
    operator = as_operator(weight / np.linalg.norm(weight))
    values = [sketched_estimate(operator, m, PowerRefined(power=q), seed=seed).value for q in (0, 1, 3)]
    assert values[0] <= values[1] * (1 + 1e-10)
    assert values[1] <= values[2] * (1 + 1e-10)


def test_dependent_columns_are_dropped():
    operator = as_operator(np.diag([3.0, 2.0, 1.0, 0.5]))

    class Twice:
        am, shape, dtype, matvecs = array_module(), (4, 3), np.dtype(float), 0
        matrix = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])

        def after(self, op):
            return op.matmat(self.matrix)

    assert largest_pencil_value(operator, Twice()) == pytest.approx(9.0)


@pytest.mark.parametrize("name", sorted(SKETCHES))
def test_nested_estimates_grow_and_settle(am, name):
    weight = np.random.default_rng(5).standard_normal((40, 64)) * 0.8 ** np.arange(64)
    operator = as_operator(am.asarray(weight), am)
    norm = np.linalg.norm(weight, 2) ** 2
    result = nested_estimate(operator, SKETCHES[name](), m=2, rtol=1e-3, seed=1)
    assert all(a <= b for a, b in zip(result.values, result.values[1:], strict=False))
    assert all(b == min(2 * a, 64) for a, b in zip(result.sizes, result.sizes[1:], strict=False))
    assert result.settled
    assert result.estimate.value <= norm * (1 + 1e-12)
    full = nested_estimate(operator, SKETCHES[name](), m=64, rtol=1e-3)
    assert full.sizes == (64,)
    assert full.settled
    short = nested_estimate(operator, SKETCHES[name](), m=2, m_max=4, rtol=1e-12)
    assert short.sizes == (2, 4)
    assert not short.settled


@pytest.mark.parametrize("m", [0, -1, 5, 2.5, True, "3"])
@pytest.mark.parametrize("sketch", SKETCHES.values())
def test_bad_sizes_are_refused(sketch, m):
    with pytest.raises(OptionError, match=r"sketch size m is .* expected an integer from 1 to 4"):
        sketch().draw(identity(4), m)


def test_bad_options_are_refused():
    with pytest.raises(OptionError, match="nonzeros is 0"):
        SparseSign(0)
    with pytest.raises(OptionError, match="power is -1"):
        PowerRefined(power=-1)
    with pytest.raises(OptionError, match="base is 'gaussian'"):
        PowerRefined(base="gaussian")
    with pytest.raises(OptionError, match="seed is -1"):
        Gaussian().draw(identity(4), 2, seed=-1)
    with pytest.raises(OptionError, match="rtol is 0"):
        nested_estimate(identity(4), rtol=0, m=2)


def test_a_tiny_sketch_of_a_gaussian_layer_is_far_too_low():
    """Why a sketched value is never called a bound: m = 8 of 512 misses the norm by more than a third."""
    operator = as_operator(np.random.default_rng(6).standard_normal((512, 512)))
    norm = np.linalg.norm(operator.matrix, 2)
    assert np.sqrt(sketched_estimate(operator, 8, Gaussian(), seed=0).value) < 0.65 * norm
    assert np.sqrt(sketched_estimate(operator, 8, PowerRefined(), seed=0).value) > 0.9 * norm
