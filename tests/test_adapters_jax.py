"""from_flax and from_equinox on trained models: same outputs, same bound, refusal by name."""

import functools

import numpy as np
import pytest
from adapters_helpers import assert_same_bound, assert_same_function, importorskip, training_data

from lmikit import InputError, Tanh
from lmikit.adapters import from_equinox, from_flax

jax = importorskip("jax")
jnp = jax.numpy
ORDER = ["Dense_0", "Dense_2", "Dense_1"]


def descend(loss, parameters, steps=20, rate=0.05):
    """Plain gradient descent on a parameter tree."""
    x, y = training_data()
    step = jax.jit(jax.grad(lambda p: loss(p, jnp.asarray(x), jnp.asarray(y))))
    for _ in range(steps):
        parameters = jax.tree.map(lambda p, g: p - rate * g, parameters, step(parameters))
    return parameters


def cross_entropy(logits, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


@pytest.fixture(scope="module")
def linen():
    """(module, trained variables) of a flax.linen network with siblings Dense_0 to Dense_2."""
    flax = importorskip("flax.linen")

    class Model(flax.Module):
        @flax.compact
        def __call__(self, x):
            x = flax.relu(flax.Dense(8)(x))
            # Dense(3) is made before Dense(5): the numbers are those of construction, not of the pass
            return flax.Dense(3)(flax.relu(flax.Dense(5)(x)))

    model = Model()
    start = model.init(jax.random.key(0), jnp.ones((1, 6)))
    return model, descend(lambda p, x, y: cross_entropy(model.apply(p, x), y), start)


def test_a_trained_linen_model(linen):
    model, variables = linen
    network = from_flax(variables, "relu", order=ORDER)
    x = training_data(seed=1)[0]
    assert_same_function(network, model.apply(variables, x), x)
    layers = variables["params"]
    assert_same_bound(network, [np.asarray(layers[f"Dense_{k}"]["kernel"]).T for k in (0, 2, 1)])


def test_a_tree_does_not_say_activations_nor_a_free_order(linen):
    _, variables = linen
    with pytest.raises(InputError, match="does not say its activations"):
        from_flax(variables)
    with pytest.raises(InputError, match="whose order in the forward pass is not known"):
        from_flax(variables, "relu")
    named = {"out": variables["params"]["Dense_1"], "body": {"in": variables["params"]["Dense_0"]}}
    named["mid"] = variables["params"]["Dense_2"]
    ordered = from_flax(named, "relu", order=["body/in", "mid", "out"])
    assert ordered.digest == from_flax(variables, "relu", order=ORDER).digest
    with pytest.raises(InputError, match="expected each of"):
        from_flax(named, "relu", order=["mid", "out"])


TREES = {
    "conv": ({"Conv_0": {"kernel": np.ones((3, 3, 1, 2))}}, "layer Conv_0/kernel is a parameter of shape"),
    "norm": (
        {"Dense_0": {"kernel": np.ones((2, 2))}, "LayerNorm_0": {"scale": np.ones(2)}},
        "LayerNorm_0/scale",
    ),
    "statistics": (
        {"params": {"Dense_0": {"kernel": np.ones((2, 2))}}, "batch_stats": {"mean": np.ones(2)}},
        "batch_stats/mean",
    ),
    "embedding": ({"Embed_0": {"embedding": np.ones((5, 2))}}, "Embed_0/embedding"),
    "empty": ({}, "no parameters"),
}


@pytest.mark.parametrize("name", TREES)
def test_other_parameters_are_refused_by_path(name):
    tree, pattern = TREES[name]
    with pytest.raises(InputError, match=pattern):
        from_flax(tree, "relu")


def test_nnx_sequential():
    nnx = importorskip("flax.nnx")
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(6, 7, rngs=rngs),
        jax.nn.gelu,
        nnx.Sequential(nnx.Linear(7, 5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)),
        functools.partial(jax.nn.leaky_relu, negative_slope=0.3),
        nnx.Linear(5, 2, rngs=rngs),
    )
    with pytest.raises(InputError, match=r"layer layers\[2\].layers\[1\] is a dropout in training mode"):
        from_flax(model)
    model.eval()
    x = training_data()[0]
    assert_same_function(from_flax(model), model(x), x)
    bad = nnx.Sequential(nnx.Linear(6, 7, rngs=rngs), nnx.Conv(7, 2, (3,), rngs=rngs))
    with pytest.raises(InputError, match=r"layer layers\[1\] is a flax.nnx.*Conv"):
        from_flax(bad)
    with pytest.raises(InputError, match="expected a parameter tree"):
        from_flax(model.layers[0])


def test_a_trained_equinox_mlp():
    eqx = importorskip("equinox")
    model = eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(0))
    parameters, static = eqx.partition(model, eqx.is_array)

    def loss(p, x, y):
        return cross_entropy(jax.vmap(eqx.combine(p, static))(x), y)

    model = eqx.combine(descend(loss, parameters), static)
    x = training_data(seed=2)[0]
    network = from_equinox(model)
    assert_same_function(network, jax.vmap(model)(x), x)
    assert_same_bound(network, [np.asarray(layer.weight) for layer in model.layers])


def test_equinox_sequentials_and_learnt_slopes():
    eqx = importorskip("equinox")
    keys = jax.random.split(jax.random.key(1), 4)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Linear(6, 5, key=keys[0]),
            eqx.nn.Lambda(jax.nn.gelu),
            eqx.nn.Lambda(eqx.nn.PReLU(0.2)),
            eqx.nn.Dropout(0.5),
            eqx.nn.MLP(5, 2, 4, 2, activation=eqx.nn.PReLU(0.3), final_activation=jnp.tanh, key=keys[1]),
        ]
    )
    with pytest.raises(InputError, match=r"layer model\[3\] is a dropout"):
        from_equinox(model)
    model = eqx.nn.inference_mode(model)
    x = training_data()[0]
    network = from_equinox(model)
    assert_same_function(network, jax.vmap(model)(x), x)
    assert [layer.activation.name for layer in network.layers[:3]] == ["gelu", "prelu", "prelu"]


def test_equinox_refuses_by_name():
    eqx = importorskip("equinox")
    key = jax.random.key(0)
    conv = eqx.nn.Sequential([eqx.nn.Conv1d(1, 2, 3, key=key)])
    with pytest.raises(InputError, match=r"layer model\[0\] is a equinox.*Conv1d"):
        from_equinox(conv)
    with pytest.raises(InputError, match=r"layer model\[0\] is a equinox.*MultiheadAttention"):
        from_equinox([eqx.nn.MultiheadAttention(2, 4, key=key)])
    own = eqx.nn.MLP(2, 2, 3, 1, activation=lambda v: v * v, key=key)
    with pytest.raises(InputError, match=r"the function .*lambda"):
        from_equinox(own)
    assert from_equinox(own, activation=Tanh()).layers[0].activation.name == "tanh"


FUNCTIONS = [
    "relu", "relu6", "leaky_relu", "elu", "softplus", "sigmoid", "tanh", "gelu", "silu", "mish", "hard_swish",
    "hard_tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_jax_nn(name):
    eqx = importorskip("equinox")
    linear = eqx.nn.Linear(6, 5, key=jax.random.key(0))
    model = eqx.nn.Sequential([linear, eqx.nn.Lambda(getattr(jax.nn, name))])
    x = 3 * training_data()[0]
    assert_same_function(from_equinox(model), jax.vmap(model)(x), x)
