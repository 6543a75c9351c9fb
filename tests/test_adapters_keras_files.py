"""Keras files written here with h5py as Keras lays them out; read without Keras."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from adapters_helpers import importorskip

from lmikit import InputError, Network, OptionError, SpectralProduct, lipschitz, load_network
from lmikit.adapters import from_keras, from_keras_file

h5py = importorskip("h5py")
rng = np.random.default_rng(0)
KERNELS = [rng.standard_normal(s).astype(np.float32) for s in ((3, 5), (5, 4), (4, 2))]
BIASES = [rng.standard_normal(k.shape[1]).astype(np.float32) for k in KERNELS]
NAMES = ["first", "second", "last"]
PLAIN = Network.from_arrays([k.T for k in KERNELS], BIASES, ["relu", "tanh"])


def config(activations=("relu", "tanh", "linear"), kind="Sequential", extra=()):
    layers = [
        {"class_name": "Dense", "config": {"name": n, "activation": a}}
        for n, a in zip(NAMES, activations, strict=True)
    ]
    return json.dumps({"class_name": kind, "config": {"layers": [*layers, *extra]}})


def save_h5(target, described=None):
    with h5py.File(target, "w") as file:
        if described is None:
            file.attrs["layer_names"] = [n.encode() for n in NAMES]
        else:
            file.attrs["model_config"] = described
        root = file if described is None else file.create_group("model_weights")
        for name, kernel, bias in zip(NAMES, KERNELS, BIASES, strict=True):
            root[f"{name}/{name}/kernel:0"] = kernel
            root[f"{name}/{name}/bias:0"] = bias


def save_keras(path, described):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for k, (kernel, bias) in enumerate(zip(KERNELS, BIASES, strict=True)):
            folder = "layers/dense" + (f"_{k}" if k else "")
            file[f"{folder}/vars/0"], file[f"{folder}/vars/1"] = kernel, bias
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", described)
        archive.writestr("model.weights.h5", stream.getvalue())


def test_models_and_weights_alone(tmp_path):
    x = rng.standard_normal((6, 3))
    save_h5(tmp_path / "a.h5", config())
    save_keras(tmp_path / "a.keras", config())
    save_h5(tmp_path / "w.h5")
    for network in (
        load_network(tmp_path / "a.h5"),
        load_network(tmp_path / "a.keras"),
        load_network(tmp_path / "w.h5", ["relu", "tanh"]),
    ):
        assert network.digest == PLAIN.digest
        np.testing.assert_array_equal(network(x), PLAIN(x))


def test_what_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    save_h5(path)
    with pytest.raises(OptionError, match="weights alone; pass activation="):
        from_keras_file(path)
    save_h5(path, config(("relu", "tanh", "softmax")))
    with pytest.raises(InputError, match="logits=True"):
        from_keras_file(path)
    assert load_network(path, logits=True).digest == PLAIN.digest
    save_h5(path, config(kind="Functional"))
    with pytest.raises(InputError, match="layer first is a layer of no values"):
        from_keras_file(path)
    save_h5(path, config(extra=[{"class_name": "Lambda", "config": {"name": "l"}}]))
    with pytest.raises(InputError, match="layer l is a Keras Lambda"):
        from_keras_file(path)
    save_h5(path, config(("relu", "my_own", "linear")))
    with pytest.raises(InputError, match="the activation my_own"):
        from_keras_file(path)
    described = json.loads(config())
    described["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 7, 3]
    save_h5(path, json.dumps(described))
    with pytest.raises(InputError, match="flatten them first"):
        from_keras_file(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="cannot be read as a Keras file"):
        from_keras_file(path)


MODELS = {
    "dense": ((6,), "dense:5 bn leaky dense:4:elu drop dense:3"),
    "image": ((8, 7, 2), "conv:3 relu pool conv:4:same:1 bn act:tanh flat dense:3"),
    "strides": ((9, 8, 1), "conv:2:same:2 pad conv:3:valid:2 gavg dense:2"),
    "average": ((8, 8, 2), "depth avg gmax dense:2:softmax"),
    "rescaled": ((4, 4, 1), "scale reshape dense:3 act:silu dense:2"),
    "skip": ((5,), "dense:4 skip dense:3"),
    "image skip": ((6, 6, 2), "conv:2:same:1 skip flat dense:2"),
    "concat": ((5,), "dense:4 concat dense:3"),
    "difference": ((5,), "dense:4 minus dense:3"),
    "normalised": ((4,), "norm dense:3"),
    "nested": ((4,), "dense:3:relu nest dense:2"),
    "signal": ((11, 1), "conv1:3:same relu pool1 conv1:2:valid gavg1 dense:2"),
    "transposed": ((3, 4, 2), "tconv:3:3:same:2 relu tconv:2:2:valid:3 tconv:2:3:same:1 flat dense:2"),
    "small kernel": ((3, 4, 2), "tconv:3:2:same:3 crop up tconv:1:1:valid:2 flat dense:2"),
    "separable": ((6, 7, 2), "sep:3 pad sep:2:tanh permute flat dense:2"),
    "signals": ((9, 2), "sep1 up1 tconv1 crop1 pad1 depth1 flat dense:2"),
    "merged": ((5,), "dense:4 average dense:4 largest smallest dense:2"),
    "operators": ((4,), "dense:4:hard_sigmoid plus dense:3:hard_silu"),
    "image concat": ((4, 4, 2), "conv:2:same:1 concat conv:2 concat2 flat dense:2"),
    "slopes": ((4,), "dense:5 prelu dense:3 clip dense:2"),
}


def layer(keras, word):
    layers, (kind, *more) = keras.layers, word.split(":")
    if kind == "dense":
        return layers.Dense(int(more[0]), activation=more[1] if len(more) > 1 else None)
    if kind == "conv":
        same, stride = [*more, "valid", "1"][1:3] if len(more) > 1 else ("valid", "1")
        return layers.Conv2D(int(more[0]), (3, 2), padding=same, strides=int(stride))
    if kind == "conv1":
        return layers.Conv1D(int(more[0]), 3, padding=more[1], strides=2)
    makers = {
        "bn": layers.BatchNormalization, "leaky": layers.LeakyReLU, "drop": lambda: layers.Dropout(0.5),
        "relu": layers.ReLU, "flat": layers.Flatten, "pool": layers.MaxPooling2D,
        "gavg": layers.GlobalAveragePooling2D,
        "gmax": layers.GlobalMaxPooling2D, "pad": lambda: layers.ZeroPadding2D(((1, 0), (2, 1))),
        "avg": lambda: layers.AveragePooling2D(3, strides=2),
        "depth": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        "scale": lambda: layers.Rescaling(1 / 3, offset=-0.5), "reshape": lambda: layers.Reshape((-1,)),
        "pool1": lambda: layers.MaxPooling1D(2), "gavg1": layers.GlobalAveragePooling1D,
        "tconv": lambda: layers.Conv2DTranspose(
            int(more[0]), int(more[1]), padding=more[2], strides=int(more[3])
        ),
        "tconv1": lambda: layers.Conv1DTranspose(3, 3, strides=2, activation="elu"),
        "crop": lambda: layers.Cropping2D(((1, 0), (2, 1))), "crop1": lambda: layers.Cropping1D((1, 2)),
        "up": lambda: layers.UpSampling2D((2, 3)), "up1": lambda: layers.UpSampling1D(2),
        "pad1": lambda: layers.ZeroPadding1D(2), "permute": lambda: layers.Permute((3, 1, 2)),
        "sep": lambda: layers.SeparableConv2D(
            int(more[0]), 3, depth_multiplier=2, activation=more[1] if len(more) > 1 else None
        ),
        "sep1": lambda: layers.SeparableConv1D(3, 2, strides=2), "depth1": lambda: layers.DepthwiseConv1D(2),
        "norm": lambda: layers.Normalization(mean=[1.0, 2.0, -1.0, 0.5], variance=[4.0, 0.5, 1.0, 0.0]),
        "nest": lambda: keras.Sequential([layers.Dense(5, activation="tanh"), layers.Dense(4)]),
        "prelu": lambda: layers.PReLU(alpha_initializer="uniform"),
        "clip": lambda: layers.ReLU(max_value=1.5),
    }  # fmt: skip
    return layers.Activation(more[0]) if kind == "act" else makers[kind]()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.filterwarnings("ignore")  # Keras warns of its older format
def test_models_that_keras_writes(name, suffix, tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    importorskip(os.environ["KERAS_BACKEND"])
    keras = importorskip("keras")
    shape, words = MODELS[name]
    keras.utils.set_random_seed(3)
    given = keras.Input(shape)
    value, bent = given, lambda v: keras.layers.Activation("tanh")(v)
    joins = {
        "average": lambda v: keras.layers.Average()([v, keras.layers.ReLU()(v), bent(v)]),
        "largest": lambda v: keras.layers.Maximum()([v, keras.layers.Activation("silu")(v), bent(v)]),
        "smallest": lambda v: keras.layers.Minimum()([v, keras.layers.Activation("sigmoid")(v)]),
        "plus": lambda v: v + given,
    }
    for word in words.split():
        if word == "skip":
            value = keras.layers.Add()([value, keras.layers.Activation("relu")(value)])
        elif word == "minus":
            value = keras.layers.Subtract()([value, keras.layers.Activation("relu")(value)])
        elif word in joins:
            value = joins[word](value)
        elif word == "concat2":
            value = keras.layers.Concatenate(axis=1)([value, value])
        elif word == "concat":
            value = keras.layers.Concatenate()([value, given])
        else:
            value = layer(keras, word)(value)
    branches = {"skip", "concat", "concat2", "minus", *joins} & set(words.split())
    model = keras.Model(given, value)
    if not branches:  # the same layers as a Sequential model
        model = keras.Sequential([given, *model.layers[1:]])
    for variable in model.weights:
        if "seed" not in variable.path:
            low = 0.5 if "variance" in variable.path else -1.0
            drawn = rng.uniform(low, 1.5, variable.shape)
            variable.assign(drawn / 2)
    path = tmp_path / f"net{suffix}"
    model.save(path)
    logits = "softmax" in words
    found = from_keras_file(path, logits=logits)
    x = rng.standard_normal((5, *shape)).astype(np.float32)
    expected = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), float)
    got = found(x.reshape(5, -1).astype(float))
    if logits:
        got = np.exp(got) / np.exp(got).sum(axis=1, keepdims=True)
    assert np.abs(got - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())
    alive = from_keras(model, logits=logits)(x.reshape(5, -1).astype(float))
    np.testing.assert_allclose(alive, found(x.reshape(5, -1).astype(float)), rtol=1e-12, atol=1e-12)
    assert np.isfinite(lipschitz(found, SpectralProduct()).bound)


def test_what_a_file_holds_of_other_classes_is_refused(tmp_path):
    """A class of Keras's name that is not Keras's, a quantised or adapted layer, an unknown version."""
    held = json.loads(config())
    held["config"]["layers"][0] |= {"module": "mine.layers", "registered_name": "Dense"}
    save_h5(tmp_path / "a.h5", json.dumps(held))
    with pytest.raises(InputError, match=r"layer first is a mine\.layers\.Dense, which is no layer of Keras"):
        from_keras_file(tmp_path / "a.h5")
    held["config"]["layers"][0] |= {"module": "keras.layers", "registered_name": "Custom>Dense"}
    save_h5(tmp_path / "a.h5", json.dumps(held))
    with pytest.raises(InputError, match="which is no layer of Keras"):
        from_keras_file(tmp_path / "a.h5")
    held = json.loads(config())
    held["config"]["layers"][1]["config"]["dtype"] = {"class_name": "QuantizedDTypePolicy"}
    save_h5(tmp_path / "a.h5", json.dumps(held))
    with pytest.raises(InputError, match="layer second is a quantised Keras Dense"):
        from_keras_file(tmp_path / "a.h5")
    save_h5(tmp_path / "a.h5", config())
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["model_weights/last/last/lora_kernel_a:0"] = np.ones((4, 1))
    with pytest.raises(InputError, match=r"layer last is a Keras Dense with the arrays .*lora_kernel_a"):
        from_keras_file(tmp_path / "a.h5")
    save_h5(tmp_path / "a.h5", config(("relu", "hard_sigmoid", "linear")))
    with pytest.raises(InputError, match="slope differs between Keras 2 and 3"):
        from_keras_file(tmp_path / "a.h5")
    for version, slope in (("2.15.0", 0.2), ("3.4.1", 1 / 6)):
        with h5py.File(tmp_path / "a.h5", "a") as file:
            file.attrs["keras_version"] = version
        x = rng.standard_normal((4, 3))
        hidden = np.clip(
            slope * (np.maximum(x @ KERNELS[0] + BIASES[0], 0) @ KERNELS[1] + BIASES[1]) + 0.5, 0, 1
        )
        np.testing.assert_allclose(
            from_keras_file(tmp_path / "a.h5")(x), hidden @ KERNELS[2] + BIASES[2], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("size", [0, 8, 2**40])
def test_a_broken_heap_of_texts_is_refused(tmp_path, size):
    """HDF5's library walks some of these without end."""
    path = tmp_path / "a.h5"
    save_h5(path, config())
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    first = int.from_bytes(data[heap + 24 : heap + 32], "little")
    free = heap + 32 + -(-first // 8) * 8
    assert data[free : free + 2] == bytes(2)  # the free space, whose size counts its head
    data[free + 8 : free + 16] = size.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="broken heap of texts"):
        from_keras_file(path)


def test_average_pooling_over_an_edge_is_refused(tmp_path):
    shape = {"batch_input_shape": [None, 3, 4, 1]}
    options = {"name": "avg", "pool_size": [2, 2], "padding": "same", **shape}
    described = [{"class_name": "AveragePooling2D", "config": options}]
    save_h5(tmp_path / "a.h5", json.dumps({"class_name": "Sequential", "config": {"layers": described}}))
    with pytest.raises(InputError, match=r"layer avg is .*backends count its pixels differently"):
        from_keras_file(tmp_path / "a.h5")


def test_files_of_others(data_dir):
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    for path in sorted([*folder.glob("*.h5"), *folder.glob("*.keras")]):
        found = load_network(path, "relu")
        assert found.input_dim == (784 if "cnn" in path.name else found.input_dim)


def weights_alone(path, names, arrays, listed=True, root=None):
    """Weights in the layouts of three versions of Keras."""
    with h5py.File(path, "w") as file:
        folder = file if root is None else file.create_group(root)
        if listed:
            folder.attrs["layer_names"] = [n.encode() for n in NAMES]
        for name, pair in zip(NAMES, zip(KERNELS, BIASES, strict=True), strict=True):
            for array, ending in zip(pair, arrays, strict=True):
                folder[names.format(name) + ending] = array


@pytest.mark.parametrize(
    ("names", "arrays", "root"),
    [
        ("{0}/{0}/", ("kernel:0", "bias:0"), "model_weights"),
        ("{0}/{0}_", ("W", "b"), None),
        ("model/{0}/", ("kernel:0", "bias:0"), None),
    ],
)
def test_layouts_of_weights_alone(tmp_path, names, arrays, root):
    weights_alone(tmp_path / "w.h5", names, arrays, root=root)
    network = load_network(tmp_path / "w.h5", ["relu", "tanh"])
    assert network.digest == PLAIN.digest


def test_weights_of_keras_3_and_of_plain_arrays(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for k, (kernel, bias) in enumerate(zip(KERNELS, BIASES, strict=True)):
            folder = "layers/dense" + (f"_{k}" if k else "")
            file[f"{folder}/vars/0"], file[f"{folder}/vars/1"] = kernel, bias
        file.create_group("optimizer/vars")
    assert load_network(tmp_path / "a.weights.h5", ["relu", "tanh"]).digest == PLAIN.digest
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        for k, (kernel, bias) in enumerate(zip(KERNELS, BIASES, strict=True)):
            file[f"W{k}"], file[f"b{k}"] = kernel.T, bias
    assert load_network(tmp_path / "plain.h5", ["relu", "tanh"]).digest == PLAIN.digest
    weights_alone(tmp_path / "w.h5", "{0}/{0}/", ("kernel:0", "gamma:0"))
    with pytest.raises(InputError, match="a layer with the arrays gamma, kernel"):
        load_network(tmp_path / "w.h5", "relu")
