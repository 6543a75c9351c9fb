"""Laws of chordal decomposition: the blocks add up, the optimum stays, multipliers come back feasible."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import BackendMissing, InputError
from lmikit.lmi import LMI, SDP, Dual, Solution, Status, aggregate_pattern, clique_tree, complete, decompose
from lmikit.solvers import Clarabel


def rngs():
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def random_pattern(rng, n, density):
    half = sp.random_array((n, n), density=density, rng=rng)
    pattern = sp.csc_array(half + half.T + sp.eye_array(n))
    pattern.data[:] = 1.0
    return pattern


def sparse_sdp(rng, pattern, partition=None):
    """min sum d  s.t.  diag(d) + F0 + terms PSD on a pattern, bounded and strictly feasible.

    One free variable scales a term of full support inside a clique, so that rank-one terms survive.
    """
    n = pattern.shape[0]
    coo = sp.triu(pattern, 1).tocoo()
    weights = rng.uniform(-1, 1, coo.nnz)
    F0 = sp.csc_array((weights, (coo.row, coo.col)), shape=(n, n))
    row = int(np.argmax(np.diff(pattern.indptr)))
    spread = pattern[:, [row]] * rng.uniform(0.5, 1, n)[:, None]
    unit = sp.csc_array(([1.0], ([row], [0])), shape=(n, 1))
    P = sp.hstack([sp.eye_array(n), unit], "csc")
    Q = sp.hstack([sp.eye_array(n), spread], "csc")
    lmi = LMI(F0 + F0.T, P, Q, sp.eye_array(n + 1, format="csc"), name="F", partition=partition)
    box = sp.csc_array(([1.0, -1.0], ([0, 1], [n, n])), shape=(2, n + 1))
    return SDP(np.r_[np.ones(n), 0.3], (lmi,), G=box, h=np.ones(2))


def tridiagonal_pattern(partition):
    label = np.repeat(np.arange(len(partition)), partition)
    return sp.csc_array((np.abs(label[:, None] - label[None, :]) <= 1).astype(float))


@st.composite
def sparse_problems(draw):
    rng = draw(rngs())
    if draw(st.booleans()):
        partition = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)))
        return sparse_sdp(rng, tridiagonal_pattern(partition), partition), rng
    pattern = random_pattern(rng, draw(st.integers(1, 14)), draw(st.sampled_from((0.0, 0.05, 0.15))))
    return sparse_sdp(rng, pattern), rng


@given(sparse_problems(), st.booleans())
def test_clique_trees_cover_and_run(case, merge):
    sdp, _ = case
    lmi = sdp.lmis[0]
    pattern = aggregate_pattern(lmi)
    tree = clique_tree(pattern, lmi.partition, merge=merge)
    covered = tree.pattern()
    assert (pattern.multiply(covered) != pattern).nnz == 0
    for k, (clique, parent) in enumerate(zip(tree.cliques, tree.parents, strict=True)):
        assert parent < k
        earlier = np.concatenate([np.zeros(0, int), *tree.cliques[:k]])
        shared = np.intersect1d(clique, earlier)
        assert set(shared) == set(tree.separators[k])  # running intersection
        assert np.all(np.diff(clique) > 0)
        assert clique.size > tree.separators[k].size  # no clique lies inside its parent


@given(sparse_problems(), st.booleans())
def test_blocks_add_up_to_the_original(case, merge):
    sdp, rng = case
    split = decompose(sdp, merge=merge)
    y = rng.standard_normal(split.sdp.variables)
    original = sdp.lmis[0].evaluate(y[: sdp.variables]).toarray()
    tree = split.trees[0]
    if tree is None:
        assert len(split.sdp.lmis) == 1
        return
    total = np.zeros_like(original)
    for clique, block in zip(tree.cliques, split.sdp.lmis, strict=True):
        total[np.ix_(clique, clique)] += block.evaluate(y).toarray()
    np.testing.assert_allclose(total, original, atol=1e-12 * (1 + abs(y).max()) * tree.n)
    assert split.sdp.objective(y) == pytest.approx(sdp.objective(y[: sdp.variables]))


@settings(max_examples=25)
@given(sparse_problems())
def test_decomposed_problems_have_the_same_optimum_and_recover_its_multiplier(case):
    sdp, _ = case
    solver = Clarabel(tol=1e-7, native={"chordal_decomposition_enable": False})
    joint, split = solver.solve(sdp), decompose(sdp)
    answer = solver.solve(split.sdp)
    assert joint.status is Status.SOLVED
    assert answer.status is Status.SOLVED
    assert answer.objective == pytest.approx(joint.objective, rel=1e-6, abs=1e-6)
    recovered = split.recover(answer)
    assert sdp.residuals(recovered.y).violation < 1e-6
    dual = sdp.dual_residuals(recovered.y, recovered.dual)
    assert dual.violation < 1e-5
    assert abs(dual.gap) < 1e-5 * (1 + abs(joint.objective))
    partial = split.recover(answer, completed=False).dual
    assert partial.X_complete == (split.trees[0] is None)
    adjoint = sdp.lmis[0].adjoint
    np.testing.assert_allclose(adjoint(partial.X[0]), adjoint(recovered.dual.X[0]), atol=1e-8)


@given(sparse_problems())
def test_completion_is_exact_where_the_inverse_is_sparse(case):
    """The completion with the largest determinant is the one whose inverse has the pattern."""
    sdp, rng = case
    tree = clique_tree(aggregate_pattern(sdp.lmis[0]), sdp.lmis[0].partition)
    inside = tree.pattern().toarray() > 0
    W = np.where(inside, rng.uniform(-1, 1, inside.shape), 0.0)
    W = W + W.T + 2.0 * tree.n * np.eye(tree.n)
    X = np.linalg.inv(W)
    noise = np.where(inside, X, rng.uniform(-9, 9, X.shape))  # what is outside must not matter
    np.testing.assert_allclose(complete(noise, tree), X, atol=1e-12)


@given(sparse_problems(), st.integers(1, 3))
def test_completions_of_singular_blocks_are_psd(case, rank):
    sdp, rng = case
    tree = clique_tree(aggregate_pattern(sdp.lmis[0]), sdp.lmis[0].partition)
    V = rng.standard_normal((tree.n, rank))
    partial = np.where(tree.pattern().toarray() > 0, V @ V.T, 0.0)
    X = complete(partial, tree)
    scale = np.abs(X).max()
    assert np.linalg.eigvalsh(X)[0] > -1e-7 * scale
    np.testing.assert_array_equal(X[partial != 0], partial[partial != 0])


def test_a_long_chain_splits_in_linear_time():
    partition = (3,) * 300
    sdp = sparse_sdp(np.random.default_rng(0), tridiagonal_pattern(partition), partition)
    split = decompose(sdp)
    assert len(split.sdp.lmis) == 299
    assert {lmi.size for lmi in split.sdp.lmis} == {6}


def test_rank_one_terms_inside_a_clique_survive():
    """Three neurons a layer, dense weights: every clique keeps its terms, none becomes entries."""
    rng = np.random.default_rng(0)
    n, width = 5, 3
    D = n * width
    W = [rng.standard_normal((width, width)) for _ in range(n - 1)]
    P = sp.eye_array(D, format="csc")[:, width:]
    Q = P - sp.vstack([sp.block_diag(W).T, sp.csc_array((width, D - width))], "csc")
    E = sp.eye_array(D - width, format="csc")
    lmi = LMI(sp.eye_array(D), P, Q, E, partition=(width,) * n)
    split = decompose(SDP(np.ones(D - width), (lmi,)))
    for block in split.sdp.lmis:
        moved = (np.diff(block.P.indptr) == 1) & (np.diff(block.Q.indptr) == 1)
        assert (~moved).sum() == width


def test_merging_joins_neighbours_that_overlap_much():
    n = 12
    band = sp.diags_array([np.ones(n - abs(k)) for k in range(-6, 7)], offsets=range(-6, 7), format="csc")
    assert len(clique_tree(band, merge=False).cliques) == n - 6
    assert len(clique_tree(band).cliques) < n - 6


def test_bad_requests_are_refused(monkeypatch):
    pattern = random_pattern(np.random.default_rng(3), 8, 0.2)
    with pytest.raises(InputError, match="not block tridiagonal"):
        clique_tree(sp.csc_array(np.ones((3, 3))), (1, 1, 1))
    tree = clique_tree(tridiagonal_pattern((1, 1, 1)), (1, 1, 1))
    with pytest.raises(InputError, match="X has shape"):
        complete(np.eye(2), tree)
    split = decompose(sparse_sdp(np.random.default_rng(0), tridiagonal_pattern((2, 2, 2)), (2, 2, 2)))
    wrong = Solution(Status.SOLVED, None, Dual(X=(np.eye(2),)), 0.0, 0.0, 0.0, 0)
    with pytest.raises(InputError, match="the dual has 1 blocks; the decomposed SDP has 2"):
        split.recover(wrong)
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(BackendMissing, match=r"lmikit\[chordal\]"):
        clique_tree(pattern)
