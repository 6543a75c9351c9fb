"""Enclosed outputs of graphs hold the exact ones; attacks and pairs of classes on graphs."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmikit
from lmikit import GraphBuilder, InputError, LipSDP
from lmikit.attacks import attack_margins
from lmikit.claims import Ball
from lmikit.graph import Affine, Apply, enclosed_outputs
from lmikit.maps import Convolution2d
from lmikit.nonlinear import Reflect, SortGroups


def exact(graph, x):
    """The output at x in rationals; ReLU, sorting and affine nodes."""
    values = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            total = [Fraction(float(b)) for b in node.bias]
            for linear, p in zip(node.maps, node.parents, strict=True):
                for i, row in enumerate(linear.to_dense()):
                    total[i] += sum(Fraction(float(w)) * v for w, v in zip(row, values[p], strict=True))
            values.append(total)
        elif isinstance(node, Apply) and isinstance(node.function, SortGroups):
            given, size = values[node.parent], node.function.size
            values.append([v for k in range(0, len(given), size) for v in sorted(given[k : k + size])])
        elif isinstance(node, Apply):
            values.append([max(v, Fraction(0)) for v in values[node.parent]])
        else:
            values.append([Fraction(float(v)) for v in x])
    return values[-1]


def residual(rng, size=8):
    builder = GraphBuilder()
    x = builder.input(size)
    first = Convolution2d(rng.standard_normal((2, 1, 1, 3)), (1, 1, size), (1, 2), ((0, 0), (1, 0)))
    h = x + rng.standard_normal((size, size)) @ builder.relu(first @ x + rng.standard_normal(size))
    pooled = builder.max_pool(h, np.arange(size).reshape(-1, 2), tree=False)
    return builder.output(rng.standard_normal((3, size // 2)) @ pooled)


@given(st.integers(0, 2**32 - 1), st.integers(-60, 60))
def test_what_is_enclosed_holds_the_rational_value(seed, exponent):
    rng = np.random.default_rng(seed)
    graph = residual(rng)
    X = np.ldexp(rng.standard_normal((2, 8)), exponent)
    lower, upper = enclosed_outputs(graph, X)
    assert ((lower <= graph(X)) & (graph(X) <= upper)).all()
    for x, low, high in zip(X, lower, upper, strict=True):
        assert all(
            Fraction(a) <= v <= Fraction(b) for v, a, b in zip(exact(graph, x), low, high, strict=True)
        )
    size = np.abs(X).max() * np.abs(graph.nodes[-1].maps[0].to_dense()).sum() + 1.0
    assert (upper - lower).max() <= 1e-9 * size


@pytest.mark.parametrize("name", ["tanh", "elu", "silu", "softplus", "sin"])
def test_smooth_activations_are_enclosed_tightly(name):
    rng = np.random.default_rng(0)
    builder = GraphBuilder()
    x = builder.input(5)
    graph = builder.output(x + rng.standard_normal((5, 5)) @ builder.apply(name, 3.0 * np.eye(5) @ x))
    X = rng.standard_normal((20, 5))
    lower, upper = enclosed_outputs(graph, X)
    wide = graph.values(X.T.astype(np.longdouble))[-1].T
    assert ((lower <= wide) & (wide <= upper)).all()
    assert (upper - lower).max() <= 1e-12


def test_values_about_which_nothing_is_proven_are_refused():
    builder = GraphBuilder()
    x = builder.input(2)
    graph = builder.output(x + builder.apply(Reflect([1.0, 2.0]), x))
    with pytest.raises(InputError, match="the values of reflect are not enclosed"):
        enclosed_outputs(graph, np.ones((1, 2)))
    with pytest.raises(InputError, match=r"X has shape \(2,\); expected \(k, 2\)"):
        enclosed_outputs(graph, np.ones(2))


def test_attacks_on_a_graph_are_those_on_the_same_chain():
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(shape) for shape in ((6, 4), (3, 6))]
    net = lmikit.Network.from_arrays(weights, [rng.standard_normal(len(w)) for w in weights], "relu")
    balls = [Ball(x, 0.5) for x in rng.standard_normal((4, 4))]
    rows = np.repeat(np.array([[[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]]), 4, axis=0)
    one = attack_margins(net, balls, rows, np.zeros((4, 2)))
    other = attack_margins(lmikit.graph.chain_graph(net), balls, rows, np.zeros((4, 2)))
    np.testing.assert_allclose(one.margins, other.margins, rtol=1e-6, atol=1e-9)
    assert (other.margins < np.einsum("brm,bm->br", rows, net(np.array([b.x0 for b in balls]))).min(1)).all()


def test_pairs_of_outputs_of_a_graph():
    graph = residual(np.random.default_rng(2))
    together = lmikit.pairwise_bounds(graph, LipSDP())
    apart = lmikit.pairwise_bounds(graph, LipSDP(), certificate=together.certificate, each_pair=True)
    widest = np.sqrt(2.0) * together.certificate.bound
    assert (together.bounds <= widest * (1.0 + 1e-15)).all()
    assert (apart.bounds <= together.bounds * (1.0 + 1e-6)).all()
    assert together.bounds.max() < 0.999 * widest
    jacobians = [graph.jacobian(x) for x in np.random.default_rng(3).standard_normal((50, 8))]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        steepest = max(np.linalg.norm(J[i] - J[j]) for J in jacobians if np.isfinite(J).all())
        assert steepest <= apart.bounds[i, j]
    with pytest.raises(InputError, match="witnesses of pairs are for networks"):
        lmikit.pairwise_bounds(graph, witnesses=[])
    with pytest.raises(InputError, match="belongs to another network"):
        lmikit.pairwise_bounds(residual(np.random.default_rng(4)), certificate=together.certificate)
