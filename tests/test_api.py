"""The few calls that most users make: laws that hold whatever the method."""

import numpy as np
import pytest

import lmikit
from lmikit.lmi import LMI, SDP, Status

DEMO = [[[1, 2], [-1, 1]], [[1, -1], [2, 1]], [[1, 1]]]


@pytest.fixture(scope="module")
def demo():
    return lmikit.Network.from_arrays(DEMO)


def test_default_method_is_exact_lipsdp(demo):
    certificate = lmikit.lipschitz(demo)
    assert certificate.proven
    assert certificate.bound == pytest.approx(6.71755, abs=1e-5)
    assert certificate.bound >= 6.70820  # the vertex maximum: no sound bound is below it


def test_compare_is_sorted_proven_and_above_the_sampled_lower_bound(demo):
    comparison = lmikit.compare(demo)
    bounds = [row.bound for row in comparison.rows]
    assert all(row.proven for row in comparison.rows)
    assert bounds == sorted(bounds)
    assert comparison.lower is not None
    assert bounds[0] >= comparison.lower * (1 - 1e-12)
    assert bounds[-1] <= 7.49926 * (1 + 1e-5)  # nothing is looser than the norm product
    assert all(len(line) <= 80 for line in str(comparison).splitlines())


def test_a_failing_method_is_a_row_with_its_reason(demo, monkeypatch):
    class Failing(lmikit.EclipseFast):
        def propose(self, network, **options):
            raise lmikit.SolveFailed("the solver gave up")

    comparison = lmikit.compare(demo, [Failing(), lmikit.EclipseFast()])
    assert [row.proven for row in comparison.rows] == [True, False]
    assert "the solver gave up" in comparison.rows[-1].reason
    assert "the solver gave up" in str(comparison)


def test_what_is_not_a_network_is_refused():
    for given, words in (([np.eye(2)], "Build one"), ("net.npz", "load_network"), (np.tanh, "from_torch")):
        with pytest.raises(lmikit.InputError, match=rf"expected lmikit\.Network or .*{words}"):
            lmikit.lipschitz(given)


def test_what_is_not_a_method_is_refused(demo):
    with pytest.raises(lmikit.OptionError, match="expected a method object"):
        lmikit.lipschitz(demo, "lipsdp")


def test_a_solver_for_a_method_without_one_is_refused(demo):
    from lmikit.solvers import Clarabel

    with pytest.raises(lmikit.OptionError, match="uses no solver"):
        lmikit.lipschitz(demo, lmikit.EclipseFast(), solver=Clarabel())


def test_solve_takes_an_sdp():
    # minimise y with [[y, 1], [1, y]] PSD: y = 1
    lmi = LMI(F0=[[0.0, 1.0], [1.0, 0.0]], P=np.eye(2), Q=np.eye(2), E=np.ones((2, 1)))
    solution = lmikit.solve(SDP(c=[1.0], lmis=(lmi,)))
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(1.0, abs=1e-6)


def test_solve_refuses_anything_else():
    with pytest.raises(lmikit.InputError, match=r"expected lmikit\.lmi\.SDP"):
        lmikit.solve("problem.dat-s")


def test_linear_network_gives_its_spectral_norm():
    w = np.random.default_rng(0).standard_normal((5, 7))
    network = lmikit.Network.from_arrays([w])
    for row in lmikit.compare(network).rows:
        assert row.bound == pytest.approx(np.linalg.norm(w, 2), rel=1e-6), row
        assert row.bound >= np.linalg.norm(w, 2) * (1 - 1e-14)


@pytest.mark.parametrize("limit", ["1", [1.0], np.nan, -1.0, True])
def test_a_time_limit_is_a_number_of_seconds(limit):
    network = lmikit.Network.from_arrays([np.eye(2), np.eye(2)])
    for call in (lmikit.lipschitz, lmikit.lower_bound):
        with pytest.raises(lmikit.OptionError, match="time_limit"):
            call(network, time_limit=limit)
