"""The stand-alone checker of point certificates agrees with `check`, and refuses what was changed."""

import base64
import importlib.util
import json
import pathlib

import numpy as np
import pytest

import lmikit
from lmikit.certificates.point import point_network
from lmikit.claims import Ball, BallAndBox, linf_ball
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.network import SparseMap

PATH = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_point_checker.py"


def checker():
    spec = importlib.util.spec_from_file_location("standalone_point_checker", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ACTIVATIONS = {
    "relu": (lmikit.ReLU(), ("relu", {})),
    "leaky": (lmikit.LeakyReLU(0.1), ("leaky_relu", {"negative_slope": 0.1})),
    "prelu": (lmikit.PReLU([0.5, -0.25, 1.5, 0.0]), ("prelu", {"weight": [0.5, -0.25, 1.5, 0.0]})),
    "abs": (lmikit.Abs(), ("abs", {})),
}


def example(activation, kind):
    rng = np.random.default_rng(11)
    weights = [rng.standard_normal(s) / 2 for s in ((4, 5), (4, 4), (3, 4))]
    biases = [rng.standard_normal(n) for n in (4, 4, 3)]
    network = lmikit.Network.from_arrays(weights, biases, activation)
    x = rng.standard_normal(5)
    ball, box = Ball(x, 0.02), linf_ball(x, 0.015)
    region = {"ball": ball, "box": box, "both": BallAndBox(ball, box), "radius": None}[kind]
    return network, weights, biases, lmikit.certify_point(network, x, region=region).certificate


@pytest.mark.parametrize("kind", ["ball", "box", "both", "radius"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_what_is_proven_is_accepted_and_changes_are_refused(tmp_path, name, kind):
    activation, described = ACTIVATIONS[name]
    network, weights, biases, certificate = example(activation, kind)
    module = checker()
    path = tmp_path / "point.json"
    certificate.save(path)
    assert module.check(path, weights, biases, [described] * 2)["kind"] == certificate.claim.kind
    assert lmikit.check(path, network, exact=True)
    shifted = [biases[0], biases[1] + 1e-12, biases[2]]
    with pytest.raises(module.Refused, match="another network"):
        module.check(path, weights, shifted, [described] * 2)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["groups"][0]["mu"] = (-1.0).hex()
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(module.Refused):
        module.check(path, weights, biases, [described] * 2)


def test_a_bolder_bound_is_refused(tmp_path):
    network, weights, biases, certificate = example(lmikit.ReLU(), "ball")
    module, path = checker(), tmp_path / "point.json"
    data = json.loads(certificate.to_text())
    raw = (certificate.claim.lower + 1e-3).astype("<f8").tobytes()
    data["claim"]["lower"] = {"dtype": "F64", "data": __import__("base64").b64encode(raw).decode()}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(module.Refused, match="not proven"):
        module.check(path, weights, biases, [("relu", {})] * 2)
    assert not lmikit.check(path, network)


def described(linear):
    """A map as the stand-alone checker takes it."""
    if isinstance(linear, Convolution2d):
        names = ("kernel", "stride", "padding", "dilation", "groups")
        return {"input": linear.input_shape} | {name: getattr(linear, name) for name in names}
    if isinstance(linear, SparseMap):
        m = linear.matrix
        return {"shape": m.shape, "data": m.data, "indices": m.indices, "indptr": m.indptr}
    return linear.to_dense()


@pytest.mark.parametrize("pooled", [False, True])
def test_convolutions_and_the_chains_of_graphs_are_unrolled_and_checked(tmp_path, pooled):
    rng = np.random.default_rng(4)
    conv = Convolution2d(
        rng.standard_normal((4, 1, 3, 2)), (2, 5, 6), (2, 1), ((1, 0), (0, 1)), (1, 2), groups=2
    )
    g = lmikit.GraphBuilder()
    value = g.relu(conv @ g.input(60) + rng.standard_normal(conv.shape[0]))
    if pooled:
        value = g.max_pool(value, pooling_windows(conv.output_shape, (1, 2)))
    graph = g.output(rng.standard_normal((3, value.size)) @ value + rng.standard_normal(3))
    certificate = lmikit.certify_point(graph, rng.standard_normal(60), eps=0.02).certificate
    module, path, chain = checker(), tmp_path / "point.json", point_network(graph)
    certificate.save(path)
    weights, biases = (
        [described(layer.linear) for layer in chain.layers],
        [layer.bias for layer in chain.layers],
    )
    names = [(layer.activation.name, dict(layer.activation.parameters())) for layer in chain.layers[:-1]]
    assert isinstance(weights[0], dict)
    assert module.check(path, weights, biases, names)["kind"] == "margin"
    other = [weights[0] | {"padding": ((0, 1), (0, 1))}, *weights[1:]]
    with pytest.raises(module.Refused, match="another network"):
        module.check(path, other, biases, names)
    data = json.loads(path.read_text(encoding="utf-8"))
    low = np.frombuffer(base64.b64decode(data["claim"]["lower"]["data"]), "<f8") + 0.5
    data["claim"]["lower"]["data"] = base64.b64encode(low.tobytes()).decode()
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(module.Refused, match="not proven"):
        module.check(path, weights, biases, names)
    if pooled:  # a term of carried values at a neuron that is none
        kinds = [item["term"] for item in data["groups"][0]["layers"][1]]
        moved = data["groups"][0]["layers"][1][kinds.index("linear_square")]
        moved["multipliers"]["data"] = base64.b64encode(np.ones(moved["size"]).tobytes()).decode()
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(module.Refused, match="without a nonlinearity"):
            module.check(path, weights, biases, names)
        assert not lmikit.check(path, graph)
