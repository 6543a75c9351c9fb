"""Small chains solved together: the same optima as one by one, between both ends, whatever the company."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strict_arrays import StrictModule

import lmikit
from lmikit import LipSDP, Network
from lmikit.certificates import verify
from lmikit.methods._proposal import Run
from lmikit.methods._stack import stacked_optima
from lmikit.network import Slopes
from lmikit.solvers import LowRank

_SLOPES = [(0.0, 1.0), (-0.13, 1.13), (0.2, 0.9), (-1.0, 1.0), (0.9, 1.0)]


def random_network(seed, dims, slopes=(0.0, 1.0)):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) / a**0.5 for a, b in itertools.pairwise(dims)]
    activation = [Slopes(np.full(n, slopes[0]), np.full(n, slopes[1])) for n in dims[1:-1]]
    return Network.from_arrays(weights, activation=activation)


def together(networks, gap=2e-7, passes=160, **options):
    return stacked_optima(
        networks, gap, Run("gates", None, None), max_passes=passes, name="together", **options
    )


@settings(max_examples=5, deadline=None)
@given(
    dims=st.lists(st.integers(1, 9), min_size=3, max_size=6),
    slopes=st.sampled_from(_SLOPES),
    seed=st.integers(0, 10**6),
)
def test_ends_enclose_the_optimum_whatever_the_order(dims, slopes, seed):
    networks = [random_network(seed + k, dims, slopes) for k in range(3)]
    found, turned = together(networks), together(networks[::-1])[::-1]
    for network, one, other in zip(networks, found, turned, strict=True):
        exact = lmikit.lipschitz(network, LipSDP(tol=1e-8), solver=LowRank(tol=1e-8)).bound
        for witness in (one, other):
            bound = verify(network, witness).bound
            assert witness.optimum_at_least <= exact * (1.0 + 1e-7)
            assert exact * (1.0 - 1e-7) <= bound
            if math.sqrt(witness.rho) <= witness.optimum_at_least * (1.0 + 4e-7):
                assert bound <= exact * (1.0 + 5e-7)


def test_nearly_all_small_networks_reach_the_tolerance():
    networks = [random_network(k, (5, 12, 12, 2)) for k in range(12)]
    gaps = [math.sqrt(w.rho) / w.optimum_at_least - 1.0 for w in together(networks)]
    assert sorted(gaps)[10] <= 3e-7


def test_one_without_feasible_multipliers_leaves_the_others_alone():
    """Rows whose squares vanish: no finite rho."""
    good = random_network(0, (3, 4, 4, 2))
    weights = [np.array(w) for w in good.weights]
    weights[1] = weights[1] * 1e-200
    bad = Network.from_arrays(weights)
    alone, beside = together([good])[0], together([bad, good, bad])[1]
    assert verify(good, beside).bound == pytest.approx(verify(good, alone).bound, rel=5e-7)


def test_a_time_limit_still_gives_multipliers():
    network = random_network(1, (5, 12, 12, 2))
    (witness,) = stacked_optima([network], 1e-9, Run("gates", 0.0, None), max_passes=160, name="short")
    assert witness is None or verify(network, witness).bound >= witness.optimum_at_least


def test_on_another_array_module():
    networks = [random_network(k, (4, 6, 6, 3), (-0.1, 1.0)) for k in range(3)]
    for here, there in zip(together(networks), together(networks, am=StrictModule()), strict=True):
        assert there.rho == pytest.approx(here.rho, rel=1e-6)
