"""Probabilistic and deterministic norm bounds: soundness, coverage, bad input."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lmikit import BackendMissing, InputError, OptionError
from lmikit._arrays import array_module, blas_threads
from lmikit.sketching import (
    PROBABILISTIC_METHODS,
    MatrixFreeOperator,
    ProbabilisticBound,
    as_operator,
    gram_bound,
    gram_values,
    norm_bound,
)
from lmikit.sketching._lanczos import start_component

SPECTRA = {
    "gaussian": np.random.default_rng(0).standard_normal((60, 50)),
    "decaying": np.diag(0.9 ** np.arange(50)),
    "gap": np.diag(np.r_[1.0, np.full(49, 0.3)]),
    "edge": np.diag(np.linspace(0, 1, 50)),
    "three": np.diag([1.0, 0.9, 0.5]),
}


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def am(request):
    try:
        return array_module(request.param)
    except BackendMissing as error:
        pytest.skip(str(error))


def failures(method, weight, products, trials, starts=None):
    norm, operator = np.linalg.norm(weight, 2), as_operator(weight)
    options = {"method": method, "rtol": 1e-12, "max_matvecs": products * (starts or 1), "starts": starts}
    with blas_threads(1):
        values = [norm_bound(operator, 0.05, seed=seed, **options).value for seed in range(trials)]
    return sum(value < norm for value in values), float(np.median(values)) / norm - 1


@pytest.mark.parametrize("method", PROBABILISTIC_METHODS)
@pytest.mark.parametrize("name", ["decaying", "three"])
def test_coverage_slice(method, name):
    """At delta = 0.05 at most the 99.9 % quantile of a binomial fails; the slow tests have more trials."""
    trials = 150
    failed, _ = failures(method, SPECTRA[name], 8, trials)
    assert failed <= scipy.stats.binom.ppf(0.999, trials, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("starts", [1, 4])
@pytest.mark.parametrize("name", SPECTRA)
def test_coverage_of_the_lanczos_polynomial(name, starts):
    """2000 trials at delta = 0.05: at most 5 % fail at every length, and the bound gets tight."""
    for products in (4, 8, 16):
        failed, excess = failures("lanczos", SPECTRA[name], products, 2000, starts)
        assert failed <= 100
    assert excess < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kuczynski_wozniakowski", "dixon", "halko_martinsson_tropp"])
@pytest.mark.parametrize("name", SPECTRA)
def test_coverage_of_the_other_bounds(name, method):
    for products in (4, 8, 16):
        failed, _ = failures(method, SPECTRA[name], products, 2000)
        assert failed <= 100


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-10])
def test_start_component_has_its_probability(n, delta):
    """P(|<u, x>| < t) <= delta, and not far below: t^2 has the Beta(1/2, (n - 1)/2) distribution."""
    t = start_component(n, delta)
    if n == 1:
        assert t == 1.0
        return
    probability = scipy.stats.beta(0.5, 0.5 * (n - 1)).cdf(t * t)
    assert 0.7 * delta <= probability <= delta * (1 + 1e-9)


@pytest.mark.parametrize("method", PROBABILISTIC_METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_says_what_it_is(am, method, dtype):
    weight = np.random.default_rng(1).standard_normal((30, 40)).astype(dtype)
    operator = as_operator(am.asarray(weight, dtype=dtype), am)
    bound = norm_bound(operator, 1e-10, method=method, seed=5)
    assert type(bound) is ProbabilisticBound
    assert (bound.delta, bound.seed, bound.method) == (1e-10, 5, method)
    assert bound.matvecs > 0
    assert bound.estimate <= np.linalg.norm(weight.astype(float), 2) * (1 + 1e-5)
    assert bound.value >= np.linalg.norm(weight.astype(float), 2)
    assert bound == norm_bound(operator, 1e-10, method=method, seed=5)


@st.composite
def layers(draw):
    out, n = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = rng.standard_normal((out, n))
    shape = draw(st.sampled_from(["gaussian", "rank one", "orthogonal", "clustered", "row"]))
    if shape == "rank one":
        weight = np.outer(weight[:, 0], weight[0])
    elif shape == "orthogonal":
        weight = np.linalg.qr(rng.standard_normal((max(out, n), min(out, n))))[0]
    elif shape == "clustered":
        weight = np.diag(1.0 + 1e-9 * rng.standard_normal(n))
    elif shape == "row":
        weight[1:] = 0.0
    return weight * 10.0 ** draw(st.sampled_from([-200, -150, -20, 0, 20, 150]))


@given(layers(), st.integers(0, 99))
def test_lanczos_bounds_hold_at_every_scale(weight, seed):
    """delta = 1e-12: no failure may be seen; scaling by powers of ten must not matter."""
    peak = np.abs(weight).max()
    norm = np.linalg.norm(weight / peak, 2)
    bound = norm_bound(as_operator(weight), 1e-12, seed=seed, rtol=1e-6)
    assert norm * (1 - 1e-13) <= bound.value / peak <= norm * (1 + 1e-5)


def test_zero_layers():
    zero = as_operator(np.zeros((3, 4)))
    for method in PROBABILISTIC_METHODS:
        assert norm_bound(zero, 0.1, method=method).value == 0.0
    assert gram_bound(np.zeros((3, 4))).value == 0.0


def test_starts_share_the_failure_probability():
    operator = as_operator(np.random.default_rng(2).standard_normal((100, 100)))
    norm = np.linalg.norm(operator.matrix, 2)
    for starts in (1, 2, 4, 8):
        bound = norm_bound(operator, 1e-10, starts=starts)
        assert norm <= bound.value <= norm * 1.002


def test_the_tightest_is_the_default():
    operator = as_operator(np.random.default_rng(3).standard_normal((300, 300)))
    values = {
        m: norm_bound(operator, 1e-10, method=m, rtol=1e-9, max_matvecs=200).value
        for m in PROBABILISTIC_METHODS
    }
    assert min(values, key=values.__getitem__) == "lanczos"
    assert norm_bound(operator, 1e-10).method == "lanczos"


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 1.5, float("nan"), "0.1", None, True])
def test_delta_outside_its_range(delta):
    with pytest.raises(OptionError, match=r"delta is .* strictly between 0 and 1"):
        norm_bound(as_operator(np.eye(2)), delta)


def test_bad_options_are_refused():
    operator = as_operator(np.eye(3))
    with pytest.raises(OptionError, match="method is 'svd'"):
        norm_bound(operator, 0.1, method="svd")
    with pytest.raises(OptionError, match="rtol is 0"):
        norm_bound(operator, 0.1, rtol=0)
    with pytest.raises(OptionError, match="max_matvecs is 0"):
        norm_bound(operator, 0.1, max_matvecs=0)
    with pytest.raises(OptionError, match=r"starts is 1\.5"):
        norm_bound(operator, 0.1, starts=1.5)
    with pytest.raises(OptionError, match="max_squarings is 0"):
        gram_bound(np.eye(2), max_squarings=0)
    with pytest.raises(InputError, match="NaN"):
        gram_bound(np.array([[np.nan]]))
    with pytest.raises(InputError, match="expected a matrix"):
        gram_bound(np.ones(3))


def test_products_that_turn_bad_are_refused():
    calls, matrix = [], np.random.default_rng(7).standard_normal((20, 20))

    def product(x):
        calls.append(1)
        return matrix @ x if len(calls) < 8 else np.full_like(x, np.nan)

    operator = MatrixFreeOperator((20, 20), product, lambda u: matrix.T @ u)
    with pytest.raises(InputError, match="NaN"):
        norm_bound(operator, 0.1, rtol=1e-12)


def exact_gram_minus(tau, weight):
    """tau I - W'W in rationals."""
    rows = [[Fraction(float(x)) for x in row] for row in weight]
    n = len(rows[0])
    return [[(tau if i == j else 0) - sum(r[i] * r[j] for r in rows) for j in range(n)] for i in range(n)]


def is_psd_exactly(matrix):
    """Symmetric elimination in rationals: PSD iff every pivot is >= 0 and zero pivots have zero rows."""
    a = [row[:] for row in matrix]
    n = len(a)
    for k in range(n):
        if a[k][k] < 0:
            return False
        if a[k][k] == 0:
            if any(a[k][j] != 0 for j in range(k, n)):
                return False
            continue
        for i in range(k + 1, n):
            factor = a[i][k] / a[k][k]
            for j in range(k, n):
                a[i][j] -= factor * a[k][j]
    return True


@given(layers())
def test_gram_bound_is_at_or_above_the_norm_exactly(weight):
    """Zero tolerance: value^2 I - W'W is PSD in rational arithmetic."""
    weight = weight[:5, :5]
    bound = gram_bound(weight)
    assert is_psd_exactly(exact_gram_minus(Fraction(bound.value) ** 2, weight))
    peak = np.abs(weight).max()
    if peak > 0:
        assert bound.value / peak <= np.linalg.norm(weight / peak, 2) * (1 + 1e-8)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_gram_bound_of_integer_rank_one(out, n, seed):
    """|a b'| = |a||b| is known exactly, and the bound sits within rounding of it."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-9, 10, size=k) for k in (out, n))
    a[0], b[0] = 3, 4
    exact = Fraction(int(a @ a)) * Fraction(int(b @ b))
    bound = gram_bound(np.outer(a, b))
    assert Fraction(bound.value) ** 2 >= exact
    assert bound.value <= float(exact) ** 0.5 * (1 + 1e-11)


def test_running_error_has_the_right_size():
    """The constant by simulation: |fl(X'X) - X'X|_F is below m u |X|_F^2, and within 1e3 of it."""
    rng = np.random.default_rng(4)
    worst = 0.0
    for _ in range(20):
        x = rng.standard_normal((24, 12)).astype(np.float64)
        g = x.T @ x
        exact = [
            [
                sum(Fraction(float(u)) * Fraction(float(v)) for u, v in zip(x[:, i], x[:, j], strict=True))
                for j in range(12)
            ]
            for i in range(12)
        ]
        residual = (
            sum(float(abs(Fraction(float(g[i, j])) - exact[i][j])) ** 2 for i in range(12) for j in range(12))
            ** 0.5
        )
        worst = max(worst, residual / (24 * 2.0**-53 * float((x * x).sum())))
    assert 1e-3 < worst <= 1.0


def test_gram_bound_is_within_1e_9_on_layers_of_real_size():
    for shape in ((300, 200), (64, 784)):
        weight = np.random.default_rng(5).standard_normal(shape)
        norm = np.linalg.norm(weight, 2)
        assert norm * (1 - 1e-14) <= gram_bound(weight).value <= norm * (1 + 2e-9)


def test_a_naive_single_precision_gram_iteration_falls_below():
    """What the running error is for: the plain float32 iteration is below the norm somewhere."""
    below = 0
    for seed in range(40):
        weight = np.random.default_rng(seed).standard_normal((40, 40)).astype(np.float32)
        norm = np.linalg.norm(weight.astype(np.float64), 2)
        below += float(gram_values(weight[None], squarings=12)[0]) < norm
        assert gram_bound(weight).value >= norm * (1 - 1e-14)
    assert below > 0


def test_gram_values_of_a_stack(am):
    rng = np.random.default_rng(6)
    stack = rng.standard_normal((5, 7, 9)) * 10.0 ** np.arange(-2, 3)[:, None, None]
    stack[2] = 0.0
    values = am.to_numpy(gram_values(am.asarray(stack), squarings=12, am=am))
    norms = np.linalg.norm(stack, 2, axis=(1, 2))
    np.testing.assert_allclose(values, norms, rtol=1e-3)
    assert (values >= norms * (1 - 1e-12)).all()
