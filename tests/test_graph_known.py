"""Layers that are 1-Lipschitz by construction: their multipliers are proven, and improved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError
from lmikit.certificates.graph import verify_graph
from lmikit.graph import OneLipschitz
from lmikit.nonlinear import MaxMinPairs, Reflect, SortGroups


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


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_groups_between_contractions_prove_one(seed):
    rng = np.random.default_rng(seed)
    net = OneLipschitz(4)
    for function in (SortGroups(4), MaxMinPairs(), Reflect([3.0, 1.0, -2.0, 1.0])):
        net.groups(function, orthogonal(rng, 4), rng.standard_normal(4))
    graph, witness = net.cpl(rng.standard_normal((5, 4))).finish()
    proven = verify_graph(graph, witness)
    assert proven.bound <= 1.0 + 1e-6
    assert lmikit.check(proven, graph, exact=True)


def lbdn(rng, gamma, widths):
    """The weights of an LBDN from n_0 inputs: A_k A_k' + B_k B_k' = I, B_k reads layer k - 1; and Psi_k."""
    inputs, *hidden, outputs = widths
    psi = [np.exp(0.5 * rng.standard_normal(n)) for n in hidden]
    A, B = [], []
    for n, before in zip(hidden, (inputs, *hidden), strict=False):
        joint = np.linalg.qr(rng.standard_normal((n + before, n)))[0].T
        A.append(joint[:, :n])
        B.append(joint[:, n:])
    last = np.linalg.qr(rng.standard_normal((hidden[-1], max(outputs, hidden[-1]))))[0].T[:outputs]
    weights = [np.sqrt(2.0 * gamma) * B[0] / psi[0][:, None]]
    for k in range(1, len(hidden)):
        weights.append(2.0 * (B[k] / psi[k][:, None]) @ (A[k - 1].T * psi[k - 1]))
    return [*weights, np.sqrt(2.0 * gamma) * last @ (A[-1].T * psi[-1])], psi, A, B, last


@settings(max_examples=5)
@given(st.integers(0, 10**6), st.floats(0.1, 50.0))
def test_an_lbdn_has_its_gain(seed, gamma):
    """Wang, Manchester, ICML 2023: W and T = gamma Psi^2 show gamma, and LipSDP is never above it."""
    rng = np.random.default_rng(seed)
    widths = (2, 3, 4, 3, 2)
    weights, psi, A, B, last = lbdn(rng, gamma, widths)
    network = lmikit.Network.from_arrays(weights)
    witness = lmikit.Witness("lipsdp", gamma**2, tuple(gamma * p**2 for p in psi))
    assert lmikit.verify(network, witness).bound <= gamma * (1.0 + 1e-6)
    assert lmikit.lipschitz(network).bound <= gamma * (1.0 + 1e-6)
    net = OneLipschitz(2).linear(np.sqrt(gamma) * np.eye(2), gain=np.sqrt(gamma))
    for a, b, p in zip(A, B, psi, strict=True):
        net.sandwich(a, b, p)
    graph, found = net.linear(np.sqrt(gamma) * last, gain=np.sqrt(gamma)).finish()
    x = rng.standard_normal((20, 2))
    np.testing.assert_allclose(graph(x), network(x), rtol=1e-9, atol=1e-9 * gamma)
    proven = verify_graph(graph, found)
    assert proven.bound <= gamma * (1.0 + 1e-6)
    assert lmikit.check(proven, graph, exact=True)


@pytest.mark.parametrize("gain", [0.0, -1.0, np.inf, "2"])
def test_gains_that_are_refused(gain):
    with pytest.raises(InputError, match="gain"):
        OneLipschitz(2).linear(np.eye(2), gain=gain)
