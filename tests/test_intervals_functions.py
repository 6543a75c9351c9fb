"""Enclosures of activations against ball arithmetic, and the curvature constants behind the lines."""

import contextlib
import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from test_network_enclosures import series

from lmikit.intervals._functions import profile_of
from lmikit.intervals._relaxation import local_slopes, relaxation
from lmikit.network import (
    ELU,
    GELU,
    Abs,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Slopes,
    Softplus,
    Tanh,
)

flint = pytest.importorskip("flint")
SMOOTH = [
    Tanh(),
    Sigmoid(),
    Softplus(),
    Softplus(3.0),
    GELU(),
    GELU("tanh"),
    SiLU(),
    Mish(),
    Sin(),
    ELU(),
    ELU(-0.5),
]
PIECEWISE = [ReLU(), LeakyReLU(0.1), LeakyReLU(-0.5), PReLU(1.5), Abs(), Hardtanh(-1.0, 0.75), Hardswish()]
POINTS = np.concatenate(
    [np.linspace(-12.0, 12.0, 241), [-900.0, -41.0, -1e-9, -1e-300, 0.0, 1e-300, 1e-9, 39.9, 41.0, 900.0]]
)


def exact(activation):
    """phi in ball arithmetic, of numbers or power series."""
    one = flint.arb(1)
    if isinstance(activation, Tanh):
        return lambda x: 1 - 2 / ((2 * x).exp() + 1)
    if isinstance(activation, Sigmoid):
        return lambda x: one / ((-x).exp() + 1)
    if isinstance(activation, Softplus):
        return lambda x: ((x * activation.beta).exp() + 1).log() / activation.beta
    if isinstance(activation, Sin):
        return lambda x: x.sin()
    if isinstance(activation, ELU):
        return lambda x: (x.exp() - 1) * activation.alpha
    return series(activation, flint)


def taylor(phi, v):
    found = phi(flint.arb_series([flint.arb(v), 1], prec=3))
    return found[0], found[1]


@pytest.mark.parametrize("activation", SMOOTH, ids=repr)
def test_values_and_derivatives_are_enclosed_and_tight(activation):
    saved, flint.ctx.prec = flint.ctx.prec, 9000
    try:
        phi, profile = exact(activation), profile_of(activation)
        points = POINTS[POINTS < 0.0] if isinstance(activation, ELU) else POINTS
        value, slope = profile.value(points), profile.right(points)
        for k, v in enumerate(points):
            first, second = taylor(phi, v)
            assert flint.arb(value.lo[k]) <= first
            assert first <= flint.arb(value.hi[k])
            assert flint.arb(slope.lo[k]) <= second
            assert second <= flint.arb(slope.hi[k])
        assert (value.hi - value.lo <= 1e-12 * (1.0 + np.abs(points))).all()
        assert (slope.hi - slope.lo <= 1e-10).all()
    finally:
        flint.ctx.prec = saved


@pytest.mark.parametrize(
    "activation", [GELU(), GELU("tanh"), SiLU(), Mish(), Tanh(), Sigmoid(), Softplus()], ids=repr
)
def test_the_curvature_constant_holds_on_the_line(activation):
    saved, flint.ctx.prec = flint.ctx.prec, 200
    try:
        phi, limit = exact(activation), flint.arb(profile_of(activation).curvature)
        stack = [(flint.arb(k), flint.arb(k + 1)) for k in range(-40, 40)]
        while stack:
            low, high = stack.pop()
            second = None
            with contextlib.suppress(ValueError):  # the ball is too wide
                second = phi(flint.arb_series([low.union(high), 1], prec=3))[2] * 2
            if second is not None and abs(second) <= limit:
                continue
            middle = ((low + high) / 2).mid()
            stack += [(low, middle), (middle, high)]
            assert len(stack) < 1000
    finally:
        flint.ctx.prec = saved


@st.composite
def cells(draw):
    ends = draw(hnp.arrays(float, (2, 6), elements=st.floats(-9.0, 9.0)))
    return np.sort(ends, axis=0)


@pytest.mark.parametrize("activation", [*SMOOTH, *PIECEWISE], ids=repr)
@settings(max_examples=25)
@given(ends=cells(), share=st.floats(0.0, 1.0), slope=st.floats(-2.0, 2.0))
def test_lines_ranges_and_slopes_hold_between_the_ends(activation, ends, share, slope):
    profile, (low, high) = profile_of(activation), ends
    points = np.stack(
        [np.clip(low + t * (high - low), low, high) for t in (0.0, share, 0.5, 0.5 * share, 1.0)]
    )
    value = profile.value(points)
    for chosen in (None, np.full(6, slope)):
        r = relaxation(profile, low, high, chosen)
        below = r.low_slope * points + r.low
        above = r.up_slope * points + r.up
        room = 1e-14 * (1.0 + np.abs(points))  # of these two lines of the test
        assert (below <= value.hi + room).all()
        assert (above >= value.lo - room).all()
        assert (r.range_lower <= value.hi).all()
        assert (r.range_upper >= value.lo).all()
    alpha, beta = local_slopes(profile, activation.slopes_for(6, "test"), low, high)
    run = np.diff(points[[0, 1, 4]], axis=0)
    rise_low = value.lo[[1, 4]] - value.hi[[0, 1]]
    rise_high = value.hi[[1, 4]] - value.lo[[0, 1]]
    room = 1e-15 * (1.0 + np.abs(value.hi[[1, 4]]))
    assert (alpha * run <= rise_high + room).all()
    assert (beta * run >= rise_low - room).all()


def test_stable_neurons_have_one_slope_and_turns_are_found():
    low, high = np.array([0.0, 1.0, -3.0, -1.0]), np.array([2.0, 4.0, 0.0, 1.0])
    alpha, beta = local_slopes(profile_of(ReLU()), (np.zeros(4), np.ones(4)), low, high)
    assert alpha.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert beta.tolist() == [1.0, 1.0, 0.0, 1.0]
    bounds = SiLU().slopes_for(1, "test")
    ends = [(np.array([2.0]), np.array([3.0])), (np.array([-20.0]), np.array([3.0]))]
    for low, high in ends:  # the maximum of the derivative at 2.399 lies inside
        assert local_slopes(profile_of(SiLU()), bounds, low, high)[1] == bounds[1]
    low, high = np.array([30.0]), np.array([36.0])  # sin: a turn that is not listed
    assert local_slopes(profile_of(Sin()), (np.array([-1.0]), np.array([1.0])), low, high)[1] == 1.0


def test_what_has_no_proven_values_is_refused_by_name():
    with pytest.raises(ValueError, match="nothing is proven about the values of Slopes"):
        profile_of(Slopes(0.0, 1.0))


def test_lines_are_tight():
    tanh = relaxation(profile_of(Tanh()), np.array([-0.5]), np.array([0.8]))
    gap = (tanh.up_slope - tanh.low_slope) * 0.15 + tanh.up - tanh.low
    assert 0.0 < gap < 0.12
    relu = relaxation(profile_of(ReLU()), np.array([-1.0]), np.array([3.0]))
    assert math.isclose(relu.up_slope[0], 0.75)
    assert math.isclose(relu.up[0], 0.75)
    assert relu.low_slope[0] == 1.0
