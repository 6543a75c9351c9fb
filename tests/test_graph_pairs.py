"""Pairwise bounds of graphs and convolutional networks by the multipliers of one certificate."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from graph_helpers import random_graph
from torus_helpers import conv

import lmikit
from lmikit import InputError, Network, NotCertified, pairwise_bounds
from lmikit.certificates import _verified_cholesky
from lmikit.certificates.graph import _independent, combinations_proven, verify_graph
from lmikit.certificates.graph._assemble import assemble
from lmikit.formulations.graph import OutputGain
from lmikit.graph import chain_graph, graph_lower_bound, output_difference
from lmikit.graph._form import eliminate
from lmikit.methods._output_witness import neuron_witness


def convolutional(seed, outputs=4):
    rng = np.random.default_rng(seed)
    first = conv(rng, 2, (1, 5, 5), 3, padding=1)
    second = conv(rng, 3, first.output_shape, 3, stride=2, padding=1)
    return Network.from_arrays([first, second, rng.standard_normal((outputs, 27)) / 5.0])


@functools.cache
def subjects():
    graphs = [chain_graph(convolutional(0)), *(random_graph(seed) for seed in range(4))]
    return [(g, pairwise_bounds(g, lmikit.LipSDP())) for g in graphs]


def test_every_pair_is_between_what_is_sampled_and_the_diagonal():
    better = 0
    for graph, pairs in subjects():
        widest = math.sqrt(2.0) * pairs.certificate.bound
        np.testing.assert_array_equal(pairs.bounds, pairs.bounds.T)
        for i, j in itertools.combinations(range(graph.output_dim), 2):
            assert pairs.bounds[i, j] <= widest * (1.0 + 1e-15)
            found = graph_lower_bound(output_difference(graph, i, j), starts=4, steps=5)
            assert found.value <= pairs.bounds[i, j]
            better += pairs.bounds[i, j] < 0.99 * widest
    assert better > 5


def test_every_pair_is_proven_again_and_checked_by_itself():
    """Exactly the witness beside it, of the graph of the difference; a smaller claim is refused."""
    proven = 0
    for graph, pairs in subjects():
        ends = itertools.combinations(range(graph.output_dim), 2)
        for (i, j), witness in zip(ends, pairs.witnesses, strict=False):
            if witness is None:
                continue
            apart = output_difference(graph, i, j)
            certificate = verify_graph(apart, witness, repair=False)
            assert pairs.bounds[i, j] <= certificate.bound * (1.0 + 1e-15)
            assert certificate.bound <= pairs.certificate.bound * 2.0
            assert lmikit.check(certificate, apart)
            proven += 1
            (part,) = witness.parts
            less = dataclasses.replace(part, d_out=part.d_out * (1.0 - 1e-4))
            with pytest.raises(NotCertified):
                verify_graph(apart, dataclasses.replace(witness, parts=(less,)), repair=False)
    assert proven > 5


def test_the_same_multipliers_of_a_chain_show_the_same():
    """By the proof of chains, which tries mixes with a closed form besides."""
    rng = np.random.default_rng(1)
    for dims in ((5, 12, 3), (5, 9, 9, 4)):
        weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
        network = Network.from_arrays(weights)
        chain, graph = lmikit.lipschitz(network), lmikit.lipschitz(network, norm=(2, 2))
        ours = pairwise_bounds(network, certificate=graph).bounds
        theirs = pairwise_bounds(network, certificate=chain).bounds
        upper = np.triu_indices(dims[-1], 1)
        assert (theirs[upper] <= ours[upper] * (1.0 + 1e-6)).all()
        assert (ours[upper] <= 1.25 * theirs[upper]).all()
        alone = combinations_proven(chain_graph(network), graph.witness, np.eye(dims[-1])[:1])[0]
        row = Network.from_arrays([*weights[:-1], weights[-1][:1]])
        assert lmikit.lipschitz(row).bound <= alone.bound * (1.0 + 1e-9)


def test_rows_that_round_are_covered():
    """1 - 2**-60 rounds to 1; a skip that adds to a row; rows of widely different sizes."""
    for small in (2.0**-60, 1e-300):
        network = Network.from_arrays([[[1.0], [0.0]], [[1.0, 0.0], [small, 0.0]]])
        certificate = lmikit.lipschitz(network, norm=(2, 2))
        assert pairwise_bounds(network, certificate=certificate).bounds[0, 1] >= 1.0 - small


def test_differences_of_outputs_that_are_not_there_are_refused():
    graph = chain_graph(convolutional(0))
    for i, j in ((0, 0), (0, 4), (-1, 2)):
        with pytest.raises(InputError, match="expected two different ones"):
            output_difference(graph, i, j)


def test_another_order_of_elimination_proves_the_same(monkeypatch):
    """Sources with diagonal blocks first, their part by sparse products, as large networks have it."""
    rng = np.random.default_rng(4)
    first = conv(rng, 2, (1, 12, 12), 3, padding=1)
    second = conv(rng, 2, first.output_shape, 4, stride=4)
    last = rng.standard_normal((3, 18)) / 4.0
    for kinds in (["relu", "silu"], "relu"):
        subject = Network.from_arrays([first, second, last], activation=kinds)
        graph = chain_graph(subject)
        gain = OutputGain(eliminate(graph))
        witness = neuron_witness(gain, None, tolerance=1e-2, time_limit=None, progress=None)
        certificate = verify_graph(graph, witness)
        pairs = pairwise_bounds(graph, certificate=certificate).bounds
        with monkeypatch.context() as patch:
            patch.setattr(_independent, "_LARGE", 0.0)
            patch.setattr(_independent, "_WORTH", math.inf)
            patch.setattr(_verified_cholesky, "_LARGE_GRAM", 0.0)
            patch.setattr(_verified_cholesky, "_SPARSE_COST", 0.0)
            patch.setattr(_verified_cholesky, "_SPARSE", 1.0)
            assert len(assemble(gain.form, certificate.witness.parts[0]).partition) == 2
            again = verify_graph(graph, certificate.witness)
            assert again.bound == pytest.approx(certificate.bound, rel=1e-8)
            assert lmikit.check(again, graph)
            others = pairwise_bounds(graph, certificate=certificate).bounds
            np.testing.assert_allclose(others, pairs, rtol=1e-8)
            (part,) = certificate.witness.parts
            less = dataclasses.replace(part, d_out=part.d_out * (1.0 - 1e-5))
            with pytest.raises(NotCertified):
                verify_graph(graph, dataclasses.replace(certificate.witness, parts=(less,)), repair=False)


def test_multipliers_that_prove_nothing_give_no_bound():
    subject = Network.from_arrays([np.eye(3), np.eye(3)], activation="relu")
    graph = chain_graph(subject)
    witness = lmikit.lipschitz(graph).witness
    (part,) = witness.parts
    useless = dataclasses.replace(part, multipliers=tuple(1e12 * t for t in part.multipliers))
    rows = np.array([[1.0, -1.0, 0.0]])
    assert combinations_proven(graph, dataclasses.replace(witness, parts=(useless,)), rows) == [None]
