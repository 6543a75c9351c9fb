"""The code on the pages about adapters and embedding runs as it stands."""

import pathlib

import numpy as np
import pytest
from adapters_helpers import importorskip

import lmikit

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"


def blocks(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    return [part.split("```")[0] for part in text.split("```python\n")[1:]]


def test_adapters_page():
    importorskip("torch")
    first, second = blocks("adapters.md")
    names = {}
    exec(compile(first, "adapters.md", "exec"), names)
    assert names["network"].dims == (4, 8, 2)
    importorskip("equinox")
    exec(compile(second, "adapters.md", "exec"), names)
    assert names["network"].dims == (64, 72, 3)


@pytest.mark.parametrize("index", range(4))
def test_embedding_page(index, tmp_path):
    names = {}
    exec(compile(blocks("embedding.md")[index], "embedding.md", "exec"), names)
    if "robust_on_box" in names:
        check_robustness(names["robust_on_box"], tmp_path)
    if "certify_all" in names:
        assert callable(names["certify_all"])


def check_robustness(robust_on_box, folder):
    network = lmikit.Network.from_arrays([np.eye(2), 3.0 * np.eye(2)], [[0.0, 0.0], [1.0, 0.0]])
    network.save(folder / "net.npz")
    files = [folder / "net.npz", *write_onnx(network, folder / "net.onnx")]
    head = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
    for half, answer in ((0.1, True), (2.0, False)):
        limits = "".join(
            f"(assert (<= X_{k} {centre + half}))(assert (>= X_{k} {centre - half}))"
            for k, centre in enumerate((1.0, 0.0))
        )
        (folder / "p.vnnlib").write_text(head + limits + "(assert (<= Y_0 0.0))")
        for file in files:
            assert robust_on_box(file, folder / "p.vnnlib") is answer


def write_onnx(network, path):
    """The network as Gemm and Relu nodes, where onnx is installed."""
    try:
        import onnx
    except ImportError:
        return []
    helper, parts, nodes, value = onnx.helper, {}, [], "x"
    for k, layer in enumerate(network.layers):
        parts |= {f"W{k}": network.weights[k].astype(np.float32), f"b{k}": layer.bias.astype(np.float32)}
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [f"v{k}"], f"fc{k}", transB=1))
        value = f"v{k}"
        if k < network.hidden_layers:
            nodes.append(helper.make_node("Relu", [value], [f"h{k}"], f"relu{k}"))
            value = f"h{k}"
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("n", size))
        for name, size in (("x", network.input_dim), (value, network.output_dim))
    ]
    constants = [onnx.numpy_helper.from_array(v, name) for name, v in parts.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return [path]
