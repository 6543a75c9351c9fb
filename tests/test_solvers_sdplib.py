"""The small problems of SDPLIB; benchmarks/sdplib.py has them all."""

from fractions import Fraction

import numpy as np
import pytest

from lmikit.lmi import Status, read_sdpa
from lmikit.solvers import SCS, Clarabel

OPTIMA = {
    "control1": 1.778463e01,
    "control2": 8.300000e00,
    "hinf1": 2.0326e00,
    "hinf2": 1.0967e01,
    "mcp124-1": 1.419905e02,
    "qap5": -4.360e02,
    "truss1": -8.999996e00,
    "truss2": -1.233804e02,
    "truss3": -9.109996e00,
    "truss4": -9.009996e00,
}


def problem(data_dir, name):
    return read_sdpa(data_dir / "sdplib" / f"{name}.dat-s")


@pytest.mark.parametrize("name", OPTIMA)
def test_clarabel_finds_the_published_optimum(data_dir, name):
    solution = Clarabel().solve(problem(data_dir, name))
    assert solution.status in (Status.SOLVED, Status.INACCURATE)
    assert solution.objective == pytest.approx(OPTIMA[name], rel=1e-2 if name.startswith("hinf") else 1e-5)


@pytest.mark.parametrize("name", ["truss1", "truss4"])
def test_scs_finds_the_published_optimum(data_dir, name):
    pytest.importorskip("scs")
    solution = SCS().solve(problem(data_dir, name))
    assert solution.status is Status.SOLVED
    assert solution.objective == pytest.approx(OPTIMA[name], rel=1e-5)


@pytest.mark.parametrize("solver", [Clarabel(), SCS()])
@pytest.mark.parametrize(("name", "status"), [("infp1", Status.INFEASIBLE), ("infd1", Status.UNBOUNDED)])
def test_infeasibility_is_recognised_with_a_ray(data_dir, solver, name, status):
    pytest.importorskip(solver.module)
    solution = solver.solve(problem(data_dir, name))
    assert solution.status is status
    assert (solution.y if status is Status.UNBOUNDED else solution.dual) is not None


def exactly_positive_definite(lmi, y):
    """LDL' without pivoting in rational arithmetic: all pivots positive."""
    n, P, Q, E = lmi.size, lmi.P.toarray(), lmi.Q.toarray(), lmi.E.toarray()
    F = [[Fraction(float(entry)) for entry in row] for row in lmi.F0.toarray()]
    for t in range(E.shape[0]):
        weight = sum(Fraction(float(E[t, i])) * Fraction(float(y[i])) for i in np.flatnonzero(E[t])) / 2
        for i in np.flatnonzero(P[:, t]):
            for j in np.flatnonzero(Q[:, t]):
                half = weight * Fraction(float(P[i, t])) * Fraction(float(Q[j, t]))
                F[i][j] += half
                F[j][i] += half
    for k in range(n):
        if F[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            ratio = F[i][k] / F[k][k]
            F[i] = [entry - ratio * pivot for entry, pivot in zip(F[i], F[k], strict=True)]
    return True


def test_the_published_optimum_of_hinf12_is_too_high(data_dir):
    """SDPLIB gives 0.2 and calls it uncertain; here is a strictly feasible point below 1e-4, exactly."""
    sdp = problem(data_dir, "hinf12")
    found = [Clarabel(native={"direct_solve_method": method}).solve(sdp) for method in ("faer", "qdldl")]
    found.append(Clarabel(native={"equilibrate_enable": False}).solve(sdp))
    assert all(solution.status is not Status.SOLVED for solution in found)  # |y| grows without end
    points = [solution.y for solution in found if solution.y is not None]
    assert sdp.h.size == sdp.b.size == 0
    proven = [y for y in points if all(exactly_positive_definite(lmi, y) for lmi in sdp.lmis)]
    assert min(sdp.objective(y) for y in proven) < 1e-4
