"""The start of deep chains: inside the cone, better than what it was made from, and never in the way."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmikit import Network, Slopes
from lmikit._arrays import array_module
from lmikit.formulations import JointLipSDP
from lmikit.lmi import Status
from lmikit.solvers import LowRank
from lmikit.solvers.low_rank import _segments, _solver, _start
from lmikit.solvers.low_rank._compile import compile_sdp
from lmikit.solvers.low_rank._direction import SchurFactor
from lmikit.solvers.low_rank._interior_point import InteriorLimits, solve_interior
from lmikit.solvers.low_rank._start import Start, level_by_level, starting_point
from lmikit.solvers.low_rank._state import PrimalPoint, point_at

am = array_module()


def deep(seed, hidden=24, width=6, slopes=None):
    rng = np.random.default_rng(seed)
    dims = (3, *[width] * hidden, 2)
    arrays = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(dims)]
    return Network.from_arrays(arrays, activation="relu" if slopes is None else Slopes(*slopes))


def compiled(sdp):
    """In levels as given: small levels would be merged."""
    return compile_sdp(am, sdp, merge=False)


def solver():
    return LowRank()._improver(InteriorLimits(1e-7, 100, np.inf, time.perf_counter(), None))


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(_segments._DEEP, 40),
    st.sampled_from([None, (0.1, 1.0), (-0.2, 1.0)]),
)
def test_the_start_is_inside_and_better(seed, hidden, slopes):
    problem = compiled(JointLipSDP(deep(seed, hidden, slopes=slopes)).sdp())
    y = level_by_level(problem)
    better = _segments.improved(problem, y, solver(), hidden)
    assert better is not None
    assert point_at(problem, better) is not None
    assert float(problem.c @ better) < float(problem.c @ y) < 0.0  # -F


def test_what_is_not_one_long_chain_is_left_alone():
    short = compiled(JointLipSDP(deep(0, 8)).sdp())
    assert _segments.improved(short, level_by_level(short), solver(), 9) is None
    sdp = JointLipSDP(deep(0)).sdp()
    priced = compiled(dataclasses.replace(sdp, c=np.ones(sdp.variables)))
    assert _segments.improved(priced, level_by_level(priced), solver(), 40) is None


@pytest.mark.parametrize("failure", ["outside", "useless"])
def test_a_segment_that_fails_leaves_the_old_start(failure):
    sdp = JointLipSDP(deep(1, 50, 20)).sdp()
    problem = compile_sdp(am, sdp)
    assert len(sdp.lmis[0].partition) >= _segments._DEEP

    def solve(part, y):
        return None if failure == "outside" else np.full(y.size, np.nan)

    plain = starting_point(problem, sdp, None)
    start = starting_point(problem, sdp, None, solve=solve)
    np.testing.assert_array_equal(start.point.y, plain.point.y)
    assert start.dominance == plain.dominance > 1.0


def test_inequalities_that_a_better_start_breaks_keep_the_old_one(monkeypatch):
    sdp = JointLipSDP(deep(5, 50, 20, slopes=(0.1, 1.0))).sdp()
    assert sdp.h.size  # the signs of the multipliers
    monkeypatch.setattr(_start, "improved", lambda problem, y, solve, depth: -y)
    problem = compile_sdp(am, sdp)
    start = starting_point(problem, sdp, None, solve=lambda part, y: y)
    assert start.point.feasible
    assert float((problem.G @ start.point.y - problem.h).max()) < 0.0
    monkeypatch.undo()
    assert LowRank().solve(sdp).status is Status.SOLVED


@pytest.mark.slow
def test_deep_networks_take_few_iterations(monkeypatch):
    sdp = JointLipSDP(deep(2, 60, 20)).sdp()
    with_segments = LowRank().solve(sdp)
    assert with_segments.status is Status.SOLVED
    monkeypatch.setattr(_start, "improved", lambda problem, y, solve, depth: None)
    without = LowRank().solve(sdp)
    assert with_segments.iterations < without.iterations
    assert with_segments.objective == pytest.approx(without.objective, rel=1e-6)


def test_an_interrupt_while_the_start_is_made_ends_with_a_feasible_point(monkeypatch):
    sdp = JointLipSDP(deep(3, 50, 20)).sdp()
    calls = []

    def interrupted(*args):
        calls.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr(_solver, "solve_interior", _only_at_first(interrupted, _solver.solve_interior))
    solution = LowRank().solve(sdp)
    assert calls
    assert solution.status is Status.LIMIT
    assert solution.native_status == "interrupted"
    np.linalg.cholesky(sdp.lmis[0].evaluate(solution.y).toarray())


def test_an_interrupt_before_the_first_iteration_keeps_the_start(monkeypatch):
    sdp = JointLipSDP(deep(3, 60)).sdp()  # too large for dense arithmetic

    def interrupted(self, problem):
        raise KeyboardInterrupt

    monkeypatch.setattr(PrimalPoint, "inverses", interrupted)
    solution = LowRank().solve(sdp)
    assert solution.status is Status.LIMIT
    assert solution.native_status == "interrupted"
    np.linalg.cholesky(sdp.lmis[0].evaluate(solution.y).toarray())


def _only_at_first(first, then):
    turns = iter([first])
    return lambda *args: next(turns, then)(*args)


def test_the_clock_runs_while_the_start_is_made():
    sdp = JointLipSDP(deep(4, 60, 30)).sdp()
    started = time.perf_counter()
    solution = LowRank().solve(sdp, time_limit=0.05)
    assert time.perf_counter() - started < 20.0
    assert solution.native_status == "time limit"
    if solution.status is Status.LIMIT:  # a feasible point was reached
        assert solution.objective < 0.0
    else:  # no point yet: the limit holds, nothing is claimed
        assert solution.status is Status.FAILED
        assert solution.y is None


@pytest.mark.parametrize("seed", [1, 3, 5, 6])
def test_a_large_optimum_is_no_ray(seed):
    """From a start on the boundary the method stalls; the objective of 1e17 is the problem's own size."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 3)] * 6 + [(1, 3)]
    network = Network.from_arrays([0.03 * rng.standard_normal(shape) for shape in shapes])
    problem = compiled(JointLipSDP(network).sdp())
    y = level_by_level(problem)
    toward, inside, outside = rng.standard_normal(y.size) * abs(y), 0.0, 10.0
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        held = point_at(problem, y + middle * toward) is not None
        inside, outside = (middle, outside) if held else (inside, middle)
    point = point_at(problem, y + (1.0 - 1e-14) * inside * toward)
    limits = InteriorLimits(1e-7, 30, np.inf, time.perf_counter(), None)
    with np.errstate(all="ignore"):
        outcome = solve_interior(problem, Start(point, None, 1.0), limits, SchurFactor(problem))
    assert outcome.status is not Status.UNBOUNDED
    assert outcome.objective <= problem.c @ point.y < -1e15
