"""A derandomised slice of the verifier's fuzz: what is accepted is positive definite, exactly."""

import importlib.util
import math
import pathlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit.certificates._verified_cholesky import BlockTridiagonal, BorderedCholesky, verified_cholesky

_SOURCE = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "fuzz_verifier.py"
_SPEC = importlib.util.spec_from_file_location("fuzz_verifier", _SOURCE)
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)

NOT_VACUOUS = (
    "singular",
    "scaled",
    "subnormal",
    "near_singular",
    "hilbert",
    "odd_values",
    "blocks",
    "witnesses",
)


@pytest.mark.parametrize("family", fuzz.FAMILIES)
def test_no_false_accepts(family):
    counts = np.sum([fuzz.run_case(family, 10**6 + k) for k in range(120)], axis=0)
    not_pd, accepted, false_accepts, _ = counts
    assert false_accepts == 0
    assert not_pd > 0
    assert (accepted > 0) or family not in NOT_VACUOUS


def test_the_reference_elimination_is_right():
    assert fuzz.exactly_positive_definite([[Fraction(2), Fraction(1)], [Fraction(1), Fraction(1)]])
    assert not fuzz.exactly_positive_definite([[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]])
    assert not fuzz.exactly_positive_definite([[Fraction(0)]])
    rng = np.random.default_rng(0)
    for _ in range(200):
        a = fuzz._gram(rng, 4, int(rng.integers(1, 5))) - rng.choice([0.0, 30.0]) * np.eye(4)
        eigenvalue = np.linalg.eigvalsh(a)[0]
        if abs(eigenvalue) > 1e-6:
            assert fuzz.exactly_positive_definite(fuzz.rationals(a)) == (eigenvalue > 0)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_block_tridiagonal_agrees_with_dense(seed):
    """Both accept well inside and refuse outside; the block form may only be more generous."""
    rng = np.random.default_rng(seed)
    case, member = fuzz.blocks(rng)
    dense = verified_cholesky(BlockTridiagonal.dense(np.array([[float(v) for v in row] for row in member])))
    if dense.ok:
        assert verified_cholesky(case).ok
        assert fuzz.exactly_positive_definite(member)


@pytest.mark.parametrize("n", [1, 10, 100, 300])
def test_margins_are_small(n):
    """Exactly singular integer Gram plus delta I is accepted from a small relative delta on."""
    rng = np.random.default_rng(n)
    g = rng.integers(-9, 10, (n, max(n - 1, 1))).astype(float)
    if n == 1:
        g[:] = 0.0
    a = g @ g.T
    delta = 1e-13 * max(n, 4) ** 1.5 * max(np.linalg.norm(a, 2), 1.0)
    assert verified_cholesky(BlockTridiagonal.dense(a + delta * np.eye(n))).ok
    assert not verified_cholesky(BlockTridiagonal.dense(a)).ok
    assert not verified_cholesky(BlockTridiagonal.dense(a - delta * np.eye(n))).ok


@pytest.mark.parametrize(
    "matrix",
    [
        [[math.nan]],
        [[math.inf]],
        [[-1.0]],
        [[0.0]],
        [[-0.0]],
        [[1.0, math.nan], [math.nan, 1.0]],
        [[1.0, math.inf], [math.inf, 1.0]],
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.5], [0.25, 1.0]],
        [[1.0, 1.0], [1.0, 1.0]],
        [[1.0, np.nextafter(1.0, 0)], [np.nextafter(1.0, 0), 1.0]],
        [[1e308, 1e308], [1e308, 1e308]],
        [[5e-324, 5e-324], [5e-324, 5e-324]],
    ],
)
def test_refused(matrix):
    assert not verified_cholesky(BlockTridiagonal.dense(np.array(matrix))).ok


def test_a_radius_is_respected():
    a = np.eye(3)
    for radius, good in ((0.3, True), (0.4, False), (math.nan, False), (math.inf, False)):
        assert verified_cholesky(BlockTridiagonal.dense(a, np.full((3, 3), radius))).ok is good


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-16, 1e-15, 1e-14, -1e-16, -1e-14]))
def test_borders_share_a_factor_and_are_proven_one_by_one(seed, nudge):
    """What is accepted is positive definite exactly; the least rho is accepted."""
    rng = np.random.default_rng(seed)
    case, member = fuzz.blocks(rng)
    shared = BorderedCholesky(case)
    n = case.diagonal[-1].shape[0]
    rows = rng.standard_normal((4, n)) * 10.0 ** rng.uniform(-3, 3, (4, 1))
    rows[0, rng.integers(n)] = 0.0
    least = shared.least(rows)
    rhos = np.where(np.isfinite(least), least, 1.0) * (1.0 + nudge)
    for row, rho, held in zip(rows, rhos, shared.holds(rows, rhos), strict=True):
        zeros = [Fraction(0)] * (len(member) - n)
        border = [*zeros, *(Fraction(float(v)) for v in row)]
        full = [[*line, b] for line, b in zip(member, border, strict=True)] + [
            [*border, Fraction(float(rho))]
        ]
        if held:
            assert fuzz.exactly_positive_definite(full)
    if np.isfinite(least).all():
        assert shared.holds(rows, least).all()
        assert not shared.holds(rows, np.zeros(4)).any()
        assert not shared.holds(rows, np.array([np.nan, np.inf, -1.0, 0.0])).any()
