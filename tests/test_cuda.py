"""`lmikit_cuda`: array modules and batched checks, on NumPy everywhere and on CuPy with -m gpu."""

import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
from strict_arrays import StrictModule

import lmikit_cuda
from lmikit import BackendMissing, InputError, OptionError
from lmikit._arrays import ArrayModule, array_module, available_array_modules
from lmikit.formulations.rs_lmi import PENALTIES, sketched_penalty
from lmikit.methods import RSLMI
from lmikit.network import Network
from lmikit.sketching import DenseProjection, as_operator, norm_bound
from lmikit_cuda import _module, batched_eigvalsh, batched_norm_margins, batched_norms, batched_penalties


@pytest.fixture(params=["numpy", "strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def am(request):
    if request.param == "strict":
        return StrictModule()
    try:
        return array_module(request.param)
    except BackendMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def gpu():
    try:
        return array_module("cupy")
    except BackendMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def fresh_import():
    _module._cupy.cache_clear()
    yield
    _module._cupy.cache_clear()


def spd(n, seed=0):
    a = np.random.default_rng(seed).standard_normal((n, n))
    return a @ a.T + n * np.eye(n)


def test_the_entry_point_is_found():
    assert "cupy" in available_array_modules()


def test_without_cupy_the_error_names_the_extra(monkeypatch, fresh_import):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendMissing, match=r"pip install 'lmikit\[cuda\]'"):
        array_module("cupy")
    with pytest.raises(BackendMissing, match="needs CuPy"):
        RSLMI(array_module="cupy").propose(Network.from_arrays([np.eye(2)]))


def fake_cupy(count):
    class CUDARuntimeError(RuntimeError):
        pass

    def device_count():
        if count is None:
            raise CUDARuntimeError("no driver")
        return count

    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=device_count)
    )
    module.eye, module.ones = np.eye, np.ones
    limits = []
    module.get_default_memory_pool = lambda: types.SimpleNamespace(set_limit=lambda size: limits.append(size))
    module.limits = limits
    return module


@pytest.mark.parametrize(("count", "message"), [(None, "needs a GPU with its driver"), (0, "found no GPU")])
def test_without_a_gpu_the_error_says_so(monkeypatch, fresh_import, count, message):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
    with pytest.raises(BackendMissing, match=message):
        array_module("cupy")


def test_tf32_is_refused(monkeypatch, fresh_import):
    module = fake_cupy(1)
    module.ones = lambda shape, dtype: np.full(shape, 1.0 - 2.0**-11, dtype)  # products that lose bits
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(OptionError, match="TF32 is on"):
        array_module("cupy")


def test_the_memory_limit_reaches_the_pool(monkeypatch, fresh_import):
    module = fake_cupy(1)
    monkeypatch.setitem(sys.modules, "cupy", module)
    lmikit_cuda.cupy_module(memory_limit=1 << 30)
    assert module.limits == [1 << 30]
    for bad in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="memory_limit is"):
            lmikit_cuda.cupy_module(memory_limit=bad)


@pytest.mark.gpu
def test_free_bytes_stay_within_the_limit(gpu):
    pool = gpu.xp.get_default_memory_pool()
    before = pool.get_limit()
    try:
        limited = lmikit_cuda.cupy_module(memory_limit=1 << 28)
        assert limited.free_bytes() <= 1 << 28
        with pytest.raises(gpu.xp.cuda.memory.OutOfMemoryError):
            gpu.xp.zeros(1 << 27, dtype=np.float64)
    finally:
        pool.set_limit(size=before)
    assert gpu.free_bytes() > 1 << 28


def test_every_kernel_of_the_cpu_has_its_own_on_the_gpu():
    """Only what is written in terms of other kernels may be inherited."""
    kernels = {name for name in vars(ArrayModule) if not name.startswith("_")}
    inherited = kernels - set(vars(lmikit_cuda.CupyModule))
    assert inherited == {"cholesky_solve", "solve_in_place_factor"}


def test_products(am):
    rng = np.random.default_rng(0)
    a, b, s = rng.standard_normal((9, 5)), rng.standard_normal((5, 7)), spd(5)
    given_a, given_b = am.asarray(a), am.asarray(b)
    np.testing.assert_allclose(am.to_numpy(am.product(given_a, given_b)), a @ b, atol=1e-13)
    np.testing.assert_allclose(am.to_numpy(am.product(given_b.T, given_a.T)), (a @ b).T, atol=1e-13)
    found = am.to_numpy(am.less_gram(am.asarray(s), given_a))
    np.testing.assert_allclose(np.tril(found), np.tril(s - a.T @ a), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 17, 130])
def test_cholesky_and_what_follows(am, n):
    a, b = spd(n), np.random.default_rng(1).standard_normal((n, 3))
    given = am.asarray(a)
    factor = am.cholesky(given)
    np.testing.assert_allclose(am.to_numpy(factor), np.linalg.cholesky(a), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(am.to_numpy(given), a)  # the argument is left alone
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(am.to_numpy(am.inverse_from_cholesky(factor)), inverse, atol=1e-12)
    np.testing.assert_allclose(am.to_numpy(am.cholesky_solve(factor, am.asarray(b))), inverse @ b, atol=1e-11)
    vector = am.to_numpy(am.cholesky_solve(factor, am.asarray(b[:, 0])))
    np.testing.assert_allclose(vector, inverse @ b[:, 0], atol=1e-11)
    lower = np.linalg.cholesky(a)
    for transposed in (False, True):
        solved = am.to_numpy(am.solve_triangular(factor, am.asarray(b), transposed=transposed))
        np.testing.assert_allclose((lower.T if transposed else lower) @ solved, b, atol=1e-11)
    np.testing.assert_allclose(am.to_numpy(am.eigvalsh(given)), np.linalg.eigvalsh(a), rtol=1e-11)


def test_only_the_lower_triangle_is_read(am):
    a = spd(6)
    garbage = np.tril(a) + np.triu(np.full((6, 6), 99.0), 1)
    np.testing.assert_allclose(
        am.to_numpy(am.cholesky(am.asarray(garbage))), np.linalg.cholesky(a), atol=1e-12
    )


@pytest.mark.parametrize("bad", ["indefinite", "nan", "singular"])
def test_no_factor_of_what_is_not_positive_definite(am, bad):
    a = spd(8)
    if bad == "indefinite":
        a[5, 5] = -1.0
    elif bad == "nan":
        a[3, 2] = a[2, 3] = np.nan
    else:
        a = np.zeros((8, 8))
    assert am.cholesky(am.asarray(a)) is None


def test_factor_in_place(am):
    a, b = spd(40), np.random.default_rng(2).standard_normal(40)
    work = am.asarray(a.copy())
    assert am.cholesky_in_place(work)
    np.testing.assert_allclose(np.tril(am.to_numpy(work)), np.linalg.cholesky(a), atol=1e-10)
    np.testing.assert_allclose(
        am.to_numpy(am.solve_in_place_factor(work, am.asarray(b))), np.linalg.solve(a, b), atol=1e-11
    )
    a[7, 7] = -5.0
    assert not am.cholesky_in_place(am.asarray(a.copy()))


def test_sparse_products_and_scatter(am):
    rng = np.random.default_rng(3)
    matrix = sp.random_array((30, 12), density=0.3, rng=rng, format="csr")
    weights, dense = rng.standard_normal(30), rng.standard_normal((12, 4))
    held = am.sparse(matrix)
    np.testing.assert_allclose(am.to_numpy(held @ am.asarray(dense)), matrix @ dense, atol=1e-13)
    out = am.asarray(np.ones((12, 12)))
    am.add_gram(held, am.asarray(weights), out)
    full = matrix.toarray()
    np.testing.assert_allclose(am.to_numpy(out), 1.0 + full.T @ (weights[:, None] * full), atol=1e-12)
    target = am.asarray(np.zeros((3, 3)))
    index = (am.asarray([0, 0, 2], dtype=np.int64), am.asarray([1, 1, 2], dtype=np.int64))
    am.add_at(target, index, am.asarray([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(am.to_numpy(target), [[0, 3, 0], [0, 0, 0], [0, 0, 4]])


def test_host_copies(am):
    values = np.arange(6.0).reshape(2, 3)
    assert isinstance(am.to_numpy(am.asarray(values)), np.ndarray)
    assert am.asarray(values, dtype=np.float32).dtype == np.float32
    free = am.free_bytes()
    assert free is None or free > 0


class TinyMemory(ArrayModule):
    """NumPy that pretends to have little memory, so that chunking is exercised."""

    def free_bytes(self):
        return 4096


def test_batched_eigenvalues(am):
    stack = np.stack([spd(7, seed) - 8 * np.eye(7) for seed in range(11)])
    expected = np.linalg.eigvalsh(stack)
    np.testing.assert_allclose(am.to_numpy(batched_eigvalsh(am, am.asarray(stack))), expected, atol=1e-11)
    np.testing.assert_allclose(batched_eigvalsh(TinyMemory(), stack), expected, atol=1e-11)
    assert batched_eigvalsh(am, am.asarray(np.zeros((0, 3, 3)))).shape == (0, 3)
    with pytest.raises(InputError, match="expected \\(k, n, n\\)"):
        batched_eigvalsh(am, am.asarray(np.ones((2, 3, 4))))


def test_norm_margins_of_many_layers(am):
    rng = np.random.default_rng(4)
    shapes = [(5, 3), (3, 5), (5, 3), (8, 8), (1, 4), (5, 3)]
    weights = [rng.standard_normal(s) for s in shapes]
    taus = [np.linalg.norm(w, 2) ** 2 * (1.1 if k % 2 else 0.9) for k, w in enumerate(weights)]
    margins = batched_norm_margins(am, [am.asarray(w) for w in weights], taus)
    expected = [
        np.linalg.eigvalsh(t * np.eye(w.shape[1]) - w.T @ w)[0] for w, t in zip(weights, taus, strict=True)
    ]
    np.testing.assert_allclose(margins, np.minimum(expected, np.array(taus)), atol=1e-10)
    assert (margins[1::2] > 0).all()
    assert (margins[::2] < 0).all()
    norms = batched_norms(am, [am.asarray(w) for w in weights], squarings=20)
    np.testing.assert_allclose(norms, [np.linalg.norm(w, 2) for w in weights], rtol=1e-5)
    with pytest.raises(InputError, match="one tau per layer"):
        batched_norm_margins(am, [am.asarray(weights[0])], [])


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_batched_penalties_are_the_single_ones(am, name):
    rng = np.random.default_rng(5)
    weights, sketches = rng.standard_normal((4, 6, 5)), rng.standard_normal((4, 5, 3))
    taus = np.full(4, 40.0 if name == "log_det" else 4.0)
    values, tau_gradients, gradients = batched_penalties(
        am, am.asarray(weights), am.asarray(taus), am.asarray(sketches), PENALTIES[name]()
    )
    for k in range(4):
        single = sketched_penalty(
            weights[k], taus[k], DenseProjection(sketches[k], array_module()), PENALTIES[name]()
        )
        assert float(values[k]) == pytest.approx(float(single.value), rel=1e-9, abs=1e-12)
        assert float(tau_gradients[k]) == pytest.approx(float(single.tau_gradient), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(am.to_numpy(gradients[k]), single.weight_gradient, atol=1e-9)
    with pytest.raises(InputError, match="do not fit"):
        batched_penalties(am, am.asarray(weights), am.asarray(taus), am.asarray(sketches[:2]))


class CountingModule(ArrayModule):
    """NumPy that counts host copies."""

    copies = 0

    def to_numpy(self, values):
        self.copies += 1
        return super().to_numpy(values)


def test_lanczos_looks_at_the_host_a_few_times_only():
    am = CountingModule()
    operator = as_operator(np.random.default_rng(6).standard_normal((300, 300)), am)
    bound = norm_bound(operator, 1e-10, rtol=1e-9, starts=1, max_matvecs=400)
    assert bound.matvecs > 100
    assert am.copies <= 25


@pytest.mark.gpu
def test_rs_lmi_on_the_gpu_is_certified_on_the_cpu(gpu):
    from lmikit.certificates import verify

    rng = np.random.default_rng(7)
    network = Network.from_arrays([rng.standard_normal(s) / 8 for s in ((64, 32), (64, 64), (10, 64))])
    there = RSLMI(array_module="cupy").propose(network)
    here = RSLMI().propose(network)
    assert there.rho == pytest.approx(here.rho, rel=1e-5)
    assert verify(network, there).bound >= np.sqrt(here.rho) * 2.0 ** sum(here.layer_pow2) * (1 - 1e-6)
    for dtype in ("float32", "float64"):
        value = RSLMI(array_module="cupy", certify=1e-10, dtype=dtype).probabilistic(network).value
        assert value == pytest.approx(RSLMI(certify=1e-10).probabilistic(network).value, rel=5e-3)
