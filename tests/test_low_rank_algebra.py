"""The block recursions of the low-rank method against dense linear algebra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from low_rank_helpers import lipsdp, random_network

from lmikit import Slopes
from lmikit._arrays import array_module
from lmikit.formulations.graph import GraphGain
from lmikit.graph import GraphBuilder
from lmikit.solvers.low_rank import _chain as chain_ops
from lmikit.solvers.low_rank._compile import compile_sdp
from lmikit.solvers.low_rank._sandwich import Products, gains_of_inverse, sandwich
from lmikit.solvers.low_rank._schur import schur_complement, window
from lmikit.solvers.low_rank._start import level_by_level
from lmikit.solvers.low_rank._state import dual_at, point_at

AM = array_module()


def bounds_of(sizes):
    return np.concatenate([[0], np.cumsum(sizes)])


def pattern(sizes):
    level = np.repeat(np.arange(len(sizes)), sizes)
    return abs(level[:, None] - level) <= 1


def dense(A, sizes):
    """The matrix with the blocks of A and zeros elsewhere."""
    b = bounds_of(sizes)
    M = np.zeros((b[-1], b[-1]))
    for k in range(len(sizes)):
        M[b[k] : b[k + 1], b[k] : b[k + 1]] = A.diag[k]
        if k:
            M[b[k] : b[k + 1], b[k - 1] : b[k]] = A.low[k]
            M[b[k - 1] : b[k], b[k] : b[k + 1]] = A.low[k].T
    return M


def completed(A, sizes):
    b, M = bounds_of(sizes), dense(A, sizes)
    for k in range(1, len(sizes)):
        M[b[k] : b[k + 1], : b[k]] = A.G[k] @ M[b[k - 1] : b[k], : b[k]]
        M[: b[k], b[k] : b[k + 1]] = M[b[k] : b[k + 1], : b[k]].T
    return M


@st.composite
def chains(draw):
    """(sdp, compiled, y inside, X completed) of a random LipSDP, some with mixed slopes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dims = draw(st.lists(st.integers(1, 5), min_size=3, max_size=6))
    activation = "relu"
    if draw(st.booleans()):
        activation = [Slopes(-rng.uniform(0, 0.2, n), rng.uniform(0.8, 1.1, n)) for n in dims[1:-1]]
    sdp = lipsdp(random_network(rng, dims, activation))
    problem = compile_sdp(AM, sdp, merge=False)
    y = level_by_level(problem)
    point = point_at(problem, y)
    noise = [0.1 * (B @ B.T) for B in (rng.standard_normal((n, n)) for n in problem.chains[0].sizes)]
    R = point.inverses(problem)[0]
    shift = chain_ops.LevelBlocks(noise, [None, *(0 * b for b in R.low[1:])])
    dual = dual_at(problem, [R.plus(1.0, shift)], np.ones(problem.h.size))
    return sdp, problem, point, dual, rng


def close(a, b, scale=1.0):
    return np.allclose(a, b, rtol=1e-8, atol=1e-9 * max(scale, np.abs(b).max(initial=0.0)))


@settings(max_examples=20)
@given(chains())
def test_inverse_and_completion_are_those_of_dense_algebra(case):
    sdp, problem, point, dual, _ = case
    sizes = problem.chains[0].sizes
    Z = sdp.lmis[0].evaluate(problem.original(point.y)).toarray()
    assert close(dense(point.Z[0], sizes), Z)
    R = point.inverses(problem)[0]
    assert close(completed(R, sizes), np.linalg.inv(Z))
    X = completed(dual.X[0], sizes)
    inverse = np.linalg.inv(X)
    assert np.abs(inverse[~pattern(sizes)]).max(initial=0.0) <= 1e-7 * np.abs(inverse).max()


@settings(max_examples=20)
@given(chains())
def test_direction_and_schur_complement_are_those_of_dense_algebra(case):
    sdp, problem, point, dual, rng = case
    lmi, chain = sdp.lmis[0], problem.chains[0]
    sizes, m = chain.sizes, sdp.variables
    R = point.inverses(problem)[0]
    dy = rng.standard_normal(m) * np.abs(problem.original(point.y))
    step = (lmi.evaluate(dy) - lmi.F0).toarray()
    K = completed(dual.X[0], sizes) @ step @ completed(R, sizes)
    K = 0.5 * (K + K.T)
    left = Products.left(AM, dual.X[0], chain.across)
    right = Products.right(AM, R, chain.across, gains_of_inverse(AM, point.Z[0]))
    found = sandwich(AM, left, chain.linear(problem.internal(dy)), right)
    assert close(dense(found, sizes), np.where(pattern(sizes), K, 0.0))
    for known in (None, [(left, right)]):
        schur = np.zeros((m, m))
        schur_complement(problem.chains, dual.X, [R], schur, known=known)
        schur = np.tril(schur) + np.tril(schur, -1).T
        assert close(problem.original(schur @ problem.internal(dy)), lmi.adjoint(K))


@pytest.mark.parametrize("merge", [False, True])
def test_terms_that_skip_levels_are_told_from_those_of_chains(merge):
    rng = np.random.default_rng(0)
    chain = compile_sdp(AM, lipsdp(random_network(rng, (4, 30, 30, 30, 30, 2))), merge=merge)
    assert not chain.chains[0].skips
    g = GraphBuilder()
    s = g.relu(rng.standard_normal((30, 4)) @ g.input(4))
    for _ in range(3):
        W, V = rng.standard_normal((2, 30, 30)) / 10.0
        s = g.relu(s + V @ g.relu(W @ s))
    residual = compile_sdp(AM, GraphGain(g.output(s)).sdp(), merge=merge)
    assert residual.chains[0].skips


@settings(max_examples=30)
@given(chains())
def test_windows_are_principal_submatrices_of_the_schur_complement(case):
    _, problem, point, dual, _ = case
    R = point.inverses(problem)
    whole = np.zeros((problem.c.size, problem.c.size))
    schur_complement(problem.chains, dual.X, R, whole)
    levels = problem.chains[0].levels
    used = [k for k, level in enumerate(levels) if level.simple is not None]
    for first in used:
        for last in used[used.index(first) :]:
            rows, tile = window(problem.chains[0], dual.X[0], R[0], first, last)
            np.testing.assert_allclose(
                np.tril(tile), np.tril(whole[rows, rows]), rtol=1e-9, atol=1e-12 * np.abs(tile).max()
            )


def test_factorisation_refuses_what_is_not_positive_definite():
    rng = np.random.default_rng(0)
    problem = compile_sdp(AM, lipsdp(random_network(rng, (3, 4, 4, 1))), merge=False)
    y = level_by_level(problem)
    assert point_at(problem, y) is not None
    assert point_at(problem, -y) is None
    assert point_at(problem, 1e6 * y) is None


@pytest.mark.parametrize("dims", [(3, 4, 2), (30, 60, 20, 50, 60, 3)])
def test_merged_levels_give_the_same_adjoint(dims):
    rng = np.random.default_rng(1)
    sdp = lipsdp(random_network(rng, dims))
    values = []
    for merge in (False, True):
        problem = compile_sdp(AM, sdp, merge=merge)
        fine = compile_sdp(AM, sdp, merge=False)
        y = problem.internal(fine.original(level_by_level(fine)))
        point = point_at(problem, y)
        gradient = problem.adjoint(list(point.inverses(problem)), np.zeros(problem.h.size))
        values.append(problem.original(gradient))
    assert close(values[1], values[0])
