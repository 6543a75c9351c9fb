"""Worst-case rounding of float forward passes against computed ones, in several orders of summation."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import demo_network
from test_intervals import exact_preactivations

from lmikit import InputError, LeakyReLU, Network, OptionError, Tanh
from lmikit.claims import Ball, Box, linf_ball
from lmikit.intervals import FORMATS, crown_margin, rounding_bound


def computed(network, x, dtype, rng):
    """A forward pass in `dtype`, every sum in an order of its own."""
    value = x.astype(dtype)
    for layer in network.layers:
        w, b = layer.linear.to_dense().astype(dtype), layer.bias.astype(dtype)
        v = np.empty(len(b), dtype)
        for i in range(len(b)):
            terms = rng.permutation(np.append(w[i] * value, b[i]))
            total = dtype(0)
            for t in terms:
                total = dtype(total + t)
            v[i] = total
        if layer.activation.name == "leaky_relu":
            value = np.where(v >= 0, v, dtype(layer.activation.negative_slope) * v)
        else:
            value = layer.activation(v).astype(dtype)
    return value


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    activation=st.sampled_from(["relu", "abs", "hardtanh", LeakyReLU(0.1), LeakyReLU(-0.25)]),
    scale=st.sampled_from([1.0, 1e-3, 30.0]),
)
def test_computed_outputs_are_within_the_bound(seed, dtype, activation, scale):
    rng = np.random.default_rng(seed)
    dims = rng.integers(1, 6, 4)
    weights = [rng.standard_normal((dims[k + 1], dims[k])) for k in range(3)]
    weights[0] *= scale
    network = Network.from_arrays(weights, [rng.standard_normal(n) for n in dims[1:]], activation)
    x0 = rng.standard_normal(dims[0])
    region = linf_ball(x0, 0.25)
    bound = rounding_bound(network, region, np.eye(dims[-1]), dtype)
    for _ in range(3):
        x = rng.uniform(x0 - 0.25, x0 + 0.25)
        exact = exact_preactivations(network, x)[-1]
        with np.errstate(all="ignore"):
            found = computed(network, x, np.dtype(dtype).type, rng)
        for value, real, limit in zip(found, exact, bound, strict=True):
            if np.isfinite(limit):
                assert abs(Fraction(float(value)) - real) <= Fraction(float(limit))


def test_formats_know_their_numbers():
    for name in ("float16", "float32", "float64"):
        info = np.finfo(name)
        form = FORMATS[name]
        assert form.tiny == float(info.tiny)
        assert form.huge == float(info.max)
        assert form.unit == float(info.eps) / 2.0
    values = np.array([0.0, 1.0, 1.0 + 2.0**-23, 1.0 + 2.0**-24, 2.0**-130, 1e300])
    change = FORMATS["float32"].change(values)
    assert change[:3].tolist() == [0.0, 0.0, 0.0]
    assert (change[3:5] > 0.0).all()
    assert change[5] == np.inf


def test_bounds_are_useful_and_ordered():
    region = Ball([0.3, -0.2], 0.5)
    found = [rounding_bound(demo_network(), region, [[1.0]], name)[0] for name in FORMATS]
    assert found[3] < found[2] < found[0] < found[1] < 1.0
    assert found[2] < 1e-5
    assert rounding_bound(demo_network(), region, [[2.0]])[0] == pytest.approx(2.0 * found[2])


def test_overflow_and_sums_that_are_too_long_have_no_bound():
    assert rounding_bound(Network.from_arrays([[[1e5]]]), Box([0.0], [1.0]), [[1.0]], "float16")[0] == np.inf
    long = Network.from_arrays([np.ones((1, 200))])
    assert rounding_bound(long, Box(np.zeros(200), np.ones(200)), [[1.0]], "bfloat16")[0] == np.inf


def test_what_has_no_agreed_error_is_refused():
    with pytest.raises(InputError, match="'tanh' have no agreed error"):
        rounding_bound(demo_network(Tanh()), Ball([0.0, 0.0], 1.0), [[1.0]])
    with pytest.raises(OptionError, match="float8"):
        rounding_bound(demo_network(), Ball([0.0, 0.0], 1.0), [[1.0]], "float8")


def test_float32_costs_little_on_a_trained_network(data_dir):
    torch = pytest.importorskip("torch")
    state = torch.load(data_dir / "sdp_crown" / "mnist_mlp.pth", map_location="cpu")
    keys = [k for k in state if k.endswith("weight")]
    network = Network.from_arrays(
        [state[k].numpy() for k in keys], [state[k.replace("weight", "bias")].numpy() for k in keys]
    )
    images = np.load(data_dir / "sdp_crown" / "mnist_first_100.npz")
    x = images["X"][0].reshape(-1).astype(np.float64)
    rows = np.eye(10)[[0]] - np.eye(10)[[1]]
    region = Ball(x, 1.0)
    assert rounding_bound(network, region, rows)[0] < 0.03
    assert np.isfinite(crown_margin(network, region, rows)).all()
