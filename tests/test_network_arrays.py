"""Arrays in: exact casts or refusals, shapes that chain, layers that validate themselves."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from strategies import demo_network, networks

from lmikit import InputError, Network
from lmikit.network import (
    GELU,
    DenseMap,
    Identity,
    Layer,
    ReLU,
    Slopes,
    SparseMap,
)

W0 = np.array([[1.5, -2.0], [0.25, 3.0], [0.0, -1.0]])
W1 = np.array([[1.0, 0.5, -8.0]])


@pytest.mark.parametrize(
    ("dtype", "source"),
    [("<f2", "F16"), (">f2", "F16"), ("<f4", "F32"), (">f4", "F32"), ("<f8", "F64"), (">f8", "F64")],
)
def test_floats_of_any_layout_are_cast_exactly(dtype, source):
    given_weights = [W0.astype(dtype), np.asfortranarray(W1.astype(dtype))]
    network = Network.from_arrays(given_weights)
    for weight, layer, expected in zip(network.weights, network.layers, (W0, W1), strict=True):
        np.testing.assert_array_equal(weight, expected)
        assert weight.dtype == np.float64
        assert not weight.flags.writeable
        assert layer.linear.source_dtype == source
    assert network.digest == Network.from_arrays([W0, W1]).digest


@pytest.mark.parametrize("dtype", ["i1", "u2", ">i4", "i8", "u8", "bool"])
def test_integers_are_cast_exactly(dtype):
    weight = np.array([[1, 0], [1, 1]], dtype=dtype)
    np.testing.assert_array_equal(Network.from_arrays([weight]).weights[0], [[1.0, 0.0], [1.0, 1.0]])


def test_bfloat16_is_cast_exactly():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    network = Network.from_arrays([W0.astype(ml_dtypes.bfloat16)])
    np.testing.assert_array_equal(network.weights[0], W0)
    assert network.layers[0].linear.source_dtype == "BF16"


def test_views_are_copied():
    big = np.arange(24.0).reshape(4, 6)
    network = Network.from_arrays([big[::2, ::3]])
    big[:] = np.nan
    np.testing.assert_array_equal(network.weights[0], [[0.0, 3.0], [12.0, 15.0]])


def test_torch_tensors_go_through_numpy():
    torch = pytest.importorskip("torch")
    weight = torch.tensor(W0, dtype=torch.float32)
    np.testing.assert_array_equal(Network.from_arrays([weight]).weights[0], W0)
    with pytest.raises(InputError, match=r"weights\[0\] is a tensor that requires grad; pass .*detach"):
        Network.from_arrays([weight.requires_grad_()])
    with pytest.raises(InputError, match=r"exact as \.float\(\)"):
        Network.from_arrays([torch.ones(2, 2, dtype=torch.bfloat16)])


def test_sparse_matrices_become_sparse_maps():
    network = Network.from_arrays([sp.coo_array(W0), sp.csc_array(W1)])
    assert all(isinstance(layer.linear, SparseMap) for layer in network.layers)
    dense = Network.from_arrays([W0, W1])
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(network(x), dense(x))
    np.testing.assert_array_equal(network.weights[0], W0)


BAD = [
    ([], r"weights is empty; expected at least one \(out, in\) matrix"),
    (W0, r"weights is one array of shape \(3, 2\); .*pass \[weights\]"),
    (None, "weights is a NoneType"),
    ("W0", "weights is 'W0'"),
    ({"fc.weight": W0}, "weights is a mapping with keys fc.weight"),
    ([W0[0]], r"weights\[0\] has shape \(2,\).*reshape\(1, -1\)"),
    ([np.zeros((2, 2, 3, 3))], "pass lmikit.maps.Convolution2d"),
    ([np.zeros((0, 2))], "both at least 1"),
    ([3.0], r"weights\[0\] has shape \(\)"),
    ([np.array([[1.0, np.nan]])], r"weights\[0\] holds NaN or infinity"),
    ([W0, np.array([[1.0, -np.inf, 0.0]])], r"weights\[1\] holds NaN or infinity"),
    ([np.array([[1.0, None]], dtype=object)], r"weights\[0\] has dtype object"),
    ([[["a", "b"]]], r"weights\[0\] has dtype <U1"),
    ([W0 + 1j], r"weights\[0\] has dtype complex128"),
    ([W0.astype(np.longdouble) / 3], r"weights\[0\] has dtype .* that float64 does not hold"),
    ([np.array([["2020-01-01"]], dtype="M8[D]")], "dtype"),
    ([np.ma.masked_invalid([[1.0, np.nan]])], "masked array"),
    ([[[1.0, 2.0], [3.0]]], "cannot be read as an array"),
    ([np.array([[2**53 + 1]])], r"integers beyond 2\*\*53"),
    ([sp.csr_array(np.array([[1.0, np.nan]]))], "NaN or infinity"),
    (
        [np.zeros((32, 784)), np.zeros((10, 64))],
        r"weights\[1\] has shape \(10, 64\), but weights\[0\] outputs 32 features; expected \(\*, 32\)",
    ),
]


@pytest.mark.parametrize(("weights", "message"), BAD, ids=[m[:25] for _, m in BAD])
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message) as caught:
        Network.from_arrays(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        ([None], "biases has 1 entries; expected 2"),
        ([np.zeros(2), None], r"biases\[0\] has shape \(2,\); expected \(3,\)"),
        ([np.zeros((3, 3)), None], r"biases\[0\] has shape \(3, 3\)"),
        ([[0.0, np.nan, 0.0], None], r"biases\[0\] holds NaN"),
        (np.zeros((2, 3)), "biases is one array"),
        (7, "biases is a int"),
    ],
)
def test_bad_biases_are_refused(biases, message):
    with pytest.raises(InputError, match=message):
        Network.from_arrays([W0, W1], biases)


def test_biases_may_be_rows_or_columns():
    rows = Network.from_arrays([W0, W1], [np.ones((1, 3)), np.ones((1, 1))])
    columns = Network.from_arrays([W0, W1], [np.ones((3, 1)), [1]])
    np.testing.assert_array_equal(rows([1.0, 2.0]), columns([1.0, 2.0]))


def test_activations_are_one_per_hidden_layer():
    network = Network.from_arrays([W0, W1 * 1.0, [[2.0]]], activation=["relu", GELU("tanh")])
    assert [layer.activation.name for layer in network.layers] == ["relu", "gelu", "identity"]
    with pytest.raises(InputError, match="activation has 1 entries; expected 2"):
        Network.from_arrays([W0, W1, [[2.0]]], activation=["relu"])
    with pytest.raises(InputError, match="no known slope bounds"):
        Network.from_arrays([W0, W1], activation="swish")


def test_repr_is_short():
    assert repr(demo_network()) == "Network(2-2-2-1, relu)"
    assert repr(Network.from_arrays([[[1.0]]])) == "Network(1-1, linear)"
    deep = Network.from_arrays([np.eye(80)] * 50, activation=["relu"] * 48 + ["tanh"])
    assert repr(deep) == "Network(80x51, relu/tanh)"


def layer(**changes):
    fields = {
        "linear": DenseMap(W0),
        "bias": np.zeros(3),
        "activation": ReLU(),
        "alpha": np.zeros(3),
        "beta": np.ones(3),
    }
    return Layer(**{**fields, **changes})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layer(linear=W0), "linear is a ndarray"),
        (lambda: layer(activation="relu"), "expected an Activation"),
        (lambda: layer(bias=np.zeros(2)), r"bias is shape \(2,\)"),
        (lambda: layer(alpha=np.zeros(3, dtype=np.float32)), "dtype float32"),
        (lambda: layer(beta=[1.0, 1.0, 1.0]), "beta is list"),
        (lambda: layer(alpha=np.full(3, np.nan)), "NaN or infinity"),
        (lambda: layer(alpha=np.full(3, 2.0)), "alpha > beta"),
        (lambda: layer(alpha=np.array([0.0, 0.25, 0.0])), r"neuron 1 has slopes \[0.25, 1\], narrower than"),
        (lambda: layer(beta=np.full(3, 0.5)), r"narrower than \[0, 1\] of its activation relu.*Slopes"),
        (lambda: DenseMap(W0.astype(np.float32)), "expected a 2-D float64 array"),
        (lambda: DenseMap(np.array([[np.inf]])), "NaN or infinity"),
        (lambda: DenseMap(np.zeros((0, 3))), "both at least 1"),
        (lambda: SparseMap(W0), "needs a scipy sparse matrix"),
        (lambda: SparseMap(sp.csr_array(np.array([[np.nan]]))), "NaN or infinity"),
        (lambda: Network((), 2), "at least one Layer"),
        (lambda: Network((W0,), 2), "at least one Layer"),
        (lambda: Network((layer(),), 2), "expected Identity"),
        (lambda: Network((layer(activation=Identity()),), 2), "expected Identity"),
        (lambda: Network((layer(), layer()), 2), "outputs 3 features"),
        (lambda: Network(demo_network().layers, 3), "input_dim is 3; expected 2"),
        (lambda: demo_network()(np.zeros(3)), r"x has shape \(3,\); expected \(..., 2\)"),
        (lambda: demo_network()(1.0), r"x has shape \(\)"),
        (lambda: demo_network()([1j, 0.0]), "complex"),
        (lambda: demo_network().jacobian(np.zeros((1, 2))), r"x has shape \(1, 2\); expected \(2,\)"),
        (lambda: Network.from_arrays([W0, W1], activation=Slopes(0, 1))([1.0, 2.0]), "a class of functions"),
    ],
)
def test_direct_construction_validates(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_layers_do_not_share_writeable_memory():
    bias = np.zeros(3)
    kept = layer(bias=bias)
    bias[:] = 7.0
    np.testing.assert_array_equal(kept.bias, 0.0)
    assert not kept.bias.flags.writeable


@given(networks(concrete=True, layer_pow2=3))
def test_forward_pass_and_jacobian_agree_with_their_definitions(network):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, network.input_dim))
    expected = x
    for k, (weight, part) in enumerate(zip(network.weights, network.layers, strict=True)):
        expected = expected @ weight.T + part.bias
        if k < network.hidden_layers:
            expected = part.activation(expected)
    np.testing.assert_allclose(network(x), expected, rtol=1e-12, atol=1e-12 * (1 + np.abs(expected).max()))
    assert network(x[0]).shape == (network.output_dim,)
    assert network(x.reshape(2, 2, -1)).shape == (2, 2, network.output_dim)
    jacobian, value = np.eye(network.input_dim), x[0]
    for weight, part in zip(network.weights, network.layers, strict=True):
        pre, rows = weight @ value + part.bias, weight @ jacobian
        slopes = np.where(rows.any(axis=1), part.activation.derivative(pre), 0.0)
        jacobian, value = slopes[:, None] * rows, part.activation(pre)
    np.testing.assert_array_equal(np.isnan(network.jacobian(x[0])), np.isnan(jacobian))
    scale = 1 + np.nan_to_num(np.abs(jacobian)).max()
    np.testing.assert_allclose(network.jacobian(x[0]), jacobian, rtol=1e-10, atol=1e-10 * scale)


def test_jacobians_at_kinks():
    one = Network.from_arrays([[[1.0]], [[1.0]]])
    assert np.isnan(one.jacobian([0.0])).all()
    np.testing.assert_array_equal(one.jacobian([-1.0]), [[0.0]])
    dead = Network.from_arrays([[[2.0], [0.0]], [[3.0, 1.0]]])
    np.testing.assert_array_equal(dead.jacobian([1.0]), [[6.0]])


@given(networks(layer_pow2=20))
def test_linear_maps_obey_their_law(network):
    rng = np.random.default_rng(1)
    for part in network.layers:
        for linear in (part.linear, SparseMap(part.linear.to_sparse())):
            m, n = linear.shape
            u, x = rng.normal(size=m), rng.normal(size=n)
            scale = 1e-12 * (1 + linear.largest_entry()) * m * n
            np.testing.assert_allclose(linear.matvec(x), linear.to_dense() @ x, rtol=1e-12, atol=scale)
            assert abs(u @ linear.matvec(x) - linear.rmatvec(u) @ x) <= 10 * scale
            np.testing.assert_array_equal(linear.to_sparse().toarray(), linear.to_dense())
            np.testing.assert_array_equal(linear.scaled(3).to_dense(), 8.0 * linear.to_dense())
            rows = np.arange(m)[::-1]
            np.testing.assert_array_equal(
                linear.restricted(rows, np.array([0])).to_dense(), linear.to_dense()[rows][:, [0]]
            )
            assert linear.digest == dataclasses.replace(linear).digest


def test_digest_covers_weights_and_slopes_but_not_biases():
    base = demo_network()
    changed = [np.array(w) for w in base.weights]
    changed[1][0, 0] = np.nextafter(changed[1][0, 0], 2.0)
    others = [
        Network.from_arrays(changed),
        demo_network(Slopes(0.0, np.nextafter(1.0, 2.0))),
        demo_network(["relu", "tanh"]),
        Network.from_arrays(base.weights[::-1][1:] + base.weights[:1]),
    ]
    assert others[0].digest != base.digest
    assert others[1].digest != base.digest
    assert others[2].digest == base.digest  # the same slopes, so the same claim
    assert others[3].digest != base.digest
    assert Network.from_arrays(base.weights, [np.ones(2), None, None]).digest == base.digest
