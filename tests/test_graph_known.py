"""Layers that are 1-Lipschitz by construction: their multipliers are proven, and improved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError
from lmikit.certificates.graph import verify_graph
from lmikit.graph import OneLipschitz


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def sandwich(net, rng, n, inputs, outputs):
    joint = np.linalg.qr(rng.standard_normal((inputs + outputs, n)))[0].T  # orthonormal rows [A B]
    return net.sandwich(joint[:, :outputs], joint[:, outputs:], np.exp(rng.standard_normal(n)))


KINDS = {
    "aol": lambda net, rng: net.aol(rng.standard_normal((4, 4)), rng.standard_normal(4)),
    "orthogonal": lambda net, rng: net.contraction(orthogonal(rng, 4)),
    "cpl": lambda net, rng: net.cpl(rng.standard_normal((6, 4)), rng.standard_normal(6)),
    "sll": lambda net, rng: net.sll(rng.standard_normal((5, 4)), rng.uniform(0.5, 2.0, 5)),
    "sandwich": lambda net, rng: sandwich(net, rng, 5, 4, 4),
    "linear": lambda net, rng: net.linear(orthogonal(rng, 4)),
}


@settings(max_examples=15)
@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4), st.integers(0, 10**6))
def test_multipliers_of_the_layers_prove_one(kinds, seed):
    rng = np.random.default_rng(seed)
    net = OneLipschitz(4)
    for kind in kinds:
        KINDS[kind](net, rng)
    graph, witness = net.finish()
    proven = verify_graph(graph, witness)
    assert proven.bound <= 1.0 + 1e-6
    assert lmikit.check(proven, graph, exact=True)
    x, y = rng.standard_normal((2, 100, 4))
    change = np.linalg.norm(graph(x) - graph(y), axis=1) / np.linalg.norm(x - y, axis=1)
    assert change.max() <= proven.bound


def test_other_multipliers_are_better():
    rng = np.random.default_rng(0)
    net = OneLipschitz(4).cpl(rng.standard_normal((6, 4))).sll(rng.standard_normal((5, 4)))
    graph, witness = net.aol(rng.standard_normal((3, 4))).finish()
    assert lmikit.lipschitz(graph).bound < verify_graph(graph, witness).bound - 0.01


def test_slopes_outside_zero_one_and_bad_shapes_are_refused():
    for activation in ("abs", "gelu", "silu"):
        with pytest.raises(InputError, match="slopes in \\[0, 1\\]"):
            OneLipschitz(4, activation)
    net = OneLipschitz(4)
    with pytest.raises(InputError, match="expected \\(3, 4\\)"):
        net.cpl(np.ones((3, 2)))
    with pytest.raises(InputError, match="positive"):
        net.sll(np.ones((3, 4)), q=[1.0, 0.0, 1.0])
    with pytest.raises(InputError, match="as many rows"):
        net.sandwich(np.ones((2, 3)), np.ones((3, 4)), np.ones(2))
    with pytest.raises(InputError, match="a matrix"):
        net.linear(np.ones(4))
