"""Layers of norm at most 1 for torch and JAX: for every parameter, and proven of what a model computes."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, OptionError, adapters
from lmikit import training as T
from lmikit.certificates.graph import verify_graph
from lmikit.graph import OneLipschitz
from lmikit.training import layers

seeds = st.integers(0, 2**32 - 1)
SHAPES = [(3, 7), (7, 3), (4, 4), (1, 5)]


@pytest.fixture
def torch():
    """On one thread: these nets are small."""
    module = pytest.importorskip("torch")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    module.manual_seed(0)
    yield module
    module.set_num_threads(threads)


def matrix(shape, seed, size=1.0):
    return size * np.random.default_rng(seed).standard_normal(shape)


@given(seeds, st.sampled_from(SHAPES), st.floats(1e-3, 1e3), st.booleans())
def test_whatever_the_parameters_norms_are_at_most_one(seed, shape, size, dead):
    V = matrix(shape, seed, size)
    V[:, 0] *= not dead
    assert np.linalg.norm(layers.aol_weight(V), 2) <= 1.0 + 1e-12
    Q = layers.cayley_weight(V)
    assert Q.shape == V.shape
    assert np.abs(np.linalg.svd(Q, compute_uv=False) - 1.0).max() <= 1e-12 * (1.0 + size**2)
    pairs = V[:, :2]
    assert np.allclose(layers.max_min(pairs), np.sort(pairs, axis=1)[:, ::-1], rtol=1e-14, atol=1e-14 * size)


@given(seeds, st.sampled_from(SHAPES))
def test_scales_are_the_multipliers_that_prove_the_layer(seed, shape):
    W, q = matrix(shape, seed), np.exp(matrix(shape[:1], seed + 1))
    t = layers.sll_scales(W, q)
    _, witness = OneLipschitz(shape[1]).sll(W, q).finish()
    assert np.allclose(witness.parts[0].multipliers[0], t, rtol=1e-12)
    assert np.linalg.norm(W.T * t @ W, 2) <= 2.0 + 1e-9  # at slopes all 1


def test_an_orthogonal_start_stays_as_it_is():
    V = T.Orthogonal((0,)).projected([matrix((6, 4), 0)])[0]
    assert np.allclose(layers.aol_weight(V), V, atol=1e-12)


def lists_in(torch, sizes, name):
    maps = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    make = [layers.cayley, layers.aol]
    modules = []
    for k, linear in enumerate(maps):
        modules += [make[k % 2](linear), layers.activation(name, linear.out_features)]
    return torch.nn.Sequential(*modules[:-1]).eval()


@pytest.mark.parametrize("name", ["abs", "half_abs", "maxmin"])
def test_what_torch_computes_with_is_proven(torch, name):
    model = lists_in(torch, (5, 8, 6, 4), name)
    shape = (5,) if name == "maxmin" else None
    network = adapters.from_torch(model, input_shape=shape)
    x = torch.randn(6, 5)
    assert np.abs(network(x.numpy()) - model(x).detach().numpy()).max() <= 1e-5
    assert lmikit.lipschitz(network).bound <= 1.0 + 1e-5
    model(x).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters() if p.requires_grad)
    if name == "maxmin":
        with pytest.raises(InputError, match="input_shape"):
            adapters.from_torch(model)


def test_residual_layers_of_torch_are_proven_with_the_known_multipliers(torch):
    model, known = torch.nn.Sequential(layers.sll(5, 7), layers.sll(5, 9)).eval(), OneLipschitz(5)
    for layer in model:
        torch.nn.init.normal_(layer.up.weight)
        torch.nn.init.normal_(layer.down.parametrizations.weight.original)
        W, b = layer.up.weight.detach().numpy(), layer.up.bias.detach().numpy()
        known.sll(W, np.exp(layer.down.parametrizations.weight.original.detach().numpy()), b)
    graph = adapters.from_torch(model, input_shape=(5,))
    assert verify_graph(graph, known.finish()[1]).bound <= 1.0 + 1e-5
    again = copy.deepcopy(model)
    again.load_state_dict({k: 2.0 * v for k, v in model.state_dict().items()})
    x = torch.randn(3, 5)
    assert not torch.allclose(again(x), model(x))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    larger = torch.nn.Sequential(layers.sll(5, 9, torch.nn.Tanh()))  # slopes in [0, 1] as well
    assert lmikit.lipschitz(adapters.from_torch(larger.eval(), input_shape=(5,))).bound <= 1.0 + 1e-5


def test_convolutions_of_torch_have_norm_one(torch):
    model = torch.nn.Sequential(
        layers.aol(torch.nn.Conv2d(1, 3, 3, padding=1)),
        layers.activation("abs"),
        layers.aol(torch.nn.Conv2d(3, 2, 3, stride=2, padding=1)),
    ).eval()
    graph = adapters.from_torch(model, input_shape=(1, 6, 6))
    assert lmikit.lipschitz(graph).bound <= 1.0 + 1e-5
    for conv in (torch.nn.Conv2d(2, 2, 3, groups=2), torch.nn.Conv2d(1, 2, 3, dilation=2)):
        with pytest.raises(InputError, match="expected one group"):
            layers.aol(conv)


@pytest.mark.slow
def test_jax_computes_the_same_weights(torch):
    jax = pytest.importorskip("jax")
    V, K = matrix((4, 7), 0), matrix((3, 2, 3, 3), 1)
    with jax.enable_x64(True):
        there = jax.numpy.asarray
        for function in (layers.aol_weight, layers.cayley_weight, lambda v: layers.max_min(v[:, :6])):
            assert np.allclose(function(there(V)), function(V), atol=1e-12)
        assert np.allclose(layers.sll_scales(there(V), there(np.ones(4))), layers.sll_scales(V, np.ones(4)))
        assert np.allclose(layers.aol_kernel(there(K)), layers.aol_kernel(torch.tensor(K)), atol=1e-12)
    with pytest.raises(InputError, match="NumPy array"):
        layers.aol_kernel(K)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["max_min", "half_abs"])
def test_activations_in_jax_are_read_tightly(name):
    jax = pytest.importorskip("jax")
    W = [layers.cayley_weight(matrix(s, 3)).astype(np.float32) for s in ((8, 5), (6, 8), (3, 6))]
    phi = getattr(layers, name)

    def function(x):
        return W[2] @ phi(W[1] @ phi(W[0] @ x))

    network = adapters.from_jax(function, np.ones(5, np.float32))
    assert lmikit.lipschitz(network).bound <= 1.0 + 1e-5
    residual = matrix((7, 5), 4).astype(np.float32)
    down = residual.T * layers.sll_scales(residual, np.ones(7, np.float32))
    graph = adapters.from_jax(lambda x: x - down @ jax.nn.relu(residual @ x), np.ones(5, np.float32))
    assert lmikit.lipschitz(graph).bound <= 1.0 + 1e-5


def test_other_layers_are_refused(torch):
    with pytest.raises(InputError, match="as it was made"):
        layers.aol(layers.aol(torch.nn.Linear(2, 2)))
    with pytest.raises(InputError, match="as it was made"):
        layers.cayley(torch.nn.Conv2d(1, 1, 3))
    with pytest.raises(OptionError, match="'maxmin'"):
        layers.activation("sine")
    with pytest.raises(InputError, match="expected matrices"):
        layers.make_orthogonal([torch.zeros(3)])
    with pytest.raises(InputError, match="Linear or Conv2d"):
        layers.aol(torch.nn.ReLU())
    with pytest.raises(InputError, match="expected a list of matrices"):
        layers.make_orthogonal(torch.nn.Sequential(torch.nn.Linear(3, 2)))


@pytest.mark.slow  # torch's optimisers take seconds to import; the page on torch runs them by default
def test_each_step_of_an_optimiser_ends_at_orthogonal_matrices(torch):
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
    hidden, x = [model[0].weight, model[1].weight], torch.randn(20, 5)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    with pytest.raises(InputError, match=r"expected a torch\.optim\.Optimizer"):
        layers.keep_orthogonal(None, hidden)
    with pytest.raises(InputError, match=r"holds no weights \[1\]"):
        layers.keep_orthogonal(optimiser, [hidden[0], torch.eye(2)])

    def after(steps):
        """The largest distance of a singular value from 1, and that of the last layer from its start."""
        for _ in range(steps):
            optimiser.zero_grad()
            model(x).square().sum().backward()
            optimiser.step()
        return max(np.abs(np.linalg.svd(w.detach())[1] - 1.0).max() for w in hidden)

    handle, last = layers.keep_orthogonal(optimiser, hidden), model[2].weight.detach().clone()
    assert after(0) <= 1e-6
    assert after(20) <= 1e-3
    assert not torch.equal(last, model[2].weight)
    layers.make_orthogonal(hidden)
    assert after(0) <= 1e-6
    handle.remove()
    assert after(20) >= 1e-2


@pytest.mark.slow
def test_each_update_of_optax_ends_at_orthogonal_matrices():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    params = {"W": T.Orthogonal((0,)).projected([matrix((4, 6), 0)])[0].astype(np.float32), "b": np.ones(4)}
    optimiser = optax.chain(optax.adam(1e-2), layers.orthogonal_updates())
    state, c = optimiser.init(params), matrix((4, 6), 1)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(lambda p: ((p["W"] - c) ** 2).sum() + (p["b"] ** 2).sum())(params)
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(20):
        params, state = step(params, state)
    assert np.abs(np.linalg.svd(params["W"])[1] - 1.0).max() <= 1e-3
    assert (params["b"] < 0.9).all()
    with pytest.raises(InputError, match="no params"):
        optimiser.update(params, state)
