"""Keras files written here with h5py as Keras lays them out; read without Keras."""

import io
import json
import zipfile

import numpy as np
import pytest
from adapters_helpers import importorskip

from lmikit import InputError, Network, OptionError, load_network
from lmikit.adapters import from_keras_file

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
    with pytest.raises(InputError, match="expected a Sequential one"):
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


def test_files_of_others(data_dir):
    folder = data_dir / "real"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    for path in sorted([*folder.glob("*.h5"), *folder.glob("*.keras")]):
        if "cnn" in path.name:
            with pytest.raises(InputError, match="Conv2D"):
                load_network(path)
            continue
        assert load_network(path, "relu").input_dim < 20
