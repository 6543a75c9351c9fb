"""Terms of curved activations: true on samples of the line, refused as soon as a constant is too small."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit.certificates.point import CURVE_TERMS, curve_of
from lmikit.margins import curve_range, slopes_at, touching_parabolas
from lmikit.network import (
    ELU,
    GELU,
    Hardswish,
    Hardtanh,
    Mish,
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
    return found if span is None else [*found, span]


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
@settings(max_examples=40)
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
