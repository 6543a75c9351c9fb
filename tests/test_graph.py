"""Graphs: maps, nonlinearities on groups, sweeps, the builder, chains as graphs."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from graph_helpers import random_graph, residual_net
from hypothesis import given
from hypothesis import strategies as st

from lmikit import InputError, lipschitz
from lmikit.graph import GraphBuilder, chain_graph, graph_lower_bound, without_groups
from lmikit.maps import DenseMap, SelectMap, SparseMap, StackMap, identity_map
from lmikit.nonlinear import MaxMinPairs, Reflect, SortGroups
from lmikit.testing import networks

SEEDS = st.integers(0, 10**6)
GROUPS = (MaxMinPairs(), SortGroups(4), SortGroups(1), Reflect([3.0, 1.0, -2.0, 1.0]), Reflect([1e-3, 5.0]))


def compound_maps(rng):
    A, B = DenseMap(rng.standard_normal((3, 4))), SparseMap(sp.csr_array(rng.integers(-2, 3, (3, 4)) * 1.0))
    pick = SelectMap([2, 0, 0], 3)
    return [
        A + B,
        A.T @ B,
        StackMap((A, B)),
        pick @ A,
        A.T,
        (A + B).T,
        identity_map(4) + identity_map(4),
        B @ B.T,
    ]


@given(SEEDS)
def test_compound_maps_are_adjoint_and_agree_with_their_entries(seed):
    rng = np.random.default_rng(seed)
    for linear in compound_maps(rng):
        rows, columns = linear.shape
        x, u = rng.standard_normal((columns, 2)), rng.standard_normal((rows, 2))
        assert np.allclose((u * linear.matvec(x)).sum(0), (linear.rmatvec(u) * x).sum(0))
        try:
            entries = linear.to_sparse().toarray()
        except InputError:
            continue
        assert np.allclose(entries @ x, linear.matvec(x))


def test_entries_that_are_no_floats_are_refused():
    tiny, one = DenseMap(np.array([[2.0**-60]])), DenseMap(np.array([[1.0]]))
    third = DenseMap(np.array([[1.0 / 3.0]]))
    with pytest.raises(InputError, match="not floats"):
        (tiny + one).to_sparse()
    with pytest.raises(InputError, match="not floats"):
        (third @ third).to_sparse()
    assert (one + one).to_dense() == 2.0
    assert len({m.digest for m in (one, third, one + one, third @ third, one.T)}) == 5


@given(st.sampled_from(GROUPS), SEEDS)
def test_groups_satisfy_their_quadratic_constraint(function, seed):
    """|N'dw| <= |N'dv| and B'(dw - dv) = 0 on small integers, where sorting is exact."""
    rng = np.random.default_rng(seed)
    g = function.group_size
    v = rng.integers(-3, 4, (g, 2)).astype(float)
    w = [_exact(function, v[:, k]) for k in range(2)]
    dv = [Fraction(a) - Fraction(b) for a, b in v]
    dw = [a - b for a, b in zip(*w, strict=True)]
    N = [[Fraction(x) for x in row] for row in function.norm_directions.T]
    B = [[Fraction(x) for x in row] for row in function.identities.T]
    assert sum(_dot(n, dw) ** 2 for n in N) <= sum(_dot(n, dv) ** 2 for n in N)
    assert all(_dot(b, dw) == _dot(b, dv) for b in B)


def _dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), start=Fraction(0))


def _exact(function, v):
    """phi(v) in rationals, by its definition."""
    v = [Fraction(x) for x in v]
    if isinstance(function, SortGroups):
        return sorted(v)
    u = [Fraction(x) for x in (1, -1)] if isinstance(function, MaxMinPairs) else None
    u = [Fraction(x) for x in function.direction] if u is None else u
    s = _dot(u, v)
    w = [x - c * (s - abs(s)) / _dot(u, u) for x, c in zip(v, u, strict=True)]
    assert np.allclose([float(x) for x in w], function(np.array([float(x) for x in v])))
    return w


@given(st.sampled_from(GROUPS), SEEDS)
def test_derivatives_of_groups_are_adjoint_and_right(function, seed):
    rng = np.random.default_rng(seed)
    v, d, u = rng.standard_normal((3, 2 * function.group_size, 3))
    assert np.allclose((u * function.jvp(v, d)).sum(0), (function.vjp(v, u) * d).sum(0))
    h = 1e-7
    smooth = function.distance_to_kinks(v) > 1e-5
    change = (function(v + h * d) - function(v - h * d)) / (2.0 * h)
    assert np.allclose(change[:, smooth], function.jvp(v, d)[:, smooth], atol=1e-6)


@given(SEEDS)
def test_one_sweep_gives_values_and_both_derivatives(seed):
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    x, d = rng.standard_normal((2, graph.input_dim, 4))
    u = rng.standard_normal((graph.output_dim, 4))
    values = graph.values(x)
    assert np.allclose(values[-1].T, graph(x.T))
    forward, backward = graph.jvp(values, d), graph.vjp(values, u)
    assert np.allclose((u * forward).sum(0), (backward * d).sum(0))
    J = graph.jacobian(x[:, 0])
    assert np.allclose(J @ d[:, 0], forward[:, 0])
    slope = (graph((x + 1e-7 * d).T) - graph((x - 1e-7 * d).T)).T / 2e-7
    assert (np.abs(slope - forward).max(axis=0) < 1e-5).sum() >= 3  # a kink may lie in between


@given(networks())
def test_a_chain_is_a_graph_and_back(network):
    try:
        graph = chain_graph(network)
    except InputError:  # slopes narrower than the activation's
        return
    back = graph.as_chain()
    assert back.digest == network.digest
    assert graph.dims == network.dims
    assert chain_graph(back).digest == graph.digest


@given(SEEDS)
def test_pairs_and_reflections_are_single_neurons(seed):
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    h = g.maxmin(rng.standard_normal((6, 4)) @ g.input(4))
    net = g.output(g.apply(Reflect([1.0, 1.0, -1.0, 1.0]), rng.standard_normal((4, 6)) @ h) + h[:4])
    x = rng.standard_normal((20, 4))
    rewritten = without_groups(net)
    assert np.allclose(net(x), rewritten(x))
    assert rewritten.hidden_neurons == 4
    g = GraphBuilder()
    sorting = g.output(g.sort_groups(g.input(4), 4))
    with pytest.raises(InputError, match="no rewriting"):
        without_groups(sorting)


def test_a_reflection_whose_norm_only_rounds_to_one_is_not_rewritten():
    """0.6^2 + 0.8^2 of the floats is not 1: another function would be proven."""
    g = GraphBuilder()
    graph = g.output(g.apply(Reflect([0.6, -0.8]), g.input(2)))
    with pytest.raises(InputError, match="keep the constraint"):
        without_groups(graph)


@given(SEEDS)
def test_max_pooling_is_a_tree_of_relu(seed):
    rng = np.random.default_rng(seed)
    groups = [rng.choice(9, rng.integers(1, 6), replace=False) for _ in range(3)]
    g = GraphBuilder()
    net = g.output(g.max_pool(g.input(9), groups))
    x = rng.standard_normal((20, 9))
    assert np.allclose(net(x), np.stack([x[:, i].max(axis=1) for i in groups], axis=1))


def test_pooling_is_sorted_where_the_graph_is_too_large_to_be_unrolled_anyway():
    for neurons, names in ((1400, {"relu", "sort_groups"}), (1300, {"relu"})):
        g = GraphBuilder()
        value = g.relu(g.input(neurons))
        net = g.output(g.max_pool(value, np.arange(400).reshape(200, 2)))
        assert {net.nodes[k].function.name for k in net.applied} == names
        x = np.random.default_rng(0).standard_normal(neurons)
        assert np.allclose(net(x), np.maximum(x, 0.0)[:400].reshape(200, 2).max(axis=1), atol=1e-14)


def test_the_lower_bound_finds_a_slope_and_never_exceeds_the_product():
    graph = residual_net(4, 8, 0, after=True)
    found = graph_lower_bound(graph, seed=1)
    J = graph.jacobian(found.point)
    assert np.isclose(np.linalg.norm(J @ found.direction), found.value, rtol=1e-9)
    assert 0.1 < found.value <= 1.5**4


def test_bad_graphs_are_refused_where_they_are_written():
    g = GraphBuilder()
    x = g.input(3)
    for wrong, what in [
        (lambda: np.ones((2, 4)) @ x, "expected \\(out, 3\\)"),
        (lambda: x + x[:2], "expected equal sizes"),
        (lambda: x + np.ones(2), "expected \\(3,\\)"),
        (lambda: np.array([[np.nan] * 3]) @ x, "NaN"),
        (lambda: g.apply("no such", x), "no such"),
        (lambda: g.maxmin(x), "groups of 2"),
        (lambda: g.input(2), "an input already"),
        (lambda: g.layer_norm(x), "no useful global"),
        (lambda: g.softmax(x), "logits=True"),
        (lambda: g.max_pool(x, [[]]), "empty"),
        (lambda: x[7], "out of bounds"),
        (lambda: g.output(GraphBuilder().input(3)), "a value of this graph"),
    ]:
        with pytest.raises(InputError, match=what):
            wrong()
    with pytest.raises(InputError, match="needs a chain"):
        g.output(x + g.relu(x)).as_chain()
    assert g.output(g.softmax(x, logits=True)).output_dim == 3


def test_what_does_not_reach_the_output_is_left_out():
    g = GraphBuilder()
    x = g.input(3)
    g.relu(np.ones((5, 3)) @ x)
    net = g.output(g.relu(x))
    assert net.hidden_neurons == 3
    assert "3 -> 3" in repr(net)


def test_neurons_of_tiny_weights_do_not_hide_the_lower_bound():
    """Their pre-activations are near 0 beside the others', and still far from their own rounding."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 4))
    weight[0] *= 1e-30
    builder = GraphBuilder()
    x = builder.input(4)
    graph = builder.output(x + rng.standard_normal((4, 6)) @ builder.relu(weight @ x))
    found = graph_lower_bound(graph).value
    assert 1.0 < found <= lipschitz(graph).bound


def test_sizes_of_inputs_may_be_numpy_integers():
    builder = GraphBuilder()
    graph = builder.output(builder.relu(builder.input(np.int64(3))))
    assert (graph.input_dim, type(graph.input_dim)) == (3, int)


def test_numbers_scale_values():
    g = GraphBuilder()
    v = g.input(2)
    graph = g.output(v + 0.5 * g.relu(2 * v) - v * np.float64(0.25))
    x = np.array([[1.0, -2.0], [-3.0, 4.0]]).T
    assert np.array_equal(graph.values(x)[-1], x + 0.5 * np.maximum(2 * x, 0.0) - 0.25 * x)
    for factor in (np.nan, "2", v, np.ones(2)):
        with pytest.raises(InputError, match="finite number"):
            v * factor
