"""One large linear map: its norm is proven with one Gram matrix, tightly, and as the general proof would."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_certificates_fuzz import fuzz

from lmikit import Network, check, lipschitz
from lmikit.certificates._one_map import LARGE_MAP, proven_square


def exceeds_norm(w, tau):
    """Whether tau I - W W' is positive definite, in rational numbers."""
    rows = [[Fraction(float(v)) for v in row] for row in w]
    size = range(len(rows))
    gram = [[sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for j in size] for i in size]
    return fuzz.exactly_positive_definite([[tau * (i == j) - gram[i][j] for j in size] for i in size])


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    integers=st.booleans(),
    scale=st.integers(-60, 60),
    off=st.sampled_from([0.0, 1e-9, 1e-6, -1e-6, 0.3, -0.3, 3.0, 1e6]),
    headroom=st.sampled_from([1.0, 6.0]),
)
def test_what_is_proven_exceeds_the_norm_exactly(seed, integers, scale, off, headroom):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, 2)
    w = rng.integers(-3, 4, shape).astype(float) if integers else rng.standard_normal(shape)
    w = np.ldexp(w, scale)
    norm = float(np.linalg.norm(w, 2)) ** 2
    found = proven_square(w, norm * (1.0 + off), headroom)
    if found is None:
        return
    assert exceeds_norm(w if shape[0] <= shape[1] else w.T, Fraction(found[0]))
    assert found[0] <= norm * (1.0 + 1e-7)


def test_it_is_not_vacuous():
    rng = np.random.default_rng(0)
    found = [proven_square(w, float(np.linalg.norm(w, 2)) ** 2, 6.0) for w in rng.standard_normal((50, 4, 6))]
    assert sum(one is not None for one in found) >= 45
    for useless in (np.nan, np.inf, 0.0, -1.0):
        assert proven_square(np.eye(3), useless, 6.0) is None
    assert proven_square(np.array([[1.0, 5e-324]]), 1.0, 6.0) is None  # scaling loses a bit


@pytest.mark.parametrize("shape", [(LARGE_MAP, LARGE_MAP), (LARGE_MAP + 200, LARGE_MAP)])
def test_a_large_map_is_proven_tightly_and_accepted(shape, tmp_path):
    rng = np.random.default_rng(1)
    w = rng.standard_normal(shape) / np.sqrt(shape[1])
    network = Network.from_arrays([w])
    certificate = lipschitz(network)
    norm = np.linalg.norm(w, 2)
    assert norm <= certificate.bound <= norm * (1.0 + 1e-8)
    certificate.save(tmp_path / "map.json")
    assert check(tmp_path / "map.json", network).ok
