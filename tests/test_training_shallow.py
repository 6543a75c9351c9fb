"""Convex training of shallow ReLU networks, the reference network, attacks and baselines."""

import dataclasses
import itertools
import pathlib
import re
import time

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import lmikit
from lmikit import InputError, Network, OptionError, SolveFailed, Witness
from lmikit.adapters import from_sklearn, from_torch
from lmikit.lmi import Solution, Status
from lmikit.solvers import SCS, Clarabel
from lmikit.training import (
    MLP,
    Adam,
    AdversarialMinibatches,
    Minibatches,
    Momentum,
    Orthogonal,
    TrainingDiverged,
    admm_pauli,
    convex_shallow,
    pgd_attack,
    reduce_lipschitz,
    sgd,
    with_weight_decay,
)
from lmikit.training.shallow._cones import ArrowCone, NormCones, PatternCone
from lmikit.training.shallow._fits import OuterFit
from lmikit.training.shallow._model import read_model
from lmikit.training.shallow._program import (
    lipschitz_block,
    lipschitz_program,
    loss_terms,
    pattern_rows,
    penalty_rho,
    weight_decay_program,
)
from lmikit.training.shallow._rows import solve_with_rows

seeds = st.integers(0, 2**32 - 1)


def data(rng, rows, inputs):
    X = rng.standard_normal((rows, inputs))
    return X, np.sin(2.0 * X[:, 0]) + 0.5 * X.sum(axis=1) + 0.1 * rng.standard_normal(rows)


def random_net(rng, inputs, units, offset=0.0):
    return Network.from_arrays(
        [rng.standard_normal((units, inputs)), rng.standard_normal((1, units)) / units],
        [rng.standard_normal(units), np.array([offset])],
        "relu",
    )


@st.composite
def problems(draw, max_units=5, max_rows=12, loss="squared"):
    """(network, X, y): small, at times with a unit that is dead on the data or has a_j = 0, or equal rows."""
    rng = np.random.default_rng(draw(seeds))
    inputs, units, outputs = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, max_units)),
        draw(st.integers(1, 3)),
    )
    X, y = data(rng, draw(st.integers(2, max_rows)), inputs)
    y = np.column_stack([y, *rng.standard_normal((outputs - 1, len(y)))])
    if loss == "cross_entropy":
        y = rng.integers(0, max(outputs, 2), len(y))
    if draw(st.booleans()):
        X[-1] = X[0]
    first, outer = (rng.standard_normal((units, inputs)), rng.standard_normal((outputs, units)))
    bias = rng.standard_normal(units)
    kind = draw(st.sampled_from(("plain", "dead", "silent", "constant")))
    if kind == "dead":
        bias[0] = -1e3
    elif kind == "silent":
        outer[:, 0] = 0.0
    elif kind == "constant":
        first[0], bias[0] = 0.0, 1.0
    return (Network.from_arrays([first, outer], [bias, rng.standard_normal(outputs)], "relu"), X, y)


def squared_error(network, X, y):
    return float(((network(X) - y.reshape(len(X), -1)) ** 2).sum(axis=1).mean())


def cross_entropy(network, X, y):
    Z = network(X)
    Z = Z if Z.shape[1] > 1 else np.column_stack([np.zeros(len(Z)), Z])
    return float((scipy.special.logsumexp(Z, axis=1) - Z[np.arange(len(Z)), y]).mean())


@pytest.fixture(scope="module")
def trained():
    """A net of 12 units trained by Adam on 60 rows, with its data, model and callback."""
    X, y = data(np.random.default_rng(3), 60, 3)
    y = (y - y.mean()) / y.std()
    model = MLP(dims=(3, 12, 1), output_bias=False)
    batches = Minibatches(model, X, y, batch_size=16, seed=1)
    callback = with_weight_decay(batches, 0.01, (0, 1, 2))
    weights = sgd(callback, model.initial(5), steps=400).weights
    return model.network(weights), X, y, model, weights


# the formulas


@given(problems())
def test_features_and_patterns_describe_the_given_net(problem):
    network, X, y = problem
    model = read_model(network, X, y)
    outputs = network(X) - network.layers[1].bias
    scale = 1.0 + np.abs(outputs).max()
    assert np.allclose(model.fit.outputs(model.V.ravel()), outputs, atol=1e-11 * scale)
    assert np.isclose(model.loss(model.V), squared_error(network, X, y), rtol=1e-10, atol=1e-10)
    rows = pattern_rows(model) @ model.V.ravel()
    assert (rows <= 1e-12 * (1.0 + np.abs(model.V).max(initial=0.0) * np.abs(model.X).max())).all()
    assert rows.size == model.units * len(np.unique(X, axis=0))
    again = model.network(model.V)
    assert np.allclose(again(X), network(X), atol=1e-11 * scale)
    H, c, offset = loss_terms(model)
    v = model.V.ravel()
    assert np.isclose(0.5 * v @ H @ v + c @ v + offset, model.loss(model.V), rtol=1e-9, atol=1e-9)


def multipliers(rng, units, outputs):
    """(V, S, p) with directions S and K = I - S'P S / 2 > 0."""
    S = rng.standard_normal((units, outputs))
    S /= np.linalg.norm(S, axis=1)[:, None]
    p = rng.uniform(0.1, 1.0, units)
    return S, p * rng.uniform(0.2, 1.8) / scipy.linalg.eigvalsh((S.T * p) @ S)[-1]


def random_slopes(fit, v, rng, e=1e-6):
    """Finite differences of value and gradient in a random direction, beside what the fit says."""
    d = rng.standard_normal(v.size)
    (ahead, up, _), (behind, down, _) = fit.curved(v + e * d), fit.curved(v - e * d)
    _, g, H = fit.curved(v)
    return ((ahead - behind) / (2 * e), (up - down) / (2 * e)), (d @ g, H @ d)


@settings(max_examples=20)
@given(st.data(), st.sampled_from(("squared", "cross_entropy")))
def test_gradients_and_curvature_of_the_loss(source, loss):
    network, X, y = source.draw(problems(loss=loss))
    model, rng = read_model(network, X, y, loss), np.random.default_rng(0)
    if model.units:
        outer = OuterFit(model.fitted, np.maximum(model.X @ model.V.T, 0.0), model.S.shape[1])
        assert np.isclose(outer.curved(model.S.ravel())[0], model.loss(model.V))
        assert np.isclose(model.fit.curved(model.V.ravel())[0], model.loss(model.V))
        for fit, v in ((model.fit, model.V.ravel()), (outer, model.S.ravel())):
            measured, said = random_slopes(fit, v, rng)
            for a, b in zip(measured, said, strict=True):
                assert np.allclose(a, b, rtol=1e-5, atol=1e-6 * (1.0 + np.abs(b).max()))


@given(seeds, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))
def test_the_penalty_is_the_least_rho_of_the_matrix_inequality(seed, inputs, units, outputs):
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((units, inputs + 1))
    S, p = multipliers(rng, units, outputs)
    rho = penalty_rho(V, S, p)
    dense = np.zeros((inputs + units + outputs,) * 2)
    dense[:inputs, :inputs] = rho * np.eye(inputs)
    at, last = slice(inputs, inputs + units), slice(inputs + units, None)
    dense[at, :inputs], dense[:inputs, at] = V[:, :-1], V[:, :-1].T
    dense[at, at], dense[last, last] = 2.0 * np.diag(p), np.eye(outputs)
    dense[at, last] = p[:, None] * S
    dense[last, at] = dense[at, last].T
    for fixed in (None, p):
        lmi = lipschitz_block(S, inputs, fixed)
        for factor, inside in ((1.0, None), (1.0 + 1e-6, True), (1.0 - 1e-6, False)):
            y = np.concatenate([V.ravel(), [factor * rho], p if fixed is None else []])
            F = lmi.evaluate(y).toarray()
            if inside is None:
                assert np.allclose(F, dense, atol=1e-13)
                cone = ArrowCone(S, (inputs, outputs), inputs + 1, fixed)
                assert np.allclose(cone.slack(y), dense, atol=1e-13)
            else:
                assert (scipy.linalg.eigvalsh(F)[0] >= 0) == inside


@given(seeds, st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))
def test_penalty_and_multipliers_are_a_lipsdp_witness(seed, inputs, units, outputs):
    """The congruence by diag(I, T^-1, I): T = 1/p certifies sqrt(rho) for the net (v_j, s_j)."""
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((units, inputs + 1))
    S, p = multipliers(rng, units, outputs)
    network = Network.from_arrays([V[:, :-1], S.T], [V[:, -1], np.zeros(outputs)], "relu")
    rho = penalty_rho(V, S, p) * (1.0 + 1e-9)
    certificate = lmikit.verify(network, Witness("lipsdp", rho, (1.0 / p,)), repair=False)
    assert certificate.bound <= np.sqrt(rho) * (1.0 + 1e-9)


def test_penalty_refuses_multipliers_that_show_nothing():
    V, signs = np.ones((2, 3)), np.ones((2, 1))
    assert penalty_rho(V, signs, np.array([1.0, 1.0])) == np.inf
    assert penalty_rho(V, signs, np.array([0.0, 1.0])) == np.inf
    assert penalty_rho(np.zeros((2, 3)), signs, np.array([0.0, 1.0])) == 0.0


# the interior point


@settings(max_examples=25)
@given(
    seeds,
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(("joint", "fixed", "outer")),
)
def test_cones_are_consistent(seed, units, inputs, outputs, kind):
    """Adjoint, F''(w) s = z, the assembled Hessian, and the step to the border of each cone."""
    rng = np.random.default_rng(seed)
    S, p = multipliers(rng, units, outputs)
    width = outputs if kind == "outer" else inputs + 1
    extra = units if kind != "fixed" else 0
    arrow = ArrowCone(
        rng.standard_normal((units, inputs)) if kind == "outer" else S,
        (inputs, outputs),
        width,
        p if kind == "fixed" else None,
        outer=kind == "outer",
    )
    X, patterns = rng.standard_normal((5, width)), rng.random((units, 5)) > 0.5
    norms = NormCones(units, width)
    for cone, size in (
        (arrow, units * width + 1 + extra),
        (PatternCone(X, patterns, units * width + 2), units * width + 2),
        (norms, units * (width + 1)),
    ):
        nothing = cone.slack(np.zeros(size))
        A = np.array([cone.slack(e) - nothing for e in np.eye(size)])
        if cone is arrow:
            B, C = rng.standard_normal((2, cone.degree, cone.degree))
            s, z = B @ B.T + np.eye(cone.degree), C @ C.T + np.eye(cone.degree)
            ds = rng.standard_normal(s.shape)
            ds, dz = ds + ds.T, -(ds @ ds.T)
        elif cone is norms:
            s, z = rng.standard_normal((2, *nothing.shape))
            s[:, 0], z[:, 0] = (
                np.linalg.norm(v[:, 1:], axis=1) + rng.uniform(0.1, 2.0, units) for v in (s, z)
            )
            ds, dz = rng.standard_normal((2, *s.shape))
        else:
            s, z = rng.uniform(0.1, 2.0, (2, *nothing.shape))
            ds, dz = rng.standard_normal((2, *s.shape))
        assert np.allclose(cone.adjoint(z), np.tensordot(A, z, axes=z.ndim), rtol=1e-9, atol=1e-9)
        assert cone.rescale(s, z)
        assert np.allclose(cone.weigh(s), z, rtol=1e-7, atol=1e-7)
        K = np.zeros((size, size))
        cone.add_hessian(K)
        expected = np.array([[np.vdot(a, cone.weigh(b)) for b in A] for a in A])
        assert np.allclose(K, expected, rtol=1e-7, atol=1e-7 * (1.0 + np.abs(expected).max()))
        reach = cone.reach(ds, dz)
        assert reach > 0
        if np.isfinite(reach):
            assert cone.rescale(s + 0.999 * reach * ds, z + 0.999 * reach * dz)
            assert not cone.rescale(s + 1.001 * reach * ds, z + 1.001 * reach * dz)


# the programs


def inside_the_cone(rng, model, V):
    """Weights with the patterns of the model, away from V: V plus any point of the cone of patterns."""
    return V + rng.uniform(0.0, 1.0, (model.units, 1)) * model.V * rng.uniform(-0.5, 0.5)


def test_joint_program_agrees_with_an_independent_formulation(trained):
    cp = pytest.importorskip("cvxpy")
    network, X, y, *_ = trained
    model = read_model(network, X[:20], y[:20])
    V, p, rho = cp.Variable(model.V.shape), cp.Variable(model.units), cp.Variable()
    weights = V[:, :-1]
    S = 2 * cp.diag(p)
    signs = model.S[:, 0]
    column = cp.reshape(cp.multiply(signs, p), (model.units, 1), order="F")
    zero = np.zeros((model.inputs, 1))
    matrix = cp.bmat(
        [
            [rho * np.eye(model.inputs), weights.T, zero],
            [weights, S, column],
            [zero.T, column.T, np.ones((1, 1))],
        ]
    )
    outputs = sum(
        s * cp.multiply(d.astype(float), model.X @ V[j])
        for j, (s, d) in enumerate(zip(signs, model.patterns, strict=True))
    )
    constraints = [0.5 * (matrix + matrix.T) >> 0]
    for j, d in enumerate(model.patterns):
        constraints.append(cp.multiply(2.0 * d - 1.0, model.X @ V[j]) >= 0)
    loss = cp.sum_squares(outputs - model.fitted.y[:, 0]) / 20
    reference = cp.Problem(cp.Minimize(loss + 0.02 * rho), constraints)
    reference.solve(solver=cp.CLARABEL)
    sdp, offset = lipschitz_program(model, 0.02)
    solution = Clarabel().solve(sdp)
    assert np.isclose(solution.objective + offset, reference.value, rtol=1e-5)
    own = convex_shallow(network, X[:20], y[:20], lipschitz=0.02)
    assert np.isclose(own.objective, reference.value, rtol=1e-5)

    # one logit, labels 0 and 1: the same constraints with the logistic loss
    labels = (y[:20] > 0).astype(int)
    logistic = cp.sum(cp.logistic(cp.multiply(1.0 - 2.0 * labels, outputs + network.layers[1].bias[0]))) / 20
    reference = cp.Problem(cp.Minimize(logistic + 0.02 * rho), constraints)
    reference.solve(solver=cp.CLARABEL)
    own = convex_shallow(network, X[:20], labels, lipschitz=0.02, loss="cross_entropy")
    assert np.isclose(own.objective, reference.value, rtol=1e-5)


def test_weight_decay_program_agrees_between_solvers(trained):
    network, X, y, *_ = trained
    sdp, offset = weight_decay_program(read_model(network, X[:20], y[:20]), 0.02)
    exact = Clarabel().solve(sdp).objective + offset
    pytest.importorskip("scs")
    assert np.isclose(SCS(tol=1e-7).solve(sdp).objective + offset, exact, rtol=1e-4)


KINDS = ("joint", "alternating", "decay", "solver", "freed")


@settings(max_examples=12)
@given(st.data(), st.sampled_from(KINDS), st.sampled_from(("squared", "cross_entropy")))
def test_never_worse_monotone_and_as_reported(source, kind, loss):
    """Every loss, number of outputs and kind of program."""
    loss = "squared" if kind == "solver" else loss
    network, X, y = source.draw(problems(loss=loss))
    weight, value = 0.05, squared_error if loss == "squared" else cross_entropy
    if kind == "decay":
        result = convex_shallow(network, X, y, weight_decay=weight, loss=loss)
        arrays = (*result.network.weights, result.network.layers[0].bias)
        penalty = 0.5 * sum(float((w**2).sum()) for w in arrays)
    else:
        options = {
            "solver": {"solver": Clarabel()},
            "freed": {"free_outputs": True, "pattern_updates": 1, "tol": 0.0},
        }.get(kind, {"multipliers": kind, "max_iterations": 3})
        result = convex_shallow(network, X, y, lipschitz=weight, loss=loss, **options)
        penalty = result.certificate.bound**2
    assert lmikit.check(result.certificate, result.network).ok
    objectives = [step.objective for step in result.history]
    assert all(b <= a for a, b in itertools.pairwise(objectives))
    assert result.objective == objectives[-1] <= result.initial_objective == objectives[0]
    assert result.improvement >= 0
    recomputed = value(result.network, X, y) + weight * penalty
    # the proven bound may be a little better than the multipliers in hand, and worse by proven rounding
    assert recomputed <= result.objective * (1 + 1e-6) + 1e-9
    if kind == "freed":
        return  # its patterns and directions may change
    before, after = (read_model(network, X, y, loss), read_model(result.network, X, y, loss))
    margin = pattern_rows(before)[:, : before.V.size]
    mapped = np.zeros((before.hidden, before.X.shape[1]))
    mapped[after.live] = after.V
    reach = margin @ mapped[before.live].ravel()
    assert (reach <= 1e-5 * (1.0 + np.abs(after.V).max(initial=0.0)) * np.abs(before.X).max()).all()


@settings(max_examples=8)
@given(
    st.data(), st.sampled_from(("squared", "cross_entropy")), st.sampled_from(("own", "updated", "solver"))
)
def test_any_weight_decay_is_solved_and_the_objective_grows_with_it(source, loss, kind):
    """objective(w) = min over networks that do not depend on w: at most zero's, monotone."""
    kind = "own" if kind == "solver" and loss != "squared" else kind
    network, X, y = source.draw(problems(loss=loss))
    options = {"updated": {"pattern_updates": 2}, "solver": {"solver": Clarabel()}}.get(kind, {})
    model = read_model(network, X, y, loss)
    zero, before = model.loss(0.0 * model.V), 0.0
    slope = np.linalg.norm(model.fit.gradient(np.zeros(model.V.size)).reshape(model.V.shape), axis=1)
    enough = float(slope.max(initial=1e-6))  # no gradient exceeds it
    for weight in (1e-6, 1e-3, 0.1 * enough, 0.5 * enough, 0.99 * enough, enough, 1e3 * enough, 1e9 * enough):
        result = convex_shallow(network, X, y, weight_decay=weight, loss=loss, **options)
        assert result.objective <= zero * (1 + 1e-15) or not model.units
        if kind == "own" and weight >= 1e-3:
            assert result.objective >= before * (1 - 1e-5) - 1e-9
            before = result.objective
        if weight >= enough:
            assert not any(w.any() for w in result.network.weights)
            assert result.certificate.bound == 0.0


def test_joint_beats_alternating_and_nothing_near_it_is_better(trained):
    network, X, y, *_ = trained
    weight = 0.02
    joint = convex_shallow(network, X, y, lipschitz=weight)
    paper = convex_shallow(network, X, y, lipschitz=weight, multipliers="alternating", max_iterations=4)
    assert joint.objective <= paper.objective + 1e-6
    assert paper.objective < joint.initial_objective * 0.999
    assert joint.certificate.proven
    assert np.isclose(
        squared_error(joint.network, X, y) + weight * joint.certificate.bound**2, joint.objective, rtol=1e-5
    )
    model, rng = read_model(network, X, y), np.random.default_rng(0)
    best = np.zeros((model.hidden, 4))
    after = read_model(joint.network, X, y)
    best[after.live] = after.V
    for _ in range(20):
        V = inside_the_cone(rng, model, best[model.live])
        if (pattern_rows(model) @ V.ravel() > 0).any():
            continue
        rho = lmikit.lipschitz(model.network(V)).bound ** 2
        assert model.loss(V) + weight * rho >= joint.objective - 1e-6


@pytest.mark.parametrize("penalty", ["lipschitz", "weight_decay"])
@pytest.mark.parametrize("multipliers", ["joint", "alternating"])
def test_the_interior_point_agrees_with_other_solvers_within_its_gap(trained, penalty, multipliers):
    network, X, y, *_ = trained
    options = {penalty: 0.02, "multipliers": multipliers, "max_iterations": 1}
    own = convex_shallow(network, X, y, **options)
    other = convex_shallow(network, X, y, solver=Clarabel(), **options)
    stages = ("joint", "weights")
    (mine,), (theirs,) = ([s for s in r.history if s.stage in stages] for r in (own, other))
    assert 0 <= mine.gap <= 2e-6 * mine.objective
    assert mine.objective - mine.gap <= theirs.objective * (1 + 1e-6)
    assert np.isclose(mine.objective, theirs.objective, rtol=1e-5)
    assert theirs.gap is None


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_freed_output_weights_are_optimal_within_the_gap(trained, loss):
    """No other output weights do better, and both layers together do better than one."""
    network, X, y, *_ = trained
    y = np.column_stack([y, X[:, 0]]) if loss == "squared" else (y > 0).astype(int) + (X[:, 1] > 0.5)
    rng = np.random.default_rng(0)
    outer = rng.standard_normal((2 if loss == "squared" else 3, 12))
    network = Network.from_arrays([network.weights[0], outer], [network.layers[0].bias, outer[:, 0]], "relu")
    options = {"lipschitz": 0.02, "loss": loss}
    fixed = convex_shallow(network, X, y, **options)
    freed = convex_shallow(network, X, y, free_outputs=True, **options)
    assert freed.objective < fixed.objective * (1 - 1e-3)
    (step,) = (s for s in freed.history if s.stage == "outputs")
    value = squared_error if loss == "squared" else cross_entropy
    W, A = freed.network.weights
    for size in (1e-3, 1e-2, 1e-1):
        other = A + size * rng.standard_normal(A.shape)
        net = Network.from_arrays([W, other], [layer.bias for layer in freed.network.layers], "relu")
        objective = value(net, X, y) + 0.02 * lmikit.lipschitz(net).bound ** 2
        assert objective >= step.objective - step.gap - 1e-7


@settings(max_examples=4)
@given(st.data(), st.sampled_from(("squared", "cross_entropy")), st.sampled_from((1.0, 1.5)))
def test_reduced_networks_have_a_smaller_proven_bound_at_no_larger_loss(source, loss, factor):
    network, X, y = source.draw(problems(loss=loss))
    value = squared_error if loss == "squared" else cross_entropy
    limit = value(network, X, y) * factor * (1 + 1e-12)
    result = reduce_lipschitz(network, X, y, loss=loss, max_loss=limit, programs=2)
    assert lmikit.check(result.certificate, result.network).ok
    bounds, losses = zip(*((s.penalty, s.loss) for s in result.history), strict=True)
    assert all(b < a for a, b in itertools.pairwise(bounds))
    assert max(losses) <= limit
    assert np.isclose(result.certificate.bound**2, result.objective)
    assert result.objective <= result.initial_objective
    assert value(result.network, X, y) <= limit * (1 + 1e-9)
    none = "the bound is 0" if result.initial_objective == 0 else "none of"
    fell = {1: none, 2: "the bound fell once"}
    assert result.reason.startswith(fell.get(len(bounds), f"the bound fell {len(bounds) - 1} times"))
    assert result.reason in str(result)


def test_three_programs_find_where_the_bound_falls(trained):
    """The first weight is too large, a tenth of it may be too small: the next one lies between them."""
    network, X, y, *_ = trained
    result = reduce_lipschitz(network, X, y, programs=3)
    assert result.certificate.bound < 0.9 * lmikit.lipschitz(network).bound


@pytest.mark.slow
def test_networks_of_other_packages_are_reduced_by_one_call(trained):
    _, X, y, *_ = trained
    sklearn = pytest.importorskip("sklearn.neural_network")
    labels = (y > 0).astype(int)
    regressor = sklearn.MLPRegressor(hidden_layer_sizes=(12,), max_iter=200, random_state=0, tol=0.1).fit(
        X, y
    )
    classifier = sklearn.MLPClassifier((12,), max_iter=200, random_state=0, tol=0.1).fit(X, labels)
    for model, target, loss in ((regressor, y, "squared"), (classifier, labels, "cross_entropy")):
        network = from_sklearn(model)
        result = reduce_lipschitz(network, X, target, loss=loss, programs=3)
        value = squared_error if loss == "squared" else cross_entropy
        assert result.certificate.bound < 0.95 * lmikit.lipschitz(network).bound
        assert value(result.network, X, target) <= value(network, X, target) * (1 + 1e-9)
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = from_torch(torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)))
    result = reduce_lipschitz(network, X, np.column_stack([y, X[:, 0]]), programs=2)
    assert result.certificate.bound < lmikit.lipschitz(network).bound


def test_reduction_refuses_what_cannot_be_meant(trained):
    network, X, y, *_ = trained
    with pytest.raises(InputError, match=r"above max_loss=0\.0"):
        reduce_lipschitz(network, X, y, max_loss=0.0)
    with pytest.raises(OptionError, match="programs is 0"):
        reduce_lipschitz(network, X, y, programs=0)
    assert reduce_lipschitz(network, X, y, time_limit=1e-9).network is network


@pytest.mark.parametrize("penalty", ["lipschitz", "weight_decay"])
def test_patterns_that_change_sides_lower_the_objective_further(trained, penalty):
    network, X, y, *_ = trained
    once = convex_shallow(network, X, y, **{penalty: 0.02})
    more = convex_shallow(network, X, y, **{penalty: 0.02}, pattern_updates=3, tol=0.0)
    objectives = [step.objective for step in more.history]
    assert all(b <= a for a, b in itertools.pairwise(objectives))
    assert more.objective < once.objective * (1 - 1e-4)


def test_changed_patterns_keep_the_point_feasible(trained):
    network, X, y, *_ = trained
    model = read_model(network, np.vstack([X[:9], X[:3]]), np.append(y[:9], y[:3]))
    G = pattern_rows(model)
    assert G.shape[0] == model.units * 9
    rows = np.zeros(G.shape[0], dtype=bool)
    rows[[0, 9 + 5]] = True
    signs = np.where(rows, -1.0, 1.0)
    assert abs(pattern_rows(model.crossed(rows)) - sp.diags_array(signs) @ G).max() == 0.0
    assert (model.crossed(rows).patterns != model.patterns).sum() == 3  # the first row occurs twice


def test_constraint_generation_finds_the_same_optimum(trained):
    network, X, y, *_ = trained
    whole = convex_shallow(network, X, y, lipschitz=0.02)
    for solver in (None, Clarabel()):
        part = convex_shallow(network, X, y, lipschitz=0.02, working_set=0.2, solver=solver)
        assert np.isclose(part.objective, whole.objective, rtol=1e-5)


def test_weight_decay_result_is_balanced_and_better_than_sgd(trained):
    network, X, y, *_ = trained
    result = convex_shallow(network, X, y, weight_decay=0.01)
    assert result.objective < result.initial_objective
    u = np.column_stack([result.network.weights[0], result.network.layers[0].bias])
    assert np.allclose(np.linalg.norm(u, axis=1), np.abs(result.network.weights[1][0]), atol=1e-9)


def test_rescaling_the_units_changes_nothing(trained):
    network, X, y, *_ = trained
    t = 10.0 ** np.random.default_rng(0).uniform(-5, 5, 12)
    first, second = network.layers
    scaled = Network.from_arrays(
        [t[:, None] * network.weights[0], network.weights[1] / t], [t * first.bias, second.bias], "relu"
    )
    one, two = (convex_shallow(net, X, y, lipschitz=0.02).objective for net in (network, scaled))
    assert np.isclose(one, two, rtol=1e-5)


def test_a_net_without_live_units_becomes_zero():
    X, y = data(np.random.default_rng(0), 10, 2)
    network = Network.from_arrays([np.ones((3, 2)), np.ones((1, 3))], [np.full(3, -99.0), np.ones(1)], "relu")
    for options in ({"lipschitz": 0.1}, {"weight_decay": 0.1}):
        result = convex_shallow(network, X, y, **options)
        assert result.certificate.bound == 0.0
        assert np.allclose(result.network(X), 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fails(Clarabel):
    """Clarabel for `after` solves, and then no usable point."""

    after: int
    calls: list = dataclasses.field(default_factory=list)

    def solve(self, sdp, **options):
        self.calls.append(sdp)
        if len(self.calls) <= self.after:
            return super().solve(sdp, **options)
        return Solution(Status.FAILED, None, None, np.nan, np.nan, 0.0, 0, "Fails", "asked to")


def test_a_solver_that_fails_is_reported(trained):
    network, X, y, *_ = trained
    with pytest.raises(SolveFailed, match="try another solver"):
        convex_shallow(network, X, y, lipschitz=0.02, solver=_Fails(after=0))
    with pytest.raises(SolveFailed, match="try another solver"):
        convex_shallow(network, X, y, weight_decay=0.02, solver=_Fails(after=0))
    options = {"lipschitz": 0.02, "multipliers": "alternating", "max_iterations": 3, "tol": 0.0}
    result = convex_shallow(network, X, y, solver=_Fails(after=1), **options)
    assert "the last good weights are kept" in result.reason
    assert result.objective < result.initial_objective


def test_rows_that_stay_violated_are_reported():
    with pytest.raises(SolveFailed, match="still violated after 2 rounds"):
        solve_with_rows(
            lambda mask, left: (np.where(np.arange(3) == mask.sum(), -1.0, 1.0), np.zeros((1, 3)), None),
            lambda v: v[None],
            np.ones(3),
            np.array([0.1, 0.2, 0.3]),
            start=0.1,
            rounds=2,
        )


def test_a_limit_in_time_returns_the_best_point_so_far(trained):
    network, X, y, *_ = trained
    result = convex_shallow(network, X, y, lipschitz=0.02, pattern_updates=50, time_limit=0.2)
    assert result.reason == "the time limit was reached"
    assert result.objective <= result.initial_objective
    assert result.certificate.proven


# bad input


def test_other_networks_are_refused():
    X, y = data(np.random.default_rng(0), 8, 2)
    W = [np.ones((3, 2)), np.ones((1, 3))]
    cases = [
        (Network.from_arrays(W, activation="tanh"), "expected ReLU"),
        (Network.from_arrays(W, activation=lmikit.LeakyReLU()), "expected ReLU"),
        (Network.from_arrays([W[0], np.ones((3, 3)), W[1]], activation="relu"), "2 hidden layers"),
        (Network.from_arrays([W[0], np.ones((2, 3))], activation="relu"), r"expected \(8, 2\)"),
        (W, "is a list"),
    ]
    for network, message in cases:
        with pytest.raises(InputError, match=message):
            convex_shallow(network, X, y, lipschitz=0.1)


def test_bad_data_and_options_are_refused():
    X, y = data(np.random.default_rng(0), 8, 2)
    network = random_net(np.random.default_rng(1), 2, 3)
    bad = X.copy()
    bad[0, 0] = np.nan
    for args, message in (
        ((X[:, :1], y), r"X has shape \(8, 1\); expected \(N, 2\)"),
        ((X, y[:-1]), r"y has shape \(7,\); expected \(8, 1\)"),
        ((bad, y), "NaN or infinity"),
        ((X, ["a"] * 8), "numeric"),
    ):
        with pytest.raises(InputError, match=message):
            convex_shallow(network, *args, lipschitz=0.1)
    for options, message in (
        ({}, "exactly one"),
        ({"lipschitz": 0.1, "weight_decay": 0.1}, "exactly one"),
        ({"lipschitz": -1.0}, "finite number > 0"),
        ({"weight_decay": np.nan}, "finite number > 0"),
        ({"lipschitz": 1.0, "multipliers": "both"}, "'joint' or 'alternating'"),
        ({"lipschitz": 1.0, "working_set": 0.0}, "a share in"),
        ({"lipschitz": 1.0, "max_iterations": 0}, "integer of at least 1"),
        ({"lipschitz": 1.0, "tol": -1.0}, "tol is"),
        ({"lipschitz": 1.0, "pattern_updates": -1}, "integer of at least 0"),
        ({"lipschitz": 1.0, "multipliers": "alternating", "pattern_updates": 1}, "keeps its patterns"),
        ({"weight_decay": 1.0, "free_outputs": True}, "free_outputs belongs to"),
        ({"lipschitz": 1.0, "loss": "hinge"}, "loss is 'hinge'"),
        ({"lipschitz": 1.0, "loss": "cross_entropy", "solver": Clarabel()}, "takes quadratic objectives"),
    ):
        with pytest.raises(OptionError, match=message):
            convex_shallow(network, X, y, **options)


# the reference network and the baselines


@settings(max_examples=30)
@given(seeds, st.sampled_from(("squared", "cross_entropy")), st.integers(0, 2), st.sampled_from((1.0, 4.0)))
def test_reference_gradients_are_those_of_the_loss(seed, loss, hidden, temperature):
    rng = np.random.default_rng(seed)
    dims = (3, *rng.integers(2, 5, hidden), 2)
    model = MLP(dims=dims, loss=loss, temperature=temperature, activation=lmikit.Tanh())
    weights = [w + 0.1 * rng.standard_normal(w.shape) for w in model.initial(seed % 1000)]
    X = rng.standard_normal((5, 3))
    y = rng.integers(0, 2, 5) if loss == "cross_entropy" else rng.standard_normal((5, 2))
    value, gradients = model.loss_and_grad(weights, X, y)
    direction = [rng.standard_normal(w.shape) for w in weights]
    e = 1e-5
    ahead, behind = (
        model.loss_and_grad([w + s * e * d for w, d in zip(weights, direction, strict=True)], X, y)[0]
        for s in (1, -1)
    )
    slope = sum(np.vdot(g, d) for g, d in zip(gradients, direction, strict=True))
    assert np.isclose((ahead - behind) / (2 * e), slope, rtol=1e-5, atol=1e-6)
    losses, inputs = model.input_gradients(weights, X, y)
    assert np.isclose(losses.mean(), value)
    D = rng.standard_normal(X.shape)
    ahead, behind = (model.input_gradients(weights, X + s * e * D, y)[0] for s in (1, -1))
    assert np.allclose((ahead - behind) / (2 * e), (inputs * D).sum(axis=1), rtol=1e-4, atol=1e-5)
    assert np.allclose(model.network(weights)(X), model.forward(weights, X))


def test_minibatches_visit_every_row_once_per_epoch_and_resume():
    X, y = data(np.random.default_rng(0), 10, 2)
    batches = Minibatches(MLP(dims=(2, 3, 1)), X, y, batch_size=4, seed=3)
    epochs = [[batches.next_rows() for _ in range(batches.batches_per_epoch)] for _ in range(2)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(10))
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    batches.seek(4)
    assert np.array_equal(batches.next_rows(), epochs[1][1])


@pytest.mark.parametrize("optimiser", [Adam(learning_rate=1e-2, decay="cosine"), Momentum()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_resumes_bit_for_bit_and_is_reproducible(optimiser, dtype, tmp_path):
    X, y = data(np.random.default_rng(0), 30, 2)
    model = MLP(dims=(2, 8, 1))

    def run(*parts):
        state, losses = None, ()
        for steps in parts:
            batches = Minibatches(model, X, y, batch_size=8, seed=1)
            result = sgd(
                with_weight_decay(batches, 0.01),
                [w.astype(dtype) for w in model.initial(0)],
                steps=steps,
                optimiser=optimiser,
                retraction=Orthogonal(),
                total_steps=60,
                state=state,
                save_to=tmp_path / "state.npz",
            )
            state, losses = tmp_path / "state.npz", losses + result.losses
        return result.weights, losses

    whole, losses = run(60)
    parts, again = run(25, 35)
    assert losses == again
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert losses[-1] < losses[0]
    assert whole[0].dtype == dtype
    assert np.abs(whole[0].T @ whole[0] - np.eye(2)).max() < 1e-2


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0.0, 0.3))
def test_the_retraction_goes_to_the_nearest_orthogonal_matrix_at_cubic_speed(rows, columns, seed, size):
    rng = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
    near = (u * (1.0 + size * rng.uniform(-1.0, 1.0, u.shape[1]))) @ vt
    found = Orthogonal((0,))([near, np.zeros(rows)])[0]
    assert np.linalg.norm(found - u @ vt, 2) <= 2.0 * size**3 + 1.5 * size**2 + 1e-12
    exact = Orthogonal((0,)).projected([near, np.zeros(rows)])[0]
    assert np.linalg.norm(exact - u @ vt, 2) <= 1e-12
    far = Orthogonal((0,))([100.0 * near, np.zeros(rows)])[0]
    assert np.linalg.norm(far - u @ vt, 2) <= 1e-12


def test_sgd_keeps_the_last_good_state_and_refuses_bad_gradients():
    start = [np.ones(2)]
    calls = itertools.count()

    def breaks(weights):
        return (np.nan if next(calls) == 3 else 1.0), [weights[0]]

    with pytest.raises(TrainingDiverged, match="loss is nan") as caught:
        sgd(breaks, start, steps=10)
    assert caught.value.state.step == 3
    assert np.isfinite(caught.value.state.weights[0]).all()
    assert np.array_equal(start[0], np.ones(2))
    for answer, message in (
        ((1.0, [np.ones(3)]), r"gradients\[0\] has shape \(3,\); expected \(2,\)"),
        ((1.0, []), "0 gradients; expected 1"),
        (1.0, "expected a pair .loss, gradients."),
    ):
        with pytest.raises(InputError, match=message):
            sgd(lambda w, answer=answer: answer, start, steps=1)
    with pytest.raises(TrainingDiverged, match=r"gradients\[0\] holds NaN"):
        sgd(lambda w: (1.0, [np.full(2, np.nan)]), start, steps=1)
    with pytest.raises(InputError, match="NaN or infinity"):
        sgd(lambda w: (1.0, w), [np.array([np.inf])], steps=1)
    with pytest.raises(TrainingDiverged, match="infinite weights"), np.errstate(over="ignore"):
        sgd(lambda w: (1.0, [np.full(2, 1e300)]), start, steps=3, optimiser=Momentum(learning_rate=1e10))


@settings(max_examples=20)
@given(seeds, st.sampled_from(("l2", "linf")), st.sampled_from((0.0, 0.1, 1.0)))
def test_attacks_stay_in_the_ball_and_below_the_certified_worst_case(seed, norm, radius):
    rng = np.random.default_rng(seed)
    X, y = data(rng, 6, 3)
    network = random_net(rng, 3, 5)
    attacked = pgd_attack(network, X, y, radius, norm=norm, restarts=2, steps=10)
    order = 2 if norm == "l2" else np.inf
    assert (np.linalg.norm(attacked - X, ord=order, axis=1) <= radius * (1 + 1e-12)).all()
    before, after = (np.abs(network(x)[:, 0] - y) for x in (X, attacked))
    assert (after >= before - 1e-12).all()
    reach = radius * (1.0 if norm == "l2" else np.sqrt(3))
    bound = lmikit.lipschitz(network, lmikit.SpectralProduct()).bound
    assert (after <= before + bound * reach + 1e-9).all()


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_the_attack_on_a_linear_net_is_exact(norm, dual):
    rng = np.random.default_rng(0)
    w, X = rng.standard_normal(4), rng.standard_normal((7, 4))
    network, y = Network.from_arrays([w[None]]), rng.standard_normal(7)
    attacked = pgd_attack(network, X, y, 0.3, norm=norm)
    worst = np.abs(X @ w - y) + 0.3 * np.linalg.norm(w, ord=dual)
    assert np.allclose(np.abs(attacked @ w - y), worst, rtol=1e-9)


def test_adversarial_training_lowers_the_adversarial_error(trained):
    network, X, y, model, _ = trained
    batches = AdversarialMinibatches(model, X, y, 0.5, steps=4, batch_size=16, seed=1)
    robust = model.network(sgd(batches, model.initial(5), steps=300).weights)
    errors = [squared_error(net, pgd_attack(net, X, y, 0.5), y) for net in (network, robust)]
    assert errors[1] < errors[0]


def test_admm_improves_the_objective_and_reports_residuals(trained):
    network, X, y, model, weights = trained
    batches = Minibatches(model, X, y)
    result = admm_pauli(batches.full, weights, lipschitz=0.05, mu=0.2, iterations=4, inner_steps=40)
    start = squared_error(network, X, y) + 0.05 * lmikit.lipschitz(network).bound ** 2
    tuned = model.network(result.weights)
    bound = lmikit.lipschitz(tuned).bound
    assert result.objective < start
    assert squared_error(tuned, X, y) + 0.05 * bound**2 <= result.objective * (1 + 1e-6)
    assert len(result.history) == 4
    assert result.history[-1].primal_residual < result.history[0].primal_residual
    better = convex_shallow(tuned, X, y, lipschitz=0.05)
    assert better.objective < better.initial_objective <= result.objective * (1 + 1e-6)


def test_admm_refuses_other_arrays():
    with pytest.raises(InputError, match="one hidden layer"):
        admm_pauli(lambda w: (0.0, w), [np.ones((1, 2))], lipschitz=1.0)
    with pytest.raises(OptionError, match="lipschitz=0"):
        admm_pauli(lambda w: (0.0, w), [np.ones((1, 2))], lipschitz=0.0)


def test_reference_and_attack_refuse_bad_input():
    X, y = data(np.random.default_rng(0), 6, 2)
    model = MLP(dims=(2, 3, 1))
    for call, error, message in (
        (lambda: MLP(dims=(3,)), OptionError, "dims is"),
        (lambda: MLP(dims=(3, 1), loss="hinge"), OptionError, "loss is"),
        (lambda: MLP(dims=(3, 1), temperature=0.0), OptionError, "temperature is"),
        (lambda: Minibatches(model, X[:, :1], y), InputError, "X has shape"),
        (lambda: Minibatches(model, X, y[:2]), InputError, "y has shape"),
        (lambda: Minibatches(model, X, y, batch_size=7), OptionError, "batch_size is"),
        (lambda: Minibatches(MLP(dims=(2, 3), loss="cross_entropy"), X, y), InputError, "integers"),
        (
            lambda: Minibatches(MLP(dims=(2, 3), loss="cross_entropy"), X, np.full(6, 3)),
            InputError,
            "expected 0 to 2",
        ),
        (lambda: pgd_attack("net", X, y, 0.1), InputError, "expected an lmikit.Network"),
        (lambda: pgd_attack(model.network(model.initial(0)), X, y, -1.0), OptionError, "radius=-1"),
        (lambda: pgd_attack(model.network(model.initial(0)), X, y, 1.0, norm="l1"), OptionError, "norm is"),
        (lambda: sgd(model.loss_and_grad, [np.ones(1)], steps=-1), InputError, "steps is"),
        (lambda: sgd(lambda w: (0.0, w), [], steps=1), InputError, "weights is empty"),
        (lambda: sgd(lambda w: (0.0, w), [np.ones(1)], steps=1, optimiser="lbfgs"), OptionError, "optimiser"),
        (lambda: Adam(learning_rate=1e-2, decay="step"), OptionError, "decay"),
        (lambda: Momentum(learning_rate=0.0), OptionError, "learning"),
        (lambda: Orthogonal((-1,)), OptionError, "arrays"),
        (lambda: Orthogonal((1,))([np.eye(2), np.ones(2)]), InputError, "no matrix"),
        (lambda: with_weight_decay(lambda w: (0.0, w), -1.0), OptionError, "weight is"),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.slow
def test_servo_with_a_hundred_units(data_dir):
    """167 rows, 16,700 pattern rows: solved in under half a minute, and better than ADMM."""
    table = np.loadtxt(data_dir / "uci" / "servo.tsv")
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    X, y = table[:, :-1], table[:, -1]
    model = MLP(dims=(10, 100, 1), output_bias=False)
    batches = Minibatches(model, X, y, batch_size=32, seed=0)
    weights = sgd(with_weight_decay(batches, 0.01), model.initial(0), steps=1200).weights
    admm = admm_pauli(batches.full, weights, lipschitz=0.01, mu=0.1, iterations=10)
    started = time.perf_counter()
    result = convex_shallow(model.network(admm.weights), X, y, lipschitz=0.01)
    assert time.perf_counter() - started < 30.0
    assert result.improvement > 0.01


def test_the_page_runs(tmp_path, monkeypatch):
    page = pathlib.Path(__file__).resolve().parent.parent / "docs" / "theory" / "convex_shallow.md"
    first, second = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(first, names)
    assert names["result"].objective < 0.95 * names["result"].initial_objective
    assert (tmp_path / "smoother.npz").exists()
    pytest.importorskip("sklearn")
    exec(second, names)
    assert names["smoother"].certificate.bound < names["lmikit"].lipschitz(names["network"]).bound
