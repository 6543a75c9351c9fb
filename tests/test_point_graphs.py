"""Max-pooling and skips at a point: graphs rewritten as chains, exactly, anew for every proof and check."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest

import lmikit
from lmikit._points import class_rows
from lmikit.certificates.point import PointCertificate, point_network, quadratic_form, verify_point
from lmikit.certificates.point._check_rows import row_margins
from lmikit.claims import Ball, Box
from lmikit.graph import Affine, Apply, GraphBuilder, carried_chain
from lmikit.maps import Convolution2d, average_pool2d, pooling_windows
from lmikit.margins import Search, chain_of, propose_margins
from lmikit.network import LeakyReLU, Network
from lmikit.reports._describe import describe


def pooling_graph(seed, tree, integers=False, relu=True):
    """A convolution of a 5 x 5 image, overlapping 2 x 2 windows, a skip over a dense block."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        if integers:
            return rng.integers(-2, 3, shape).astype(float)
        return rng.standard_normal(shape) / 3.0

    g = GraphBuilder()
    conv = Convolution2d(draw(2, 1, 2, 2), (1, 5, 5), 2 if seed % 2 else 1, 1 if seed % 2 else 0)
    value = conv @ g.input(25) + draw(conv.shape[0])
    value = g.relu(value) if relu else value
    windows = pooling_windows(conv.output_shape, 2, stride=2 - seed % 3 // 2)
    value = g.max_pool(value, windows, tree=tree)
    value = g.relu(draw(4, value.size) @ value + draw(4))
    value = g.relu(value + draw(4, 3) @ g.relu(draw(3, 4) @ value))
    return g.output(draw(3, 4) @ value + draw(3))


def exactly(subject, x):
    """The value in rationals; maxima are true maxima, as the graph has them."""
    x = np.array([Fraction(v) for v in x])
    if isinstance(subject, Network):
        for k, layer in enumerate(subject.layers):
            x = _image(layer.linear, x) + np.array([Fraction(b) for b in layer.bias])
            if k + 1 < len(subject.layers):
                x = _activated(layer.activation, x)
        return x
    values = []
    for node in subject.nodes:
        if isinstance(node, Affine):
            total = np.array([Fraction(b) for b in node.bias])
            values.append(
                sum((_image(m, values[p]) for m, p in zip(node.maps, node.parents, strict=True)), total)
            )
        elif isinstance(node, Apply):
            values.append(_activated(node.function, values[node.parent]))
        else:
            values.append(x)
    return values[-1]


def _image(linear, x):
    matrix = linear.to_sparse()
    entries = np.array([Fraction(v) for v in matrix.data]) * x[matrix.indices]
    return np.array([sum(entries[a:b], Fraction(0)) for a, b in itertools.pairwise(matrix.indptr)])


def _activated(function, v):
    if function.name == "sort_groups":
        return np.concatenate([np.sort(g) for g in v.reshape(-1, function.size)])
    if function.name == "identity":
        return v
    left = {"relu": 0.0, "abs": -1.0}.get(function.name)
    if left is None:
        left = function.negative_slope if function.name == "leaky_relu" else function.weight
    slope = np.broadcast_to(left, v.shape)
    return np.array([a if a >= 0 else Fraction(s) * a for a, s in zip(v, slope, strict=True)])


def skips(seed):
    """Values that meet again: a value with itself, a product that would round, a copy of the input."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    x = g.input(3)
    a, b = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    y = a @ x + rng.standard_normal(3)
    h = g.relu(b @ y)
    z = y + h + x[[2, 0, 1]]
    w = g.apply(["abs", "leaky_relu", "relu"][seed % 3], a @ z + y)
    same = g.concat(w[:2], z[1:], x)
    value = rng.standard_normal((3, same.size)) @ same + (a @ w) + 0.1 * np.eye(3) @ (w + w)
    return g.output(value if seed % 2 else g.relu(value))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["tree", "sorted", "linear", "skips"])
def test_the_chain_is_the_same_function_in_rationals(kind, seed):
    graph = skips(seed) if kind == "skips" else pooling_graph(seed, kind == "tree", relu=kind != "linear")
    chain, rng = carried_chain(graph), np.random.default_rng(seed)
    for x in rng.standard_normal((3, graph.input_dim)):
        assert (exactly(chain, x) == exactly(graph, x)).all()
    assert carried_chain(graph).layers[0].linear.digest == chain.layers[0].linear.digest


def corners(seed, graph):
    """An integer point, and points around it."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, graph.input_dim).astype(float)
    return x, x + rng.uniform(-1.0, 1.0, (4000, graph.input_dim))


@pytest.mark.parametrize("seed", [*(pytest.param(s, marks=pytest.mark.slow) for s in (0, 1)), 2, 3])
def test_margins_of_pooling_networks_hold_and_are_checked_for_the_graph(seed, tmp_path):
    graph = pooling_graph(seed, tree=seed % 2 == 0, integers=True, relu=seed < 3)
    x, around = corners(seed, graph)
    eps = 0.25
    region = (Ball(x, eps), Box(x - eps, x + eps))[seed % 2]
    steps = around - x
    points = x + eps * (steps / np.linalg.norm(steps, axis=1)[:, None] if seed % 2 == 0 else np.sign(steps))
    result = lmikit.certify_point(graph, x, region=region, search=Search(target=np.inf, budget=4, newton=0))
    claim = result.certificate.claim
    assert (graph(points) @ claim.rows.T >= claim.lower).all()
    assert result.margin <= result.attack_margin
    path = tmp_path / "point.json"
    result.certificate.save(path)
    assert lmikit.check(path, graph)
    assert lmikit.check(path, graph, exact=True)
    assert not lmikit.check(path, pooling_graph(seed + 4, tree=seed % 2 == 0, integers=True))
    assert PointCertificate.load(path, graph).margin == result.certificate.margin
    bold = type(result.certificate.witness)(
        result.certificate.witness.digest,
        claim.with_lower(claim.lower + 0.5 * np.abs(claim.lower) + 1.0),
        result.certificate.witness.groups,
    )
    with pytest.raises(lmikit.NotCertified):
        verify_point(graph, bold, repair=False)


def leaky_images(seed):
    """Overlapping convolutions with slopes on both sides, and averages without a nonlinearity between."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    first = Convolution2d(rng.standard_normal((2, 1, 2, 2)), (1, 6, 6))
    pool = average_pool2d(first.output_shape, 2, stride=1)
    second = Convolution2d(rng.standard_normal((2, 2, 2, 2)), pool.output_shape)
    value = g.apply(LeakyReLU(0.125), first @ g.input(36) + rng.standard_normal(first.shape[0]))
    value = g.apply(LeakyReLU(0.25), second @ (pool @ value))
    return g.output(rng.standard_normal((3, value.size)) @ value)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_matrices_with_squares_of_sparse_maps_are_proven_to_the_edge_and_no_further(kind):
    """The smallest share of mu that is accepted leaves a definite matrix, in every arithmetic."""
    graph = leaky_images(0) if kind == "average" else pooling_graph(5, tree=True)
    network = point_network(graph)
    x = np.random.default_rng(1).standard_normal(graph.input_dim)
    rows, _ = class_rows(3, 0)
    witness = propose_margins(chain_of(network), Ball(x, 0.1), rows, np.zeros(2), Search(budget=3, newton=0))
    assert any(item.kind == "linear_square" for layer in witness.groups[0].layers for item in layer)

    def shrunk(share):
        groups = tuple(dataclasses.replace(g, mu=share * g.mu) for g in witness.groups)
        return dataclasses.replace(witness, groups=groups)

    def accepted(share, how):
        tried = shrunk(share)
        if how is None:
            try:
                verify_point(network, tried)
            except lmikit.NotCertified:
                return False
            return True
        low = dataclasses.replace(tried, claim=tried.claim.with_lower(np.full(2, -1e9)))
        group = low.groups[0]
        return not isinstance(row_margins(network, low.claim, group, np.zeros(2), how), str)

    for how in (None, False, True):
        low, high = 0.0, 1.0
        assert accepted(high, how)
        for _ in range(8 if how is None else 4):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if accepted(middle, how) else (middle, high)
        edge = shrunk(high)
        matrix, _ = quadratic_form(network, edge.claim, edge.groups[0])
        assert np.linalg.eigvalsh(matrix.toarray())[0] > 0.0
        if high < 1.0:  # not far from the edge: half of it is refused because it is not definite
            under = shrunk(0.9 * low)
            matrix, _ = quadratic_form(network, under.claim, under.groups[0])
            assert np.linalg.eigvalsh(matrix.toarray())[0] < 1e-6


def absorbing_graph(offset):
    """relu(x) + offset - offset + x / 1024: exact in reals, float32 loses relu(x) for a large offset."""
    g = GraphBuilder()
    x = g.input(2)
    shifted = (g.relu(np.eye(2) @ x) + np.full(2, offset)) - np.full(2, offset)
    return g.output(np.eye(2) @ (shifted + 2.0**-10 * np.eye(2) @ x))


def test_float_passes_of_graphs_are_not_those_of_their_chains(tmp_path):
    graph, x = absorbing_graph(2.0**30), np.array([1.0, 0.5])
    h = (np.maximum(x, 0.0).astype(np.float32) + np.float32(2**30)) - np.float32(2**30)
    single = h + np.float32(2.0**-10) * x.astype(np.float32)
    result = lmikit.certify_point(graph, x, eps=0.05)
    assert result.verdict == "proven"
    assert single[0] - single[1] < result.margin - 0.1
    for semantics in ("float16", "bfloat16", "float32", "float64"):
        with pytest.raises(lmikit.InputError, match="skips or max-pooling"):
            lmikit.certify_point(graph, x, eps=0.05, semantics=semantics)
        with pytest.raises(lmikit.InputError, match="skips or max-pooling"):
            lmikit.certify_points(graph, x[None], np.array([0]), eps=0.05, semantics=semantics)
    chain = point_network(graph)
    claimed = lmikit.certify_point(chain, x, eps=0.05, semantics="float32").certificate
    claimed.save(tmp_path / "chain.json")
    assert lmikit.check(tmp_path / "chain.json", chain).ok
    refused = lmikit.check(tmp_path / "chain.json", graph)
    assert not refused.ok
    assert "skips or max-pooling" in refused.reason
    with pytest.raises(lmikit.InputError, match="skips or max-pooling"):
        verify_point(graph, claimed.witness)


def test_what_cancels_exactly_is_gone():
    g = GraphBuilder()
    x = g.input(2)
    h = g.relu(np.eye(2) @ x)
    graph = g.output(np.eye(2) @ ((h + 4.0 * np.eye(2) @ x) - 4.0 * np.eye(2) @ x))
    result = lmikit.certify_point(graph, np.array([1.0, 0.5]), eps=0.05)
    assert result.verdict == "proven"
    assert lmikit.check(result.certificate, graph, exact=True).ok


def test_what_is_no_chain_of_two_pieces_is_refused_by_name():
    g = GraphBuilder()
    x = g.input(4)
    sorted_groups = g.output(np.eye(4) @ g.sort_groups(x, 4))
    g = GraphBuilder()
    x = g.input(4)
    curved = g.output(np.eye(4) @ (x + g.apply("tanh", np.eye(4) @ g.apply("tanh", x))))
    for graph, word in ((sorted_groups, "groups of channels"), (curved, "side by side")):
        with pytest.raises(lmikit.InputError, match=word):
            lmikit.certify_point(graph, np.zeros(4), 0, eps=0.1)


def test_a_description_says_whether_claims_at_a_point_are_for_it():
    g = GraphBuilder()
    x = g.input(4)
    softplus_beside = g.output(x + g.apply("softplus", x))
    assert describe(pooling_graph(0, tree=True))["at_a_point"].startswith("margins and radii, as a chain of")
    assert describe(point_network(pooling_graph(0, tree=True)))["at_a_point"] == "margins and radii"
    assert describe(softplus_beside)["at_a_point"].startswith("no: layer 1")
    g = GraphBuilder()
    assert describe(g.output(np.eye(4) @ g.sort_groups(g.input(4), 4)))["at_a_point"].startswith("no: node")


def test_a_chain_of_too_many_neurons_is_left_to_enclosures(monkeypatch):
    monkeypatch.setattr("lmikit.margins._propose._LARGEST", 10)
    graph = pooling_graph(2, tree=True)
    x = np.random.default_rng(3).standard_normal(25)
    result = lmikit.certify_point(graph, x, eps=1e-4)
    assert result.verdict == "proven"
    assert lmikit.certify_point(graph, x).verdict == "undecided"
