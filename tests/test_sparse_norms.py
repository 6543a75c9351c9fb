"""Norms of sparse maps without dense matrices: never below the norm, close to it, and no less is proven."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import check, lipschitz, lower_bound
from lmikit.certificates.graph._sparse_norms import (
    exact_sparse_margin,
    sparse_norm_bound,
    sparse_norm_is_below,
)
from lmikit.graph import GraphBuilder
from lmikit.maps import Convolution2d, pooling_windows
from lmikit.methods import LipSDP, SpectralProduct


def random_sparse(rng, shape, density):
    matrix = sp.random_array(shape, density=density, rng=rng, data_sampler=rng.standard_normal)
    return sp.csr_array(matrix)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.floats(0.02, 0.6))
@settings(max_examples=25, deadline=None)
def test_between_the_norm_and_row_sums(seed, rows, columns, density):
    rng = np.random.default_rng(seed)
    matrix = random_sparse(rng, (rows, columns), density)
    norm = np.linalg.norm(matrix.toarray(), 2)
    bound = sparse_norm_bound(matrix)
    assert norm <= bound <= norm * (1.0 + 1e-8) + 1e-300
    assert sparse_norm_is_below(matrix, bound)
    assert norm > 0.0 or bound == 0.0
    assert exact_sparse_margin(matrix, bound) >= 0.0
    if norm > 0.0:
        assert not sparse_norm_is_below(matrix, norm * (1.0 - 1e-9))
        assert exact_sparse_margin(matrix, norm * (1.0 - 1e-9)) < 0.0
        assert not sparse_norm_is_below(matrix, 0.0)
        assert not sparse_norm_is_below(matrix, float("nan"))


def test_parts_that_repeat_are_proven_once():
    block = np.array([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]])
    matrix = sp.csr_array(sp.block_diag([block] * 2000 + [0.5 * block]))
    assert sparse_norm_bound(matrix) == pytest.approx(np.linalg.norm(block, 2), rel=1e-8)


def test_of_a_convolution_within_rounding():
    rng = np.random.default_rng(0)
    matrix = Convolution2d(rng.standard_normal((4, 2, 3, 3)), (2, 14, 12), 1, 1).to_sparse()
    norm = np.linalg.norm(matrix.toarray(), 2)
    assert norm <= sparse_norm_bound(matrix) <= norm * (1.0 + 1e-8)


def pooled(channels, side):
    """A convolution with as many entries as no dense matrix may have, max-pooling, and a dense layer."""
    rng = np.random.default_rng(0)
    b = GraphBuilder()
    conv = Convolution2d(rng.standard_normal((channels, 1, 2, 2)), (1, side, side), 2)
    shape = conv.output_shape
    value = b.max_pool(b.relu(conv @ b.input(side * side)), pooling_windows(shape, 2))
    size = channels * (shape[1] // 2) * (shape[2] // 2)
    return b.output((rng.standard_normal((3, size)) / 50.0) @ value)


@pytest.mark.slow
def test_a_graph_with_pooling_too_large_for_dense_matrices(tmp_path, caplog):
    graph = pooled(2, 144)
    certificate = lipschitz(graph, SpectralProduct())
    assert lower_bound(graph, time_limit=0.5).value <= certificate.bound < np.inf
    certificate.save(tmp_path / "a.json")
    assert check(tmp_path / "a.json", graph).ok
    text = (tmp_path / "a.json").read_text().replace(certificate.bound.hex(), (0.9 * certificate.bound).hex())
    (tmp_path / "a.json").write_text(text)
    assert not check(tmp_path / "a.json", graph).ok
    assert lipschitz(graph, LipSDP()).bound == certificate.bound
    assert "needs dense blocks; norms along paths are proven instead" in caplog.text
