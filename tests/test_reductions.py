"""Reductions: the same worst case from a smaller network, and witnesses that survive the way back."""

import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DEMO_WEIGHTS, WEIGHT_KINDS, demo_network, networks

from lmikit import GraphBuilder, InputError, Network, Witness, lipschitz
from lmikit.certificates import verify
from lmikit.certificates.graph import verify_graph
from lmikit.formulations.graph import GraphGain
from lmikit.graph import chain_graph
from lmikit.network import Slopes, linear_fractional, vertex_maximum
from lmikit.reductions import (
    FOR_GAINS,
    REDUCTIONS,
    GroupNeurons,
    NeuronPowers,
    NodePowers,
    Zeros,
    prepare,
    reduce,
)
from lmikit.solvers import Clarabel


def powers(prepared) -> tuple[int, ...]:
    """Of the layers of the original, by which the prepared network is smaller."""
    zeros = tuple(np.zeros(n) for n in prepared.network.dims[1:-1])
    return prepared.undo(Witness("lipsdp", 0.0, zeros)).layer_pow2 or (0,) * len(prepared.original.layers)


def total_power(prepared) -> int:
    return sum(powers(prepared))


def norm_multipliers(network: Network) -> Witness:
    """A feasible witness by norms alone: T_k = g_k diag(lambda), g_{k-1} = g_k m_k^2 ||W_{k-1}||^2."""
    gain = np.linalg.norm(network.weights[-1], 2) ** 2
    multipliers = []
    for weight, (alpha, beta) in zip(network.weights[-2::-1], network.slopes[::-1], strict=True):
        m = (np.maximum(np.abs(alpha), np.abs(beta)).max() * (1.0 + 1e-4)) ** 2 + 1e-12
        multipliers.append(gain * m / (m - alpha * beta))
        gain *= m * np.linalg.norm(weight, 2) ** 2
    return Witness("lipsdp", float(gain), tuple(reversed(multipliers)))


@settings(max_examples=70)
@given(networks(max_hidden=4, max_width=3, kinds=WEIGHT_KINDS, layer_pow2=6))
def test_the_worst_case_over_slopes_is_kept(network):
    reduction = reduce(network)
    before = vertex_maximum(network)
    after = vertex_maximum(reduction.network) * 2.0 ** total_power(reduction)
    scale = np.prod([np.linalg.norm(w, 2) for w in network.weights])
    assert abs(before - after) <= 1e-12 * scale + 1e-9 * before
    assert reduction.network.hidden_neurons <= network.hidden_neurons
    assert reduction.network.input_dim <= network.input_dim
    assert reduction.network.output_dim <= network.output_dim
    assert not any((a == b).all() for a, b in reduction.network.slopes)


@settings(max_examples=60)
@given(networks(max_hidden=4, max_width=3, kinds=WEIGHT_KINDS, layer_pow2=6))
def test_lifted_witnesses_prove_the_bound_of_the_reduced_network(network):
    reduction = reduce(network)
    witness = norm_multipliers(reduction.network)
    lifted = reduction.undo(witness)
    assert lifted.rho == witness.rho
    assert [t.size for t in lifted.multipliers] == list(network.dims[1:-1])
    claimed = 2.0 ** total_power(reduction) * np.sqrt(witness.rho)
    proven = verify(network, lifted).bound
    assert proven >= vertex_maximum(network) * (1.0 - 1e-12)
    assert proven <= claimed * (1.0 + 1e-4) + 1e-100


def merging_cases():
    rng = np.random.default_rng(5)
    for widths, linear in [((5, 6, 5), {1}), ((8, 8, 8, 8), {0, 2}), ((6, 6, 6), {1, 2}), ((4, 4), {0, 1})]:
        dims = [7, *widths, 9]
        weights = [rng.normal(size=(b, a)) * 10.0 ** rng.uniform(-3, 3) for a, b in itertools.pairwise(dims)]
        alpha = [rng.uniform(-1, 1, n) for n in widths]
        phis = [Slopes(a, a) if k in linear else "relu" for k, a in enumerate(alpha)]
        yield Network.from_arrays(weights, activation=phis)


@pytest.mark.parametrize("network", list(merging_cases()), ids=repr)
def test_merged_layers_cost_at_most_a_few_millionths(network):
    reduction = reduce(network)
    assert reduction.network.hidden_layers == sum((a < b).any() for a, b in network.slopes)
    proven_small = verify(reduction.network, norm_multipliers(reduction.network))
    claimed = 2.0 ** total_power(reduction) * proven_small.bound
    lifted = reduction.undo(proven_small.witness)
    assert verify(network, lifted).bound <= claimed * (1.0 + 1e-5)


def test_dead_neurons_go_to_a_fixed_point():
    first = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]])  # neuron 1 is constant
    second = np.array([[0.0, 5.0, 0.0], [1.0, 7.0, 0.0]])  # neuron 0 hangs on it alone; 2 is unused
    network = Network.from_arrays([first, second, [[3.0, 4.0]]])
    reduction = reduce(network)
    assert reduction.network.dims == (1, 1, 1, 1)
    lifted = reduction.undo(Witness("lipsdp", 1.0, (np.array([2.0]), np.array([3.0]))))
    np.testing.assert_array_equal(lifted.multipliers[0], [2.0, 0.0, 0.0])
    np.testing.assert_array_equal(lifted.multipliers[1], [0.0, 3.0])
    assert lifted.layer_pow2 == powers(reduction) == (2, 3, 3)


def test_constant_slopes_are_dead():
    reduction = reduce(demo_network(Slopes([0.0, 0.0], [0.0, 1.0])))
    assert [list(c) for c in prepare(reduction.original, [Zeros]).steps[0].carrying] == [[False, True]] * 2


@pytest.mark.parametrize(
    "network",
    [
        Network.from_arrays([np.zeros((3, 2))]),
        Network.from_arrays([np.zeros((3, 2)), np.ones((1, 3))]),
        Network.from_arrays([np.ones((3, 2)), np.zeros((1, 3))]),
        demo_network(Slopes(0.0, 0.0)),
    ],
)
def test_constant_functions(network):
    reduction = reduce(network)
    assert reduction.network.dims == (1, 1)
    assert vertex_maximum(reduction.network) == 0.0
    lifted = reduction.undo(Witness("lipsdp", 0.0, ()))
    assert all((t == 0.0).all() for t in lifted.multipliers)
    assert verify(network, lifted).bound == 0.0


def test_compression_of_wide_inputs_and_tall_outputs():
    rng = np.random.default_rng(2)
    network = Network.from_arrays([rng.normal(size=s) for s in ((6, 50), (4, 6), (30, 4))])
    reduction = reduce(network)
    assert reduction.network.dims == (6, 6, 4, 4)
    pairs = zip(network.weights[::2], reduction.network.weights[::2], powers(reduction)[::2], strict=True)
    for big, small, p in pairs:
        scaled = np.linalg.svd(big, compute_uv=False) / 2.0**p
        np.testing.assert_allclose(np.linalg.svd(small, compute_uv=False), scaled, rtol=1e-13)
    flat = Network.from_arrays([np.outer([1.0, 2.0, 3.0], [1.0, 1.0]), np.ones((2, 3))])
    assert reduce(flat).network.dims == (1, 3, 1)


def test_sparse_layers_stay_sparse():
    sizes = [(40, 40)] * 4
    network = Network.from_arrays(
        [sp.random_array(s, density=0.2, rng=np.random.default_rng(k)) for k, s in enumerate(sizes)],
        activation=["relu", "identity", "relu"],
    )
    reduction = reduce(network)
    assert sp.issparse(reduction.network.layers[1].linear.matrix)


def test_partly_linear_layers_are_left():
    network = demo_network(Slopes([0.0, 0.5], [1.0, 0.5]))
    assert reduce(network).network.dims == (2, 2, 2, 1)


def test_reduced_networks_have_no_forward_pass():
    with pytest.raises(InputError, match="a class of functions"):
        reduce(demo_network()).network([1.0, 2.0])


def test_lift_adds_the_powers_of_two_of_the_witness():
    reduction = reduce(demo_network())
    witness = Witness("lipsdp", 4.0, (np.ones(2), np.ones(2)), (1, 0, -1), "here", optimum_at_least=0.5)
    lifted = reduction.undo(witness)
    assert powers(reduction) == (2, 2, 1)
    assert lifted.layer_pow2 == (3, 2, 0)
    assert lifted.optimum_at_least == 16.0
    assert lifted.produced_by == "here"
    assert reduction.undo(Witness("lipsdp", 4.0, (np.ones(2), np.ones(2)))).optimum_at_least is None


def test_layerwise_witnesses_are_lifted_where_norms_are_kept():
    reduction = reduce(demo_network())
    lifted = reduction.undo(Witness("layerwise", 6.0, ([1.0], [2.0], [3.0])))
    assert [float(t[0]) for t in lifted.multipliers] == [1.0, 2.0, 3.0]
    assert lifted.layer_pow2 == powers(reduction)
    merged = reduce(demo_network(["identity", "relu"]))
    with pytest.raises(InputError, match="merged layers or dropped neurons"):
        merged.undo(Witness("layerwise", 6.0, ([1.0], [2.0])))
    weights = [np.array(w) for w in DEMO_WEIGHTS]
    weights[0][0] = 0.0
    with pytest.raises(InputError, match="merged layers or dropped neurons"):
        reduce(Network.from_arrays(weights)).undo(Witness("layerwise", 6.0, ([1.0], [2.0], [3.0])))


@pytest.mark.parametrize(
    ("witness", "message"),
    [
        (Witness("lipsdp", 1.0, (np.ones(2),)), r"sizes \[2\]; expected \[2, 2\]"),
        (Witness("lipsdp", 1.0, (np.ones(2), np.ones(3))), r"sizes \[2, 3\]"),
        (Witness("lipsdp", 1.0, (np.ones(2), np.ones(2)), (0, 0)), "2 powers of two; expected 3"),
        (Witness("layerwise", 1.0, ([1.0], [1.0])), "2 multipliers; expected 3"),
    ],
)
def test_witnesses_that_do_not_fit_are_refused(witness, message):
    with pytest.raises(InputError, match=message):
        reduce(demo_network()).undo(witness)


def test_elimination_in_the_fractional_form_agrees_with_merging():
    rng = np.random.default_rng(8)
    weights = [rng.normal(size=s) for s in ((4, 3), (5, 4), (4, 5), (2, 4))]
    network = Network.from_arrays(weights, activation=["relu", Slopes(0.3, 0.3), "relu"])
    reduction = reduce(network)
    slopes = rng.uniform(size=8)
    a = linear_fractional(network).without_linear_neurons().jacobian(slopes)
    b = linear_fractional(reduction.network).jacobian(slopes) * 2.0 ** total_power(reduction)
    np.testing.assert_allclose(np.linalg.svd(a)[1], np.linalg.svd(b)[1], rtol=1e-12)


EVERY = (*REDUCTIONS, NeuronPowers)


@settings(max_examples=70)
@given(
    networks(max_hidden=4, max_width=4, kinds=WEIGHT_KINDS, layer_pow2=12),
    st.tuples(*[st.booleans() for _ in EVERY]),
    st.booleans(),
)
def test_every_subset_of_reductions_comes_back_with_the_same_proof(network, which, thorough):
    """Exact ones with the bound itself, the others within the rounding of their products."""
    prepared = prepare(network, list(itertools.compress(EVERY, which)), thorough)
    proven = verify(prepared.network, norm_multipliers(prepared.network))
    undone = prepared.undo(proven.witness)
    bound = math.ldexp(proven.bound, total_power(prepared))
    assert math.ldexp(math.sqrt(undone.rho), sum(undone.layer_pow2)) == pytest.approx(bound, rel=1e-14)
    again = verify(network, undone).bound
    assert again <= bound * (1.0 + (1e-12 if prepared.exact else 1e-5)) + 1e-100
    assert again >= bound * (1.0 - (1e-12 if prepared.exact else 1e-5))


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([-60, 0, 20]), st.booleans())
def test_graphs_come_back_with_the_same_proof(seed, power, thorough):
    rng = np.random.default_rng(seed)
    first, second, last, skip = (rng.standard_normal(s) for s in ((4, 3), (4, 4), (2, 4), (2, 3)))
    g = GraphBuilder()
    x = g.input(3)
    h = g.maxmin(np.ldexp(first, power) @ x)
    graph = g.output(last @ g.apply("leaky_relu", second @ h) + np.ldexp(skip, power) @ x)
    for kinds in [(NodePowers,), FOR_GAINS, *([(), (GroupNeurons,)] if power == 0 else [])]:
        prepared = prepare(graph, kinds, thorough)
        problem = GraphGain(prepared.network)
        witness = problem.witness(Clarabel().solve(problem.sdp()))
        smaller = verify_graph(prepared.network, witness).bound
        last_power = sum(step.powers[-1] for step in prepared.steps if isinstance(step, NodePowers))
        undone = prepared.undo(witness)
        assert undone.rewritten == any(isinstance(step, GroupNeurons) for step in prepared.steps)
        assert verify_graph(graph, undone).bound == pytest.approx(math.ldexp(smaller, last_power), rel=1e-9)
        assert prepared.exact


def test_a_chain_given_as_a_graph_has_the_same_lower_bound_on_its_optimum():
    rng = np.random.default_rng(0)
    network = Network.from_arrays([64.0 * rng.standard_normal(s) for s in ((6, 4), (6, 6), (2, 6))])
    found = [lipschitz(network), lipschitz(chain_graph(network))]
    lowest = [certificate.witness.optimum_at_least for certificate in found]
    assert lowest[0] == lowest[1] <= found[1].bound <= lowest[0] * (1.0 + 1e-6)
