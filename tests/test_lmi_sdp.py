"""Laws of `SDP`: validation, evaluation, residuals of known optima and rays, what it prints and draws."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sdp_strategies import (
    bad_dimension_cases,
    degenerate_sdps,
    infeasible_sdps,
    random_optimal,
    sdps_with_optimum,
    unbounded_sdps,
)

from lmikit import InputError
from lmikit.lmi import LMI, SDP, Dual, epigraph_form, spy

TINY = 1e-10


@given(st.one_of(sdps_with_optimum(quadratic=None), degenerate_sdps()))
def test_known_optima_satisfy_the_optimality_conditions(known):
    primal = known.sdp.residuals(known.y)
    dual = known.sdp.dual_residuals(known.y, known.dual)
    assert primal.violation < TINY
    assert dual.violation < TINY
    assert abs(dual.gap) < TINY * (1 + abs(known.optimum))
    assert primal.objective == known.optimum == known.sdp.objective(known.y)
    if known.strict:
        for lmi, X in zip(known.sdp.lmis, known.dual.X, strict=True):
            assert np.linalg.matrix_rank(lmi.evaluate(known.y).toarray() + X, hermitian=True) == lmi.size


@settings(max_examples=40)
@given(sdps_with_optimum(), st.integers(0, 2**32 - 1))
def test_residuals_measure_violations(known, seed):
    """Against the definitions at a random point, most of which are infeasible."""
    sdp, y = known.sdp, known.y + np.random.default_rng(seed).standard_normal(known.y.size)
    r = sdp.residuals(y)
    for lmi, margin in zip(sdp.lmis, r.lmis, strict=True):
        E, P, Q = lmi.E.toarray(), lmi.P.toarray(), lmi.Q.toarray()
        F = lmi.F0.toarray() + sum(
            w * (np.outer(p, q) + np.outer(q, p)) / 2 for w, p, q in zip(E @ y, P.T, Q.T, strict=True)
        )
        np.testing.assert_allclose(lmi.evaluate(y).toarray(), F, atol=1e-12)
        assert margin == pytest.approx(np.linalg.eigvalsh(F).min(initial=np.inf), abs=1e-10)
    for soc, margin in zip(sdp.socs, r.socs, strict=True):
        x = soc.C.toarray() @ y + soc.d
        assert margin == pytest.approx(x[0] - np.sqrt(sum(x[1:] ** 2)), abs=1e-12)
    assert r.inequality == pytest.approx((sdp.h - sdp.G.toarray() @ y).min(initial=np.inf))
    assert r.equality == pytest.approx(abs(sdp.A.toarray() @ y - sdp.b).max(initial=0))
    assert r.violation == max(0, -min([*r.lmis, *r.socs, r.inequality]), r.equality)
    assert "violation" in str(r)


@settings(max_examples=40)
@given(sdps_with_optimum(), st.integers(0, 2**32 - 1))
def test_adjoint_and_gap(known, seed):
    """<X, F(y) - F0> = F*(X)'y, and the gap is the sum of the complementarity products."""
    rng = np.random.default_rng(seed)
    sdp, y = known.sdp, rng.standard_normal(known.y.size)
    products = known.dual.z @ (sdp.h - sdp.G @ y) + known.dual.v @ (sdp.b - sdp.A @ y)
    for lmi, X in zip(sdp.lmis, known.dual.X, strict=True):
        F = lmi.evaluate(y).toarray()
        assert lmi.adjoint(X) @ y == pytest.approx(np.sum(X * (F - lmi.F0)), abs=1e-9)
        products += np.sum(X * F)
    for soc, s in zip(sdp.socs, known.dual.s, strict=True):
        products += s @ (soc.C @ y + soc.d)
    assert sdp.dual_residuals(y, known.dual).gap == pytest.approx(products, abs=1e-9)


@settings(max_examples=40)
@given(infeasible_sdps())
def test_infeasible_ones_carry_a_dual_ray(known):
    zero = dataclasses.replace(known.sdp, c=0 * known.sdp.c)
    d = zero.dual_residuals(np.zeros(zero.variables), known.dual)
    assert d.violation < TINY
    assert d.objective == pytest.approx(1.0)


@settings(max_examples=40)
@given(unbounded_sdps())
def test_unbounded_ones_carry_a_ray_from_a_feasible_point(known):
    sdp = known.sdp
    assert sdp.residuals(np.zeros(sdp.variables)).violation == 0
    for t in (1.0, 1e3):
        r = sdp.residuals(t * known.y)
        assert r.violation < TINY * t
        assert r.objective == pytest.approx(-t)


@pytest.mark.parametrize("case", bad_dimension_cases())
def test_broken_dimensions_are_refused(case):
    arguments, pattern = bad_dimension_cases()[case]
    with pytest.raises(InputError, match=pattern):
        SDP(**arguments)


def test_broken_blocks_are_refused():
    eye = sp.eye_array(2)
    with pytest.raises(InputError, match="F0 is not symmetric"):
        LMI(sp.csc_array([[0.0, 1], [0, 0]]), eye, eye, eye)
    with pytest.raises(InputError, match="'B': Q has shape"):
        LMI(eye, eye, sp.eye_array(3), eye, name="B")
    with pytest.raises(InputError, match="does not sum to 2"):
        LMI(eye, eye, eye, eye, partition=(1, 2))
    with pytest.raises(InputError, match="y has shape"):
        SDP(np.ones(2)).residuals(np.ones(3))
    with pytest.raises(InputError, match=r"dual.X has shapes"):
        SDP(np.ones(2), (LMI(eye, eye, eye, eye),)).dual_residuals(np.ones(2), Dual())


@settings(max_examples=30)
@given(sdps_with_optimum(quadratic=True), st.integers(0, 2**32 - 1))
def test_epigraph_form_has_the_same_values(known, seed):
    """At any y, the least t that the cone allows is 1/2 y'H y, and the optimum carries over."""
    sdp, epi = known.sdp, epigraph_form(known.sdp)
    assert epi.H is None
    y = np.random.default_rng(seed).standard_normal(sdp.variables)
    for point in (y, known.y):
        t = 0.5 * point @ (sdp.H @ point)
        lifted = np.append(point, t)
        assert epi.objective(lifted) == pytest.approx(sdp.objective(point))
        assert abs(epi.residuals(lifted).socs[-1]) < 1e-9 * (1 + t)
        assert epi.residuals(np.append(point, t - 1e-3)).socs[-1] < 0
    assert epigraph_form(epi) is epi


def test_an_indefinite_objective_has_no_epigraph_form():
    with pytest.raises(InputError, match="eigenvalue"):
        epigraph_form(SDP(np.zeros(2), H=sp.diags_array([1.0, -1.0])))


def test_repr_says_what_is_inside():
    known = random_optimal(np.random.default_rng(0), (6, 1, 0, *([2] * 9)), 4)
    text = repr(known.sdp)
    assert "4 variables, 12 LMIs" in text
    assert "1 equality" in text
    assert "and 4 more of order 2 to 2" in text
    eye = sp.eye_array(4)
    assert "diagonal, 4 variables" in repr(LMI(eye, eye, eye, eye, name="D"))
    assert "block tridiagonal, 2 blocks of 2" in repr(LMI(eye, eye, eye, eye, partition=(2, 2)))
    assert "order 0" in repr(
        LMI(sp.csc_array((0, 0)), sp.csc_array((0, 0)), sp.csc_array((0, 0)), sp.csc_array((0, 4)))
    )


def test_spy_draws_constants_and_variables_apart():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    eye = sp.eye_array(3, format="csc")
    constant = sp.csc_array(np.ones((3, 3)))
    lmi = LMI(constant, eye, eye, eye, partition=(1, 2))
    ax = spy(SDP(np.ones(3), (lmi, lmi)))
    dots = [len(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "None"]
    assert dots == [9, 3, 9, 3]
    assert "order 6" in ax.get_title()
    plt.close(ax.figure)
    with pytest.raises(InputError, match="no LMI"):
        spy(SDP(np.ones(3)))
