"""Options, errors, interruption and the table of solvers."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
from sdp_strategies import random_optimal

from lmikit import BackendMissing, OptionError, SolveFailed
from lmikit.lmi import LMI, SDP, Status
from lmikit.solvers import CVXPY, SCS, AbstractSolver, Clarabel, _clarabel, _external, available
from lmikit.solvers._interrupt import run_interruptibly

KNOWN = random_optimal(np.random.default_rng(0))
EXTERNAL = [Clarabel, SCS, CVXPY]


@pytest.mark.parametrize("solver", EXTERNAL)
@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"tol": 0.0}, "tol is 0.0; expected"),
        ({"tol": -1e-8}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"max_iterations": 0}, "max_iterations is 0; expected a positive integer"),
        ({"max_iterations": 2.5}, "max_iterations"),
        ({"threads": -1}, "threads is -1"),
        ({"threads": True}, "threads"),
    ],
)
def test_options_out_of_range_are_refused_at_construction(solver, options, pattern):
    with pytest.raises(OptionError, match=pattern):
        solver(**options)


@pytest.mark.parametrize(
    "solver",
    [
        Clarabel(native={"no_such_option": 1}),
        Clarabel(native={"max_iter": "many"}),
        Clarabel(native={"max_iter": -1}),
        Clarabel(native={"direct_solve_method": "none such"}),
        SCS(native={"no_such_option": 1}),
        SCS(native={"eps_abs": "small"}),
        CVXPY(native={"no_such_option": 1}),
        CVXPY(solver="SCS", native={"no_such_option": 1}),
        CVXPY(solver="CVXOPT", native={"no_such_option": 1}),
    ],
    ids=lambda solver: f"{type(solver).__name__} {getattr(solver, 'solver', '')} {dict(solver.native)}",
)
def test_native_options_go_through_a_checked_door(solver):
    pytest.importorskip(solver.module)
    with pytest.raises(OptionError, match=r"no_such_option|max_iter|direct_solve_method|eps_abs"):
        solver.solve(KNOWN.sdp)


def test_native_options_win_over_typed_ones():
    assert Clarabel(max_iterations=50, native={"max_iter": 2}).solve(KNOWN.sdp).iterations == 2


@pytest.mark.parametrize(
    "solver", [Clarabel(max_iterations=2), SCS(max_iterations=2), CVXPY(max_iterations=2)]
)
def test_an_iteration_limit_is_a_limit_with_a_point(solver):
    pytest.importorskip(solver.module)
    solution = solver.solve(KNOWN.sdp)
    assert solution.status is Status.LIMIT
    assert solution.y.shape == KNOWN.sdp.c.shape


def test_cvxpy_says_which_option_it_cannot_spell():
    pytest.importorskip("cvxpy")
    with pytest.raises(OptionError, match=r"solver='CVXOPT'.*has no time_limit.*native"):
        CVXPY(solver="CVXOPT").solve(KNOWN.sdp, time_limit=1.0)


def test_cvxpy_names_the_solvers_that_it_has():
    pytest.importorskip("cvxpy")
    with pytest.raises(BackendMissing, match=r"cannot reach the solver 'NOSUCH'.*Installed: .*CLARABEL"):
        CVXPY(solver="NOSUCH").solve(KNOWN.sdp)


@pytest.mark.parametrize("status", ["Unsolved", "NumericalError", "a status of the future"])
def test_an_unknown_native_status_is_failed_and_hands_out_nothing(status, monkeypatch):
    real = _clarabel._call

    class Renamed:
        def __init__(self, raw):
            self.x, self.z, self.iterations, self.status = raw.x, raw.z, raw.iterations, status

    monkeypatch.setattr(_clarabel, "_call", lambda *arguments: Renamed(real(*arguments)))
    solution = Clarabel().solve(KNOWN.sdp)
    assert solution.status is Status.FAILED
    assert solution.y is None
    assert solution.dual is None
    assert np.isnan([solution.objective, solution.bound_on_optimum]).all()
    assert solution.native_status == status


@pytest.mark.parametrize("claim", ["PrimalInfeasible", "DualInfeasible"])
def test_a_ray_that_does_not_prove_its_claim_is_failed(claim, monkeypatch):
    real = _clarabel._call

    class Liar:
        def __init__(self, raw):
            self.x, self.z, self.iterations, self.status = raw.x, raw.z, raw.iterations, claim

    monkeypatch.setattr(_clarabel, "_call", lambda *arguments: Liar(real(*arguments)))
    assert Clarabel().solve(KNOWN.sdp).status is Status.FAILED


def test_solved_is_not_repeated_where_the_multipliers_are_not_stationary(monkeypatch):
    real = _clarabel._call

    class Shifted:
        def __init__(self, raw):
            self.x, self.iterations, self.status = raw.x, raw.iterations, "Solved"
            self.z = np.asarray(raw.z) + 0.01

    monkeypatch.setattr(_clarabel, "_call", lambda *arguments: Shifted(real(*arguments)))
    assert Clarabel().solve(KNOWN.sdp).status is Status.INACCURATE


def test_a_panic_of_clarabel_is_a_failed_solve(monkeypatch):
    class PanicException(BaseException):
        pass

    class Module:
        ZeroConeT = NonnegativeConeT = SecondOrderConeT = PSDTriangleConeT = staticmethod(lambda size: size)

        @staticmethod
        def DefaultSolver(*arguments):
            raise PanicException("index out of bounds")

    with pytest.raises(SolveFailed, match="Clarabel panicked: index out of bounds"):
        _clarabel._call(
            Module, _clarabel.ConicForm.of(KNOWN.sdp, _clarabel.SvecOrder.UPPER), None, None, None
        )


def test_chordal_decomposition_can_be_chosen():
    values = [Clarabel(chordal=choice).solve(KNOWN.sdp).objective for choice in (None, True, False)]
    assert values == pytest.approx([KNOWN.optimum] * 3, abs=1e-6)


def test_a_module_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(SCS, "module", "scs_that_is_not_there")
    with pytest.raises(BackendMissing, match=r"SCS needs the module 'scs_that_is_not_there'.*lmikit\[scs\]"):
        SCS().solve(KNOWN.sdp)
    (info,) = [info for info in available() if info.name == "SCS"]
    assert not info.installed
    assert not info.ready
    assert "lmikit[scs]" in info.note


def test_the_table_has_every_solver_and_imports_none_at_import_time():
    assert {"Clarabel", "SCS", "MOSEK", "CVXPY"} <= {info.name for info in available()}
    assert all(info.ready for info in available() if info.name == "Clarabel")
    code = "import sys, lmikit.solvers; print({'clarabel', 'scs', 'mosek', 'cvxpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_solver_that_declines_gives_its_reason():
    class Picky(Clarabel):
        def suits(self, sdp: SDP) -> str | None:
            return "Picky takes no problems; use Clarabel."

    with pytest.raises(OptionError, match="use Clarabel"):
        Picky().solve(KNOWN.sdp)
    assert issubclass(Picky, AbstractSolver)
    assert issubclass(Picky, _external.AbstractExternalSolver)


def test_warm_start_saves_scs_iterations():
    pytest.importorskip("scs")
    rng = np.random.default_rng(1)
    # the optimum is the projection of a point onto a polytope; from it only multipliers are to be found
    sdp = SDP(
        rng.standard_normal(30),
        G=sp.csc_array(rng.standard_normal((60, 30))),
        h=np.ones(60),
        H=sp.eye_array(30),
    )
    cold = SCS(tol=1e-9).solve(sdp)
    warm = SCS(tol=1e-9).solve(sdp, warm_start=cold.y)
    assert warm.status is Status.SOLVED
    assert warm.objective == pytest.approx(cold.objective, abs=1e-7)
    assert warm.iterations <= cold.iterations


@contextlib.contextmanager
def interrupts(every):
    """SIGINT to this process again and again until the block is left; also where its parent ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = threading.Event()

    def fire():
        while not done.wait(every):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=fire, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, handler)


def repeat(work):
    for _ in range(10_000):
        work()


def test_ctrl_c_reaches_the_main_thread_while_native_code_runs():
    seen = threading.Event()

    def work(stop):
        if stop.wait(10):
            seen.set()

    start = time.perf_counter()
    with interrupts(0.3), pytest.raises(KeyboardInterrupt):
        run_interruptibly(work)
    assert time.perf_counter() - start < 5
    assert seen.wait(5)  # the worker was told to stop


@pytest.mark.parametrize("solver", [Clarabel(tol=1e-15, chordal=False), SCS(tol=1e-15, max_iterations=10**8)])
def test_ctrl_c_stops_a_long_solve(solver):
    pytest.importorskip(solver.module)
    known = random_optimal(np.random.default_rng(2), sizes=[60], m=400)
    before = threading.active_count()
    start = time.perf_counter()
    with interrupts(2.0), pytest.raises(KeyboardInterrupt):
        repeat(lambda: solver.solve(known.sdp))
    assert time.perf_counter() - start < 60
    for thread in threading.enumerate():
        if thread.name == "lmikit-solver":
            thread.join(60)
    assert threading.active_count() <= before + 1
    assert Clarabel().solve(KNOWN.sdp).objective == pytest.approx(KNOWN.optimum, abs=1e-6)


def test_errors_of_the_worker_come_out_unchanged():
    def work(stop):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        run_interruptibly(work)


def test_solvers_run_in_threads_of_the_caller():
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(Clarabel().solve(KNOWN.sdp).objective))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == pytest.approx([KNOWN.optimum] * 3, abs=1e-6)


def block_tridiagonal(width=3, blocks=8):
    """minimise the trace of a diagonal y that makes a block-tridiagonal matrix PSD."""
    rng, size = np.random.default_rng(0), width * blocks
    F0 = np.zeros((size, size))
    for k in range(0, size - width, width):
        F0[k : k + width, k + width : k + 2 * width] = rng.standard_normal((width, width))
    eye = sp.eye_array(size, format="csc")
    lmi = LMI(sp.csc_array(F0 + F0.T), eye, eye, eye, partition=(width,) * blocks)
    return SDP(np.ones(size), (lmi,))


def test_scs_over_cliques_finds_the_same_optimum_in_fewer_iterations():
    pytest.importorskip("scs")
    sdp = block_tridiagonal()
    exact, whole, split = (solver.solve(sdp) for solver in (Clarabel(), SCS(), SCS(chordal=True)))
    assert split.status is Status.SOLVED
    assert split.objective == pytest.approx(exact.objective, rel=1e-5)
    assert split.bound_on_optimum == pytest.approx(exact.objective, rel=1e-5)
    assert split.iterations < whole.iterations
    assert whole.dual.X_complete
    assert not split.dual.X_complete
    assert split.y.shape == sdp.c.shape
    assert SCS(chordal=True).solve(sdp, warm_start=exact.y).objective == pytest.approx(
        exact.objective, rel=1e-5
    )


def test_rays_over_cliques_are_rays_of_the_whole():
    pytest.importorskip("scs")
    sdp = block_tridiagonal()
    eye = sp.eye_array(sdp.c.size, format="csc")
    infeasible = dataclasses.replace(sdp, G=eye, h=np.full(sdp.c.size, 0.3))
    assert SCS(chordal=True).solve(infeasible).status is Status.INFEASIBLE
    assert SCS(chordal=True).solve(dataclasses.replace(sdp, c=-sdp.c)).status is Status.UNBOUNDED
