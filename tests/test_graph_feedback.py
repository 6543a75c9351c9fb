"""Coordinates in which linear skips are local: the same LMI, by levels."""

import dataclasses

import numpy as np
import pytest
from graph_helpers import dense, random_graph, residual_net
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit.formulations.graph import GraphGain
from lmikit.formulations.graph._feedback import local_coordinates
from lmikit.graph import GraphBuilder
from lmikit.graph._levels import factor_cost
from lmikit.nonlinear import MaxMinPairs
from lmikit.solvers import Clarabel


def value(lmi, y):
    """F(y)."""
    half = lmi.P.toarray() * (lmi.E @ y) @ lmi.Q.toarray().T
    return lmi.F0.toarray() + 0.5 * (half + half.T)


def transform(found):
    """z in terms of (x, u): w_g = u_g - K_g u_{g-1}."""
    T, ends = np.eye(sum(found.partition)), np.cumsum(found.partition)
    for g, gain in enumerate(found.gains):
        if gain is not None:
            start = ends[g] - found.partition[g]
            T[start : ends[g], start - found.partition[g - 1] : start] = -gain
    return T


def check_same_lmi(graph, seed):
    problem = GraphGain(graph)
    if not problem.form.Y:
        return None
    found = local_coordinates(problem.maps)
    if found is None:
        return None
    lmi = problem.sdp().lmis[0]
    local = found.apply(lmi)
    if local is None:
        return None
    y, T = np.random.default_rng(seed).uniform(0.1, 1.0, lmi.variables), transform(found)
    expected, got = T.T @ value(lmi, y) @ T, value(local, y)
    np.testing.assert_allclose(got, expected, atol=1e-8 * np.abs(expected).max())
    level = np.repeat(np.arange(len(found.partition)), found.partition)
    assert not got[np.abs(level[:, None] - level) > 1].any()
    return found


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), groups=st.booleans(), depth=st.integers(2, 7))
def test_any_graph_keeps_its_lmi(seed, groups, depth):
    check_same_lmi(random_graph(seed, groups=groups, depth=depth), seed)


@settings(max_examples=15)
@given(
    blocks=st.integers(2, 6), width=st.integers(2, 8), hidden=st.integers(2, 12), seed=st.integers(0, 10**6)
)
def test_residual_networks_have_levels(blocks, width, hidden, seed):
    rng, g = np.random.default_rng(seed), GraphBuilder()
    s = g.input(width)
    for _ in range(blocks):
        s = s + dense(rng, width, hidden) @ g.relu(dense(rng, hidden, width) @ s)
    found = check_same_lmi(g.output(dense(rng, 3, width) @ s), seed)
    if blocks * hidden > 8 * width:  # enough neurons for two groups that reach every state
        assert found is not None
        assert len(found.partition) >= 3


def test_narrow_blocks_share_a_level():
    """Three blocks of two neurons reach a state of four, and the fourth starts anew."""
    rng, g = np.random.default_rng(1), GraphBuilder()
    s = g.input(4)
    for _ in range(6):
        s = s + 2.0 * dense(rng, 4, 2) @ g.relu(dense(rng, 2, 4) @ s)
    found = check_same_lmi(g.output(dense(rng, 5, 4) @ s), 0)
    assert found is not None
    assert found.partition[0] == 4
    assert all(size in (4, 6, 8) for size in found.partition[1:-1])


def test_a_value_that_no_neuron_reaches_keeps_the_dense_lmi():
    """x itself is read at the end: no feedback makes the network forget it."""
    rng, g = np.random.default_rng(0), GraphBuilder()
    x = s = g.input(3)
    for _ in range(4):
        s = g.relu(dense(rng, 3, 3) @ s)
    assert local_coordinates(GraphGain(g.output(s + x)).maps) is None


@pytest.mark.parametrize("blocks", [7, 9])
def test_both_lmis_have_one_optimum(blocks, monkeypatch):
    graph = residual_net(blocks, 8, 3, after=False)
    monkeypatch.setattr("lmikit.formulations.graph._gain._LARGE", 0.0)
    local = lmikit.lipschitz(graph)
    assert len(GraphGain(graph).sdp().lmis[0].partition) > 2
    monkeypatch.setattr("lmikit.formulations.graph._gain._LARGE", np.inf)
    assert len(GraphGain(graph).sdp().lmis[0].partition) <= 2
    assert local.bound == pytest.approx(lmikit.lipschitz(graph).bound, rel=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "expected"), [(10, 1.8287822), (18, 3.1190325)])
def test_deep_residual_networks(blocks, expected):
    found = lmikit.lipschitz(residual_net(blocks, 64, 0, after=False))
    assert found.bound <= expected * (1.0 + 1e-6)
    assert found.witness.optimum_at_least >= expected * (1.0 - 2e-6)


def test_pairs_of_channels_by_levels():
    """Rewritten pairs are linear skips: a deep network of them has levels too."""
    rng, g = np.random.default_rng(0), GraphBuilder()
    s = g.input(16)
    for _ in range(6):
        s = g.apply(MaxMinPairs(), 1.2 * np.linalg.qr(rng.standard_normal((16, 16)))[0] @ s)
    graph = lmikit.graph.without_groups(g.output(rng.standard_normal((4, 16)) / 4.0 @ s))
    found = check_same_lmi(graph, 0)
    assert found is not None
    assert len(found.partition) >= 3


def pooled(size):
    """Averages of pairs."""
    return np.kron(np.eye(size // 2), np.full((1, 2), 0.5))


def u_net(rng, size, depth):
    """Down by averages of pairs, up by their transpose with what was there on the way down added."""
    g = GraphBuilder()
    s = g.relu(dense(rng, size, size) @ g.input(size))
    kept = []
    for _ in range(depth):
        kept.append(s)
        s = g.relu(dense(rng, s.size // 2, s.size // 2) @ (pooled(s.size) @ s))
    for before in reversed(kept):
        up = (2.0 * pooled(before.size).T) @ s
        s = g.relu(dense(rng, before.size, before.size) @ up + dense(rng, before.size, before.size) @ before)
    return g.output(dense(rng, 2, size) @ s)


def dense_blocks(rng, blocks, depth, growth):
    """Every layer reads all layers of its block before it, a narrow one ends each block."""
    g = GraphBuilder()
    s = g.relu(dense(rng, growth, growth) @ g.input(growth))
    for _ in range(blocks):
        values = [s]
        for _ in range(depth):
            joined = g.concat(*values)
            values.append(g.relu(dense(rng, growth, joined.size) @ joined))
        joined = g.concat(*values)
        s = g.relu(dense(rng, growth, joined.size) @ joined)
    return g.output(dense(rng, 2, growth) @ s)


@pytest.mark.parametrize(
    "build",
    [lambda rng: u_net(rng, 8, 2), lambda rng: dense_blocks(rng, 2, 2, 3)],
    ids=["U-Net", "DenseNet"],
)
def test_values_that_are_read_far_behind_keep_the_optimum(build):
    graph = build(np.random.default_rng(3))
    (lmi,) = GraphGain(graph).sdp().lmis
    assert len(lmi.partition) >= 3
    found = lmikit.lipschitz(graph)
    assert found.witness.kind == "dissipation"
    sdp = GraphGain(graph).sdp()
    dense_sdp = dataclasses.replace(sdp, lmis=(dataclasses.replace(lmi, partition=None),))
    other = Clarabel(tol=1e-10).solve(dense_sdp)
    assert found.bound == pytest.approx((-other.objective) ** -0.5, rel=1e-6)
    assert lmikit.check(found, graph, exact=True)


def test_levels_end_where_the_cut_is_narrow_and_never_cost_more_than_one_block():
    rng = np.random.default_rng(0)
    deep = u_net(rng, 16, 3)
    sizes = GraphGain(deep).maps.partition(lifted=False)
    assert sizes == (16, 16, deep.hidden_neurons - 16)  # all that is read across the bottom is one level
    joined = GraphGain(dense_blocks(rng, 6, 3, 4)).maps.partition(lifted=False)
    assert max(joined) <= 2 * 3 * 4 + 4  # two blocks and the layer between them
    for found in (sizes, joined):
        assert factor_cost(found) <= factor_cost((sum(found),))
