"""MOSEK without a licence: the Task is right because its CBF file, solved elsewhere, has the optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from sdp_strategies import random_optimal, sdps_with_optimum

from lmikit import BackendMissing, OptionError
from lmikit.lmi import SDP, SOC, Status, read_cbf
from lmikit.solvers import MOSEK, Clarabel, available
from lmikit.solvers._mosek import recover
from lmikit.solvers._raw import Tolerances, finish

mosek = pytest.importorskip("mosek")
unlicensed = pytest.mark.skipif(
    any(info.name == "MOSEK" and info.ready for info in available()), reason="MOSEK has a licence here"
)


def dual_optimum(sdp: SDP, folder) -> float:
    """The optimum of the written Task: lmikit's dual, so minus the optimum of the SDP."""
    path = folder / "task.cbf"
    with mosek.Env() as env, MOSEK().task(sdp, env) as task:
        task.writedata(str(path))
    solution = Clarabel().solve(read_cbf(path))
    assert solution.status.has_point
    return -solution.objective


@settings(max_examples=30)
@given(known=sdps_with_optimum(quadratic=None))
def test_the_task_written_to_cbf_has_the_optimum(known, tmp_path_factory):
    optimum = dual_optimum(known.sdp, tmp_path_factory.mktemp("cbf"))
    assert optimum == pytest.approx(known.optimum, abs=1e-5 * (1 + abs(known.optimum)))


def test_the_ptf_and_task_formats_are_written_too(tmp_path):
    known = random_optimal(np.random.default_rng(0), quadratic=True)
    with mosek.Env() as env, MOSEK().task(known.sdp, env) as task:
        for ending in ("task", "ptf"):
            task.writedata(str(tmp_path / f"out.{ending}"))
            assert (tmp_path / f"out.{ending}").stat().st_size > 0


def put_solution(task, sdp, y, dual):
    """The solution that MOSEK would have found, written into the Task by its own setters."""
    itr = mosek.soltype.itr
    pad = task.getnumcon() - y.size
    task.puty(itr, np.concatenate([y, np.zeros(pad)]))
    cones = [s for s, soc in zip(dual.s, sdp.socs, strict=True) if soc.d.size]
    scalars = np.concatenate([dual.z, dual.v, *cones])
    task.putxx(itr, np.concatenate([scalars, np.zeros(task.getnumvar() - scalars.size)]))
    for k, X in enumerate(X for X in dual.X if X.size):
        n = X.shape[0]
        task.putbarxj(itr, k, np.concatenate([X[j:, j] for j in range(n)]))


@settings(max_examples=30)
@given(known=sdps_with_optimum(quadratic=None))
def test_a_solution_in_the_task_comes_back_in_our_signs_and_order(known):
    with mosek.Env() as env, MOSEK().task(known.sdp, env) as task:
        put_solution(task, known.sdp, known.y, known.dual)
        raw = recover(task, known.sdp, Status.SOLVED, "optimal")
    solution = finish(known.sdp, raw, Tolerances(1e-6, 1e-6), "MOSEK", 0.0)
    assert solution.status is Status.SOLVED  # stationarity was checked with what came back
    assert np.array_equal(solution.y, known.y)
    for got, expected in zip(solution.dual.X, known.dual.X, strict=True):
        assert np.array_equal(got, expected)
    for got, expected in zip(solution.dual.s, known.dual.s, strict=True):
        assert np.array_equal(got, expected)
    assert solution.bound_on_optimum == pytest.approx(known.optimum, abs=1e-9 * (1 + abs(known.optimum)))


@unlicensed
def test_without_a_licence_the_error_says_where_it_goes_and_what_is_ready():
    with pytest.raises(
        BackendMissing, match=r"no licence.*MOSEKLM_LICENSE_FILE.*ready without one: .*Clarabel"
    ):
        MOSEK().solve(SDP([1.0], socs=(SOC([[1.0]], [0.0]),)))


@unlicensed
def test_the_table_of_solvers_says_that_the_licence_is_missing():
    (info,) = [info for info in available() if info.name == "MOSEK"]
    assert info.installed
    assert not info.licensed
    assert not info.ready
    assert "licence" in info.note


@pytest.mark.parametrize(
    "native", [{"no_such_parameter": 1}, {"MSK_IPAR_NUM_THREADS": "many"}], ids=["name", "value"]
)
def test_native_parameters_are_checked_by_mosek(native):
    with pytest.raises(OptionError, match="MOSEK refuses the parameter"):
        MOSEK(native=native).solve(SDP([1.0]))


def test_typed_options_reach_the_task():
    solver = MOSEK(tol=1e-7, max_iterations=17, threads=1)
    with mosek.Env() as env, solver.task(SDP([1.0]), env, time_limit=12.0) as task:
        assert task.getintparam(mosek.iparam.intpnt_max_iterations) == 17
        assert task.getintparam(mosek.iparam.num_threads) == 1
        assert task.getdouparam(mosek.dparam.intpnt_co_tol_rel_gap) == 1e-7
        assert task.getdouparam(mosek.dparam.optimizer_max_time) == 12.0
