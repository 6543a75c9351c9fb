"""MaxMin networks at a point: rewritten exactly, anew for every proof and check."""

import itertools

import numpy as np
import pytest

import lmikit
from lmikit.certificates.point import PointCertificate, point_network, verify_point
from lmikit.claims import Ball, Box
from lmikit.graph import Affine, Apply, Graph, Input, pairs_as_neurons
from lmikit.intervals import crown_margin, rounding_bound
from lmikit.margins import Search
from lmikit.network import DenseMap
from lmikit.nonlinear import MaxMinPairs, SortGroups


def maxmin_graph(seed, dims=(4, 6, 6, 3)):
    rng = np.random.default_rng(seed)
    nodes = [Input(dims[0])]
    for k, (a, b) in enumerate(itertools.pairwise(dims)):
        matrix = rng.standard_normal((b, a)) / np.sqrt(a)
        nodes.append(Affine((DenseMap(matrix),), (len(nodes) - 1,), 0.3 * rng.standard_normal(b)))
        if k + 2 < len(dims):
            nodes.append(Apply(MaxMinPairs(), len(nodes) - 1, b))
    return Graph(tuple(nodes))


def test_the_rewriting_is_the_same_function():
    graph = maxmin_graph(1)
    X = np.random.default_rng(2).integers(-8, 9, (50, 4)).astype(float)
    assert np.abs(pairs_as_neurons(graph)(X) - graph(X)).max() <= 1e-14 * 100
    assert np.abs(point_network(graph)(X) - graph(X)).max() <= 1e-14 * 100


@pytest.mark.parametrize("seed", range(2))
def test_margins_of_maxmin_networks_hold_and_are_checked_for_the_graph(seed, tmp_path):
    graph, rng = maxmin_graph(seed), np.random.default_rng(seed + 10)
    x = rng.standard_normal(4)
    label = int(graph(x).argmax())
    for region in (Ball(x, 0.05), Box(x - 0.03, x + 0.03))[seed : seed + 1]:
        result = lmikit.certify_point(
            graph, x, label, region=region, search=Search(target=np.inf, budget=20, newton=5)
        )
        claim = result.certificate.claim
        steps = rng.uniform(-0.024, 0.024, (200, 4))
        values = graph(x + steps) @ claim.rows.T
        assert (values >= claim.lower).all()
        crown = crown_margin(point_network(graph), region, claim.rows).min()
        assert crown - 1e-6 * (1.0 + abs(crown)) <= result.margin <= values.min()
        path = tmp_path / "point.json"
        result.certificate.save(path)
        assert lmikit.check(path, graph)
        assert lmikit.check(path, graph, exact=True)
        assert not lmikit.check(path, maxmin_graph(seed + 1))
        assert PointCertificate.load(path, graph).margin == result.certificate.margin
        bold = claim.with_lower(claim.lower + 1.0)
        with pytest.raises(lmikit.NotCertified):
            verify_point(
                graph,
                type(result.certificate.witness)(
                    result.certificate.witness.digest, bold, result.certificate.witness.groups
                ),
                repair=False,
            )


def test_float_passes_with_true_pairs_stay_within_the_loss_of_the_rewriting():
    graph, rng = maxmin_graph(4), np.random.default_rng(5)
    network = point_network(graph)
    x = rng.standard_normal(4)
    loss = rounding_bound(network, Box(x, x), np.eye(3))
    exact = graph(x)
    for _ in range(20):
        value = x.astype(np.float32)
        for node in graph.nodes[1:]:
            if isinstance(node, Affine):
                w, b = node.maps[0].to_dense().astype(np.float32), node.bias.astype(np.float32)
                order = rng.permutation(w.shape[1])
                value = np.cumsum((w * value)[:, order], axis=1, dtype=np.float32)[:, -1] + b
            else:
                value = node.function(value[:, None])[:, 0].astype(np.float32)
        assert (np.abs(value - exact) <= loss).all()


def test_tables_take_graphs_and_other_groups_are_refused():
    graph = maxmin_graph(0)
    X = np.random.default_rng(3).standard_normal((2, 4))
    table = lmikit.certify_points(graph, X, graph(X).argmax(axis=1), eps=1e-3)
    assert table.right.all()
    assert (table.verdict == "proven").any()
    sorting = Graph((*graph.nodes[:2], Apply(SortGroups(3), 1, 6), *graph.nodes[3:]))
    with pytest.raises(lmikit.InputError, match="groups"):
        lmikit.certify_point(sorting, X[0], 0, eps=0.1)
    with pytest.raises(lmikit.InputError, match="Network or a Graph"):
        lmikit.certify_point(object(), X[0], 0, eps=0.1)
