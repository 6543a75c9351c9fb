"""Certified radii: pairwise bounds are proven and sound, radii are never refuted by a found attack."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import (
    EclipseFast,
    InputError,
    LipSDP,
    Network,
    PairwiseBounds,
    SpectralProduct,
    certified_accuracy,
    certified_radius,
    lipschitz,
    pairwise_bounds,
)
from lmikit._pairwise import _difference_error
from lmikit.testing import assert_covers, networks


def difference(network, i, j):
    """f_i - f_j as a network of its own."""
    row = network.weights[-1][i] - network.weights[-1][j]
    bias = network.layers[-1].bias[i] - network.layers[-1].bias[j]
    last = Network.from_arrays([row[None, :]], [[bias]]).layers[0]
    return Network((*network.layers[:-1], last), network.input_dim)


def gaussian(seed=0, dims=(4, 12, 10, 5), dtype=np.float64):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(dims))
    weights = [(rng.standard_normal((m, n)) / np.sqrt(n)).astype(dtype) for n, m in pairs]
    return Network.from_arrays(weights, [0.3 * rng.standard_normal(m) for _, m in pairs])


@settings(max_examples=15)
@given(data=st.data())
def test_pairwise_bounds_cover_every_difference_of_outputs(data):
    network = data.draw(networks(max_hidden=2, min_outputs=2, concrete=True))
    method = data.draw(st.sampled_from((SpectralProduct(), EclipseFast(), LipSDP())))
    result = pairwise_bounds(network, method)
    bounds = result.bounds
    assert np.array_equal(bounds, bounds.T)
    assert not bounds.diagonal().any()
    assert (bounds <= np.sqrt(2.0) * result.certificate.bound * (1 + 1e-15)).all()
    for i, j in itertools.combinations(range(network.output_dim), 2):
        assert_covers(difference(network, i, j), bounds[i, j])


def test_multipliers_of_one_certificate_serve_every_pair():
    network = gaussian()
    certificate = lipschitz(network)
    shared = pairwise_bounds(network, certificate=certificate).bounds
    own = pairwise_bounds(network, certificate=certificate, each_pair=True).bounds
    upper = np.triu_indices(5, 1)
    assert (own[upper] <= shared[upper] * (1 + 1e-6)).all()
    assert (shared[upper] < 1.6 * own[upper]).all()
    assert shared.max() < np.sqrt(2.0) * certificate.bound


def test_float32_rows_have_exact_differences_and_float64_rows_a_slack():
    w = gaussian(dtype=np.float32).weights[-1]
    assert not _difference_error(w[0], w[1]).any()
    a, b = np.array([1.0, 0.1]), np.array([2.0**-60, 0.3])
    assert _difference_error(a, b).tolist() == [-(2.0**-60), 0.0]
    network = Network.from_arrays([[[1.0], [0.0]], [[1.0, 0.0], [2.0**-60, 0.0]]])
    # the true constant of f_0 - f_1 is 1 - 2**-60, which rounds to 1: the bound stays above
    assert pairwise_bounds(network).bounds[0, 1] >= 1.0


def test_radii_are_not_refuted():
    """Steps of the certified length along the steepest descent of the margin never change the class."""
    network = gaussian(3)
    bounds = pairwise_bounds(network)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 4))
    radii = certified_radius(bounds, network(x))
    assert (radii > 0.0).all()
    assert (radii >= certified_radius(bounds.certificate, network(x))).all()
    directions = rng.standard_normal((200, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for point, radius in zip(x, radii, strict=True):
        winner = network(point).argmax()
        jacobian = network.jacobian(point)
        steepest = np.nan_to_num(jacobian[winner] - jacobian)
        steepest = steepest[np.linalg.norm(steepest, axis=1) > 0]
        steepest /= np.linalg.norm(steepest, axis=1, keepdims=True)
        moved = point + 0.999999 * radius * np.vstack([directions, -steepest])
        assert (network(moved).argmax(axis=1) == winner).all()


def test_a_linear_classifier_has_the_exact_radius():
    network = Network.from_arrays([[[3.0, 0.0], [0.0, 4.0]]])
    radius = float(certified_radius(pairwise_bounds(network), network([1.0, 0.0])))
    assert radius <= 3.0 / 5.0  # margin 3, ||(3, -4)|| = 5
    assert radius == pytest.approx(0.6, rel=1e-6)


def test_ties_errors_single_outputs_and_constants():
    network = gaussian()
    bounds = pairwise_bounds(network, EclipseFast())
    assert certified_radius(bounds, np.zeros(5)) == 0.0
    logits = network(np.ones((1, 4)))
    plain = certified_radius(bounds, logits)
    assert certified_radius(bounds, logits, logit_error=1e-3) < plain
    assert certified_radius(bounds, logits, logit_error=1e3) == 0.0
    one = lipschitz(Network.from_arrays([[[2.0]]]))
    assert certified_radius(one, [[-3.0]])[0] == pytest.approx(1.5, rel=1e-6)
    assert certified_radius(one, [[-3.0]])[0] <= 1.5
    constant = Network.from_arrays([np.zeros((2, 3))], [[1.0, 0.0]])
    assert certified_radius(pairwise_bounds(constant), constant(np.ones(3))) == np.inf


def test_the_report():
    network = gaussian()
    bounds = pairwise_bounds(network, EclipseFast())
    x = np.random.default_rng(1).standard_normal((60, 4))
    logits = network(x)
    labels = logits.argmax(axis=1)
    labels[:20] = (labels[:20] + 1) % 5
    report = certified_accuracy(bounds, logits, labels, [0.0, 0.05, 1e9])
    assert report.accuracy == pytest.approx(40 / 60)
    assert report.certified[0] == report.accuracy
    assert report.certified[0] >= report.certified[1] >= report.certified[2] == 0.0
    assert report.radii[:20].tolist() == [0.0] * 20
    assert "certified accuracy" in str(report)


def test_what_does_not_fit_is_refused():
    network, other = gaussian(), gaussian(1)
    bounds = pairwise_bounds(network, EclipseFast())
    with pytest.raises(TypeError, match="pairwise_bounds, which proves them"):
        PairwiseBounds(np.zeros((5, 5)), bounds.certificate)
    with pytest.raises(InputError, match="belongs to another network"):
        pairwise_bounds(other, certificate=bounds.certificate)
    with pytest.raises(InputError, match="has 1 output; expected at least 2"):
        pairwise_bounds(Network.from_arrays([np.ones((1, 2))]))
    for logits in (np.zeros(4), np.full(5, np.nan), np.zeros((1, 1, 5))):
        with pytest.raises(InputError, match=r"^logits (have shape|holds NaN)"):
            certified_radius(bounds, logits)
    with pytest.raises(InputError, match="expected PairwiseBounds or a Certificate"):
        certified_radius(3.0, np.zeros(5))
    with pytest.raises(InputError, match="logit_error"):
        certified_radius(bounds, np.zeros(5), logit_error=-1.0)
    with pytest.raises(InputError, match="labels have shape"):
        certified_accuracy(bounds, np.zeros((2, 5)), [0])
    with pytest.raises(InputError, match="epsilons"):
        certified_accuracy(bounds, np.zeros((1, 5)), [0], [-1.0])


def test_pairwise_bounds_are_printed_in_two_lines():
    network = Network.from_arrays([np.eye(3), np.diag([1.0, 2.0, 3.0])])
    bounds = pairwise_bounds(network)
    line, whole = str(bounds).splitlines()
    assert line == repr(bounds)
    assert line.startswith("PairwiseBounds(3 pairs, ")
    assert max(len(line), len(whole)) < 110
