"""Hostile files: what once hung, filled the memory or raised a raw error ends in one InputError line."""

import contextlib
import json
import struct

import numpy as np
import pytest
from adapters_helpers import importorskip

from lmikit import InputError, load_network
from lmikit.adapters import read_vnnlib
from lmikit.lmi import read_cbf, read_sdpa
from lmikit.training import TrainingState


def refused(read, path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


DECLARED = "(declare-const X_0 Real)(assert (>= X_0 0))"


@pytest.mark.parametrize(
    "text",
    [
        DECLARED + "(assert (<= X_0 1e999999999))",
        DECLARED + "(assert (<= X_0 1))" + "(assert (or (<= X_0 1) (<= X_0 2)))" * 40,
        DECLARED + "(assert (and (<= X_0 1)" + " (or (<= X_0 1) (<= X_0 2))" * 40 + "))",
        DECLARED + "(assert " + "(" * 100000 + ")" * 100000 + ")",
        DECLARED + "(assert)",
        "(declare-const (X_0) Real)",
        "(declare-const X_" + "9" * 5000 + " Real)",
    ],
    ids=range(7),
)
def test_vnnlib(tmp_path, text):
    refused(read_vnnlib, tmp_path / "a.vnnlib", text)


@pytest.mark.parametrize("size", ["1000000000000", str(-(2**63)), "9" * 20, "9" * 5000, "0x10"])
def test_sdpa_block_sizes(tmp_path, size):
    refused(read_sdpa, tmp_path / "a.dat-s", f"1\n1\n{size}\n1\n")


@pytest.mark.parametrize(
    "section",
    [
        "VAR\n1000000000 1\nF 1000000000\n",
        "VAR\n1 1\nF 1\nCON\n1000000000 1\nL+ 1000000000\n",
        "VAR\n1 1\nF 1\nPSDCON\n1\n1000000000\n",
        "PSDVAR\n1\n1000000000\n",
        "PSDVAR\n1\n100000\n",
    ],
    ids=range(5),
)
def test_cbf_sizes(tmp_path, section):
    refused(read_cbf, tmp_path / "a.cbf", "VER\n1\nOBJSENSE\nMIN\n" + section)


@pytest.mark.parametrize(
    "meta",
    [
        "[]",
        "3",
        "{}",
        '{"version":1,"groups":3}',
        '{"version":1,"groups":{"w":1000000000}}',
        '{"version":1,"method":"a","step":null,"options":"","groups":{}}',
        "[" * 100000,
    ],
    ids=range(7),
)
def test_training_states(tmp_path, meta):
    np.savez(tmp_path / "made.npz", meta=np.array(meta))
    refused(TrainingState.load, tmp_path / "a.npz", (tmp_path / "made.npz").read_bytes())


@pytest.mark.parametrize("name", ["net." + "9" * 5000, "net.\u0661", "net.\u00b2"], ids=range(3))
def test_safetensors_names(tmp_path, name):
    importorskip("safetensors")
    entry = {"dtype": "F32", "shape": [1, 1]}
    header = json.dumps(
        {
            f"{name}.weight": entry | {"data_offsets": [0, 4]},
            "net.0.weight": entry | {"data_offsets": [4, 8]},
        },
        ensure_ascii=False,
    ).encode()
    header += b" " * (-len(header) % 8)
    refused(load_network, tmp_path / "a.safetensors", struct.pack("<Q", len(header)) + header + bytes(8))


def models():
    """(name, ONNX bytes)."""
    onnx = importorskip("onnx")
    h, T = onnx.helper, onnx.TensorProto

    def build(nodes=None, dims=(2, 2), raw=None, dtype=T.FLOAT, size=2, copies=1, domain="", functions=()):
        weight = T(name="w", dims=dims, data_type=dtype)
        weight.raw_data = np.ones((2, 2), np.float32).tobytes() if raw is None else raw
        graph = h.make_graph(
            nodes or [h.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [h.make_tensor_value_info("x", T.FLOAT, (1, size))],
            [h.make_tensor_value_info("y", T.FLOAT, None)],
            [weight] * copies,
        )
        model = h.make_model(graph, opset_imports=[h.make_opsetid(domain, 13)])
        model.functions.extend(functions)
        return model.SerializeToString()

    node, opset = h.make_node, h.make_opsetid
    product = node("MatMul", ["v", "w"], ["y"])
    limits = node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0])
    undefined = node("Constant", [], ["c"], value_floats=[float("nan"), 2.0])
    own = h.make_function("", "MatMul", ["a", "b"], ["o"], [node("Add", ["a", "b"], ["o"])], [opset("", 13)])
    yield "dims", build(dims=(2**20, 2**20))
    yield "short", build(raw=b"1")
    yield "dtype", build(dtype=99)
    yield "text", build(dtype=T.STRING)
    yield "complex", build(dtype=T.COMPLEX64, raw=np.full((2, 2), 1j, np.complex64).tobytes())
    yield "wide", build(size=2**33)
    yield "no opset", build(domain="another")
    yield "twice", build(copies=2)
    yield "function", build(functions=[own])
    yield "perm", build([node("Transpose", ["w"], ["v"], perm=[0, 7]), node("MatMul", ["x", "v"], ["y"])])
    yield "clip", build([node("MatMul", ["x", "w"], ["v"]), limits, node("Clip", ["v", "c", "c"], ["y"])])
    yield "reshape", build([undefined, node("Reshape", ["x", "c"], ["v"]), product])
    yield "output twice", build([node("MatMul", ["x", "w"], ["y"]), node("Relu", ["y"], ["y"])])


def test_onnx_models(tmp_path):
    for _, data in models():
        refused(load_network, tmp_path / "a.onnx", data)


@pytest.mark.parametrize("position", range(128, 128 + 64, 4))
@pytest.mark.parametrize("value", [0, 8, 99, 2**31 - 1, 2**32 - 1])
def test_mat_elements_of_unknown_types(tmp_path, position, value):
    """SciPy's reader takes an element's type as an index in C: an unknown one once ended the process."""
    savemat = pytest.importorskip("scipy.io").savemat
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = np.ones((2, 3))
    savemat(tmp_path / "made.mat", {"weights": cells})
    data = bytearray((tmp_path / "made.mat").read_bytes())
    inner = data.index(np.ones(6).tobytes()) - 64 + position - 128
    data[inner : inner + 4] = struct.pack("<I", value)
    path = tmp_path / "a.mat"
    path.write_bytes(data)
    with contextlib.suppress(InputError):  # a flag or a byte that fills up may be anything
        assert load_network(path).dims[0] >= 1


def test_reading_allocates_what_the_file_holds(tmp_path):
    """`read(n)` of a file allocates n bytes at first, whatever the file's length."""
    import tracemalloc

    path = tmp_path / "a.dat-s"
    path.write_text("1\n1\n1\n1\n1 1 1 1 1\n")
    tracemalloc.start()
    read_sdpa(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_long_text_is_quoted_in_part(tmp_path):
    for name, read in (("a.nnet", load_network), ("a.dat-s", read_sdpa), ("a.cbf", read_cbf)):
        refused(read, tmp_path / name, "7" * 100_000 + "(")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        load_network(tmp_path / ("a" * 5000 + ".npz"))
