"""`lmikit inspect`: what was read, as text and as JSON."""

import json

import numpy as np
import pytest

from lmikit import LeakyReLU, Network
from lmikit.cli import main


def test_a_chain_as_text_and_json(tmp_path, capsys):
    weights = [np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 1.0]]), np.ones((1, 3))]
    path = tmp_path / "a.npz"
    Network.from_arrays(weights, activation=LeakyReLU(0.2)).save(path)
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "dense 3 x 2 (4 entries)" in text
    assert "0.2" in text
    assert main(["inspect", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["kind"], data["inputs"], data["outputs"], data["hidden_neurons"]) == ("chain", 2, 1, 3)
    assert data["entries"] == 7
    assert "lipsdp" in data["methods"]
    assert data["methods"] == sorted(data["methods"])
    assert [layer["activation"] for layer in data["layers"]] == ["leaky_relu", "identity"]


def test_a_graph(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "x"], ["y"])]
    inputs, outputs = (helper.make_tensor_value_info(n, kind, [3]) for n in "xy")
    path = tmp_path / "a.onnx"
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [inputs], [outputs]), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.save(proto, path)
    assert main(["inspect", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kind"] == "graph"
    assert [node["node"] for node in data["nodes"]] == ["input", "apply", "affine"]
    assert main(["bound", str(path), "--method", data["methods"][-1]]) == 0
