"""A valid file of every kind that lmikit reads; hostile files are made from them."""

import itertools
import json
import pathlib

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
