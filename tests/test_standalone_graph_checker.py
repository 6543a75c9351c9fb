"""The stand-alone checker of graphs: it agrees with both of the project's own, with no code of theirs."""

import ast
import importlib.util
import json
import math
import pathlib
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from graph_helpers import dense, random_graph, residual_net
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import SpectralProduct
from lmikit.graph import Affine, Graph, GraphBuilder, Input, chain_graph
from lmikit.maps import Convolution2d, DenseMap, SelectMap, SparseMap, StackMap
from lmikit.network import resolve_activation
from lmikit.nonlinear import MaxMinPairs, Reflect, SortGroups
from lmikit.testing import demo_network

PATH = pathlib.Path(__file__).resolve().parent.parent / "docs" / "standalone_graph_checker.py"
VOUCHED = {name: resolve_activation(name).bounds() for name in ("silu", "hardswish")}


def load():
    spec = importlib.util.spec_from_file_location("standalone_graph_checker", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load()


def accepted(certificate, graph):
    try:
        checker.check(certificate, graph, VOUCHED)
    except (checker.Refused, ValueError, KeyError, IndexError, TypeError):
        return False
    return True


def saved(folder, graph, certificate):
    graph.save(folder / "graph.npz")
    certificate.save(folder / "certificate.json")
    return folder / "certificate.json", folder / "graph.npz"


def test_it_imports_numpy_and_the_standard_library_only():
    tree = ast.parse(PATH.read_text(encoding="utf-8"))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m not in sys.stdlib_module_names} == {"numpy"}


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), product=st.booleans())
def test_it_accepts_what_is_proven_for_any_graph(seed, product, tmp_path_factory):
    graph = random_graph(seed)
    certificate = lmikit.lipschitz(graph, SpectralProduct() if product else None)
    paths = saved(tmp_path_factory.mktemp("g"), graph, certificate)
    assert lmikit.check(paths[0], graph, exact=True).ok
    assert checker.check(*paths, VOUCHED) == ("l2", "l2", certificate.bound)


@pytest.mark.parametrize("norm", [(2, 1), (math.inf, 1), (math.inf, math.inf), (1, 2), (1, math.inf)])
def test_it_accepts_other_norms(norm, tmp_path):
    rng, g = np.random.default_rng(0), GraphBuilder()
    s = g.input(3)
    s = s + dense(rng, 3, 4) @ g.relu(dense(rng, 4, 3) @ s)
    graph = g.output(dense(rng, 2, 3) @ g.apply("tanh", s))
    certificate = lmikit.lipschitz(graph, norm=norm)
    names = ["linf" if math.isinf(n) else f"l{n}" for n in norm]
    assert checker.check(*saved(tmp_path, graph, certificate)) == (*names, certificate.bound)


@pytest.mark.parametrize(
    "function", [MaxMinPairs(), Reflect([0.6, -0.8]), Reflect([1.0, 1.0]), SortGroups(4)]
)
def test_it_accepts_groups_as_such_and_rewritten(function, tmp_path):
    rng, g = np.random.default_rng(0), GraphBuilder()
    h = g.apply(function, dense(rng, 4, 3) @ g.input(3))
    h = g.apply(function, dense(rng, 4, 4) @ h)
    graph = g.output(dense(rng, 2, 4) @ h)
    certificate = lmikit.lipschitz(graph)
    paths = saved(tmp_path, graph, certificate)
    assert checker.check(*paths) == ("l2", "l2", certificate.bound)
    data = json.loads(paths[0].read_text())
    data["proof"]["rewritten"] = not data["proof"]["rewritten"]
    paths[0].write_text(json.dumps(data))
    assert not accepted(*paths)


def test_it_reads_every_kind_of_map(tmp_path):
    single = DenseMap(np.float32([[0.1, 0.2], [0.3, -0.4]]).astype(np.float64), "F32")
    sparse = SparseMap(sp.csr_array(np.array([[0.0, 0.1], [0.0, 0.0]])))
    pick = SelectMap([1, 0], 2)
    stack = StackMap((DenseMap(np.ones((1, 2))), DenseMap(np.zeros((1, 2)))))
    kernel = np.float32([[[[0.5], [0.1]]], [[[0.2], [-0.3]]]])
    convolution = Convolution2d(kernel, (1, 2, 1), (2, 1), ((1, 1), (0, 0)), (2, 1))
    maps = (convolution, single, sparse, pick, sparse.T, stack, DenseMap(np.eye(2)) + pick, pick @ single)
    graph = Graph((Input(2), Affine(maps, (0,) * len(maps), np.zeros(2))))
    certificate = lmikit.lipschitz(graph)
    paths = saved(tmp_path, graph, certificate)
    assert checker.check(*paths) == ("l2", "l2", certificate.bound)
    Graph((Input(2), Affine((*maps[:-1], single), (0,) * len(maps), np.zeros(2)))).save(paths[1])
    assert not accepted(*paths)


def test_it_reads_convolutions(tmp_path):
    rng, g = np.random.default_rng(0), GraphBuilder()
    x = g.input(2 * 4 * 4)
    first = Convolution2d(rng.standard_normal((4, 1, 3, 3)) / 3.0, (2, 4, 4), 2, 1, 1, 2)
    back = Convolution2d(rng.standard_normal((2, 4, 2, 1)), (4, 2, 2), 1, ((0, 1), (0, 0)))
    h = g.apply(MaxMinPairs(), back @ g.relu(first @ x))
    graph = g.output(dense(rng, 2, 8) @ h)
    certificate = lmikit.lipschitz(graph)
    assert checker.check(*saved(tmp_path, graph, certificate)) == ("l2", "l2", certificate.bound)


def test_a_constant_output(tmp_path):
    g = GraphBuilder()
    graph = g.output(np.zeros((2, 2)) @ g.relu(g.input(2)) + np.ones(2))
    for method in (None, SpectralProduct()):
        certificate = lmikit.lipschitz(graph, method)
        assert certificate.bound == 0.0
        assert checker.check(*saved(tmp_path, graph, certificate)) == ("l2", "l2", 0.0)


def test_slopes_of_unknown_functions_are_the_callers_word(tmp_path):
    g = GraphBuilder()
    graph = g.output(np.ones((1, 2)) @ g.apply("silu", g.input(2)))
    paths = saved(tmp_path, graph, lmikit.lipschitz(graph))
    with pytest.raises(checker.Refused, match="no slopes of silu"):
        checker.check(*paths)
    with pytest.raises(checker.Refused, match="narrower"):
        checker.check(*paths, {"silu": (-0.5, 1.5)})
    assert checker.check(*paths, {"silu": (0.0, 1.0)})  # the file's are wider


def changes(text):
    """Every way to change a file that all readers must refuse."""

    def changed(path, value):
        data = json.loads(text)
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return json.dumps(data)

    def numbers(change):
        def edit(entry):
            values = checker.array(entry["dtype"], entry["data"], entry["size"])
            return {"size": entry["size"], "dtype": "F64", "data": _base64(change(values))}

        return edit

    part = ["proof", "parts", 0]
    yield "a smaller L", changed(["claim", "L"], lambda x: (float.fromhex(x) * (1 - 1e-9)).hex())
    yield "a negative L", changed(["claim", "L"], lambda x: "-" + x)
    yield "another norm", changed(["claim", "p"], "linf")
    yield "an unknown norm", changed(["claim", "q"], "l3")
    yield "another statement", changed(["claim", "statement"], "trust me")
    yield "another hash", changed(["graph", 1, "maps", 0, "sha256"], "0" * 64)
    yield (
        "narrower slopes",
        changed(["graph", 2, "beta"], lambda a: {"dtype": "F64", "data": _base64(np.full(3, 0.5))}),
    )
    yield "other parents", changed(["graph", 5, "parents"], lambda p: p[::-1])
    yield "a true parent", changed(["graph", 1, "parents"], [False])
    yield "another kind", changed(["graph", 2, "kind"], "groups")
    yield "a node less", changed(["graph"], lambda nodes: nodes[:-1])
    yield "a node more", changed(["graph"], lambda nodes: [*nodes, nodes[-1]])
    yield "no parts", changed(["proof", "parts"], [])
    yield "a part twice", changed(["proof", "parts"], lambda parts: parts * 2)
    yield "a row", changed([*part, "row"], 0)
    yield "a smaller D", changed([*part, "d_in"], numbers(lambda x: x * (1 - 1e-6)))
    yield "a negative D", changed([*part, "d_out"], numbers(lambda x: -x))
    yield "a D of zeros", changed([*part, "d_out"], numbers(lambda x: 0 * x))
    yield "negative T", changed([*part, "multipliers", 0], numbers(lambda x: -x))
    yield "no T", changed([*part, "multipliers", 0], numbers(lambda x: 0 * x))
    yield "huge T", changed([*part, "multipliers", 0], numbers(lambda x: 1e6 * x))
    yield "NaN", changed([*part, "multipliers", 0], numbers(lambda x: np.nan * x))
    yield "another size", changed([*part, "multipliers", 0, "size"], 1)
    yield "a T less", changed([*part, "multipliers"], lambda t: t[:-1])
    yield "gains", changed(["proof", "gains"], ["0x1p+0"])
    yield "another proof", changed(["proof", "kind"], "norms")
    yield "an unknown proof", changed(["proof", "kind"], "faith")
    yield "one for true", changed(["proof", "rewritten"], 1)
    yield "an unknown field", text.replace('"claim"', '"clam"', 1)
    yield "a key twice", text.replace('"version"', '"version": 1, "version"', 1)
    yield "half a file", text[: len(text) // 2]
    yield "more than a file", text + "{}"
    yield "a decimal", text.replace('"margin": "', '"margin": 0.5, "m": "', 1)
    yield "another version", changed(["version"], 2)
    yield "a true version", changed(["version"], True)


def _base64(values):
    import base64

    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


@pytest.mark.parametrize("after", [True, False])
def test_all_three_checkers_refuse_every_change(after, tmp_path):
    rng, g = np.random.default_rng(2), GraphBuilder()
    s = g.relu(dense(rng, 3, 3) @ g.input(3))
    s = s + dense(rng, 3, 4) @ g.relu(dense(rng, 4, 3) @ s)
    graph = g.output(dense(rng, 2, 3) @ (g.relu(s) if after else s))
    paths = saved(tmp_path, graph, lmikit.lipschitz(graph))
    assert accepted(*paths)
    assert lmikit.check(paths[0], graph)
    assert lmikit.check(paths[0], graph, exact=True)
    text = paths[0].read_text()
    for name, mutated in changes(text):
        paths[0].write_text(mutated)
        assert not accepted(*paths), name
        assert not lmikit.check(paths[0], graph), name
        assert not lmikit.check(paths[0], graph, exact=True), name
    paths[0].write_text(text)
    residual_net(1, 3, 0, after=False).save(paths[1])
    assert not accepted(*paths)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), factor=st.floats(-9.0, -3.0), data=st.data())
def test_all_three_checkers_agree_near_the_edge(seed, factor, data, tmp_path_factory):
    """One multiplier is moved by a little: what the stand-alone checker accepts, both others do."""
    graph = random_graph(seed, depth=2)
    paths = saved(tmp_path_factory.mktemp("e"), graph, lmikit.lipschitz(graph))
    held = json.loads(paths[0].read_text())
    parts = held["proof"]["parts"]
    places = [t for t in (parts[0]["multipliers"] if parts else []) if t["size"]]
    if not places:
        return
    entry = data.draw(st.sampled_from(places))
    values = checker.array(entry["dtype"], entry["data"], entry["size"]).copy()
    sign = data.draw(st.sampled_from((-1.0, 1.0)))
    values[data.draw(st.integers(0, values.size - 1))] *= 1.0 + sign * 10.0**factor
    entry.update(dtype="F64", data=_base64(values))
    paths[0].write_text(json.dumps(held))
    exact = lmikit.check(paths[0], graph, exact=True).ok
    assert accepted(*paths) == exact
    assert exact or not lmikit.check(paths[0], graph).ok


def test_a_chain_and_the_command_line(tmp_path, capsys, monkeypatch):
    network = demo_network()
    certificate = lmikit.lipschitz(network, norm=(2, 2))
    graph = chain_graph(network)
    paths = saved(tmp_path, graph, certificate)
    assert checker.check(*paths) == ("l2", "l2", certificate.bound)
    import runpy

    monkeypatch.setattr(sys, "argv", ["checker", *map(str, paths)])
    runpy.run_path(str(PATH), run_name="__main__")
    assert f"<= {certificate.bound!r} " in capsys.readouterr().out
