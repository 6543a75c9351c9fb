"""Laws of the builder: every expression and every compiled block equals its numerical definition."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from lmikit import InputError
from lmikit.lmi import Dual, Problem, Solution, Status, block, diag, norm, quad_form, sum_squares, sym, vstack
from lmikit.lmi._entries import symmetric_part
from lmikit.lmi._triplets import Triplets

MAKERS = ("scalar", "vector", "matrix", "symmetric", "diagonal")


def make_variable(problem, kind, rows, cols, name):
    sizes = {
        "scalar": (),
        "vector": (rows,),
        "matrix": (rows, cols),
        "symmetric": (rows,),
        "diagonal": (rows,),
    }
    return getattr(problem, kind)(*sizes[kind], name)


def variable_value(kind, shape, entries):
    """The matrix that a variable's entries in y stand for, written out independently."""
    if kind == "diagonal":
        return np.diag(entries)
    if kind == "symmetric":
        value = np.zeros(shape)
        value[np.tril_indices(shape[0])] = entries
        return value + np.tril(value, -1).T
    return entries.reshape(shape)


@st.composite
def affine(draw):
    """A problem, an expression grown by random operations, and the same function of y in numpy."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    problem = Problem()
    kinds = draw(st.lists(st.sampled_from(MAKERS), min_size=1, max_size=3))
    leaves, start = [], 0
    for index, kind in enumerate(kinds):
        rows, cols = (int(k) for k in rng.integers(1, 4, 2))
        variable = make_variable(problem, kind, rows, cols, f"v{index}")
        stop = problem._size
        leaves.append(
            (variable, lambda y, k=kind, s=variable.shape, a=start, b=stop: variable_value(k, s, y[a:b]))
        )
        start = stop
    expression, function = leaves[0]
    for operation in draw(st.lists(st.integers(0, 10), max_size=8)):
        expression, function = apply(rng, operation, expression, function, leaves)
    return problem, expression, function, rng


def constant(rng, shape):
    dense = np.round(rng.uniform(-2, 2, shape), 2) * (rng.random(shape) < 0.7)
    return dense if rng.random() < 0.5 else sp.csr_array(dense)


def dense(value):
    return value.toarray() if sp.issparse(value) else value


def apply(rng, operation, e, f, leaves):
    r, c = e.shape
    k = int(rng.integers(1, 4))
    if operation == 0:
        return e.T, lambda y: f(y).T
    if operation == 1:
        return -e, lambda y: -f(y)
    if operation == 2:
        L = constant(rng, (k, r))
        return L @ e, lambda y: dense(L) @ f(y)
    if operation == 3:
        R = constant(rng, (c, k))
        return e @ R, lambda y: f(y) @ dense(R)
    if operation == 4:
        K = constant(rng, (r, c))
        return (e + K) - 3.0 * K, lambda y: f(y) - 2.0 * dense(K)
    if operation == 5:
        other, g = leaves[int(rng.integers(len(leaves)))]
        L, R = constant(rng, (r, other.shape[0])), constant(rng, (other.shape[1], c))
        return e - L @ other @ R, lambda y: f(y) - dense(L) @ g(y) @ dense(R)
    if operation == 6:
        K = constant(rng, (r, k))
        return block([[e, K], [0, sym(np.eye(k))]]), lambda y: np.block(
            [[f(y), dense(K)], [np.zeros((k, c)), np.eye(k)]]
        )
    if operation == 7:
        i = int(rng.integers(r))
        return e[i:, ::-1], lambda y: f(y)[i:, ::-1]
    if operation == 8:
        K = np.round(rng.uniform(-2, 2, (k, k)), 2)
        return e.sum() * K + K, lambda y: f(y).sum() * K + K
    if operation == 9:
        return vstack([e, 2 * e]) / 4, lambda y: np.vstack([f(y), 2 * f(y)]) / 4
    return diag(e @ np.ones(c)), lambda y: np.diag(f(y).sum(axis=1))


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-9 * (1 + np.abs(b).max(initial=0)))


@given(affine())
def test_expressions_are_the_functions_they_spell(case):
    problem, e, f, rng = case
    y = rng.standard_normal(problem._size)
    assert e.shape == f(y).shape
    close(e.evaluate(y), f(y))
    close(e.expand().canonical().evaluate(y).toarray(), f(y))
    close((e @ e.T.evaluate(0 * y)).trace().evaluate(y), [[np.trace(f(y) @ f(0 * y).T)]])


@given(affine(), st.floats(0, 1))
def test_compiled_lmis_equal_the_expression(case, margin):
    problem, e, f, rng = case
    y = rng.standard_normal(problem._size)
    r, c = e.shape
    gram = block([[np.eye(r), e], [e.T, np.eye(c)]])
    square = e @ constant(rng, (c, r))
    try:
        first = problem.add(gram >> 0, name="gram", margin=margin)
        problem.add(square + square.T << np.diag(np.arange(r) + 1.0))
    except InputError as error:  # products with zeros leave no variable; rightly refused
        assume("holds no variable" not in str(error))
        raise
    sdp = problem.compile()
    close(
        sdp.lmis[0].evaluate(y).toarray(),
        np.block([[np.eye(r), f(y)], [f(y).T, np.eye(c)]]) - margin * np.eye(r + c),
    )
    both = (square + square.T).evaluate(y)
    close(sdp.lmis[1].evaluate(y).toarray(), np.diag(np.arange(r) + 1.0) - both)
    assert problem.place(first) == problem.place("gram")
    assert (sdp.lmis[0].evaluate(y) != sdp.lmis[0].evaluate(y).T).nnz == 0


@given(affine())
def test_compiled_linear_and_cone_constraints_equal_the_expression(case):
    problem, e, f, rng = case
    y = rng.standard_normal(problem._size)
    K = dense(constant(rng, e.shape))
    t = e.sum()
    problem.add(e >= K, name="ge", margin=0.25)
    problem.add(e == K, name="eq")
    problem.add(e <= 1.5, name="le")
    problem.add(norm(2 * e - K) <= t + 1, name="soc")
    problem.add(norm(e) <= t, margin=0.5)
    problem.minimise(t + 3 * sum_squares(e - K) + 2)
    sdp = problem.compile()
    size = K.size
    slack = sdp.h - sdp.G @ y
    close(slack[:size], (f(y) - K - 0.25).ravel())
    close(slack[size:], (1.5 - f(y)).ravel())
    close(sdp.A @ y - sdp.b, (f(y) - K).ravel())
    close(sdp.socs[0].C @ y + sdp.socs[0].d, np.r_[f(y).sum() + 1, (2 * f(y) - K).ravel()])
    close(sdp.socs[1].C @ y + sdp.socs[1].d, np.r_[f(y).sum() - 0.5, f(y).ravel()])
    close(sdp.objective(y) + problem.offset, f(y).sum() + 2 + 3 * ((f(y) - K) ** 2).sum())
    values = problem.read(Solution(Status.SOLVED, y, fake_dual(sdp), 0.0, 0.0, 0.0, 0))
    assert values.objective == pytest.approx(sdp.objective(y) + problem.offset)
    assert values.dual("le").shape == e.shape
    close(values.dual("le").ravel(), np.arange(size, 2 * size))


def fake_dual(sdp):
    """A dual whose entries are their positions."""
    return Dual(
        tuple(np.eye(b.size) for b in sdp.lmis),
        np.arange(float(sdp.h.size)),
        np.arange(float(sdp.b.size)),
        tuple(s.d for s in sdp.socs),
    )


def test_values_have_the_shapes_that_users_expect():
    problem = Problem()
    t, x, P = problem.scalar("t"), problem.vector(3, "x"), problem.symmetric(2, "P")
    problem.maximise(5 - t)
    values = problem.read(Solution(Status.SOLVED, np.arange(7.0) + 1, None, 0.0, 4.0, 0.0, 0))
    assert values["t"] == 1.0
    np.testing.assert_array_equal(values[x], [2, 3, 4])
    np.testing.assert_array_equal(values[P], [[5, 6], [6, 7]])
    np.testing.assert_array_equal(values[P[0, :]], [[5, 6]])
    assert values.objective == 4.0
    assert values.bound == 1.0  # the SDP minimises t - 5 + 5; its bound 4 on t is 5 - 4 here
    assert values[sum_squares(x)] == 29.0
    assert values[quad_form(x, np.diag([1.0, 2, 3]))] == 4 + 18 + 48
    with pytest.raises(InputError, match="carries no duals"):
        values.dual("c0")


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 60))
def test_both_ways_of_folding_triangles_agree(seed, n, count):
    """Bucket sorts for full matrices and one comparison sort for sparse ones."""
    rng = np.random.default_rng(seed)
    row, col, var = rng.integers(0, n, count), rng.integers(0, n, count), rng.integers(-1, 3, count)
    small = Triplets((n, n), row, col, var, rng.uniform(-1, 1, count))
    large = Triplets((100, 100), row, col, var, small.val)  # so sparse that the other way is taken
    results = []
    for entries in (small, large):
        upper, skew = symmetric_part(entries)
        keep = (np.abs(upper.val) > 1e-14) | (np.abs(skew) > 1e-14)
        results.append([a[keep] for a in (upper.row, upper.col, upper.var, upper.val, skew)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)
    upper, skew = symmetric_part(large)
    y = rng.standard_normal(3)
    M = large.evaluate(y).toarray()
    close(np.triu(upper.evaluate(y).toarray()), np.triu((M + M.T) / 2))
    close(
        np.triu(Triplets(upper.shape, upper.row, upper.col, upper.var, skew).evaluate(y).toarray()),
        np.triu(M - M.T),
    )


def test_products_with_diagonal_variables_stay_rank_one_terms():
    """LipSDP's matrix for one hidden layer: one term per neuron although W is dense."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((30, 20))
    problem = Problem()
    T, rho = problem.diagonal(30, "T"), problem.scalar("rho")
    problem.add(block([[rho * np.eye(20) + W.T @ T @ W, W.T @ T], [T @ W, 2 * T]]) >> 0)
    lmi = problem.compile().lmis[0]
    y = rng.standard_normal(31)
    D = np.diag(y[:30])
    expected = np.block([[y[30] * np.eye(20) + W.T @ D @ W, W.T @ D], [D @ W, 2 * D]])
    close(lmi.evaluate(y).toarray(), expected)
    assert lmi.P.shape[1] <= 30 + 20 + 30 + 30
    assert lmi.P.nnz + lmi.Q.nnz + lmi.E.nnz < 4 * W.size


def test_max_cut_and_repeated_entries_merge():
    problem = Problem()
    d = problem.diagonal(5)
    problem.add(d + d - 0.5 * d >> np.ones((5, 5)))
    lmi = problem.compile().lmis[0]
    assert lmi.P.shape == (5, 5)
    assert lmi.E.nnz == 5


def test_sums_of_many_expressions_are_linear():
    problem = Problem()
    x = problem.vector(3000)
    total = sum(x[i] * np.eye(2) for i in range(3000))
    np.testing.assert_allclose(total.evaluate(np.ones(3000)), 3000 * np.eye(2))


def test_numpy_and_scipy_on_the_left_hand_over():
    problem = Problem()
    x, X, t = problem.vector(2), problem.symmetric(2), problem.scalar()
    A = np.array([[1.0, 2], [3, 4]])
    y = np.arange(6.0)
    for left in (A, sp.csr_array(A), sp.csc_matrix(A)):
        close((left @ X).evaluate(y), A @ X.evaluate(y))
        close((left + X).evaluate(y), A + X.evaluate(y))
        close((left - X).evaluate(y), A - X.evaluate(y))
        assert (left >> X).kind is (X << left).kind
    close((A * t).evaluate(y), A * 5)
    close((np.array([1.0, 2]) @ x).evaluate(y), [[0 + 2]])
    close((np.float64(2) * x).evaluate(y), [[0], [2]])
    assert (np.float64(2) >= x).expression.shape == (2, 1)


def bad_expressions():
    p, other = Problem(), Problem()
    x, X, K, foreign = p.vector(2, "x"), p.symmetric(2, "X"), p.matrix(2, 3, "K"), other.vector(2)
    p.add(X @ np.array([[1.0, 1], [0, 1]]) >> 0, name="lopsided")
    return {
        "product": (lambda: X @ X, "not affine"),
        "scalar product": (lambda: x[0] * X, "not affine"),
        "elementwise": (lambda: X * np.eye(2), r"use @"),
        "sum shape": (lambda: X + K, r"cannot add shapes \(2, 2\) and \(2, 3\)"),
        "scalar shift": (lambda: X + 1.0, r"t \* numpy.eye"),
        "inner": (lambda: X @ np.eye(3), "cannot multiply shapes"),
        "division": (lambda: X / x[0], "nonzero scalar"),
        "zero division": (lambda: X / 0.0, "nonzero scalar"),
        "nan": (lambda: X + np.full((2, 2), np.nan), "NaN"),
        "trace": (lambda: K.trace(), "square"),
        "index": (lambda: x[2], "does not fit an axis of length 2"),
        "three indices": (lambda: X[0, 0, 0], "one or two indices"),
        "chain": (lambda: 0 <= x <= 1, "no truth value"),
        "scalar lmi": (lambda: X >> 1.0, r"c \* numpy.eye"),
        "lmi type": (lambda: X >> "0", "compare matrices"),
        "foreign": (lambda: x + foreign, "two different problems"),
        "foreign constraint": (lambda: p.add(foreign >= 0), "belongs to another problem"),
        "constant constraint": (lambda: p.add(x[0] * 0.0 - foreign[0] >= 0), "different problems"),
        "bool": (lambda: p.add(True), "takes a constraint"),
        "not square": (lambda: p.add(K >> 0), "square"),
        "not symmetric": (p.compile, r"'lopsided' is not symmetric: .*X\[0\].*\(0, 1\) and \(1, 0\)"),
        "margin": (lambda: p.add(x == 0, margin=1.0), "margin is 1.0"),
        "negative margin": (lambda: p.add(x >= 0, margin=-1.0), "margin is -1.0"),
        "name": (lambda: p.add(x >= 0, name="lopsided"), "already"),
        "variable name": (lambda: p.scalar("x"), "already"),
        "size": (lambda: p.vector(0), "positive size"),
        "objective": (lambda: p.minimise(x), "expected a scalar"),
        "concave": (lambda: p.maximise(sum_squares(x)), "not a convex problem"),
        "negative square": (lambda: p.minimise(-1.0 * sum_squares(x)), "not a convex problem"),
        "indefinite": (lambda: quad_form(x, np.diag([1.0, -1])), "eigenvalue"),
        "norm below": (lambda: norm(x) >= 1, "not convex"),
        "norm bound": (lambda: norm(x) <= x, "expected a scalar"),
        "not equal": (lambda: x != 0, "not a convex constraint"),
        "block rows": (lambda: block([[X, X], [X]]), "equally many"),
        "block sizes": (lambda: block([[X, np.ones((3, 1))]]), r"row 0 holds sizes \[2, 3\]"),
        "block zeros": (lambda: block([[X, 0], [0, 0]]), "only zeros"),
        "no variables": (Problem().compile, "no variables"),
        "unknown": (lambda: p.variable("z"), "no variable is named 'z'"),
        "unknown constraint": (lambda: p.place("z"), "no such constraint"),
    }


@pytest.mark.parametrize("case", bad_expressions())
def test_bad_expressions_are_refused(case):
    call, pattern = bad_expressions()[case]
    with pytest.raises(InputError, match=pattern):
        call()


def test_a_small_asymmetry_beside_large_coefficients_is_refused():
    for make in (
        lambda x: block([[1e9 * np.eye(1), x], [np.zeros((1, 1)), 1e9 * np.eye(1)]]),
        lambda x: block([[1e9 * np.eye(1) + x, 0.5 * np.eye(1)], [np.zeros((1, 1)), 1e9 * np.eye(1)]]),
    ):
        problem = Problem()
        problem.add(make(problem.scalar("x")) >> 0)
        with pytest.raises(InputError, match=r"is not symmetric: .*entries \(0, 1\) and \(1, 0\)"):
            problem.compile()
    rng = np.random.default_rng(0)  # what products round is no asymmetry
    A = rng.standard_normal((20, 20)) * np.exp(6.0 * rng.standard_normal((20, 1)))
    problem = Problem()
    x, P = problem.scalar("x"), problem.symmetric(20, "P")
    problem.add(A.T @ P @ A - x * (A.T @ np.diag(rng.standard_normal(20)) @ A) >> 0)
    problem.compile()


@pytest.mark.parametrize("size", [2.5, "3", True, -1, None])
def test_sides_of_variables_are_positive_integers(size):
    problem = Problem()
    for make in (problem.vector, problem.symmetric, problem.diagonal, problem.hermitian):
        with pytest.raises(InputError, match="positive size"):
            make(size)
    assert problem.symmetric(np.int64(2)).shape == (2, 2)
