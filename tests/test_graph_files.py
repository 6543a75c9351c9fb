"""Graphs in files, in the command line and in batches: exact both ways, refused where broken."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from graph_helpers import random_graph, residual_net
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import Graph, InputError, Job, Network, certify_many, load_network
from lmikit.certificates.graph import GraphCertificate
from lmikit.cli import main
from lmikit.graph import Affine, Input
from lmikit.maps import DenseMap, SelectMap, SparseMap
from lmikit.testing import demo_network


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_a_graph_comes_back_exactly(seed, tmp_path_factory):
    graph = random_graph(seed)
    path = tmp_path_factory.mktemp("g") / "net.npz"
    graph.save(path)
    found = load_network(path)
    assert isinstance(found, Graph)
    assert found.digest == graph.digest == Graph.from_file(path).digest
    x = np.random.default_rng(seed).standard_normal((5, graph.input_dim))
    np.testing.assert_array_equal(found(x), graph(x))


def test_every_kind_of_map_and_parameter_comes_back(tmp_path):
    single = np.float32([[0.1, 0.2], [0.3, -0.4]])
    dense = DenseMap(single.astype(np.float64), "F32")
    sparse = SparseMap(sp.csr_array(np.array([[0.0, 0.1], [0.0, 0.0]])))
    pick = SelectMap([1, 0], 2)
    stack = lmikit.maps.StackMap((DenseMap(np.ones((1, 2))), DenseMap(np.zeros((1, 2)))))
    kernel = np.float32([[[[0.5, 0.1]]]])
    convolution = lmikit.maps.Convolution2d(kernel, (1, 1, 2), (1, 2), ((0, 0), (1, 1)), 1)
    maps = (dense, sparse, pick, pick.T, stack, dense + pick, DenseMap(np.eye(2)) @ dense, convolution)
    last = Affine(maps, (1,) * len(maps), np.array([0.1, -0.2]))
    slopes = lmikit.graph.Apply(lmikit.Slopes([-0.1, 0.0], [1.0, 0.3]), 0, 2)
    graph = Graph((Input(2), slopes, last))
    graph.save(tmp_path / "a.npz")
    found = Graph.from_file(tmp_path / "a.npz")
    assert found.digest == graph.digest
    assert found.nodes[2].maps[0].source_dtype == found.nodes[2].maps[-1].source_dtype == "F32"


def saved(folder):
    path = folder / "net.npz"
    residual_net(1, 3, 0, after=True).save(path)
    with np.load(path) as file:
        return path, dict(file)


def _changes(entries):
    def text(edit):
        data = json.loads(str(entries["graph"]))
        edit(data)
        return {**entries, "graph": np.array(json.dumps(data))}

    def node(k, **changes):
        return text(lambda d: d["nodes"][k].update(changes))

    yield "a missing array", {k: v for k, v in entries.items() if k != "a1"}
    yield "an array too many", {**entries, "a99": np.zeros(2)}
    yield "another shape", {**entries, "a0": entries["a0"][:1]}
    yield "texts", {**entries, "a0": np.array(["x"])}
    yield "NaN", {**entries, "a1": entries["a1"] * np.nan}
    yield "numbers for the text", {**entries, "graph": np.zeros(3)}
    yield "no JSON", {**entries, "graph": np.array("{")}
    yield "deep JSON", {**entries, "graph": np.array("[" * 100000)}
    yield "another version", text(lambda d: d.update(version=2))
    yield "true for 1", text(lambda d: d.update(version=True))
    yield "no nodes", text(lambda d: d.update(nodes=[]))
    yield "an unknown field", node(0, extra=1)
    yield "a huge input", node(0, size=10**15)
    yield "a size that is no integer", node(0, size=2.5)
    yield "a negative size", node(0, size=-1)
    yield "a later parent", node(1, parent=5)
    yield "a negative parent", node(1, parent=-1)
    yield "an unknown function", node(1, function="oracle")
    yield "unknown parameters", node(1, parameters={"slope": 1})
    yield "large groups", node(1, function="sort_groups", parameters={"size": 10**15})
    yield "an unknown node", node(1, node="faith")
    yield "an unknown map", text(lambda d: d["nodes"][2]["maps"][0].update(map="conv"))
    yield "another dtype", text(lambda d: d["nodes"][2]["maps"][0].update(dtype="F16"))
    yield "a huge selection", text(lambda d: d["nodes"][4]["maps"][0].update(size=10**15))
    deep = {"map": "dense", "dtype": "F64"}
    for _ in range(100):
        deep = {"map": "transposed", "parts": [deep]}
    yield "deep maps", text(lambda d: d["nodes"][2].update(maps=[deep]))
    apply = {"node": "apply", "parent": 0, "function": "relu", "parameters": {}}

    def long(data):
        data["nodes"][0]["size"] = 10**6
        data["nodes"][1:] = [apply] * 9

    yield "many nodes", text(long)


def test_what_is_broken_is_refused_in_one_line(tmp_path):
    path, entries = saved(tmp_path)
    assert isinstance(load_network(path), Graph)
    for name, changed in _changes(entries):
        np.savez_compressed(path, **changed)
        with pytest.raises(InputError) as caught:
            load_network(path)
        assert "\n" not in str(caught.value), name
    whole = saved(tmp_path)[0].read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError):
            load_network(path)


def test_networks_and_graphs_are_told_apart(tmp_path):
    path, _ = saved(tmp_path)
    with pytest.raises(InputError, match="load_network"):
        Network.from_file(path)
    demo_network().save(tmp_path / "chain.npz")
    assert isinstance(load_network(tmp_path / "chain.npz"), Network)
    for wrong in ("chain.npz", "none.npz", "net.json"):
        with pytest.raises(InputError):
            Graph.from_file(tmp_path / wrong)
    with pytest.raises(InputError, match="npz"):
        Graph.from_file(path).save(tmp_path / "a.json")


@pytest.fixture
def files(tmp_path):
    path, _ = saved(tmp_path)
    demo_network().save(tmp_path / "chain.npz")
    return str(path), str(tmp_path / "chain.npz"), str(tmp_path / "c.json")


def test_the_command_line_bounds_compares_and_checks_graphs(files, capsys):
    net, chain, cert = files
    assert main(["bound", net, "--save", cert, "--lower", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["bound"] == lmikit.lipschitz(load_network(net)).bound >= data["sampled_lower_bound"] > 0.0
    assert "||_2 <= L" in data["claim"]
    for flags in ([], ["--exact"]):
        assert main(["check", cert, net, *flags]) == 0
    assert main(["check", cert, chain]) == 1
    capsys.readouterr()
    assert main(["compare", net, "--json", "--no-lower"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert any(row["bound"] is not None for row in rows)
    assert all("\n" not in row["reason"] and "graph" in row["reason"] for row in rows if row["bound"] is None)


def test_the_command_line_takes_norms(files, capsys):
    net, chain, cert = files
    for subject in (net, chain):
        capsys.readouterr()
        assert main(["bound", subject, "--norm", "inf,1", "--save", cert, "--json"]) == 0
        assert "||_1 <= L ||x - x'||_inf" in json.loads(capsys.readouterr().out)["claim"]
        for flags in ([], ["--exact"]):
            assert main(["check", cert, subject, *flags]) == 0
        assert GraphCertificate.load(cert, load_network(subject)).norm == (np.inf, 1.0)
    for flags in (["--norm", "3,2"], ["--norm", "2"], ["--norm", "1,2", "--lower"]):
        capsys.readouterr()
        assert main(["bound", net, *flags]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_needs_a_chain_says_so(files, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", X=np.zeros((1, 3)), y=np.zeros(1, dtype=int))
    assert main(["robust", files[0], str(tmp_path / "data.npz"), "--eps", "0.1"]) == 2
    error = capsys.readouterr().err
    assert "chain" in error
    assert error.count("\n") == 1


def test_batches_take_graphs_and_read_their_results(tmp_path):
    graph, network = residual_net(1, 3, 0, after=True), demo_network()
    jobs = [graph, network, Job(graph, norm=(np.inf, 1)), Job(network, norm=(1, 2), name="other")]
    first = certify_many(jobs, folder=tmp_path)
    assert all(r.proven for r in first), [r.error for r in first]
    assert first[0].certificate.bound == lmikit.lipschitz(graph).bound
    assert [r.certificate.norm for r in first] == [(2, 2), (2, 2), (np.inf, 1), (1, 2)]
    again = certify_many(jobs, folder=tmp_path)
    assert all(r.resumed for r in again)
    assert [r.certificate.bound for r in again] == [r.certificate.bound for r in first]
    path = tmp_path / f"{Job(graph, norm=(np.inf, 1)).key}.json"
    path.write_text(first[0].certificate.to_text())  # about other norms
    found = certify_many(jobs[2:3], folder=tmp_path)[0]
    assert found.certificate.norm == (np.inf, 1)
    assert not found.resumed
    with pytest.raises(InputError, match="expected \\(p, q\\)"):
        certify_many([Job(graph, norm=(2, 3))])


def test_certificates_of_graphs_say_what_they_claim():
    certificate = lmikit.lipschitz(demo_network(), norm=(1, np.inf))
    assert "||_inf <= L ||x - x'||_1" in str(certificate)
    assert not lmikit.check(certificate, residual_net(1, 2, 0, after=True))
    assert lmikit.check(certificate, demo_network(), exact=True)
