"""The linear fractional form: the chain's Jacobians, elimination of linear neurons, refusals."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from strategies import demo_network, networks

from lmikit import InputError, Network
from lmikit.network import LinearFractional, linear_fractional


def chain_jacobian(network: Network, slopes: list[np.ndarray]) -> np.ndarray:
    parts = [d[:, None] * w for d, w in zip(slopes, network.weights, strict=False)]
    return functools.reduce(lambda a, b: b @ a, [*parts, network.weights[-1]])


def some_slopes(network: Network, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [a + rng.uniform(size=a.size) * (b - a) for a, b in network.slopes]


@given(networks(), st.integers(0, 1000))
def test_jacobians_are_those_of_the_chain(network, seed):
    form = linear_fractional(network)
    slopes = some_slopes(network, seed)
    expected = chain_jacobian(network, slopes)
    got = form.jacobian(np.concatenate([*slopes, np.zeros(0)]))
    np.testing.assert_allclose(
        got, expected, rtol=1e-9, atol=1e-9 * (1e-300 + np.abs(expected).max()) + 1e-12
    )
    assert form.layer_sizes == network.dims[1:-1]
    assert form.N_vx.shape == (network.hidden_neurons, network.input_dim)


@given(networks(kinds=("integers", "gaussian", "duplicate_rows", "dead_rows")), st.integers(0, 1000))
def test_elimination_of_linear_neurons_keeps_jacobians(network, seed):
    form = linear_fractional(network)
    slopes = np.concatenate([*some_slopes(network, seed), np.zeros(0)])
    smaller = form.without_linear_neurons()
    nonlinear = form.alpha != form.beta
    assert smaller.neurons == nonlinear.sum() == sum(smaller.layer_sizes)
    assert (smaller.alpha < smaller.beta).all()
    expected = form.jacobian(slopes)
    np.testing.assert_allclose(
        smaller.jacobian(slopes[nonlinear]), expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max())
    )


def test_blocks_of_a_chain():
    form = linear_fractional(demo_network())
    np.testing.assert_array_equal(form.N_vx.toarray(), [[1, 2], [-1, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(
        form.N_vw.toarray(), [[0, 0, 0, 0], [0, 0, 0, 0], [1, -1, 0, 0], [2, 1, 0, 0]]
    )
    np.testing.assert_array_equal(form.N_yx.toarray(), [[0, 0]])
    np.testing.assert_array_equal(form.N_yw.toarray(), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(form.alpha, 0.0)
    np.testing.assert_array_equal(form.beta, 1.0)


def test_a_linear_network_has_no_neurons():
    form = linear_fractional(Network.from_arrays([[[1.0, 2.0]]]))
    assert form.neurons == 0
    np.testing.assert_array_equal(form.jacobian(np.zeros(0)), [[1.0, 2.0]])
    assert form.without_linear_neurons() is form


def test_equilibrium_networks_are_eliminated_too():
    rng = np.random.default_rng(0)
    loop = 0.3 * rng.normal(size=(5, 5))
    alpha, beta = np.array([0.5, 0.0, -0.2, 1.0, 0.0]), np.array([0.5, 1.0, 0.3, 1.0, 1.0])
    form = LinearFractional(
        rng.normal(size=(5, 3)),
        sp.csc_array(loop),
        rng.normal(size=(2, 3)),
        rng.normal(size=(2, 5)),
        alpha,
        beta,
    )
    assert form.layer_sizes == (5,)
    smaller = form.without_linear_neurons()
    assert smaller.layer_sizes == (3,)
    slopes = np.array([0.5, 0.7, 0.1, 1.0, 0.2])
    np.testing.assert_allclose(smaller.jacobian(slopes[alpha < beta]), form.jacobian(slopes), rtol=1e-12)


def form(**changes):
    fields = {
        "N_vx": np.ones((3, 2)), "N_vw": np.zeros((3, 3)), "N_yx": np.ones((1, 2)), "N_yw": np.ones((1, 3)),
        "alpha": np.zeros(3), "beta": np.ones(3),
    }  # fmt: skip
    return LinearFractional(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"N_vw": np.zeros((2, 2))}, r"N_vw has shape \(2, 2\); expected \(3, 3\)"),
        ({"N_yx": np.ones((1, 3))}, r"N_yx has shape \(1, 3\); expected \(1, 2\)"),
        ({"N_yw": np.ones((2, 3))}, r"N_yw has shape \(2, 3\); expected \(1, 3\)"),
        ({"N_vx": np.ones(3)}, r"N_vx has shape \(3,\); expected a matrix"),
        ({"N_vx": np.full((3, 2), np.nan)}, "N_vx holds NaN"),
        ({"N_vw": sp.csr_array(np.diag([1.0, np.inf, 1.0]))}, "N_vw holds NaN or infinity"),
        ({"N_vx": [["a", "b"]] * 3}, "N_vx has dtype"),
        ({"alpha": np.zeros(2)}, r"alpha has shape \(2,\); expected \(3,\)"),
        ({"beta": np.full(3, np.inf)}, "beta holds NaN or infinity"),
        ({"alpha": np.full(3, 2.0)}, "alpha > beta"),
        ({"layer_sizes": (2, 2)}, "expected sizes that sum to 3"),
        ({"layer_sizes": (4, -1)}, "expected sizes that sum to 3"),
    ],
)
def test_bad_forms_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        form(**changes)


def test_a_singular_loop_of_linear_neurons_is_refused():
    singular = form(N_vw=np.eye(3), alpha=np.ones(3))
    with pytest.raises(InputError, match="well-posed"):
        singular.without_linear_neurons()
    with pytest.raises(InputError, match="slopes has shape"):
        singular.jacobian(np.zeros(2))
