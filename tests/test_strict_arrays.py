"""Everything that takes an array module, on a host double as strict as CuPy: same results, no mixing."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from low_rank_helpers import random_network
from strict_arrays import StrictArray, StrictModule, registered
from torus_helpers import conv

import lmikit
import lmikit.sketching as sketching
from lmikit._arrays import array_module
from lmikit.formulations.rs_lmi import PENALTIES, sketched_penalty
from lmikit.formulations.torus import exchanged, headed
from lmikit.graph import chain_graph
from lmikit.lmi import LMI, SDP, Status
from lmikit.methods import RSLMI, BurerMonteiro
from lmikit.solvers import LowRank
from lmikit.solvers.low_rank import _interior_point
from lmikit.torus import torus_form

AM = StrictModule()


@pytest.fixture(autouse=True)
def double(monkeypatch):
    registered(monkeypatch)


def matrix(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_the_double_is_strict():
    a, b = AM.asarray(np.ones((2, 2))), np.ones((2, 2))
    refused = (
        lambda: np.asarray(a), lambda: a + b, lambda: b + a, lambda: a @ b, lambda: b @ a, lambda: np.sqrt(a),
        lambda: AM.xp.sqrt(b), lambda: AM.xp.where(a > 0, b, a), lambda: AM.xp.concatenate([a, b]),
        lambda: a.__setitem__(0, b[0]), lambda: AM.product(a, b), lambda: AM.xp.maximum(b, a),
    )  # fmt: skip
    for mixed in refused:
        with pytest.raises(TypeError):
            mixed()
    for missing in (
        lambda: AM.xp.trapezoid_,
        lambda: AM.xp.linalg.eigvals_of,
        lambda: a.newbyteorder,
        lambda: AM.xp.errstate,
    ):
        with pytest.raises(AttributeError):
            missing()
    assert isinstance(a.sum(), StrictArray)  # and no NumPy scalar
    assert float(a.sum()) == 4.0
    assert b is not AM.to_numpy(AM.asarray(b))


def exact(network, array_module, multipliers="neuron", memory_limit=None):
    solver = LowRank(array_module=array_module, memory_limit=memory_limit)
    return lmikit.lipschitz(network, lmikit.LipSDP(multipliers=multipliers), solver=solver).bound


@pytest.mark.parametrize(
    ("dims", "options"),
    [
        ([4, 9, 9, 2], {}),
        ([4, 9, 9, 2], {"multipliers": "layer"}),
        ([3] + [6] * 13 + [2], {}),
        ([3] + [12] * 4 + [2], {"memory_limit": 30_000}),
    ],
    ids=["levels", "shared terms", "segments", "conjugate gradients"],
)
@pytest.mark.parametrize("large", [1, 10**9], ids=["mixed precision", "double"])
def test_exact_lipsdp(dims, options, large, monkeypatch):
    monkeypatch.setattr(_interior_point, "_LARGE", large)
    monkeypatch.setattr(_interior_point, "_WIDE", large)
    network = random_network(np.random.default_rng(0), dims)
    assert exact(network, "strict", **options) == pytest.approx(exact(network, "numpy", **options), rel=1e-6)


def test_slopes_that_need_inequalities():
    network = random_network(np.random.default_rng(1), [3, 6, 5, 2], lmikit.GELU())
    assert exact(network, "strict") == pytest.approx(exact(network, "numpy"), rel=1e-6)


def problems():
    C = matrix(2, (4, 4))
    e = sp.eye_array(4, format="csc")
    cut = SDP(np.ones(4), (LMI(sp.csc_array(-(C + C.T)), e, e, e),))
    yield "largest eigenvalues", cut
    yield "inequalities", SDP(np.ones(4), cut.lmis, G=-np.eye(4), h=np.full(4, -9.0))
    one = np.ones((1, 1))
    yield "infeasible", SDP(np.ones(1), (LMI(-one, one, one, 0.0 * one), LMI(one, one, one, one)))
    yield "unbounded", SDP(-np.ones(1), (LMI(one, one, one, one),))


@pytest.mark.parametrize(("name", "sdp"), list(problems()))
def test_low_rank_on_other_problems(name, sdp):
    found, expected = (LowRank(array_module=module).solve(sdp) for module in ("strict", "numpy"))
    assert found.status == expected.status
    if expected.status is Status.SOLVED:
        assert found.objective == pytest.approx(expected.objective, rel=1e-6)
        warm = LowRank(array_module="strict").solve(sdp, warm_start=2.0 * expected.y)
        assert warm.objective == pytest.approx(expected.objective, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rs_lmi(dtype):
    network = random_network(np.random.default_rng(3), [5, 8, 8, 3])
    there, here = (RSLMI(array_module=module, dtype=dtype) for module in ("strict", "numpy"))
    assert lmikit.lipschitz(network, there).bound == pytest.approx(
        lmikit.lipschitz(network, here).bound, rel=1e-4
    )
    for found, expected in zip(there.estimate(network), here.estimate(network), strict=True):
        assert found.value == pytest.approx(expected.value, rel=1e-3)
    for slopes in ("gain", "loop", "tighter"):
        found, expected = (
            dataclasses.replace(method, certify=1e-9, slopes=slopes).probabilistic(network).value
            for method in (there, here)
        )
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("penalty", sorted(PENALTIES))
def test_penalties(penalty):
    W, S = matrix(10, (6, 5)), matrix(11, (5, 3))
    found = sketched_penalty(
        AM.asarray(W), 40.0, sketching.DenseProjection(AM.asarray(S), AM), PENALTIES[penalty]()
    )
    expected = sketched_penalty(W, 40.0, sketching.DenseProjection(S, array_module()), PENALTIES[penalty]())
    assert float(found.value) == pytest.approx(float(expected.value), abs=1e-12)
    np.testing.assert_allclose(AM.to_numpy(found.weight_gradient), expected.weight_gradient, atol=1e-12)


def operators():
    W, K = matrix(4, (30, 20)), matrix(5, (3, 2, 3, 3))
    sparse = sp.random_array((25, 20), density=0.3, rng=np.random.default_rng(6), format="csr")
    held = AM.asarray(W)
    return {
        "dense": (sketching.as_operator(held, AM), W),
        "single": (sketching.as_operator(AM.asarray(W, dtype=np.float32), AM), W),
        "sparse": (sketching.SparseOperator(AM.sparse(sparse), AM), sparse.toarray()),
        "free": (
            sketching.MatrixFreeOperator(W.shape, lambda x: held @ x, lambda u: held.T @ u, am=AM),
            W,
        ),
        **{
            f"convolution {mode}": (
                sketching.ConvolutionOperator(K, (7, 6), stride=stride, padding=1, mode=mode, am=AM),
                None,
            )
            for mode, stride in (("zeros", 2), ("circular", 1))
        },
    }


@pytest.mark.parametrize("name", operators())
def test_norms_of_every_operator(name):
    operator, W = operators()[name]
    if W is None:
        W = AM.to_numpy(operator.matmat(AM.asarray(np.eye(operator.shape[1]))))
    norm = np.linalg.norm(W, 2)
    rtol = 1e-4 if operator.dtype == np.float32 else 1e-9
    for x, product in ((np.eye(W.shape[1]), W), (matrix(7, (W.shape[1], 3)), None)):
        found = AM.to_numpy(operator.matmat(AM.asarray(x, dtype=operator.dtype)))
        np.testing.assert_allclose(found, W @ x if product is None else product, atol=1e-5)
    back = AM.to_numpy(operator.rmatmat(AM.asarray(np.eye(W.shape[0]), dtype=operator.dtype)))
    np.testing.assert_allclose(back, W.T, atol=1e-5)
    for method in sketching.PROBABILISTIC_METHODS:
        assert norm * (1 - rtol) <= sketching.norm_bound(operator, 1e-6, method=method).value
    sketching.check_adjoint(operator)
    assert sketching.sketched_estimate(operator, 8, seed=1).value > 0.0
    assert sketching.nested_estimate(operator, seed=1).estimate.value > 0.0
    if "convolution" in name:
        assert sketching.convolution_bound(operator).value >= norm * (1 - 1e-12)


SKETCHES = (
    sketching.Gaussian(), sketching.SparseSign(), sketching.SubsampledHadamard(),
    sketching.SubsampledCosine(), sketching.Haar(), sketching.PowerRefined(sketching.Gaussian()),
)  # fmt: skip


@pytest.mark.parametrize("sketch", SKETCHES, ids=lambda s: type(s).__name__)
def test_every_sketch(sketch):
    W = matrix(8, (24, 20))
    on_device = sketching.sketched_estimate(sketching.as_operator(AM.asarray(W), AM), 6, sketch, seed=1)
    on_host = sketching.sketched_estimate(sketching.as_operator(W), 6, sketch, seed=1)
    assert on_device.value == pytest.approx(on_host.value, rel=1e-9)


def test_the_lmi_on_a_torus():
    rng = np.random.default_rng(9)
    layers = [conv(rng, 2, (2, 4, 4), 3, padding=1) for _ in range(3)]
    form = torus_form(chain_graph(lmikit.Network.from_arrays(layers)))
    found, expected = (exchanged(form, arrays=module) for module in ("strict", "numpy"))
    assert found.d_out == pytest.approx(expected.d_out, rel=1e-5)


@pytest.mark.parametrize("module", ["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_fully_connected_layers_behind_a_torus(activation, module):
    """Strides (phases), slopes of all kinds, a warm start: every kernel of the arms."""
    try:
        array_module(module)
    except lmikit.BackendMissing as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(3)
    first = conv(rng, 2, (1, 4, 4), 3, padding=1)
    second = conv(rng, 2, first.output_shape, 3, stride=2, padding=1)
    layers = [first, second, rng.standard_normal((2, 8)) / 3, rng.standard_normal((2, 2))]
    if activation == "silu":
        layers = layers[:3]
    network = lmikit.Network.from_arrays(layers, activation=activation)
    form = torus_form(chain_graph(network))
    found, expected = (headed(form, arrays=name) for name in (module, "numpy"))
    assert found.d_out == pytest.approx(expected.d_out, rel=1e-6)
    assert found.optimum_at_least == pytest.approx(expected.optimum_at_least, rel=1e-4)
    again = lmikit.torus_lipschitz(network, array_module=module, warm_start=expected)
    assert again.bound**2 == pytest.approx(expected.d_out, rel=2e-4)


def test_every_method_and_solver_with_an_array_module_is_here():
    import inspect

    import lmikit.methods
    import lmikit.solvers

    rooms = itertools.chain(vars(lmikit.methods).values(), vars(lmikit.solvers).values())
    found = {c for c in rooms if inspect.isclass(c) and hasattr(c, "array_module")}
    assert found == {BurerMonteiro, LowRank, RSLMI}  # tests/test_burer_monteiro.py has the first
