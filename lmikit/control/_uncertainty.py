"""Robust stability and gains with multipliers for every block: proposals, and what is proven."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._api import solve
from .._errors import InputError
from ..certificates.control import RobustGain
from ..certificates.control._uncertainty import block_places, has_popov
from ..lmi import Problem, diag
from ..solvers import AbstractSolver
from ..systems import NormBlock, RepeatedGain, Sector, System, UncertainLoop, as_system
from ._norms import is_stable
from ._passivity import least_real_part
from ._result import ControlResult, Proposal, attempt, undecided
from ._riccati import continuous
from ._stability import symmetric_part

__all__ = ["absolute_stability", "robust_gain", "sector_loop"]

_SLACKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def robust_gain(loop: UncertainLoop, solver: AbstractSolver | None = None) -> ControlResult:
    """Prove that a loop is stable for every uncertainty of its classes, and bound its gain from d to e.

    Without inputs d or outputs e only stability is claimed (upper is then 1 and means nothing).
    Undecided where the LMI has no solution, which does not say that the loop can be unstable. `estimate` is
    the LMI's optimum. Raises InputError. Source: as for `lmikit.certificates.control.RobustGain`.
    """
    started, reasons = time.perf_counter(), list[str]()
    if not isinstance(loop, UncertainLoop):
        raise InputError(f"loop is a {type(loop).__name__}; expected an UncertainLoop.")
    (p, q), S = loop.uncertain, loop.system
    measured = S.inputs > p and S.outputs > q
    estimate = _optimum(loop, solver) if measured else 1.0
    if not math.isfinite(estimate):
        return undecided(["the LMI has no solution, says the solver."], started)
    slacks = _SLACKS if measured else (0.0,)
    certificate = attempt(loop, _proposals(loop, estimate, slacks, solver), reasons)
    if certificate is None:
        return undecided(reasons or ["the LMI has no solution, says the solver."], started, estimate)
    assert isinstance(certificate.claim, RobustGain)
    seconds = time.perf_counter() - started
    return ControlResult("proven", -math.inf, certificate.claim.gain, certificate, estimate, (), seconds)


def absolute_stability(
    system: Any, popov: bool = False, solver: AbstractSolver | None = None
) -> ControlResult:
    """The largest k for which x' = A x - B phi(C x) is proven stable for every phi in the sector [0, k].

    One input and one output. The circle criterion, for phi(y, t); with `popov` that of Popov, for phi(y) in
    continuous time and D = 0. `lower` is the largest k proven: its certificate is for
    UncertainLoop(System(A, -B, C, -D, dt), (Sector(0, k, popov),)), made by `sector_loop`. `estimate` is
    the criterion's limit in floating point. Raises InputError.
    Source: Khalil, Nonlinear Systems (2002), Theorems 7.1 and 7.3.
    """
    started, reasons = time.perf_counter(), list[str]()
    plant = as_system(system)
    if (plant.inputs, plant.outputs) != (1, 1):
        raise InputError("absolute_stability takes a system with one input and one output.")
    if popov and (plant.discrete or plant.D.any()):
        raise InputError("Popov's criterion is for continuous time and D = 0.")
    limit = _limit(plant, popov, solver)
    if not limit > 0.0:
        return undecided(["the LMI has no solution for small sectors."], started, limit)
    for slack in _SLACKS:
        k = limit * (1.0 - slack)
        loop = sector_loop(plant, k, popov)
        certificate = attempt(loop, _proposals(loop, 1.0, (0.0,), solver), reasons)
        if certificate is not None:
            seconds = time.perf_counter() - started
            return ControlResult("proven", k, math.inf, certificate, limit, (), seconds)
    return undecided(reasons, started, limit)


def sector_loop(system: Any, k: float, popov: bool = False) -> UncertainLoop:
    """x' = A x - B phi(y), y = C x - D phi(y), phi in the sector [0, k], time-invariant with `popov`."""
    S = as_system(system)
    return UncertainLoop(System(S.A, -S.B, S.C, -S.D, S.dt), (Sector(0.0, k, popov),))  # type: ignore[arg-type]


def _limit(plant: System, popov: bool, solver: AbstractSolver | None) -> float:
    """The largest k by bisection on the LMI's margin, or by frequencies; cut at 2^40."""

    def feasible(k: float) -> bool:
        return _margin(sector_loop(plant, k, popov), solver)[0] > 1e-9

    if not popov and is_stable(plant):  # the circle criterion: 1/k + G positive real
        least = least_real_part(continuous(plant))[0]
        return -1.0 / least if least < -(2.0**-40) else 2.0**40
    low, high = 0.0, 1.0
    while feasible(high) and high < 2.0**40:
        low, high = high, 4.0 * high
    if low == 0.0:
        while high > 2.0**-40 and not feasible(high / 4.0):
            high /= 4.0
        low = high / 4.0 if high > 2.0**-40 else 0.0
    for _ in range(32):
        middle = (low + high) / 2.0
        low, high = (middle, high) if feasible(middle) else (low, middle)
        if high - low <= 1e-7 * high:
            break
    return low


def _margin(loop: UncertainLoop, solver: AbstractSolver | None) -> tuple[float, dict[str, np.ndarray] | None]:
    problem = Problem()
    found = _inside(problem, loop, 1.0)
    solution = solve(problem.compile(), solver)
    if solution.y is None:
        return -math.inf, None
    values = problem.read(solution)
    return float(values["margin"]), {name: read(values) for name, read in found.items()}


def _inside(problem: Problem, loop: UncertainLoop, gain: float) -> dict[str, Any]:
    """The LMI with the largest margin; readers of its witness by name."""
    total, readers = _terms(problem, loop, gain**2)
    margin = problem.scalar("margin")
    problem.add(total + margin * np.eye(total.shape[0]) << 0)
    problem.add(problem.variable("P") - margin * np.eye(loop.system.states) >> 0)
    problem.add(problem.variable("P").trace() <= 1e4)
    problem.add(margin <= 1.0)
    problem.maximise(margin)
    return readers


def _optimum(loop: UncertainLoop, solver: AbstractSolver | None) -> float:
    problem = Problem()
    square = problem.scalar("square")
    total, _ = _terms(problem, loop, square)
    problem.add(total << 0)
    problem.add(problem.variable("P") >> 0)
    problem.minimise(square)
    solution = solve(problem.compile(), solver)
    if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED", "FAILED"):
        return math.nan
    return math.sqrt(max(float(problem.read(solution)["square"]), 0.0))


def _proposals(
    loop: UncertainLoop, estimate: float, slacks: tuple[float, ...], solver: AbstractSolver | None
) -> Iterator[Proposal]:
    for slack in slacks:
        gain = max(estimate * (1.0 + slack), 1e-12)
        problem = Problem()
        readers = _inside(problem, loop, gain)
        solution = solve(problem.compile(), solver)
        if solution.y is not None:
            values = problem.read(solution)
            yield RobustGain(gain), {name: read(values) for name, read in readers.items()}


def _terms(problem: Problem, loop: UncertainLoop, square: Any) -> tuple[Any, dict[str, Any]]:
    """(the matrix that is to be negative, readers of the multipliers)."""
    S, n, (p, q) = loop.system, loop.system.states, loop.uncertain
    size = n + S.inputs
    F, X = np.hstack([S.A, S.B]), np.eye(n, size)
    P = problem.symmetric(n, "P")
    total = F.T @ P @ F - X.T @ P @ X if S.discrete else X.T @ P @ F + F.T @ P @ X
    E, D = np.hstack([S.C[q:], S.D[q:]]), np.eye(size)[n + p :]
    total = total + E.T @ E - square * (D.T @ D)
    readers: dict[str, Any] = {"P": lambda values: symmetric_part(values["P"])}
    for i, (block, (rows, columns)) in enumerate(zip(loop.blocks, block_places(loop), strict=True)):
        select = np.eye(size)[n + rows.start : n + rows.stop]
        seen = np.hstack([S.C[columns], S.D[columns]])
        if isinstance(block, RepeatedGain):
            part = _repeated(problem, i, block, select, seen, readers)
        elif isinstance(block, NormBlock):
            weight = _nonnegative(problem, f"l{i}", 1, readers)
            part = weight * (block.bound**2 * seen.T @ seen - select.T @ select)
        else:
            assert isinstance(block, Sector)
            low, high = select - block.lower[:, None] * seen, block.upper[:, None] * seen - select
            part = _doubled(low.T @ diag(_nonnegative(problem, f"l{i}", block.inputs, readers)) @ high)
            if has_popov(loop, i):
                weights = _nonnegative(problem, f"popov{i}", block.inputs, readers)
                part = part + _doubled(low.T @ diag(weights) @ (S.C[columns] @ F))
        total = total + part
    return total, readers


def _doubled(half: Any) -> Any:
    return half + half.T


def _nonnegative(problem: Problem, name: str, size: int, readers: dict[str, Any]) -> Any:
    variable = problem.vector(size, name)
    problem.add(variable >= 0)
    readers[name] = lambda values: np.maximum(np.reshape(values[name], (size,)), 0.0)
    return variable


def _repeated(
    problem: Problem,
    i: int,
    block: RepeatedGain,
    select: np.ndarray,
    seen: np.ndarray,
    readers: dict[str, Any],
) -> Any:
    k = block.size
    X, G = problem.symmetric(k, f"X{i}"), problem.matrix(k, k, f"G{i}")
    problem.add(X >> 0, margin=1e-9)
    problem.add(np.zeros((k, k)) == G + G.T)

    def skew(values: Any) -> np.ndarray:
        Y = np.reshape(values[f"G{i}"], (k, k))
        return np.asarray((Y - Y.T) / 2)

    readers[f"X{i}"] = lambda values: symmetric_part(values[f"X{i}"])
    readers[f"Y{i}"] = skew
    cross = seen.T @ G @ select
    return block.bound**2 * (seen.T @ X @ seen) - select.T @ X @ select + cross + cross.T
