"""The kit refutes bounds that are wrong, accepts those that are right, and draws what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import (
    EclipseFast,
    InputError,
    Network,
    NotCertified,
    Slopes,
    SpectralProduct,
    Witness,
    lipschitz,
    testing,
)
from lmikit.lmi import Status
from lmikit.solvers import Clarabel
from lmikit.testing import TRAPS, assert_covers, assert_sound, largest_quotient


def norm_product(network):
    gains = [max(np.abs(a).max(), np.abs(b).max()) for a, b in network.slopes]
    return float(np.prod([np.linalg.norm(w, 2) for w in network.weights]) * np.prod(gains))


def ignoring_slopes(network):
    """What a tool that takes every activation for a ReLU returns."""
    return float(np.prod([np.linalg.norm(w, 2) for w in network.weights]))


WRONG = {
    "zero": lambda network: 0.0,
    "a tenth less": lambda network: 0.9 * largest_quotient(network),
    "nan": lambda network: float("nan"),
    "slopes ignored": ignoring_slopes,
    "frobenius over width": lambda network: norm_product(network) / np.sqrt(network.hidden_neurons + 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_bounds_are_refuted(name):
    with pytest.raises(AssertionError, match=r"refuted|expected a number"):
        assert_sound(WRONG[name], max_examples=10)


def test_right_bounds_pass():
    assert_sound(norm_product, max_examples=30)
    assert_sound(lambda network: lipschitz(network, EclipseFast()), max_examples=10)
    assert_sound(lambda network: float("inf"), max_examples=3)


def test_a_failure_only_off_the_traps_is_found_by_the_strategy():
    known = {network.digest for network in TRAPS.values()}

    def cheats(network):
        return norm_product(network) if network.digest in known else 0.0

    with pytest.raises(AssertionError, match="refuted"):
        assert_sound(cheats, max_examples=50)


def test_refusals_claim_nothing_but_one_claim_is_needed():
    def relu_only(network):
        if any((a != 0.0).any() or (b != 1.0).any() for a, b in network.slopes):
            raise NotImplementedError("ReLU only")
        return norm_product(network)

    assert_sound(relu_only, max_examples=10)

    def never(network):
        raise NotCertified("no")

    with pytest.raises(AssertionError, match="refused all"):
        assert_sound(never)
    with pytest.raises(ZeroDivisionError):
        assert_sound(lambda network: 1 / 0)


@given(network=testing.networks())
@settings(max_examples=25)
def test_slope_classes_are_covered_too(network):
    assert_covers(network, lipschitz(network, SpectralProduct()))


def test_slope_classes_are_refuted_too():
    network = Network.from_arrays([[[1.0]], [[1.0]]], None, Slopes(-2.0, 1.0))
    with pytest.raises(AssertionError, match="a choice of slopes"):
        assert_covers(network, 1.0)


def test_traps_have_the_constants_that_make_them_traps():
    for name, value in {"gelu": 1.1289, "silu": 1.0998, "steep leaky relu": 2.0, "two relus": 1.0}.items():
        assert largest_quotient(TRAPS[name], starts=64, steps=60) == pytest.approx(value, abs=2e-3)
    assert largest_quotient(TRAPS["invertible relus"], starts=64) == pytest.approx(2.14663, abs=1e-4)


@given(data=st.data())
@settings(max_examples=30)
def test_witnesses_fit_their_network(data):
    network = data.draw(testing.networks())
    witness = data.draw(testing.witnesses(network))
    assert isinstance(witness, Witness)
    sizes = network.dims[1:-1] if witness.kind == "lipsdp" else (1,) * len(network.layers)
    assert tuple(t.size for t in witness.multipliers) == tuple(sizes)


@given(known=testing.sdps_with_optimum())
@settings(max_examples=10)
def test_sdps_have_the_optimum_that_they_state(known):
    solution = Clarabel(tol=1e-7).solve(known.sdp)  # about one draw in ten ends at 1e-8 AlmostSolved
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(known.optimum, abs=1e-5, rel=1e-5)


def test_everything_exported_is_there():
    assert all(hasattr(testing, name) for name in testing.__all__)
    with pytest.raises(InputError):
        testing.demo_network("no such activation")
