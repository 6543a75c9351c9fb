"""Attacks on claims about linear systems: radii and numbers at the edges, and systems without states."""

import numpy as np
import pytest

import lmikit
from lmikit import Network, control
from lmikit.certificates.control import (
    H2Norm,
    HInfinityNorm,
    NoCommonLyapunov,
    RegionOfAttraction,
    verify_control,
)
from lmikit.systems import NetworkLoop, System


@pytest.mark.parametrize("radius", [-25.0, -1e-3, 0.0, np.inf, np.nan])
def test_an_equilibrium_is_enclosed_by_a_positive_radius_only(radius):
    network = Network.from_arrays([[[2.0]], [[3.0]], [[0.1]]], [[0.0], [0.0], [0.0]], "sigmoid")
    loop = NetworkLoop(System([[0.3]], [[1.0]], dt=1.0), network, (0,))
    claim = RegionOfAttraction(np.array([[1.00000001]]), np.array([7.0]), radius)
    witness = {"T": np.array([0.50305127, 0.45049617]), "delta": np.array([2.0])}
    with pytest.raises(lmikit.LmikitError):
        verify_control(claim, loop, witness)


@pytest.mark.parametrize("number", [2**33, np.int64(2**33), 2**40])
def test_integers_do_not_wrap_around_in_a_claim(number):
    system = System([[-1.0]], [[1.0]], [[1.0]])
    h2, peak = control.h2_norm(system).certificate, control.h_infinity_norm(system).certificate
    for claim, witness in (
        (H2Norm(number, h2.claim.upper), h2.witness),
        (HInfinityNorm(number, peak.claim.upper), peak.witness),
    ):
        with pytest.raises(lmikit.LmikitError):
            verify_control(claim, system, witness)


def test_nothing_contrary_is_proven_of_a_system_without_states():
    empty = System(np.zeros((0, 0)))
    with pytest.raises(lmikit.LmikitError):
        verify_control(NoCommonLyapunov(), empty, {"X": np.zeros((1, 0, 0))})


def test_the_arrays_of_a_claim_are_its_own():
    system = System([[-1.0]])
    found = control.poles(system, control.half_plane(0.0)).certificate
    with pytest.raises(ValueError, match="read-only"):
        found.claim.L[0, 0] = 100.0


def test_an_unstable_mode_that_nothing_sees_does_not_refute_passivity():
    for B, C in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        assert control.passivity(System([[1.0]], [[B]], [[C]], [[1.0]])).verdict != "refuted"
