"""One multiplier per neuron by Newton's method: the matrix, its derivatives, the optimum, every iterate."""

import functools
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from torus_helpers import conv, random_network

import lmikit
from lmikit import InputError, Network
from lmikit._image_api import image_plan
from lmikit.certificates.graph import verify_graph
from lmikit.certificates.graph._norms import norm_by_sums, norm_is_below
from lmikit.formulations.graph import OutputGain, dense_rows, relaxed_gain
from lmikit.formulations.graph._gain import spread
from lmikit.graph import GraphWitness, Part, chain_graph
from lmikit.graph._form import eliminate
from lmikit.maps import Convolution2d
from lmikit.methods._output_newton import output_newton
from lmikit.methods._output_witness import feasible_start, neuron_witness, suits_output
from lmikit.network import DenseMap, SparseMap


@functools.cache
def gains(count):
    """Random convolutional graphs with all kinds of slopes, skips and heads."""
    found, seed = [], 0
    while len(found) < count:
        seed += 1
        try:
            found.append(OutputGain(eliminate(random_network(seed))))
        except InputError:
            continue
    return found


def plain_matrix(gain, x):
    """Z and Y, row by row from their definition."""
    form, ends = gain.form, np.cumsum([0, *gain.sizes.values()])
    place = {s: slice(a, b) for s, a, b in zip(gain.sizes, ends, ends[1:], strict=False)}
    Z, Y = np.zeros((ends[-1],) * 2), np.zeros((form.graph.output_dim, ends[-1]))
    Z[place[0], place[0]] = np.eye(gain.sizes[0])
    for k, weights in gain.split(x).items():
        node, kept = form.graph.nodes[k], form.kept[k]
        V, W = np.zeros((kept.size, ends[-1])), np.zeros((kept.size, ends[-1]))
        for s, rows in form.V[k].items():
            V[:, place[s]] = rows.mid
        W[:, place[k]] = np.eye(kept.size)
        low, high = W - node.alpha[kept, None] * V, W - node.beta[kept, None] * V
        product = (low * weights[:, None]).T @ high
        Z += 0.5 * (product + product.T)
    for s, rows in form.Y.items():
        Y[:, place[s]] = rows.mid
    return Z, Y


def test_the_output_matrix_is_what_is_left_when_everything_is_eliminated():
    for gain in gains(5):
        start = feasible_start(gain)
        x = start * np.exp(0.05 * np.random.default_rng(0).standard_normal(start.size))
        Z, Y = plain_matrix(gain, x)
        point = gain.at(x)
        assert np.linalg.eigvalsh(Z)[0] > 0.0
        assert point is not None
        expected = Y @ np.linalg.solve(Z, Y.T)
        np.testing.assert_allclose(point.gram, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
        bound = dense_rows(gain.form.graph)
        assert gain.rows <= bound < sum(gain.sizes.values()) or any(n.two_sided for n in gain.nodes.values())


def test_where_the_matrix_is_not_definite_there_is_no_point():
    for gain in gains(5):
        x = feasible_start(gain)
        for factor in (1.0, 16.0, 4096.0):
            definite = np.linalg.eigvalsh(plain_matrix(gain, factor * x)[0])[0] > 0.0
            assert (gain.at(factor * x) is not None) == definite
        assert gain.at(-x) is None


def test_products_with_derivatives_are_differences():
    rng = np.random.default_rng(1)
    for gain in gains(5):
        x, h = feasible_start(gain), 1e-4
        d = x * rng.standard_normal(x.size)
        P = rng.standard_normal((gain.form.graph.output_dim,) * 2)
        P = P @ P.T
        here, above, below = gain.at(x), gain.at(x + h * d), gain.at(x - h * d)
        slope = (above.gram - below.gram) / (2.0 * h)
        np.testing.assert_allclose(here.derivative(d), slope, atol=1e-6 * np.abs(slope).max())
        assert here.gradient(P) @ d == pytest.approx((here.derivative(d) * P).sum(), rel=1e-9, abs=1e-12)
        bend = (above.gradient(P) - below.gradient(P)) / (2.0 * h)
        np.testing.assert_allclose(here.curvature(P, d), bend, atol=1e-5 * np.abs(bend).max())


@pytest.mark.parametrize("activation", ["relu", "silu", "leaky_relu"])
def test_sampled_below_exact_below_per_neuron_below_tied(activation):
    """The exact optimum by LowRank; the torus holds one multiplier per channel."""
    rng = np.random.default_rng(1)
    first = conv(rng, 2, (1, 5, 5), 3, padding=1)
    second = conv(rng, 3, first.output_shape, 3, stride=2, padding=1)
    last = rng.standard_normal((3, 27)) / 5.0
    network = Network.from_arrays([first, second, last], activation=activation)
    graph = chain_graph(network)
    gain = OutputGain(eliminate(graph))
    witness = neuron_witness(gain, None, tolerance=1e-4, time_limit=None, progress=None)
    found = verify_graph(graph, witness)
    exact = lmikit.lipschitz(network, lmikit.LipSDP())
    assert exact.bound <= found.bound * (1.0 + 1e-6)
    assert found.bound <= exact.bound * (1.0 + 3e-4)
    assert found.witness.optimum_at_least <= exact.bound
    assert lmikit.lower_bound(network, starts=8, steps=10).value <= found.bound
    assert found.bound <= lmikit.torus_lipschitz(network, time_limit=0.0).bound * (1.0 + 1e-4)


def test_every_iterate_is_proven():
    """Stopped after each of the first steps, and before any: proven, none above the one before."""
    for gain in gains(5)[:2]:
        graph, bounds = gain.form.graph, []
        for steps in (0, 1, 3, 6):
            clock = Clock(steps)
            found = output_newton(gain, feasible_start(gain), clock, 1e-4, 400)
            assert found is not None
            rho = np.array([found.rho * (1.0 + 1e-7)])
            part = Part(np.ones(1), rho, spread(gain.form, found.multipliers))
            bounds.append(verify_graph(graph, GraphWitness("dissipation", parts=(part,)), repair=False).bound)
        assert all(b <= a for a, b in itertools.pairwise(bounds))
        assert bounds[-1] < 0.999 * bounds[0]


def test_the_gain_of_any_process_is_below_every_rho():
    """Weak duality for random columns, and for those of points that are far from the best."""
    rng = np.random.default_rng(2)
    for gain in gains(5):
        point = gain.at(feasible_start(gain))
        for columns in (1, 3):
            noise = {s: rng.standard_normal((n, columns)) for s, n in gain.sizes.items()}
            assert 0.0 <= relaxed_gain(gain, noise) <= point.rho * (1.0 + 1e-12)
        assert relaxed_gain(gain, point.states) <= point.rho * (1.0 + 1e-12)


def test_wide_classifiers_get_by_newton_what_low_rank_says_and_both_ends(monkeypatch):
    """A chain of each kind, dense and of a convolution; one certificate of chains, checked again."""
    monkeypatch.setattr(lmikit.LipSDP, "_stacks", lambda *_: False)  # as where that leaves a gap
    rng = np.random.default_rng(5)
    dense = [rng.standard_normal((128, 10)), rng.standard_normal((20, 128)), rng.standard_normal((8, 20))]
    first = conv(rng, 4, (1, 6, 6), 3, padding=1)
    for weights, activation in ((dense, "relu"), ([first, rng.standard_normal((8, 144))], "silu")):
        network = Network.from_arrays(weights, activation=activation)
        assert suits_output(network)
        found = lmikit.lipschitz(network)
        other = lmikit.lipschitz(network, solver=lmikit.solvers.LowRank())
        assert "Newton" in found.witness.produced_by
        assert "LowRank" in other.witness.produced_by
        assert isinstance(found, lmikit.Certificate)
        assert found.bound == pytest.approx(other.bound, rel=1e-6)
        assert found.witness.optimum_at_least <= other.bound
        assert other.witness.optimum_at_least <= found.bound
        assert found.bound <= found.witness.optimum_at_least * (1.0 + 1e-6)
        assert lmikit.check(found, network)


def test_neurons_without_influence_change_nothing():
    """A dead channel: zero rows out of it, and one whose rows are nearly zero."""
    rng = np.random.default_rng(0)
    first = conv(rng, 3, (1, 5, 5), 3, padding=1)
    last = rng.standard_normal((2, 75)) / 5.0
    last[:, :25] = 0.0
    bounds = []
    for tiny in (0.0, 1e-30):
        last[:, 0] = tiny
        network = Network.from_arrays([first, last])
        gain = OutputGain(eliminate(chain_graph(network)))
        witness = neuron_witness(gain, None, tolerance=1e-5, time_limit=None, progress=None)
        bounds.append(verify_graph(chain_graph(network), witness).bound)
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-4)
    assert bounds[0] == pytest.approx(lmikit.lipschitz(network, lmikit.LipSDP()).bound, rel=1e-4)


@pytest.mark.slow
def test_lipschitz_goes_to_the_neurons_of_a_network_of_middle_size():
    """1,664 neurons: below the torus; a certificate of graphs, checked again."""
    rng = np.random.default_rng(3)
    first = conv(rng, 2, (1, 28, 28), 3, padding=1)
    second = conv(rng, 2, first.output_shape, 4, stride=4)
    network = Network.from_arrays([first, second, rng.standard_normal((3, 98)) / 10.0])
    plan = image_plan(network)
    assert str(plan).startswith("one multiplier per neuron, bounds on a torus")
    seen = []
    found = lmikit.lipschitz(network, time_limit=8.0, progress=seen.append)
    assert any(p.stage == "one multiplier per neuron" for p in seen)
    assert lmikit.lower_bound(network, starts=4, steps=5).value <= found.bound
    assert found.bound < lmikit.torus_lipschitz(network, time_limit=0.0).bound
    assert lmikit.check(found, network)


class Clock:
    """A run that is over after so many reports."""

    def __init__(self, steps):
        self.left = steps

    @property
    def over(self):
        return self.left <= 0

    def report(self, objective, total=None):
        self.left -= 1


def test_norms_left_at_a_limit_are_bounded_by_sums():
    """Above the norms, at most by their dimension, at once; what checks them does not know of the limit."""
    rng = np.random.default_rng(0)
    maps = [
        Convolution2d(rng.standard_normal((4, 2, 3, 3)), (2, 40, 40), 2, 1),
        Convolution2d(rng.standard_normal((2, 1, 3, 3)), (2, 26, 26), 1, 1, groups=2),
        Convolution2d(np.ones((1, 1, 2, 2)), (1, 60, 60), 2),
        DenseMap(rng.standard_normal((5, 3))),
        DenseMap(np.outer(np.ones(4), np.ones(3))),
        SparseMap(sp.csr_array(np.diag([1.0, -2.0]))),
    ]
    for linear in (*maps, *(m.T for m in maps[:2])):
        bound = norm_by_sums(linear)
        assert min(linear.shape) > 6 or np.linalg.norm(linear.to_dense(), 2) <= bound
        assert norm_is_below(linear, bound)
    small = Network.from_arrays([maps[0], rng.standard_normal((2, 1600))])
    graph, witness = chain_graph(small), GraphWitness("norms")
    late = verify_graph(graph, witness, time_limit=0.0)
    assert verify_graph(graph, witness).bound < late.bound
    assert lmikit.check(late, small)


def test_graphs_without_neurons_that_bend_are_refused():
    rng = np.random.default_rng(0)
    linear = Network.from_arrays(
        [rng.standard_normal((3, 4)), rng.standard_normal((2, 3))],
        activation="identity",
    )
    with pytest.raises(InputError, match="expected an output that they bend"):
        OutputGain(eliminate(chain_graph(linear)))
