"""Lipschitz bounds on a region: sound for pairs, never above the global one, refused when changed."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lmikit import Network, NotCertified, check, lipschitz, local_lipschitz
from lmikit.certificates.local import LocalCertificate, verify_local
from lmikit.claims import Ball, BallAndBox, Box
from lmikit.network import GELU, Tanh

EXAMPLE = Network.from_arrays(
    [
        [[-1.7, -1.3], [-1.4, -0.4], [-2.3, -0.2], [-1.0, 0.9]],
        [[0.8, 1.1, 0.6, 0.0], [0.7, 1.2, -0.5, 0.5], [0.0, 1.2, -0.7, -0.2], [0.3, 0.2, -1.3, 0.3]],
        [[-0.1, -0.2, -0.2, 0.2], [-1.8, 1.6, -0.9, -2.2]],
    ],
    [[0.0, 0.4, -0.2, 0.5], [0.5, -0.3, -0.7, -0.4], [0.0, 0.0]],
)
REGION = Box([0.15, -0.85], [0.85, -0.15])


def test_known_example():
    """Exact LipSDP on CROWN's slopes 5.87283, exact local constant 5.86952, global 10.190."""
    certificate = local_lipschitz(EXAMPLE, REGION)
    assert abs(certificate.bound - 5.87283) < 1e-4
    assert certificate.bound >= 5.86952
    assert sum(certificate.undecided) == 4
    assert lipschitz(EXAMPLE, region=REGION).bound == certificate.bound
    assert "for all x, x' with lower <= x <= upper" in certificate.claim


@pytest.mark.parametrize("activation", ["relu", Tanh(), GELU(), "abs"], ids=str)
def test_pairs_of_the_region_and_the_global_bound(activation):
    rng = np.random.default_rng(5)
    network = Network.from_arrays(
        [rng.standard_normal(s) for s in ((6, 3), (5, 6), (2, 5))],
        [rng.standard_normal(n) for n in (6, 5, 2)],
        activation,
    )
    center = rng.standard_normal(3)
    certificate = local_lipschitz(network, Ball(center, 0.4))
    assert certificate.bound <= lipschitz(network).bound * (1.0 + 1e-9)
    directions = rng.standard_normal((2, 500, 3))
    x = center + 0.4 * directions / np.maximum(np.linalg.norm(directions, axis=2, keepdims=True), 1.0) / 1.01
    rise = np.linalg.norm(network(x[0]) - network(x[1]), axis=1)
    assert (rise <= certificate.bound * np.linalg.norm(x[0] - x[1], axis=1) * (1.0 + 1e-12)).all()
    assert check(certificate, network).ok


REGIONS = ("box", "flat box", "ball", "ball and box")


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(REGIONS),
    activation=st.sampled_from(["relu", "tanh", "abs"]),
)
def test_local_is_between_sampled_jacobians_and_the_global_bound(seed, kind, activation):
    """On every kind of region, through the one public door."""
    rng = np.random.default_rng(seed)
    network = Network.from_arrays(
        [rng.standard_normal(s) for s in ((5, 3), (4, 5), (2, 4))],
        [rng.standard_normal(n) for n in (5, 4, 2)],
        activation,
    )
    center, half = rng.standard_normal(3), rng.uniform(0.05, 0.8, 3)
    half[0] = 0.0 if kind == "flat box" else half[0]
    box, ball = Box(center - half, center + half), Ball(center, float(rng.uniform(0.1, 1.0)))
    region = {"ball": ball, "ball and box": BallAndBox(ball, box)}.get(kind, box)
    certificate = lipschitz(network, region=region)
    assert certificate.bound <= lipschitz(network).bound * (1.0 + 1e-7)
    x = (
        rng.uniform(box.lower, box.upper, (60, 3))
        if region.box is not None
        else center + ball.radius * 0.57 * rng.uniform(-1, 1, (60, 3))
    )
    x = np.array([point for point in x if region.contains(point)] or [region.anchor])
    norms = [np.linalg.norm(network.jacobian(point), 2) for point in x]
    assert np.nanmax([0.0, *norms]) <= certificate.bound * (1.0 + 1e-12)
    assert check(certificate, network).ok


def test_files_are_checked_and_changes_are_refused(tmp_path):
    certificate = local_lipschitz(EXAMPLE, REGION)
    path = tmp_path / "local.json"
    certificate.save(path)
    assert check(path, EXAMPLE).ok
    assert check(path, EXAMPLE, exact=True).ok
    assert LocalCertificate.load(path, EXAMPLE).bound == certificate.bound
    biased = Network.from_arrays(EXAMPLE.weights, [layer.bias + 1e-6 for layer in EXAMPLE.layers])
    assert not check(path, biased).ok
    data = json.loads(path.read_text())
    path.write_text(data["global"])  # narrow slopes without their region
    assert not check(path, EXAMPLE).ok
    low = {**data, "claim": {**data["claim"], "L": (0.9 * certificate.bound).hex()}}
    path.write_text(json.dumps(low))
    assert not check(path, EXAMPLE).ok
    wide = local_lipschitz(EXAMPLE, Box([-1.0, -2.0], [2.0, 1.0]))
    moved = {**data, "claim": {**json.loads(wide.to_text())["claim"], "L": data["claim"]["L"]}}
    path.write_text(json.dumps(moved))
    result = check(path, EXAMPLE)
    assert not result.ok
    assert "slopes do not contain" in result.reason


def test_slopes_that_do_not_hold_are_refused():
    certificate = local_lipschitz(EXAMPLE, REGION)
    slopes = tuple((alpha, np.minimum(beta, 0.5)) for alpha, beta in certificate.slopes)
    with pytest.raises(NotCertified, match="do not contain"):
        verify_local(EXAMPLE, REGION, slopes, certificate.inner.witness)
