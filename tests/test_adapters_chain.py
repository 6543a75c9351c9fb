"""The builder that adapters share: any order of steps, exact where it can be, refusals by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit.adapters
from lmikit import InputError, ReLU, Sigmoid, Tanh
from lmikit.adapters._chain import ChainSteps, natural_key, normalisation
from lmikit.network import SparseMap


@st.composite
def steps(draw):
    """(features, list of (kind, arrays)) in any order, with dyadic numbers so that folding is exact."""
    width = features = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    result = []
    for kind in draw(
        st.lists(st.sampled_from(("affine", "scaling", "relu", "tanh")), min_size=1, max_size=7)
    ):
        if kind == "affine":
            rows = draw(st.integers(1, 4))
            result.append((kind, rng.integers(-8, 9, (rows, width)) / 4, rng.integers(-8, 9, rows) / 4))
            width = rows
        elif kind == "scaling":
            scale = np.ldexp(rng.choice([-1.0, 1.0], width), rng.integers(-2, 3, width))
            result.append((kind, scale, rng.integers(-8, 9, width) / 4))
        else:
            result.append((kind,))
    return features, result


def forward(x, result):
    for kind, *arrays in result:
        if kind == "affine":
            x = x @ arrays[0].T + arrays[1]
        elif kind == "scaling":
            x = arrays[0] * x + arrays[1]
        else:
            x = np.maximum(x, 0) if kind == "relu" else np.tanh(x)
    return x


@settings(max_examples=60)
@given(case=steps())
def test_any_order_of_steps_gives_the_same_function(case):
    features, result = case
    chain = ChainSteps(features=features)
    for k, (kind, *arrays) in enumerate(result):
        if kind in ("affine", "scaling"):
            getattr(chain, kind)(str(k), *arrays)
        else:
            chain.activation(str(k), {"relu": ReLU(), "tanh": Tanh()}[kind])
    network = chain.network()
    x = np.random.default_rng(0).integers(-8, 9, (20, features)) / 4
    np.testing.assert_allclose(network(x), forward(x, result), rtol=1e-12, atol=1e-12)


def test_consecutive_affine_maps_stay_apart_so_that_no_product_rounds():
    weights = [np.full((2, 3), 0.1), np.full((4, 2), 0.3), np.full((1, 4), 0.7)]
    chain = ChainSteps()
    for k, w in enumerate(weights):
        chain.affine(str(k), w)
    network = chain.network()
    assert [layer.activation.name for layer in network.layers] == ["identity"] * 3
    assert all(np.array_equal(a, b) for a, b in zip(network.weights, weights, strict=True))


def test_activations_without_a_linear_map_get_a_sparse_identity():
    chain = ChainSteps()
    chain.activation("first", Tanh())
    chain.affine("fc", np.ones((2, 3)))
    chain.activation("last", Sigmoid())
    network = chain.network()
    assert network.dims == (3, 3, 2, 2)
    for k in (0, 2):
        assert isinstance(network.layers[k].linear, SparseMap)
        assert np.array_equal(network.weights[k], np.eye(network.dims[k]))


def test_a_scaling_of_ones_leaves_the_weight_in_its_own_type():
    chain = ChainSteps()
    chain.affine("fc", np.full((2, 2), 0.1, dtype=np.float32))
    chain.scaling("shift", np.ones(2), np.ones(2))
    assert chain.network().layers[0].linear.source_dtype == "F32"


def test_normalisation_is_the_formula():
    scale, offset = normalisation([2.0], [1.0], [3.0], [4.0], 0.0)
    assert scale.tolist() == [1.0]
    assert offset.tolist() == [-2.0]
    with pytest.raises(InputError, match="variance"):
        normalisation(None, None, [0.0], [0.0], 0.0)


def test_what_does_not_chain_is_refused_by_name():
    chain = ChainSteps()
    chain.affine("fc1", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"layer fc2 takes 5 features, but the layers before it give 2"):
        chain.affine("fc2", np.ones((1, 5)))
    with pytest.raises(InputError, match="layer conv is a linear map with a weight of shape"):
        chain.affine("conv", np.ones((1, 2, 3)))
    with pytest.raises(InputError, match="layer out is a softmax; leave it off"):
        chain.softmax("out", "a softmax")


def test_a_softmax_is_dropped_only_at_the_end():
    chain = ChainSteps(logits=True)
    chain.affine("fc", np.ones((2, 3)))
    chain.softmax("prob", "a softmax")
    assert chain.network().dims == (3, 2)
    with pytest.raises(InputError, match="layer more follows the softmax prob"):
        chain.affine("more", np.ones((1, 2)))


def test_a_model_without_weights_is_refused():
    with pytest.raises(InputError, match="no layer with weights"):
        ChainSteps().network()
    chain = ChainSteps()
    chain.activation("relu", ReLU())
    with pytest.raises(InputError, match="no layer with weights"):
        chain.network()


def test_natural_order():
    assert sorted(["l10", "l9", "l2.b", "l2.a"], key=natural_key) == ["l2.a", "l2.b", "l9", "l10"]


def test_every_adapter_says_what_is_missing(monkeypatch):
    import sys

    for module in ("torch", "jax", "flax", "equinox", "keras", "onnx", "sklearn.neural_network"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("torch", "flax", "equinox", "keras", "onnx", "sklearn"):
        with pytest.raises(lmikit.BackendMissing, match="pip install"):
            getattr(lmikit.adapters, f"from_{name}")(object())
