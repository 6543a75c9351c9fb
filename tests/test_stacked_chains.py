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


def test_a_batch_has_the_bounds_of_one_by_one():
    """Shapes, methods and limits mixed; reversed, the same bounds."""
    dims = [(5, 8, 8, 2), (3, 6, 1), (5, 8, 8, 2), (4, *[2] * 14, 1), (5, 8, 8, 2), (4, 3)]
    networks = [random_network(k, d) for k, d in enumerate(dims)]
    weights = [np.array(w) for w in networks[2].weights]
    weights[0][3] = 0.0  # a neuron fewer than its neighbours of the same shape
    networks[2] = Network.from_arrays(weights)
    jobs = [*networks, lmikit.Job(networks[0], time_limit=5.0), lmikit.Job(networks[0], lmikit.ClosedForm())]
    results = lmikit.certify_many(jobs)
    turned = lmikit.certify_many(jobs[::-1])[::-1]
    for job, result, again in zip(jobs, results, turned, strict=True):
        job = job if isinstance(job, lmikit.Job) else lmikit.Job(job)
        alone = lmikit.lipschitz(job.network, job.method)
        assert result.proven
        assert again.proven
        assert result.certificate.bound == pytest.approx(alone.bound, rel=5e-7)
        assert result.certificate.bound == pytest.approx(again.certificate.bound, rel=5e-7)
        assert verify(job.network, result.certificate.witness, repair=False).bound == result.certificate.bound


def test_what_goes_wrong_together_is_solved_one_by_one(monkeypatch, tmp_path):
    networks = [random_network(k, (3, 6, 1)) for k in range(3)]
    expected = [r.certificate.bound for r in lmikit.certify_many(networks, folder=tmp_path)]
    assert all(r.resumed for r in lmikit.certify_many(networks, folder=tmp_path))

    def broken(self, networks):
        raise RuntimeError("together")

    monkeypatch.setattr(LipSDP, "propose_together", broken)
    results = lmikit.certify_many(networks)
    assert [r.certificate.bound for r in results] == pytest.approx(expected, rel=5e-7)
    monkeypatch.setattr(LipSDP, "propose_together", lambda self, networks: [None] * len(networks))
    assert all(r.proven for r in lmikit.certify_many(networks))


def test_what_is_no_network_is_refused_by_its_number():
    good = random_network(0, (3, 6, 1))
    with pytest.raises(lmikit.InputError, match=r"jobs\[1\]"):
        lmikit.certify_many([good, [np.ones((2, 2))]])
    with pytest.raises(lmikit.InputError, match="NaN"):
        Network.from_arrays([np.full((2, 3), np.nan), np.ones((1, 2))])


def test_methods_that_suit_no_stack_propose_nothing_together():
    networks = [random_network(0, (3, 6, 1)), random_network(0, (4, 3)), random_network(0, (3, *[2] * 14, 1))]
    assert LipSDP(multipliers="layer").propose_together(networks) == [None] * 3
    assert [w is None for w in LipSDP().propose_together(networks)] == [False, True, True]
