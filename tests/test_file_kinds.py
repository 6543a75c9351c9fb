"""Any name will do: the content of a file says what it is, gzip is read through, bombs are refused."""

import gzip
import os
import pathlib
import shutil

import numpy as np
import pytest
from adapters_helpers import importorskip

from lmikit import InputError, OptionError, load_network
from lmikit.adapters import from_keras_file, from_nnet, from_onnx, read_vnnlib
from lmikit.testing import demo_network

NNET = "// a net\n1,2,1,2,\n2,1,\n0\n-1,-1\n1,1\n0,0,0\n1,1,1\n2.0,-3.0\n0.5\n"


def write(kind, folder):
    """A file of this kind under its usual name."""
    path = folder / f"net.{kind}"
    net = demo_network()
    if kind == "npz":
        net.save(path)
    elif kind == "nnet":
        path.write_text(NNET)
    elif kind == "mat":
        cells = np.empty((1, len(net.weights)), dtype=object)
        cells[0, :] = [np.asarray(w) for w in net.weights]
        importorskip("scipy.io").savemat(path, {"weights": cells})
    elif kind == "onnx":
        save_onnx(path)
    elif kind == "safetensors":
        weights = {f"{k}.weight": np.asarray(w) for k, w in enumerate(net.weights)}
        importorskip("safetensors.numpy").save_file(weights, path)
    else:
        torch = importorskip("torch")
        weights = {f"{k}.weight": torch.tensor(np.asarray(w)) for k, w in enumerate(net.weights)}
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "pt")
    return path


def save_onnx(path, location=None):
    onnx = importorskip("onnx")
    make = onnx.helper
    weight = np.random.default_rng(3).standard_normal((40, 40)).astype(np.float32)
    graph = make.make_graph(
        [make.make_node("MatMul", ["x", "W"], ["y"])],
        "g",
        [make.make_tensor_value_info("x", 1, [1, 40])],
        [make.make_tensor_value_info("y", 1, [1, 40])],
        [onnx.numpy_helper.from_array(weight, "W")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    if location is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return model, weight.T.astype(np.float64)


@pytest.mark.parametrize("kind", ["npz", "nnet", "mat", "onnx", "safetensors", "pt", "pth"])
def test_the_content_decides_and_gzip_is_read_through(kind, tmp_path):
    path = write(kind, tmp_path)
    expected = load_network(path, "relu").digest
    packed = tmp_path / f"net.{kind}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_network(packed, "relu").digest == expected
    for name in ("net.txt", "net", "other.onnx", "other.h5", "weights.model.gz"):
        shutil.copy(packed if name.endswith("gz") else path, tmp_path / name)
        assert load_network(tmp_path / name, "relu").digest == expected


def test_keras_files_by_their_content(tmp_path):
    h5py = importorskip("h5py")
    with h5py.File(tmp_path / "a.bin", "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file["dense/dense/kernel:0"] = np.ones((2, 3), np.float32)
    assert (
        load_network(tmp_path / "a.bin", "relu").digest == from_keras_file(tmp_path / "a.bin", "relu").digest
    )


def test_a_property_may_be_packed(tmp_path):
    text = "(declare-const X_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"
    (tmp_path / "p.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    assert read_vnnlib(tmp_path / "p.vnnlib.gz")[0].upper.tolist() == [1.0]


def test_gzip_files_that_are_bombs_or_broken(tmp_path):
    path = tmp_path / "a.nnet.gz"
    data = gzip.compress(b"\0" * 2**22) * 40  # a gzip file may be several, one after the other
    assert len(data) < 2**20
    path.write_bytes(gzip.compress(b"// fine\n") + data)
    for read in (load_network, from_nnet):
        with pytest.raises(InputError, match="unpacks to more than"):
            read(path)
    whole = gzip.compress(NNET.encode())
    for broken in (whole[:-9], whole[:-8] + b"\0" * 8, whole[:2], whole[:12] + b"\xff" * 40):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="broken gzip file"):
            load_network(path)


@pytest.mark.parametrize(
    ("name", "data", "pattern"),
    [
        ("saved_model.pb", b"\x08\x01\x12\x05\n\x03abc", "tf2onnx.convert --saved-model FOLDER"),
        ("frozen.pb", b"\n\x05\n\x03abc", "tf2onnx.convert --graphdef frozen.pb"),
        ("a.tflite", b"\x1c\0\0\0TFL3\0\0", "tf2onnx.convert --tflite a.tflite"),
        ("model.pkl", b"\x80\x04\x95 ", r"from_sklearn\(model\).save"),
        ("model.joblib", b"x\x9c", r"from_sklearn\(model\).save"),
        ("model", b"\x80\x05\x95 ", r"runs code of the file"),
        ("a.onnx.xz", b"\xfd7zXZ\x00", "packed with xz; expected"),
        ("a.bin", b"what is this", "suffix '.bin'; expected one of .npz"),
        ("a", b"", "suffix ''; expected one of .npz"),
    ],
)
def test_files_of_other_tools_say_what_to_do(name, data, pattern, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=pattern):
        load_network(tmp_path / name)


def test_folders_and_options_of_other_kinds(tmp_path):
    with pytest.raises(InputError, match=r"is a folder.*tf2onnx"):
        load_network(tmp_path)
    (tmp_path / "a.txt").write_text(NNET)
    with pytest.raises(InputError, match="activation is 'foo'"):
        load_network(tmp_path / "a.txt", activation="foo")
    with pytest.raises(OptionError, match=r"output is for .onnx files"):
        load_network(tmp_path / "a.txt", output="y")


def test_external_data_beside_the_model(tmp_path):
    _, weight = save_onnx(tmp_path / "a.onnx", "a.data")
    assert (tmp_path / "a.data").is_file()
    np.testing.assert_array_equal(from_onnx(tmp_path / "a.onnx").weights[0], weight)
    here = pathlib.Path.cwd()
    try:
        os.chdir(tmp_path)
        with pytest.raises(InputError, match=r"kept outside the model; expected the path"):
            from_onnx(importorskip("onnx").load("a.onnx", load_external_data=False))
        np.testing.assert_array_equal(from_onnx("a.onnx").weights[0], weight)
    finally:
        os.chdir(here)
    (tmp_path / "a.data").write_bytes(b"\0" * 8)
    with pytest.raises(InputError, match=r"holds 8; expected data filling it"):
        from_onnx(tmp_path / "a.onnx")
    (tmp_path / "a.data").unlink()
    with pytest.raises(InputError, match=r"a.data.*cannot be read"):
        from_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", "", ".", "a\0b"])
def test_external_data_elsewhere_are_refused(location, tmp_path):
    onnx = importorskip("onnx")
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 6400)
    (folder / "link").symlink_to(tmp_path / "secret")
    save_onnx(folder / "a.onnx", "a.data")
    model = onnx.load(folder / "a.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    (folder / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="expected a file within the model's own folder"):
        from_onnx(folder / "b.onnx")
