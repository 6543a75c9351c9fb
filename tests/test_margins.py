"""The dual of the margin SDP: gradients, the start identity, the scaling of other rows."""

import numpy as np
import pytest

import lmikit
from lmikit.claims import Ball, BallAndBox, linf_ball
from lmikit.margins._dual import MarginDual
from lmikit.margins._problem import chain_of, place_of
from lmikit.margins._start import product_multipliers, start_for

ACTIVATIONS = (lmikit.ReLU(), lmikit.LeakyReLU(0.1), lmikit.Abs())
ROW = np.array([1.0, -1.0, 0.0])


def begun(activation, kind, seed=0):
    """A dual with an objective, a feasible point, and its network and input."""
    rng = np.random.default_rng(seed)
    shapes = ((5, 4), (6, 5), (3, 6))
    network = lmikit.Network.from_arrays(
        [rng.standard_normal(s) for s in shapes], [rng.standard_normal(s[0]) for s in shapes], activation
    )
    x = rng.standard_normal(4)
    ball, box = Ball(x, 0.3), linf_ball(x, 0.2)
    region = {"ball": ball, "box": box, "both": BallAndBox(ball, box), "radius": ball}[kind]
    dual = MarginDual(place_of(chain_of(network), region), radius=kind == "radius")
    offset = 1.0 - float(ROW @ network(x)) if kind == "radius" else 0.25
    dual.objective(ROW, offset)
    multipliers, rho = product_multipliers(dual.place.chain)
    y = start_for(dual, multipliers, rho, ROW, offset)
    return network, x, dual, y, offset


@pytest.mark.parametrize("kind", ["ball", "box", "both", "radius"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_the_gradient_is_that_of_the_value(activation, kind):
    *_, dual, y, _ = begun(activation, kind)
    y = y + 0.01 * np.abs(np.random.default_rng(1).standard_normal(y.size)) * np.maximum(y, 1e-3)
    gradient = dual.evaluate(y).gradient
    direction = np.random.default_rng(2).standard_normal(y.size) * np.maximum(np.abs(y), 1e-3)
    step = 1e-5
    ahead, behind = (dual.evaluate(y + s * step * direction).value for s in (1, -1))
    size = float(np.abs(gradient * direction).sum())
    assert (ahead - behind) / (2 * step) == pytest.approx(gradient @ direction, abs=1e-5 * size)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("seed", range(4))
def test_the_start_is_no_worse_than_the_norm_product(activation, seed):
    network, x, dual, y, offset = begun(activation, "ball", seed)
    product = np.linalg.norm(ROW @ network.weights[-1])
    for w in network.weights[:-1]:
        product *= np.linalg.norm(w, 2)
    margin = float(ROW @ network(x)) + offset
    assert margin >= dual.evaluate(y).value >= margin - 0.3 * product * 1.05


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_the_anchored_terms_are_the_increments_product(activation):
    """T (p - p0)(q - q0) = T p q - (T sigma q0) sigma p - (T sigma p0) sigma q for all v, w."""
    _, _, dual, y, _ = begun(activation, "ball")
    _, t, eta, nu = dual.parts(y)
    v0 = dual.place.values
    w0 = np.where(v0 >= 0, dual.right * v0, dual.left * v0)
    rng = np.random.default_rng(3)
    v, w = rng.standard_normal(v0.size), rng.standard_normal(v0.size)
    p, q = w - dual.left * v, w - dual.right * v
    p0, q0 = w0 - dual.left * v0, w0 - dual.right * v0
    terms = t * p * q - eta * dual.sigma * p - nu * dual.sigma * q
    assert terms == pytest.approx(t * (p - p0) * (q - q0), abs=1e-12 * float(t.max()) * 100)


@pytest.mark.parametrize("kind", ["ball", "box", "both", "radius"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_other_rows_have_the_value_that_the_formula_says(activation, kind):
    network, x, dual, y, _ = begun(activation, kind)
    rows = np.array([[1.0, 0.0, -1.0], [0.3, -0.7, 0.4]])
    offsets = np.array([0.1, -0.2]) if kind != "radius" else 1.0 - rows @ network(x)
    values, scales = (dual.squares_of_rows if kind == "radius" else dual.scaled_rows)(y, rows, offsets)
    for row, offset, value, scale in zip(rows, offsets, values, scales, strict=True):
        dual.objective(row, float(offset))
        own = y.copy()
        if kind == "radius":
            own[dual.head - 1] = scale
        else:
            own = y / scale
        assert dual.evaluate(own).value == pytest.approx(value, rel=1e-6, abs=1e-6)
        for nudge in (0.9, 1.1):  # the scale is the best one
            other = own.copy()
            if kind == "radius":
                other[dual.head - 1] *= nudge
            else:
                other = own * nudge
            assert dual.evaluate(other).value <= value + 1e-6 * (1.0 + abs(value))
