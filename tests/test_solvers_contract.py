"""Laws of every solver, on problems whose answer is known by construction."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from sdp_strategies import (
    bad_dimension_cases,
    degenerate_sdps,
    infeasible_sdps,
    random_optimal,
    sdps_with_optimum,
    unbounded_sdps,
)

from lmikit import InputError, OptionError
from lmikit.lmi import LMI, SDP, SOC, Status
from lmikit.solvers import available
from lmikit.solvers._available import concrete_solvers

READY = {info.name for info in available() if info.ready}
SOLVERS = [
    pytest.param(
        solver(),
        id=solver.__name__,
        marks=() if solver.__name__ in READY else pytest.mark.skip("not installed or no licence here"),
    )
    for solver in concrete_solvers()
]
every_solver = pytest.mark.parametrize("solver", SOLVERS)
examples = settings(max_examples=25)


def accuracy(solver):
    """What may be asked of answers: a hundred times the tolerance that the solver was given."""
    return 100 * (getattr(solver, "tol", None) or 1e-8)


def solve(solver, sdp, **options):
    """The solution, or a skip that a solver which declines the problem must earn by its error."""
    reason = solver.suits(sdp)
    if reason is not None:
        with pytest.raises((OptionError, InputError)):
            solver.solve(sdp, **options)
        return None
    return solver.solve(sdp, **options)


def check_feasible(sdp, y, atol):
    for lmi in sdp.lmis:
        if lmi.size:
            assert np.linalg.eigvalsh(lmi.evaluate(y).toarray())[0] >= -atol
    for soc in sdp.socs:
        point = soc.C @ y + soc.d
        assert point.size == 0 or point[0] >= np.linalg.norm(point[1:]) - atol
    assert (sdp.G @ y <= sdp.h + atol).all()
    assert (abs(sdp.A @ y - sdp.b) <= atol).all()


def lagrangian_gradient(sdp, y, dual):
    gradient = sdp.c + sdp.G.T @ dual.z + sdp.A.T @ dual.v + (0 if sdp.H is None else sdp.H @ y)
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        gradient = gradient - lmi.adjoint(X)
    for soc, s in zip(sdp.socs, dual.s, strict=True):
        gradient = gradient - soc.C.T @ s
    return gradient


def check_multipliers(sdp, dual, atol):
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        assert X.shape == (lmi.size, lmi.size)
        assert np.array_equal(X, X.T)
        assert X.size == 0 or not dual.X_complete or np.linalg.eigvalsh(X)[0] >= -atol
    assert dual.z.shape == sdp.h.shape
    assert (dual.z >= -atol).all()
    assert dual.v.shape == sdp.b.shape
    for soc, s in zip(sdp.socs, dual.s, strict=True):
        assert s.shape == soc.d.shape
        assert s.size == 0 or s[0] >= np.linalg.norm(s[1:]) - atol


def check_solved(solver, known, *, factor=1.0):
    solution = solve(solver, known.sdp)
    if solution is None:
        return
    assert solution.status in (Status.SOLVED, Status.INACCURATE), solution
    scale = 1 + abs(known.optimum)
    size = max([1.0, *(np.abs(X).max(initial=0) for X in solution.dual.X), *abs(solution.dual.z)])
    atol = factor * accuracy(solver) * scale
    assert solution.objective == pytest.approx(known.optimum, abs=atol)
    assert solution.objective == known.sdp.objective(solution.y)
    assert solution.bound_on_optimum == pytest.approx(known.optimum, abs=10 * atol)
    check_feasible(known.sdp, solution.y, 10 * atol)
    check_multipliers(known.sdp, solution.dual, 10 * atol * size)
    gradient = lagrangian_gradient(known.sdp, solution.y, solution.dual)
    assert abs(gradient).max() <= 10 * atol * size
    assert solution.solver == type(solver).__name__
    assert solution.seconds > 0


def taken(solver, seed, **options):
    """A problem with a known optimum of the kinds that the solver says it takes."""
    kinds = {} if solver.takes_cones else {"soc_sizes": (), "bound": "linear"}
    kinds |= {} if solver.takes_equalities else {"q": 0}
    return random_optimal(np.random.default_rng(seed), **{**kinds, **options})


@every_solver
def test_of_25_problems_that_it_takes_at_least_20_are_solved(solver):
    problems = [taken(solver, seed, sizes=[(4, 3), (5,), (2, 2, 2), (6, 1)][seed % 4]) for seed in range(25)]
    assert all(solver.suits(known.sdp) is None for known in problems)
    solved = 0
    for known in problems:
        solution = solver.solve(known.sdp)
        assert solution.status in (Status.SOLVED, Status.INACCURATE), solution
        solved += solution.status is Status.SOLVED
        assert solution.objective == pytest.approx(
            known.optimum, abs=accuracy(solver) * (1 + abs(known.optimum))
        )
    assert solved >= 20


@every_solver
def test_capabilities_are_what_it_declines(solver):
    known = taken(solver, 1)
    m = known.sdp.variables
    row = sp.csc_array(np.ones((1, m)))
    changed = {
        "takes_cones": {"socs": (SOC(sp.csc_array((2, m)), [1.0, 0.0]),)},
        "takes_equalities": {"A": row, "b": [0.0]},
        "takes_quadratic": {"H": sp.eye_array(m, format="csc")},
    }
    for capability, fields in changed.items():
        sdp = dataclasses.replace(known.sdp, **fields)
        assert (solver.suits(sdp) is None) == getattr(solver, capability)


@every_solver
@examples
@given(known=sdps_with_optimum())
def test_finds_the_known_optimum_and_multipliers(solver, known):
    check_solved(solver, known)


@every_solver
@examples
@given(known=sdps_with_optimum(quadratic=True))
def test_finds_the_known_optimum_of_a_quadratic_objective(solver, known):
    check_solved(solver, known)


@every_solver
@examples
@given(known=degenerate_sdps())
def test_degenerate_problems_are_solved_less_accurately(solver, known):
    # without strict complementarity the distance to the solution goes as the root of the residual
    check_solved(solver, known, factor=100)


@every_solver
@examples
@given(known=infeasible_sdps())
def test_infeasible_comes_with_a_ray_that_proves_it(solver, known):
    solution = solve(solver, known.sdp)
    if solution is None:
        return
    if not solver.finds_rays:
        assert solution.status in (Status.INFEASIBLE, Status.FAILED, Status.LIMIT)
    else:
        assert solution.status is Status.INFEASIBLE, solution
    if solution.status is not Status.INFEASIBLE:
        return
    assert solution.y is None
    assert solution.objective == solution.bound_on_optimum == np.inf
    ray, sdp = solution.dual, known.sdp
    offset = (
        ray.z @ sdp.h
        + ray.v @ sdp.b
        + sum(np.sum(block.F0 * X) for block, X in zip(sdp.lmis, ray.X, strict=True))
    )
    assert offset == pytest.approx(-1)
    size = max([1.0, *(np.abs(X).max() for X in ray.X), *abs(ray.z), *abs(ray.v)])
    check_multipliers(sdp, ray, 2e-6 * size)
    homogeneous = dataclasses.replace(sdp, c=np.zeros(sdp.variables))
    assert abs(lagrangian_gradient(homogeneous, None, ray)).max() <= 2e-6 * size


@every_solver
@examples
@given(known=unbounded_sdps())
def test_unbounded_comes_with_a_ray_that_proves_it(solver, known):
    solution = solve(solver, known.sdp)
    if solution is None:
        return
    if not solver.finds_rays:
        assert solution.status in (Status.UNBOUNDED, Status.FAILED, Status.LIMIT)
    else:
        assert solution.status is Status.UNBOUNDED, solution
    if solution.status is not Status.UNBOUNDED:
        return
    assert solution.dual is None
    assert solution.objective == solution.bound_on_optimum == -np.inf
    ray, sdp = solution.y, known.sdp
    assert sdp.c @ ray == pytest.approx(-1)
    recession = SDP(
        sdp.c,
        tuple(dataclasses.replace(lmi, F0=sp.csc_array(lmi.F0.shape)) for lmi in sdp.lmis),
        sdp.G,
        np.zeros_like(sdp.h),
        sdp.A,
        np.zeros_like(sdp.b),
    )
    check_feasible(recession, ray, 2e-6 * max(1, abs(ray).max()))


@every_solver
def test_unbounded_quadratic_moves_along_the_kernel_of_the_hessian(solver):
    # minimise y0^2/2 + y1: the only ray is -e1
    sdp = SDP([0.0, 1.0], G=sp.csc_array([[0.0, 1.0]]), h=[5.0], H=sp.csc_array([[1.0, 0], [0, 0]]))
    solution = solve(solver, sdp)
    if solution is not None and solver.finds_rays:
        assert solution.status is Status.UNBOUNDED
        assert solution.y == pytest.approx([0, -1], abs=1e-5)


def scalar_block(f0, f):
    """f0 + f y >= 0 as a 1x1 LMI."""
    one = sp.csc_array(np.ones((1, 1)))
    return LMI(sp.csc_array([[f0]]), one, one, sp.csc_array([[f]]))


def empty_block(m):
    empty = sp.csc_array((0, 0))
    return LMI(empty, empty, empty, sp.csc_array((0, m)))


@every_solver
def test_a_scalar_block_is_a_linear_inequality(solver):
    solution = solve(solver, SDP([1.0], (scalar_block(-2.0, 4.0),)))
    if solution is not None:
        assert solution.y == pytest.approx([0.5], abs=accuracy(solver))
        assert solution.dual.X[0] == pytest.approx(np.array([[0.25]]), abs=accuracy(solver))


@every_solver
def test_empty_blocks_and_cones_keep_their_place_among_the_multipliers(solver):
    socs = (SOC(sp.csc_array((0, 1)), np.zeros(0)), SOC(sp.csc_array([[1.0]]), [0.0]))
    sdp = SDP([1.0], (empty_block(1), scalar_block(-2.0, 4.0), empty_block(1)), socs=socs)
    solution = solve(solver, sdp)
    if solution is not None:
        assert [X.shape for X in solution.dual.X] == [(0, 0), (1, 1), (0, 0)]
        assert [s.shape for s in solution.dual.s] == [(0,), (1,)]
        assert solution.objective == pytest.approx(0.5, abs=accuracy(solver))


@every_solver
@pytest.mark.parametrize("lmis", [(), (empty_block(2),)], ids=["none", "empty"])
def test_without_constraints_the_optimum_is_zero_or_unbounded(solver, lmis):
    solution = solve(solver, SDP([0.0, 0.0], lmis))
    if solution is not None:
        assert solution.status is Status.SOLVED
        assert solution.objective == 0
    solution = solve(solver, SDP([3.0, -4.0], lmis))
    if solution is not None and solver.finds_rays:
        assert solution.status is Status.UNBOUNDED
        assert np.array([3.0, -4.0]) @ solution.y == pytest.approx(-1)


def constant_sdp(name, value):
    """An SDP without variables; it is feasible if and only if value >= 0 (equality: value = 0)."""
    none, row = sp.csc_array((0, 0)), sp.csc_array((1, 0))
    if name == "lmi":
        F0 = sp.csc_array(np.array([[1.0 + value, 1.0], [1.0, 1.0]]))
        two = sp.csc_array((2, 0))
        return SDP([], (empty_block(0), LMI(F0, two, two, none)))
    if name == "soc":
        return SDP([], socs=(SOC(sp.csc_array((3, 0)), [5.0 + value, 3.0, 4.0]),))
    if name == "inequality":
        return SDP([], G=row, h=[value])
    return SDP([], A=row, b=[value])


@every_solver
@pytest.mark.parametrize("name", ["lmi", "soc", "inequality", "equality"])
def test_without_variables_constraints_are_checked(solver, name):
    solution = solve(solver, constant_sdp(name, 0.0))
    if solution is not None:
        assert solution.status is Status.SOLVED
        assert solution.objective == 0
    solution = solve(solver, constant_sdp(name, -0.5))
    if solution is not None and solver.finds_rays:
        assert solution.status is Status.INFEASIBLE
        assert solution.dual is not None


@every_solver
def test_many_blocks(solver):
    known = random_optimal(np.random.default_rng(1), sizes=[3] * 60, m=20, p=10, q=3)
    check_solved(solver, known, factor=10)


@every_solver
def test_warm_start_does_not_change_the_answer(solver):
    known = random_optimal(np.random.default_rng(2), sizes=(5, 3), m=5)
    cold, warm = solve(solver, known.sdp), solve(solver, known.sdp, warm_start=known.y)
    if cold is not None:
        assert warm.objective == pytest.approx(cold.objective, abs=10 * accuracy(solver))


@every_solver
def test_a_short_time_limit_is_never_called_solved_without_being_so(solver):
    known = random_optimal(np.random.default_rng(3), sizes=[30] * 4, m=60)
    solution = solve(solver, known.sdp, time_limit=1e-3)
    if solution is not None:
        assert solution.status in (Status.LIMIT, Status.FAILED, Status.SOLVED, Status.INACCURATE)
        if solution.status in (Status.SOLVED, Status.INACCURATE):
            assert solution.objective == pytest.approx(known.optimum, rel=1e-3)


@every_solver
def test_the_same_problem_gives_the_same_answer(solver):
    known = random_optimal(np.random.default_rng(4))
    first, second = solve(solver, known.sdp), solve(solver, known.sdp)
    if first is not None:
        assert np.array_equal(first.y, second.y)


@every_solver
def test_progress_is_reported(solver):
    steps = []
    known = random_optimal(np.random.default_rng(5))
    if solve(solver, known.sdp, progress=steps.append) is not None:
        assert steps
        assert all(step.stage and step.iteration >= 0 for step in steps)


@every_solver
def test_an_error_in_the_progress_callback_comes_out(solver):
    def broken(step):
        raise ZeroDivisionError

    known = random_optimal(np.random.default_rng(6))
    if solver.suits(known.sdp) is None:
        with pytest.raises(ZeroDivisionError):
            solver.solve(known.sdp, progress=broken)


@every_solver
@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1)])
def test_warm_start_of_a_wrong_shape_is_refused(solver, shape):
    known = random_optimal(np.random.default_rng(7), m=4)
    with pytest.raises(InputError, match=r"warm_start has shape .*; expected \(4,\)"):
        solver.solve(known.sdp, warm_start=np.zeros(shape))


@every_solver
@pytest.mark.parametrize("limit", [0, -1.0, np.nan])
def test_a_time_limit_that_is_not_positive_is_refused(solver, limit):
    known = random_optimal(np.random.default_rng(8))
    with pytest.raises(OptionError, match="time_limit"):
        solver.solve(known.sdp, time_limit=limit)


@pytest.mark.parametrize("case", bad_dimension_cases())
def test_each_dimension_broken_once_is_refused_before_any_solver(case):
    fields, pattern = bad_dimension_cases()[case]
    with pytest.raises(InputError, match=pattern):
        SDP(**fields)
