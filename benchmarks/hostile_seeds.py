"""A valid file of every kind that lmikit reads; hostile files are made from them."""

import importlib.util
import io
import itertools
import json
import pathlib
import zipfile

import numpy as np

import lmikit
from lmikit import Network
from lmikit.claims import Ball
from lmikit.lmi import SDP, write_cbf, write_sdpa
from lmikit.training import TrainingState

SUBJECT_NET, SUBJECT_SDP = "subject.npz", "subject.dat-s"
CERTIFICATES = ("lipschitz", "point", "local", "graph", "sdp")
NNET = "1,2,1,3,\n2,1,\n0,\n-1,-1,\n1,1,\n0,0,0,\n1,1,1,\n0.5,-0.25,\n0.125,\n"
VNNLIB = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)
(assert (>= X_0 -0.5))(assert (<= X_0 0.5))
(assert (or (and (>= X_1 0.0)(<= X_1 1.0)) (and (>= X_1 2.0)(<= X_1 3.0))))
(assert (<= Y_0 1.5))
"""


def network() -> Network:
    """A 2-4-3-2 ReLU network."""
    rng = np.random.default_rng(0)
    sizes = (2, 4, 3, 2)
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
    return Network.from_arrays(weights, [rng.standard_normal(n) for n in sizes[1:]], "relu")


def sdp() -> SDP:
    """min y_1 + y_2 subject to [[y_1, 1], [1, y_2]] >= 0; the optimum is 2."""
    problem = lmikit.lmi.Problem()
    x, y = problem.scalar(), problem.scalar()
    problem.subject_to(lmikit.lmi.block([[x, 1.0], [1.0, y]]) >> 0)
    problem.minimise(x + y)
    return problem.compile()


def write_seeds(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A valid file of each kind by its name, and the subjects of the certificates beside them."""
    net, problem = network(), sdp()
    net.save(folder / SUBJECT_NET)
    write_sdpa(problem, folder / SUBJECT_SDP)
    paths = {
        kind: folder / f"seed.{kind}"
        for kind in ("npz", "mat", "onnx", "nnet", "vnnlib", "safetensors", "dat-s", "cbf")
    }
    net.save(paths["npz"])
    _write_foreign(net, paths)
    _write_checkpoint(net, folder, paths)
    _write_keras(net, folder, paths)
    paths["nnet"].write_text(NNET, encoding="utf-8")
    paths["vnnlib"].write_text(VNNLIB, encoding="utf-8")
    write_sdpa(problem, paths["dat-s"])
    write_cbf(problem, paths["cbf"])
    for kind, certificate in _certificates(net, problem).items():
        paths[kind] = folder / f"{kind}.json"
        certificate.save(paths[kind])
    paths["state"] = folder / "state.npz"
    arrays = {"weights": net.weights, "multipliers": (np.ones(4), np.ones(3))}
    TrainingState("rs_lmi", 3, "options", arrays).save(paths["state"])
    listed = json.dumps({kind: str(path) for kind, path in paths.items()})
    (folder / "seeds.json").write_text(listed, encoding="utf-8")
    return paths


def _write_foreign(net: Network, paths: dict[str, pathlib.Path]) -> None:
    import onnx
    import safetensors.numpy
    import scipy.io

    cells = np.empty((1, len(net.weights)), dtype=object)
    cells[0, :] = net.weights
    scipy.io.savemat(paths["mat"], {"weights": cells})
    h, values = onnx.helper, net.layers
    nodes, constants, name = [], [], "x"
    for k, layer in enumerate(values):
        constants += [
            onnx.numpy_helper.from_array(net.weights[k], f"w{k}"),
            onnx.numpy_helper.from_array(np.array(layer.bias), f"b{k}"),
        ]
        nodes.append(h.make_node("Gemm", [name, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        name = f"z{k}"
        if k < len(values) - 1:
            nodes.append(h.make_node("Relu", [name], [f"a{k}"]))
            name = f"a{k}"
    double = onnx.TensorProto.DOUBLE
    inputs = [h.make_tensor_value_info("x", double, (1, net.input_dim))]
    outputs = [h.make_tensor_value_info(name, double, (1, net.output_dim))]
    made = h.make_graph(nodes, "g", inputs, outputs, constants)
    model = h.make_model(made, opset_imports=[h.make_opsetid("", 13)])
    paths["onnx"].write_bytes(model.SerializeToString())
    tensors = {f"net.{2 * k}.weight": w for k, w in enumerate(net.weights)}
    tensors |= {f"net.{2 * k}.bias": np.array(layer.bias) for k, layer in enumerate(net.layers)}
    safetensors.numpy.save_file(tensors, paths["safetensors"])


def _write_checkpoint(net: Network, folder: pathlib.Path, paths: dict[str, pathlib.Path]) -> None:
    """A torch checkpoint; none where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    state = {}
    for k, layer in enumerate(net.layers):
        state[f"net.{2 * k}.weight"] = torch.tensor(net.weights[k].copy())
        state[f"net.{2 * k}.bias"] = torch.tensor(np.array(layer.bias))
    paths["pt"] = folder / "seed.pt"
    torch.save({"state_dict": state, "epoch": 3}, paths["pt"])


def _write_keras(net: Network, folder: pathlib.Path, paths: dict[str, pathlib.Path]) -> None:
    """Keras files of both layouts, as Keras writes them; none where h5py is not installed."""
    if importlib.util.find_spec("h5py") is None:
        return
    import h5py

    names = [f"dense_{k}" for k in range(len(net.layers))]
    layers = [
        {"class_name": "Dense", "config": {"name": name, "activation": activation}}
        for name, activation in zip(names, ["relu"] * (len(names) - 1) + ["linear"], strict=True)
    ]
    config = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    paths["h5"], paths["keras"] = folder / "seed.h5", folder / "seed.keras"
    with h5py.File(paths["h5"], "w") as file:
        file.attrs["model_config"] = config
        root = file.create_group("model_weights")
        for name, layer in zip(names, net.layers, strict=True):
            root[f"{name}/{name}/kernel:0"] = layer.linear.to_dense().T
            root[f"{name}/{name}/bias:0"] = layer.bias
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for k, layer in enumerate(net.layers):
            place = "layers/dense" + (f"_{k}" if k else "")
            file[f"{place}/vars/0"], file[f"{place}/vars/1"] = layer.linear.to_dense().T, layer.bias
    with zipfile.ZipFile(paths["keras"], "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", stream.getvalue())


def _certificates(net: Network, problem: SDP) -> dict[str, lmikit.certificates.AbstractCertificate]:
    x = np.array([0.3, -0.2])
    point = lmikit.certify_point(net, x, eps=1e-3).certificate
    proven = lmikit.prove(problem).certificate
    if point is None or proven is None:
        raise RuntimeError("a seed certificate could not be proven")
    return {
        "lipschitz": lmikit.lipschitz(net),
        "point": point,
        "local": lmikit.local_lipschitz(net, Ball(x, 0.1)),
        "graph": lmikit.lipschitz(graph()),
        "sdp": proven,
    }


def graph() -> lmikit.Graph:
    """x + W_1 relu(W_0 x), the subject of the graph certificate."""
    rng = np.random.default_rng(1)
    g = lmikit.GraphBuilder()
    x = g.input(3)
    hidden = g.relu(rng.standard_normal((4, 3)) @ x)
    return g.output(x + rng.standard_normal((3, 4)) @ hidden)
