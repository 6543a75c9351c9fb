"""Extreme eigenvalues, where LAPACK's drivers for a part of the spectrum fail: next to a multiple of I."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmikit
from lmikit import Network
from lmikit._eigen import least_eigenvalue, top_eigenpair, top_eigenvalue

seeds = st.integers(0, 2**32 - 1)


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


@given(seeds, st.integers(1, 24), st.sampled_from([0.0, 1e-15, 1e-9, 1.0]))
def test_extremes_agree_with_the_whole_spectrum(seed, n, spread):
    rng = np.random.default_rng(seed)
    q = orthogonal(rng, n)
    a = (q * (1.0 + spread * rng.standard_normal(n))) @ q.T
    values, size = np.linalg.eigvalsh(a), np.abs(a).max()
    assert abs(top_eigenvalue(a) - values[-1]) <= 1e-13 * size * n
    assert abs(least_eigenvalue(a) - values[0]) <= 1e-13 * size * n
    value, vector = top_eigenpair(a)
    assert abs(value - values[-1]) <= 1e-13 * size * n
    assert np.linalg.norm(a @ vector - value * vector) <= 1e-13 * size * n
    assert abs(np.linalg.norm(vector) - 1.0) <= 1e-12


def test_what_is_not_finite_has_no_eigenvalue():
    assert np.isnan(top_eigenvalue(np.array([[1.0, np.nan], [np.nan, 1.0]])))
    assert np.isnan(least_eigenvalue(np.array([[np.inf, 0.0], [0.0, 1.0]])))


@pytest.mark.parametrize("activation", ["relu", "abs", "tanh"])
@pytest.mark.parametrize("method", [lmikit.LipSDP(), lmikit.ClosedForm(), lmikit.EclipseFast()], ids=repr)
def test_networks_of_orthogonal_layers_have_their_bound(activation, method):
    rng = np.random.default_rng(0)
    for n in (5, 8, 16, 24):
        network = Network.from_arrays([orthogonal(rng, n) for _ in range(4)], None, activation)
        assert lmikit.lipschitz(network, method).bound <= 1.0 + 1e-6
