"""from_keras on trained models: same outputs, same bound, refusal by name."""

import os

import numpy as np
import pytest
from adapters_helpers import assert_same_bound, assert_same_function, importorskip, softmax, training_data

from lmikit import InputError
from lmikit.adapters import from_keras

os.environ.setdefault("KERAS_BACKEND", "torch")
importorskip(os.environ["KERAS_BACKEND"])
keras = importorskip("keras")
layers = keras.layers
# Keras itself calls numpy.array on torch tensors, which numpy 2 remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(5),
            layers.ReLU(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    x, y = training_data()
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    return model


def test_a_trained_classifier(trained):
    with pytest.raises(InputError, match=r"layer dense_2 is a softmax activation; leave it off"):
        from_keras(trained)
    network = from_keras(trained, logits=True)
    x = training_data(seed=1)[0]
    assert np.abs(softmax(network(x)) - outputs(trained, x)).max() < 1e-5
    kernels = [layer.get_weights()[0] for layer in trained.layers if layer.weights]
    assert_same_bound(network, [kernel.T for kernel in kernels])


def test_functional_nested_normalised():
    keras.utils.set_random_seed(1)
    inner = sequential(layers.Dense(5, activation="gelu"), layers.PReLU(), shape=(7,))
    given = keras.Input((2, 3))
    value = layers.Rescaling(0.5, offset=0.25)(layers.Flatten()(given))
    value = layers.LeakyReLU(0.3)(layers.BatchNormalization()(layers.Dense(7)(value)))
    model = keras.Model(given, layers.Activation("sigmoid")(layers.Dense(2)(inner(value))))
    for layer in (*model.layers, *inner.layers):
        layer.set_weights([np.random.default_rng(0).uniform(0.2, 1.0, w.shape) for w in layer.get_weights()])
    x = training_data()[0].reshape(-1, 2, 3)
    assert_same_function(from_keras(model), outputs(model, x), x)


ACTIVATIONS = [
    "linear", "relu", "relu6", "leaky_relu", "elu", "softplus", "sigmoid", "tanh", "gelu", "silu", "mish",
    "hard_silu", "hard_tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_function(name):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation=name)])
    x = 3 * training_data()[0]
    assert_same_function(from_keras(model), outputs(model, x), x)


def several():
    given = [keras.Input((4,)), keras.Input((4,))]
    return keras.Model(given, layers.Add()(given))


def shifted():
    given = keras.Input((4,))
    return keras.Model(given, layers.Dense(4)(given) + 1.0)


def attended():
    given = keras.Input((3, 4))
    return keras.Model(given, layers.MultiHeadAttention(2, 2, name="att")(given, given))


class Dense(layers.Dense):
    """Not Keras's Dense, whatever it computes."""


def sequential(*parts, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *parts])


REFUSED = {
    "volume": (
        lambda: sequential(layers.Conv3D(2, 3, name="conv"), shape=(4, 4, 4, 1)),
        r"layer conv is a .*Conv3D",
    ),
    "norm": (
        lambda: sequential(layers.LayerNormalization(name="norm")),
        r"layer norm is a .*LayerNorm",
    ),
    "activation": (
        lambda: sequential(layers.Dense(2, "exponential", name="fc")),
        r"layer fc is .*the activation exponential",
    ),
    "sequence": (
        lambda: sequential(layers.Dense(2, name="fc"), shape=(3, 4)),
        r"layer fc is a .*Dense of",
    ),
    "threshold": (
        lambda: sequential(layers.ReLU(threshold=1.0, name="r")),
        r"layer r is a .*ReLU with a t",
    ),
    "several": (several, r"2 inputs; expected one, since a network here maps one vector"),
    "number": (shifted, r"layer add.* is a Keras Add of 1 samples"),
    "other class": (lambda: sequential(Dense(2, name="fc")), r"layer fc is a .*Dense with a call method"),
    "attention": (attended, r"layer att is a .*MultiHeadAttention"),
    "not built": (lambda: keras.Sequential([layers.Dense(2)]), "is not built"),
    "no model": (lambda: layers.Dense(2), "expected a keras.Model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_by_name(name):
    make, pattern = REFUSED[name]
    with pytest.raises(InputError, match=pattern):
        from_keras(make())


def relu(x):
    """Not Keras's own, though its name is."""
    return keras.ops.maximum(x, 0.3 * x)


@pytest.mark.parametrize("layer", [lambda: layers.Dense(4, activation=relu), lambda: layers.Activation(relu)])
def test_a_function_with_the_name_of_one_of_keras_is_refused(layer):
    model = keras.Sequential([keras.Input((3,)), layer(), layers.Dense(2)])
    with pytest.raises(InputError, match="relu, which is not Keras's own"):
        from_keras(model)


def test_a_layer_with_the_name_of_an_activation_is_refused():
    class swish(layers.Layer):
        def call(self, x):
            return 5.0 * x

    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, activation=swish()), layers.Dense(2)])
    with pytest.raises(InputError, match="swish"):
        from_keras(model)
