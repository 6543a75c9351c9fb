"""The checker in docs/ that knows nothing of lmikit agrees with both modes of lmikit's own."""

import base64
import dataclasses
import json
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torus_helpers import conv, random_network

import lmikit
from lmikit import InputError
from lmikit.certificates.torus import verify_torus
from lmikit.formulations.torus import fast_torus
from lmikit.graph import GraphBuilder
from lmikit.maps import pooling_windows
from lmikit.network import SiLU
from lmikit.torus import torus_form

DOCS = str(pathlib.Path(__file__).resolve().parent.parent / "docs")
OTHERS = {"silu": tuple(float(v[0]) for v in SiLU().slopes_for(1, "silu"))}


@pytest.fixture(scope="module")
def checker():
    sys.path.insert(0, DOCS)
    try:
        import standalone_torus_checker
    finally:
        sys.path.remove(DOCS)
    return standalone_torus_checker


def saved(graph, folder):
    certificate = verify_torus(graph, fast_torus(torus_form(graph)))
    files = folder / "c.json", folder / "g.npz"
    certificate.save(files[0])
    graph.save(files[1])
    return certificate, files


def accepts(checker, files):
    try:
        checker.check(*files, OTHERS)
    except checker.base.Refused:
        return False
    return True


def agreed(checker, graph, files):
    """The verdict of all three, which is one."""
    found = {bool(lmikit.check(files[0], graph, exact=exact)) for exact in (False, True)}
    found.add(accepts(checker, files))
    assert len(found) == 1
    return found.pop()


@given(st.integers(0, 2**31))
@settings(max_examples=15)
def test_random_networks_are_accepted_by_all(checker, tmp_path_factory, seed):
    graph = random_network(seed)
    try:
        torus_form(graph)
    except InputError:
        return
    certificate, files = saved(graph, tmp_path_factory.mktemp("c"))
    assert checker.check(*files, OTHERS) == certificate.bound


def network(head=True, power=0):
    """A stride, a residual block, a head with one hidden layer; the first kernel times 2**power."""
    rng = np.random.default_rng(5)
    g = GraphBuilder()
    first = conv(rng, 2, (1, 5, 5), 3, padding=1, stride=2)
    first = dataclasses.replace(first, kernel=first.kernel * 2.0**power)
    value = g.relu(first @ g.input(25))
    blocks = [conv(rng, 2, (2, 3, 3), 3, padding=1) for _ in range(2)]
    value = g.relu(value + blocks[1] @ g.relu(blocks[0] @ value))
    if not head:
        return g.output(conv(rng, 2, (2, 3, 3), 1) @ value)
    return g.output(rng.standard_normal((2, 3)) @ g.relu(rng.standard_normal((3, 18)) / 4.0 @ value))


def _cells(m):
    def change(data):
        data["proof"]["cells"] = [m, m]

    return change


def _listed(data):
    data["proof"]["admissibility"][1]["reach"] += 1


def _larger_torus_with_the_old_list(data):
    data["proof"]["cells"] = [data["proof"]["cells"][0] - 1, data["proof"]["cells"][1]]


def _number(field, factor, part="proof"):
    def change(data):
        data[part][field] = (float.fromhex(data[part][field]) * factor).hex()

    return change


def _swapped(data):
    data["proof"]["multipliers"][0], data["proof"]["multipliers"][1] = (
        {"size": 2, "dtype": "F64", "data": "AAAAAAAA8L8AAAAAAADwvw=="},  # -1, -1
        data["proof"]["multipliers"][0],
    )


def _zeros(data):
    array = data["proof"]["multipliers"][-1]
    array["data"] = base64.b64encode(bytes(8 * array["size"])).decode()


def _other_graph(data):
    data["graph"][1]["maps"][0]["sha256"] = "0" * 64


@pytest.mark.parametrize(
    "mutate",
    [
        _cells(1),
        _cells(2),
        _larger_torus_with_the_old_list,
        _listed,
        _number("d_out", 0.999),
        _number("d_in", 0.999),
        _number("d_out", -1.0),
        _number("L", 1.0 - 1e-12, "claim"),
        _swapped,
        _zeros,
        _other_graph,
    ],
)
@pytest.mark.parametrize("head", [True, False])
def test_mutations_are_refused_by_all(checker, tmp_path, mutate, head):
    graph = network(head)
    _, files = saved(graph, tmp_path)
    assert agreed(checker, graph, files)
    data = json.loads(files[0].read_text())
    mutate(data)
    files[0].write_text(json.dumps(data))
    assert not agreed(checker, graph, files)


@pytest.mark.parametrize("head", [True, False])
def test_all_agree_near_the_edge(checker, tmp_path, head):
    graph = network(head, -40)
    certificate, files = saved(graph, tmp_path)
    text, d_out = files[0].read_text(), certificate.witness.d_out
    for share, expected in ((1.0 + 1e-7, True), (1.0, True), (1.0 - 1e-6, False)):
        data = json.loads(text)
        data["proof"]["d_out"] = (d_out * share).hex()
        data["claim"]["L"] = (certificate.bound * 1.01).hex()
        files[0].write_text(json.dumps(data))
        assert agreed(checker, graph, files) == expected


@pytest.mark.parametrize(("size", "stride"), [((2, 3), (2, 3)), ((3, 3), (2, 2)), ((1, 2), (2, 1))])
def test_max_pooling_is_a_tree_for_all(checker, tmp_path, size, stride):
    rng, g = np.random.default_rng(0), GraphBuilder()
    value = g.relu(conv(rng, 1, (1, 5, 6), 3, padding=1) @ g.input(30))
    value = g.max_pool(value, pooling_windows((1, 5, 6), size, stride=stride), tree=False)
    graph = g.output(np.ones((1, value.size)) @ value)
    if size == (3, 3):  # a convolution may read it where windows end at the edge: 5 rows, and 5 columns
        g = GraphBuilder()
        value = g.relu(conv(rng, 1, (1, 5, 5), 3, padding=1) @ g.input(25))
        value = g.max_pool(value, pooling_windows((1, 5, 5), size, stride=stride), tree=False)
        graph = g.output(conv(rng, 1, (1, 2, 2), 2, padding=1) @ value)
    _, files = saved(graph, tmp_path)
    assert agreed(checker, graph, files)
    data = json.loads(files[0].read_text())
    _number("d_out", 0.999)(data)
    files[0].write_text(json.dumps(data))
    assert not agreed(checker, graph, files)
