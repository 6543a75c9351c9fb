"""LipSDP of graphs from its dual in factored form: below what is proven, equal to what solvers find."""

import numpy as np
import pytest
from graph_helpers import random_graph, residual_net
from torus_helpers import random_network

import lmikit
from lmikit import BurerMonteiro, GraphBuilder, InputError, LipSDP, OptionError, SolveFailed, lipschitz
from lmikit._arrays import array_module
from lmikit._torus_api import _per_neuron
from lmikit.certificates.graph import verify_graph
from lmikit.formulations.graph import OutputGain
from lmikit.graph import Affine, Apply, Graph, chain_graph
from lmikit.graph._form import eliminate
from lmikit.methods._gate_dual import GateAscent, GateChain
from lmikit.methods._graph_factored import dual_gain, factored_optimum, gap_of_graph
from lmikit.methods._graph_gates import GateGraph
from lmikit.methods._proposal import Run
from lmikit.methods._recursion import chain_of
from lmikit.network import DenseMap
from lmikit.nonlinear import MaxMinPairs, SortGroups
from lmikit.solvers import Clarabel, LowRank
from lmikit.torus import torus_form

ROUNDING = 1e-12
FOREVER = Run("a test", None, None)


def ascended(graph, passes, rank=12):
    ascent = GateAscent(GateGraph(graph), rank)
    for _ in range(passes):
        ascent.step()
    return ascent.point


@pytest.mark.parametrize("seed", [*range(8), 104, 111])
def test_any_gates_are_below_every_proven_bound(seed):
    """All kinds of nodes, at random points and on the way up; the proof is another way altogether."""
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    certificate = lmikit.lipschitz(graph)
    proven = certificate.bound * (1.0 + ROUNDING)
    assert certificate.witness.optimum_at_least <= proven
    gates = GateGraph(graph)
    for rank in (1, 2, 9):
        assert all(np.sqrt(gates.at(gates.random(rank, rng)).value) <= proven for _ in range(8))
    assert np.sqrt(ascended(graph, 40).value) <= proven


@pytest.mark.parametrize("seed", range(8))
def test_the_value_is_what_another_solver_finds(seed):
    graph = random_graph(seed, groups=False)
    exact = LipSDP().propose_graph(graph, solver=LowRank(tol=1e-9))
    assert dual_gain(graph, FOREVER, 320) == pytest.approx(exact.optimum_at_least, rel=1e-8)
    gain = OutputGain(eliminate(graph))
    found = factored_optimum(gain, FOREVER, 1e-7, 640)
    assert found.gap <= 1e-7
    assert found.rho == pytest.approx(exact.optimum_at_least**2, rel=2e-7)


def test_sorted_groups_have_the_optimum_of_their_own_constraint():
    rng = np.random.default_rng(1)
    g = GraphBuilder()
    v = g.input(4)
    for _ in range(2):
        v = g.apply(SortGroups(3), rng.standard_normal((6, v.size)) @ v)
    graph = g.output(rng.standard_normal((2, 6)) @ v)
    exact = LipSDP().propose_graph(graph, solver=Clarabel(tol=1e-10))
    value = dual_gain(graph, FOREVER, 1000)
    assert value <= lmikit.lipschitz(graph).bound
    assert value == pytest.approx(exact.optimum_at_least, rel=1e-4)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.2, 0.9)])
def test_chains_have_the_value_of_their_own_pass(slopes):
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal(shape) for shape in ((7, 4), (6, 7), (3, 6))]
    network = lmikit.Network.from_arrays(weights, activation=lmikit.Slopes(*slopes))
    chain = chain_of(network)
    own = GateChain(array_module(), weights, chain.centre, chain.radius)
    gates = GateGraph(chain_graph(network))
    x = own.random(5, rng)
    assert gates.size == own.size
    np.testing.assert_allclose(gates.unit(3.0 * x), own.unit(3.0 * x), rtol=1e-14)
    ours, theirs = gates.at(x), own.at(x)
    assert ours.value == pytest.approx(theirs.value, rel=1e-13)
    np.testing.assert_allclose(ours.image, theirs.image, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_convolutions_are_applied_as_their_matrices_would_be(seed):
    graph = random_network(seed)
    nodes = [
        Affine(tuple(DenseMap(np.array(m.to_dense())) for m in n.maps), n.parents, n.bias)
        if isinstance(n, Affine)
        else n
        for n in graph.nodes
    ]
    gates, unrolled = GateGraph(graph), GateGraph(Graph(tuple(nodes)))
    x = gates.random(4, np.random.default_rng(seed))
    ours, theirs = gates.at(x), unrolled.at(x)
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    np.testing.assert_allclose(ours.image, theirs.image, atol=1e-10)


@pytest.mark.parametrize("after", [True, False])
def test_residual_nets_are_proven_to_the_last_digits(after):
    graph = residual_net(4, 16, 2, after=after)
    witness = LipSDP().propose_graph(graph)
    assert witness.produced_by == "LipSDP (neuron), BurerMonteiro"
    assert gap_of_graph(witness) <= 4e-7
    certificate = verify_graph(graph, witness)
    assert certificate.bound <= witness.optimum_at_least * (1.0 + 1e-7)
    assert certificate.bound >= LipSDP().propose_graph(graph, solver=LowRank()).optimum_at_least


def test_burer_monteiro_takes_graphs_to_its_gap():
    graph = residual_net(4, 16, 2, after=True)
    certificate = lmikit.lipschitz(graph, BurerMonteiro(gap=1e-3))
    assert certificate.produced_by == "BurerMonteiro"
    least = certificate.witness.optimum_at_least
    assert least < certificate.bound <= least * (1.0 + 1e-3)
    with pytest.raises(InputError, match="LipSDP"):
        BurerMonteiro().propose_graph(graph, norm=(2.0, np.inf))
    with pytest.raises(OptionError, match="numpy"):
        BurerMonteiro(array_module="cupy").propose_graph(graph)
    g = GraphBuilder()
    with pytest.raises(SolveFailed, match="sorted groups"):
        BurerMonteiro().propose_graph(g.output(g.apply(SortGroups(3), g.input(6))))


@pytest.mark.parametrize("seed", range(3))
def test_the_torus_is_never_below_the_lower_end_of_one_multiplier_per_neuron(seed):
    graph = random_network(seed)
    form = torus_form(graph)
    certificate = lmikit.torus_lipschitz(graph)
    assert _per_neuron(form, None) <= certificate.bound * (1.0 + ROUNDING)
    assert certificate.witness.optimum_at_least <= certificate.bound * (1.0 + ROUNDING)
    assert _per_neuron(form, 0.0) is None


def test_a_time_limit_leaves_a_bound_with_both_ends():
    graph = residual_net(4, 16, 2, after=True)
    certificate = lmikit.lipschitz(graph, time_limit=1e-3)
    assert certificate.proven
    exact = lmikit.lipschitz(graph)
    assert certificate.bound >= exact.witness.optimum_at_least
    assert certificate.witness.optimum_at_least is None or (
        certificate.witness.optimum_at_least <= exact.bound
    )


def test_powers_of_two_of_nodes_scale_the_lower_end_along():
    rng = np.random.default_rng(4)
    g = GraphBuilder()
    s = g.input(3)
    for power in (60, -90, 40):
        s = s + np.ldexp(rng.standard_normal((s.size, 5)), power) @ g.relu(
            rng.standard_normal((5, s.size)) @ s
        )
    graph = g.output(s)
    certificate = lmikit.lipschitz(graph)
    assert certificate.witness.optimum_at_least == pytest.approx(certificate.bound, rel=1e-6)
    assert certificate.witness.optimum_at_least <= certificate.bound


def test_a_kind_of_group_that_gates_do_not_fit_gives_no_lower_end(monkeypatch):
    graph = random_graph(5)
    grouped = [n.function for n in graph.nodes if isinstance(n, Apply) and n.grouped]
    assert grouped
    skewed = property(lambda self: np.triu(np.ones((self.group_size, self.group_size))))
    monkeypatch.setattr(type(grouped[0]), "norm_directions", skewed)
    assert dual_gain(graph, FOREVER, 5) is None
    with pytest.raises(InputError):
        GateGraph(graph)


def test_neurons_of_any_scale_cost_nothing():
    rng = np.random.default_rng(7)
    g = GraphBuilder()
    s = g.input(5)
    for _ in range(4):
        scales = 2.0 ** rng.integers(-12, 12, 14)
        inner, outer = rng.standard_normal((14, 5)), rng.standard_normal((5, 14)) / 8.0
        s = g.relu(s + (outer / scales) @ g.relu((scales[:, None] * inner) @ s))
    witness = LipSDP().propose_graph(g.output(s))
    assert witness.produced_by == "LipSDP (neuron), BurerMonteiro"
    assert gap_of_graph(witness) <= 1e-7


def test_a_layer_that_cancels_before_the_output_costs_nothing():
    rng = np.random.default_rng(0)
    g = GraphBuilder()
    x = g.input(3)
    both_rows_equal = np.ones((2, 2)) @ g.apply("relu", rng.standard_normal((2, 3)) @ x)
    s = rng.standard_normal((2, 3)) @ x + both_rows_equal
    k = g.apply("relu", rng.standard_normal((4, 2)) @ (rng.standard_normal((2, 3)) @ x))
    graph = g.output(np.array([[1.0, -1.0]]) @ s + rng.standard_normal((1, 4)) @ k)
    found, other = lipschitz(graph), lipschitz(graph, solver=LowRank())
    assert found.bound <= other.bound * (1.0 + 1e-6)
    assert found.witness.optimum_at_least <= other.bound


def test_no_lower_end_is_above_the_bound_beside_it():
    rng = np.random.default_rng(1)
    g = GraphBuilder()
    v = g.input(3)
    for _ in range(3):
        v = g.apply(MaxMinPairs(), rng.standard_normal((4, v.size)) * 20.0 @ v)
    graph = g.output(rng.standard_normal((2, 4)) @ v)
    for tol in (1e-3, 1e-7):
        found = lipschitz(graph, LipSDP(tol=tol), solver=Clarabel(tol=tol))
        assert found.witness.optimum_at_least <= found.bound
