"""Quadratic constraints by sampling, supply rates, implicit networks, the loop transformation."""

import itertools
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import demo_network, networks

from lmikit import InputError, OptionError
from lmikit.formulations import JointLipSDP, loop_transform, substitute, undo_loop_transform
from lmikit.formulations.iqc import (
    AbstractQuadraticConstraint,
    Dissipation,
    GroupSort,
    Householder,
    InputPassivity,
    L2Gain,
    MaxMin,
    NormBounded,
    OutputPassivity,
    Placed,
    SectorBounded,
    SlopeRestricted,
    WeightedGain,
    largest_violation,
    terms_from_matrices,
)
from lmikit.network import LinearFractional, Slopes, linear_fractional
from lmikit.solvers import Clarabel

ROUNDING = 1e-12


def solved(problem):
    return problem.estimate(Clarabel(tol=1e-9).solve(problem.sdp()))


def maxmin(v):
    pairs = v.reshape(-1, 2, *v.shape[1:])
    return np.stack([pairs.max(axis=1), pairs.min(axis=1)], axis=1).reshape(v.shape)


def groupsort(v, size):
    return np.sort(v.reshape(-1, size, *v.shape[1:]), axis=1).reshape(v.shape)


def householder(v, u):
    groups = v.reshape(-1, u.size, *v.shape[1:])
    along = np.einsum("i,gis->gs", u, groups)[:, None]
    return (groups + u[None, :, None] * (np.abs(along) - along)).reshape(v.shape)


UNIT = np.array([2.0, -1.0, 2.0]) / 3.0
# constraint, a function in its class (on increments of a pair of inputs), channels
CASES = {
    "slopes": (SlopeRestricted([0.0, -0.1, -1.0, 0.2], [1.0, 1.1, 1.0, 0.9]), None),
    "relu": (SlopeRestricted(np.zeros(4), np.ones(4)), lambda v: np.maximum(v, 0.0)),
    "layer": (SlopeRestricted(np.zeros(4), np.ones(4), "layer"), np.tanh),
    "sin": (SlopeRestricted(-np.ones(4), np.ones(4)), np.sin),
    "norm": (
        NormBounded(1.5, 4, 3),
        lambda v: 1.5 * np.sin(np.linalg.qr(np.ones((4, 4)) + np.eye(4))[0][:3] @ v),
    ),
    "maxmin": (MaxMin(4), maxmin),
    "groupsort3": (GroupSort(6, 3), lambda v: groupsort(v, 3)),
    "groupsort1": (GroupSort(2, 1), lambda v: v),
    "householder": (Householder(6, 3, UNIT), lambda v: householder(v, UNIT)),
    "sector": (SectorBounded(np.zeros(4), np.ones(4)), lambda v: np.tanh(v)),
}


def increments(name, rng, samples=400):
    constraint, phi = CASES[name]
    a = rng.standard_normal((constraint.channels[0], samples)) * np.exp(rng.uniform(-3, 3, samples))
    b = rng.standard_normal(a.shape)
    if not constraint.incremental:
        return a, phi(a)
    if phi is None:  # any slopes in the interval, vertices included
        share = np.clip(rng.uniform(-0.5, 1.5, a.shape), 0.0, 1.0)
        slope = constraint.alpha[:, None] + share * (constraint.beta - constraint.alpha)[:, None]
        return a, slope * a
    return a - b, phi(a) - phi(b)


@pytest.mark.parametrize("name", CASES)
def test_obligations_hold_on_samples(name):
    constraint, _ = CASES[name]
    v, w = increments(name, np.random.default_rng(11))
    assert constraint.channels == (v.shape[0], w.shape[0])
    assert largest_violation(constraint, v, w) <= ROUNDING
    assert constraint.obligation


@pytest.mark.parametrize("name", CASES)
def test_wrong_maps_are_refuted(name):
    """Sampling finds a map outside the class: the test above can fail."""
    v, w = increments(name, np.random.default_rng(11))
    assert largest_violation(CASES[name][0], v, 1.7 * w + 0.1 * v[: w.shape[0]]) > 1e-3


@pytest.mark.parametrize("name", ["maxmin", "householder"])
def test_householder_is_a_scalar_neuron(name):
    constraint, phi = CASES[name]
    C, R, S = constraint.rewriting()
    v = np.random.default_rng(2).standard_normal((constraint.channels[0], 50))
    np.testing.assert_allclose(C @ v + R @ np.abs(S @ v), phi(v), atol=1e-14)


def chain(weights, dims_like=None):
    """The form of v_1 = W0 x, v_2 = W1 w_1, ..., y = W_L w_L; slopes are placeholders."""
    from lmikit import Network

    return linear_fractional(Network.from_arrays(weights, activation=Slopes(-1.0, 1.0)))


def random_weights(seed, dims):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((m, n)) for n, m in itertools.pairwise(dims)]


def test_maxmin_and_its_scalar_neuron_show_the_same():
    form = chain(random_weights(3, (3, 4, 4, 2)))
    product = np.prod([np.linalg.norm(W, 2) for W in random_weights(3, (3, 4, 4, 2))])
    direct = solved(Dissipation(form, [MaxMin(4), MaxMin(4)]))
    C, R, S = MaxMin(8).rewriting()
    scalar = substitute(form, C, R, S, (-np.ones(4), np.ones(4)))
    rewritten = solved(Dissipation(scalar, [SlopeRestricted(-np.ones(4), np.ones(4))]))
    assert direct == pytest.approx(rewritten, rel=1e-6)
    assert direct <= product * (1 + 1e-7)
    lowest = max(
        np.linalg.norm(scalar.jacobian(np.array(signs)), 2)
        for signs in itertools.product((-1.0, 1.0), repeat=4)
    )
    assert lowest <= direct * (1 + 1e-7)


def test_groupsort_lies_between_permutations_and_product():
    weights = random_weights(5, (3, 4, 4, 2))
    bound = solved(Dissipation(chain(weights), [GroupSort(4, 4), GroupSort(4, 4)]))
    product = np.prod([np.linalg.norm(W, 2) for W in weights])
    permutations = [np.eye(4)[list(p)] for p in itertools.permutations(range(4))]
    lowest = max(
        np.linalg.norm(weights[2] @ p @ weights[1] @ q @ weights[0], 2)
        for p in permutations
        for q in permutations
    )
    assert lowest <= bound <= product * (1 + 1e-7)
    assert bound < 0.999 * product


def test_groupsort_of_the_identity_is_one():
    for constraint in (MaxMin(4), GroupSort(4, 2), GroupSort(4, 4)):
        assert solved(Dissipation(chain([np.eye(4), np.eye(4)]), [constraint])) == pytest.approx(
            1.0, rel=1e-6
        )


def test_lipsdp_is_an_instance():
    for network in (demo_network(), demo_network(Slopes(0.2, 0.9))):
        form = linear_fractional(network)
        problem = Dissipation(form, [SlopeRestricted(form.alpha, form.beta)])
        left, right = problem.sdp().lmis[0], JointLipSDP(network).sdp().lmis[0]
        y = np.random.default_rng(0).uniform(size=5)
        np.testing.assert_array_equal(left.evaluate(y).toarray(), right.evaluate(y).toarray())


def test_groups_of_constraints_can_share_channels():
    """Slopes and the norm bound of the same layer: no worse than slopes alone."""
    form = linear_fractional(demo_network())
    slopes = SlopeRestricted(form.alpha, form.beta)
    both = Dissipation(form, [slopes, Placed(NormBounded(1.0, 2, 2), [0, 1], [0, 1])])
    alone = solved(Dissipation(form, [slopes]))
    assert solved(both) == pytest.approx(alone, rel=1e-5)
    assert len(both.multipliers(Clarabel().solve(both.sdp()))) == 2


class Projection(AbstractQuadraticConstraint):
    """The projection onto a convex set in R^n: firmly nonexpansive."""

    obligation: ClassVar[str] = "|dw|^2 - dv'dw <= 0: the variational inequality of the projection, twice."

    def __init__(self, n):
        self.n = n

    @property
    def channels(self):
        return self.n, self.n

    def terms(self):
        n = self.n
        M = np.block([[np.zeros((n, n)), -0.5 * np.eye(n)], [-0.5 * np.eye(n), np.eye(n)]])
        return terms_from_matrices((n, n), [M], [True])


def test_a_constraint_of_ones_own():
    """x - 2 P(x) is nonexpansive: 1 from firm nonexpansiveness, 3 from the norm alone."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 200)) * 3

    def ball(v):
        return v / np.maximum(np.linalg.norm(v, axis=0), 1.0)

    assert largest_violation(Projection(3), a - b, ball(a) - ball(b)) <= ROUNDING
    eye, none = np.eye(3), np.zeros((3, 3))
    form = LinearFractional(eye, none, eye, -2 * eye, np.zeros(3), np.ones(3))
    assert solved(Dissipation(form, [Projection(3)])) == pytest.approx(1.0, rel=1e-6)
    assert solved(Dissipation(form, [NormBounded(1.0, 3, 3)])) == pytest.approx(3.0, rel=1e-6)


def test_weighted_gain_is_the_gain_of_the_weighted_map():
    network = demo_network(Slopes(-0.1, 1.1))
    form = linear_fractional(network)
    P, Q = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[9.0]])
    bound = solved(Dissipation(form, [SlopeRestricted(form.alpha, form.beta)], WeightedGain(P, Q)))
    root = np.linalg.cholesky(P)  # x = root'^-1 u has x'Px = |u|^2
    weights = [network.weights[0] @ np.linalg.inv(root.T), network.weights[1], 3.0 * network.weights[2]]
    weighted = chain(weights)
    same = solved(Dissipation(weighted, [SlopeRestricted(form.alpha, form.beta)]))
    assert bound == pytest.approx(same, rel=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.9), (-0.3, 1.1), (0.0, 1.0)])
def test_passivity_indices_of_a_scalar_activation(alpha, beta):
    one, none = np.ones((1, 1)), np.zeros((1, 1))
    form = LinearFractional(one, none, none, one, [alpha], [beta])
    slope = SlopeRestricted([alpha], [beta])
    assert solved(Dissipation(form, [slope], InputPassivity())) == pytest.approx(alpha, abs=1e-6)
    if alpha >= 0:
        assert solved(Dissipation(form, [slope], OutputPassivity())) == pytest.approx(1 / beta, rel=1e-6)


def test_monotone_layer_is_passive():
    """x -> x + W'phi(W x), a gradient of a convex function, is strongly monotone with 1."""
    W = np.random.default_rng(4).standard_normal((5, 3))
    form = LinearFractional(W, np.zeros((5, 5)), np.eye(3), W.T, np.zeros(5), np.ones(5))
    problem = Dissipation(form, [SlopeRestricted(form.alpha, form.beta)], InputPassivity())
    assert solved(problem) == pytest.approx(1.0, abs=1e-6)
    assert "theta" in problem.supply.claim


def equilibrium_network(seed, neurons=5, alpha=0.0, beta=1.0, gain=0.8):
    """w = phi(N_vw w + N_vx x), ||N_vw|| = gain: well posed for slopes in [-1, 1]."""
    rng = np.random.default_rng(seed)
    N_vw = rng.standard_normal((neurons, neurons))
    N_vw *= gain / np.linalg.norm(N_vw, 2)
    slopes = np.full(neurons, alpha), np.full(neurons, beta)
    return LinearFractional(
        rng.standard_normal((neurons, 3)),
        N_vw,
        rng.standard_normal((2, 3)),
        rng.standard_normal((2, neurons)),
        *slopes,
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.1, 1.1), (0.2, 0.9)])
def test_equilibrium_networks_both_ways(seed, slopes):
    """The direct LMI and the one after the loop transformation have one optimum, above every Jacobian."""
    form = equilibrium_network(seed, alpha=slopes[0], beta=slopes[1])
    direct = solved(Dissipation(form, [SlopeRestricted(form.alpha, form.beta)]))
    centre, radius = (form.alpha + form.beta) / 2, (form.beta - form.alpha) / 2
    looped = loop_transform(form, centre, radius)
    np.testing.assert_allclose([looped.alpha, looped.beta], [-np.ones(5), np.ones(5)])
    assert solved(Dissipation(looped, [SlopeRestricted(looped.alpha, looped.beta)])) == pytest.approx(
        direct, rel=1e-6
    )
    vertices = itertools.product(slopes, repeat=5)
    assert max(np.linalg.norm(form.jacobian(np.array(s)), 2) for s in vertices) <= direct * (1 + 1e-7)


def test_equilibrium_network_with_linear_neurons():
    form = equilibrium_network(9)
    alpha = np.array([0.0, 0.7, 0.0, 1.0, -0.2])
    beta = np.array([1.0, 0.7, 1.0, 1.0, 1.0])
    form = LinearFractional(form.N_vx, form.N_vw, form.N_yx, form.N_yw, alpha, beta)
    looped = loop_transform(form, (alpha + beta) / 2, (beta - alpha) / 2)
    reduced = form.without_linear_neurons()
    assert looped.neurons == reduced.neurons == 3
    bounds = [solved(Dissipation(f, [SlopeRestricted(f.alpha, f.beta)])) for f in (looped, reduced)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)
    free = [0, 2, 4]
    lowest = 0.0
    for ends in itertools.product((0, 1), repeat=3):
        s = alpha.copy()
        s[free] = np.where(ends, beta[free], alpha[free])
        lowest = max(lowest, np.linalg.norm(form.jacobian(s), 2))
    assert lowest <= bounds[0] * (1 + 1e-7)


def test_loop_transform_of_the_demo():
    """A, B, C~ and the lower left block of D, worked out by hand."""
    form = linear_fractional(demo_network())
    looped = loop_transform(form, np.full(4, 0.5), np.full(4, 0.5))
    np.testing.assert_allclose(looped.N_yx.toarray(), [[0.75, 1.5]])
    np.testing.assert_allclose(looped.N_yw.toarray(), [[0.75, 0.0, 0.5, 0.5]])
    np.testing.assert_allclose(looped.N_vx.toarray(), [[1, 2], [-1, 1], [1, 0.5], [0.5, 2.5]])
    np.testing.assert_allclose(looped.N_vw.toarray()[2:, :2], [[0.5, -0.5], [1, 0.5]])


@settings(max_examples=25)
@given(networks(min_hidden=1, kinds=("gaussian", "integers")), st.integers(0, 2**32 - 1))
def test_loop_transform_round_trip_and_jacobians(network, seed):
    form = linear_fractional(network)
    rng = np.random.default_rng(seed)
    C, R = rng.uniform(-0.5, 0.5, form.neurons), rng.uniform(0.5, 1.5, form.neurons)
    looped = loop_transform(form, C, R)
    slopes = rng.uniform(form.alpha, form.beta)
    scale = 1 + np.abs(form.jacobian(slopes)).max()
    np.testing.assert_allclose(looped.jacobian((slopes - C) / R), form.jacobian(slopes), atol=1e-11 * scale)
    again = undo_loop_transform(looped, C, R)
    for label in ("N_vx", "N_vw", "N_yx", "N_yw", "alpha", "beta"):
        left, right = (getattr(f, label) for f in (again, form))
        left, right = (M if isinstance(M, np.ndarray) else M.toarray() for M in (left, right))
        np.testing.assert_allclose(
            left, right, atol=1e-12 * (1 + np.abs(looped.N_yx).max() + np.abs(right).max())
        )


def test_ill_posed_loops_are_refused():
    one = np.ones((1, 1))
    form = LinearFractional(one, one, one, one, [0.0], [2.0])
    with pytest.raises(InputError, match="singular"):
        loop_transform(form, np.ones(1), np.ones(1))


def test_bad_transformations_are_refused():
    form = linear_fractional(demo_network())
    with pytest.raises(InputError, match="R_i must be positive"):
        loop_transform(form, np.full(4, 0.5), np.array([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="expected positive ones"):
        undo_loop_transform(form, np.full(4, 0.5), np.zeros(4))


def test_sector_bounds_do_not_make_incremental_claims():
    form = linear_fractional(demo_network())
    sector = SectorBounded(form.alpha, form.beta)
    with pytest.raises(InputError, match="SectorBounded is not incremental"):
        Dissipation(form, [sector])
    ordinary = Dissipation(form, [sector], incremental=False)
    assert solved(ordinary) == pytest.approx(6.71755, abs=1e-5)


def test_coupled_multipliers_are_refused_with_the_counterexample():
    with pytest.raises(OptionError, match=r"relu\(x\) - relu\(x - 1\)"):
        SlopeRestricted([0.0], [1.0], "network")


class Unproven(AbstractQuadraticConstraint):
    channels = (2, 2)

    def terms(self):
        return np.eye(4)


class OfArrays(Unproven):
    obligation = "nothing"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlopeRestricted([1.0], [0.0]), "alpha > beta"),
        (lambda: SlopeRestricted([0.0, 0.0], [1.0]), "one length"),
        (lambda: SlopeRestricted([np.nan], [1.0]), "finite"),
        (lambda: NormBounded(-1.0, 2, 2), "at least 0"),
        (lambda: NormBounded(1.0, 0, 2), "at least one"),
        (lambda: GroupSort(5, 2), "do not split"),
        (lambda: Householder(4, 2, [1.0, 1.0]), "unit vector"),
        (lambda: terms_from_matrices((1, 1), [np.ones((3, 3))], [True]), "expected \\(2, 2\\)"),
        (
            lambda: terms_from_matrices((1, 1), [np.array([[0.0, 1.0], [0.0, 0.0]])], [True]),
            "is not symmetric",
        ),
        (lambda: Placed(MaxMin(2), [0], [0, 1]), "expected \\(2,\\)"),
        (lambda: Dissipation(linear_fractional(demo_network()), [MaxMin(6)]), "has 4 such channels"),
        (lambda: WeightedGain(np.eye(3), np.eye(1)).form(2, 1), "expected \\(2, 2\\)"),
        (lambda: WeightedGain(np.triu(np.ones((2, 2))), np.eye(1)).form(2, 1), "P is not symmetric"),
        (lambda: WeightedGain(np.eye(2), -np.eye(1)).form(2, 1), "positive semidefinite"),
        (lambda: InputPassivity().form(2, 3), "as many of each"),
        (lambda: Dissipation(demo_network(), [MaxMin(4)]), "linear_fractional\\(network\\)"),
        (lambda: Dissipation(linear_fractional(demo_network()), MaxMin(4)), "expected a sequence"),
        (lambda: Dissipation(linear_fractional(demo_network()), [OfArrays()]), "expected QuadraticTerms"),
        (lambda: largest_violation(Unproven(), np.ones((2, 5)), np.ones((2, 5))), "no `obligation`"),
        (lambda: largest_violation(MaxMin(2), np.ones((2, 5)), np.ones((2, 4))), "one column per sample"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_gain_without_evidence_is_infinite():
    assert L2Gain().value(0.0) == np.inf
