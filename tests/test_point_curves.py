"""Terms of curved activations: true on samples of the line, refused as soon as a constant is too small."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit.certificates.point import CURVE_TERMS, TermMultipliers, curve_of, verify_point
from lmikit.claims import Ball, BallAndBox, linf_ball
from lmikit.margins import (
    CURVE_KINDS,
    Search,
    curve_range,
    curved_chain_of,
    propose_curves,
    slopes_at,
    supporting_lines,
    touching_parabolas,
)
from lmikit.network import (
    ELU,
    GELU,
    Hardswish,
    Hardtanh,
    Mish,
    Network,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Tanh,
)

CURVES = (
    Tanh(),
    Sigmoid(),
    GELU(),
    GELU("tanh"),
    SiLU(),
    Softplus(),
    Softplus(3.0),
    ELU(),
    ELU(0.5),
    Mish(),
    Hardtanh(),
    Hardswish(),
)
POINTS = np.array([-20.0, -6.0, -2.3, -1.1, -0.4, 0.013, 0.7, 1.45, 3.1, 7.0, 25.0])


def terms_at(activation, points):
    found = [
        slopes_at(activation, points),
        slopes_at(activation, points, whole=True),
        *touching_parabolas(activation, points),
    ]
    span = curve_range(activation, points.size)
    return [*found, *supporting_lines(activation, points.size)] if span is None else [*found, span]


def inequality(kind, q, v, w):
    """The left side, as the module's text states it, and the size of what was summed."""
    if kind == "curve_range":
        return (w - q["low"]) * (q["high"] - w), 1.0
    h, rise = v - q["point"], w - q["value"]
    if kind == "curve_chord":
        x, y = rise - q["low"] * h, q["high"] * h - rise
        return x * y + q["slack"], (np.abs(x) + np.abs(y)) * (np.abs(w) + np.abs(q["value"]))
    sign = 1.0 if kind == "curve_above" else -1.0
    bend = q["curvature"] * h**2
    return sign * (q["slope"] * h - rise) + bend, np.abs(w) + np.abs(q["slope"] * h) + bend


@pytest.mark.parametrize("activation", CURVES, ids=repr)
def test_proposed_terms_are_proven_and_hold_on_samples(activation):
    for term in terms_at(activation, POINTS):
        assert term.proven.all(), term.kind
        v = np.concatenate([np.linspace(-60, 60, 6001), POINTS, [-1e3, 1e3, -1e8, 1e8]])[:, None]
        value, size = inequality(term.kind, term.parameters, v, activation(v))
        assert (value >= -1e-15 * (1.0 + size)).all(), term.kind


@given(st.sampled_from(CURVES), st.floats(-9.0, 9.0), st.floats(-40.0, 40.0))
@settings(max_examples=15)
def test_whatever_is_proven_holds(activation, p, v):
    points, at = np.array([p]), np.array([v])
    for term in terms_at(activation, points):
        if term.proven.all():
            value, size = inequality(term.kind, term.parameters, at, activation(at))
            assert (value >= -1e-15 * (1.0 + size)).all(), term.kind


@pytest.mark.parametrize("activation", CURVES, ids=repr)
def test_a_constant_that_is_too_small_is_refused(activation):
    points = np.array([-0.9, 0.3, 1.1])
    chord, _, above, below, *_ = terms_at(activation, points)
    changes = [(chord, "low", 2e-3), (chord, "high", -2e-3), (above, "value", -1e-6), (below, "value", 1e-6)]
    changes += [(t, "curvature", -2e-3) for t in (above, below)]
    changes += [(above, "slope", 1e-3), (below, "slope", -1e-3), (chord, "value", 1e-2)]
    for term, name, change in changes:
        wrong = dict(term.parameters)
        wrong[name] = wrong[name] + change
        v = np.concatenate([np.linspace(-40, 40, 80001), points + 1e-3, points - 1e-3, points])[:, None]
        value, _ = inequality(term.kind, wrong, v, activation(v))
        false = value.min(axis=0) < -1e-12
        proven = CURVE_TERMS[term.kind].proven(activation, wrong)
        assert not (proven & false).any(), (term.kind, name)
        if name == "curvature":
            assert not proven[wrong[name] < 0.0].any()


def test_most_mutations_are_really_false():
    """The test above would be empty if the constants were far from tight."""
    chord, _, above, below, *_ = terms_at(Tanh(), np.array([-0.9, 0.3, 1.1]))
    for term, name, change in (
        (chord, "high", -1e-3),
        (above, "curvature", -1e-3),
        (below, "curvature", -1e-3),
    ):
        wrong = {**term.parameters, name: term.parameters[name] + change}
        assert not CURVE_TERMS[term.kind].proven(Tanh(), wrong).any()


def test_the_range_is_that_of_the_activation():
    low, high = np.array([-1.0, -0.99]), np.array([1.0, 1.0])
    assert CURVE_TERMS["curve_range"].proven(Tanh(), {"low": low, "high": high}).tolist() == [True, False]
    assert not CURVE_TERMS["curve_range"].proven(GELU(), {"low": low - 9, "high": high + 9}).any()
    assert curve_range(GELU(), 2) is None


def test_nan_and_infinity_prove_nothing():
    bad = np.array([np.nan, np.inf])
    good = np.zeros(2)
    for kind in ("curve_above", "curve_below"):
        for name in ("point", "value", "slope", "curvature"):
            q = {"point": good, "value": good, "slope": good, "curvature": good + 1.0, name: bad}
            held = CURVE_TERMS[kind].proven(Tanh(), q)
            assert not held[0]
            assert not held[1] or name in ("value", "curvature")


@pytest.mark.parametrize("activation", CURVES, ids=repr)
def test_second_derivatives_are_enclosed(activation):
    rng = np.random.default_rng(0)
    lo = np.concatenate([rng.uniform(-6.0, 6.0, 300), rng.uniform(-40.0, 40.0, 50)])
    hi = lo + rng.uniform(1e-3, 0.5, lo.size)
    curve = curve_of(activation)
    whole = np.array([not any(a < k < b for k in curve.profile.kinks) for a, b in zip(lo, hi, strict=True)])
    lo, hi = lo[whole], hi[whole]
    found = curve.second(lo, hi)
    quotient = (activation.derivative(hi) - activation.derivative(lo)) / (hi - lo)
    inside = np.isfinite(quotient)
    room = 1e-12 / (hi - lo)
    assert (found.lo <= quotient + room)[inside].all()
    assert (found.hi >= quotient - room)[inside].all()


def test_an_unknown_activation_is_named():
    with pytest.raises(Exception, match="sin"):
        curve_of(Sin())


def curved_network(rng, activation, dims=(4, 3, 4, 3)):
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(dims)]
    return Network.from_arrays(weights, [0.5 * rng.standard_normal(b) for b in dims[1:]], activation)


@pytest.mark.parametrize("index", range(len(CURVES)))
def test_proven_margins_stay_below_samples_and_are_checked(index):
    rng = np.random.default_rng(3)
    network = curved_network(rng, CURVES[index])
    x0 = rng.standard_normal(4)
    regions = (Ball(x0, 0.4), linf_ball(x0, 0.2), BallAndBox(Ball(x0, 0.4), linf_ball(x0, 0.3)))
    region = regions[index % 3]
    rows, search = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]), Search(target=np.inf, newton=12)
    witness = propose_curves(curved_chain_of(network), region, rows, np.zeros(2), search)
    certificate = verify_point(network, witness)
    g = rng.standard_normal((4000, 4))
    x = x0 + 0.4 * g / np.linalg.norm(g, axis=1, keepdims=True) * rng.uniform(0, 1, (4000, 1)) ** 0.1
    if region.box is not None:
        x = np.clip(x, region.box.lower, region.box.upper)
    assert (network(x) @ rows.T >= certificate.claim.lower - 1e-9).all()
    assert lmikit.check(certificate, network)
    assert lmikit.check(certificate, network, exact=True)


def test_each_kind_of_term_improves_the_bound():
    rng = np.random.default_rng(5)
    network = curved_network(rng, Tanh())
    region, rows = Ball(rng.standard_normal(4), 0.3), np.array([[1.0, -1.0, 0.0]])
    bounds = []
    for count in range(len(CURVE_KINDS) + 1):
        witness = propose_curves(
            curved_chain_of(network), region, rows, np.zeros(1), Search(target=np.inf), CURVE_KINDS[:count]
        )
        bounds.append(verify_point(network, witness).margin)
    assert bounds[1] > bounds[0] + 1e-3
    assert bounds[3] > bounds[1] + 1e-3
    assert (np.diff(bounds) > -1e-4).all()


def test_changed_parameters_in_a_file_are_refused(tmp_path):
    rng = np.random.default_rng(7)
    network = curved_network(rng, GELU())
    x0 = rng.standard_normal(4)
    result = lmikit.certify_point(network, x0, eps=0.05)
    assert result.certificate is not None
    path = tmp_path / "point.json"
    result.certificate.save(path)
    assert lmikit.check(path, network, exact=True)
    refused = 0
    witness = result.certificate.witness
    for g, group in enumerate(witness.groups):
        for k, layer in enumerate(group.layers):
            for j, item in enumerate(layer):
                for name in item.parameters:
                    if item.kind != "curve_chord" or name == "point":
                        continue
                    sign = 1.0 if name == "low" else -1.0
                    changed = {**item.parameters, name: item.parameters[name] + 0.5 * sign}
                    wrong = TermMultipliers(item.kind, np.maximum(item.values, 1e-3), changed)
                    layers = list(group.layers)
                    layers[k] = (*layer[:j], wrong, *layer[j + 1 :])
                    groups = list(witness.groups)
                    groups[g] = dataclasses.replace(group, layers=tuple(layers))
                    with pytest.raises(lmikit.NotCertified, match="not proven for neuron"):
                        verify_point(network, dataclasses.replace(witness, groups=tuple(groups)))
                    refused += 1
    assert refused


def test_certify_point_gives_three_verdicts_and_a_radius():
    rng = np.random.default_rng(11)
    network = curved_network(rng, Tanh())
    x0 = rng.standard_normal(4)
    assert lmikit.certify_point(network, x0, eps=1e-3).verdict == "proven"
    assert lmikit.certify_point(network, x0, eps=30.0).verdict == "refuted"
    result = lmikit.certify_point(network, x0)
    assert result.verdict == "proven"
    assert lmikit.check(result.certificate, network)
    again = lmikit.certify_point(network, x0, eps=0.98 * result.radius)
    assert again.verdict == "proven"


def test_pieces_and_curves_mix():
    rng = np.random.default_rng(13)
    weights = [rng.standard_normal(s) for s in ((4, 3), (4, 4), (2, 4))]
    network = Network.from_arrays(weights, None, [ReLU(), Tanh()])
    x0 = rng.standard_normal(3)
    assert lmikit.certify_point(network, x0, eps=1e-3).verdict == "proven"
    with pytest.raises(lmikit.InputError, match="sin"):
        curved_chain_of(Network.from_arrays(weights, None, Sin()))
