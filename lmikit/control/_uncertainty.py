"""Robust stability and gains with multipliers for every block: proposals, and what is proven."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._api import solve
from .._errors import InputError
from ..certificates.control import AbstractControlClaim, ControlCertificate, RobustGain, RobustGainWithMemory
from ..certificates.control._arithmetic import Floats
from ..certificates.control._uncertainty import (
    LoopMaps,
    block_places,
    has_popov,
    places_in_past,
    uncertain_maps,
)
from ..lmi import Problem, diag
from ..solvers import AbstractSolver
from ..systems import (
    Delay,
    NormBlock,
    RepeatedGain,
    Sector,
    SlopeRestricted,
    System,
    UncertainLoop,
    as_system,
)
from ._norms import is_stable
from ._passivity import least_real_part
from ._result import ControlResult, Proposal, attempt, undecided
from ._riccati import continuous
from ._stability import symmetric_part

__all__ = ["absolute_stability", "robust_gain", "sector_loop"]

_SLACKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def robust_gain(
    loop: UncertainLoop, solver: AbstractSolver | None = None, taps: int | None = None
) -> ControlResult:
    """Prove that a loop is stable for every uncertainty of its classes, and bound its gain from d to e.

    Without inputs d or outputs e only stability is claimed (upper is then 1 and means nothing). `taps` is the
    memory of the multipliers for slope-restricted blocks in discrete time (None: 4 where there are such
    blocks). Undecided where the LMI has no solution, which does not say that the loop can be unstable.
    `estimate` is the LMI's optimum. Raises InputError. Source: as for
    `lmikit.certificates.control.RobustGain`.
    """
    started, reasons = time.perf_counter(), list[str]()
    if not isinstance(loop, UncertainLoop):
        raise InputError(f"loop is a {type(loop).__name__}; expected an UncertainLoop.")
    memory = _taps(loop, taps)
    (p, q), S = loop.uncertain, loop.system
    measured = S.inputs > p and S.outputs > q
    estimate = _optimum(loop, memory, solver) if measured else 1.0
    if not math.isfinite(estimate):
        return undecided(["the LMI has no solution, says the solver."], started)
    slacks = _SLACKS if measured else (0.0,)
    certificate = attempt(loop, _proposals(loop, estimate, slacks, memory, solver), reasons)
    if certificate is None:
        return undecided(reasons or ["the LMI has no solution, says the solver."], started, estimate)
    claim = certificate.claim
    assert isinstance(claim, RobustGain | RobustGainWithMemory)
    seconds = time.perf_counter() - started
    return ControlResult("proven", -math.inf, claim.gain, certificate, estimate, (), seconds)


def _taps(loop: UncertainLoop, given: int | None) -> int:
    fits = loop.system.discrete and any(isinstance(b, SlopeRestricted) for b in loop.blocks)
    if given is None:
        return 4 if fits else 0
    if isinstance(given, bool) or not isinstance(given, int) or given < 0 or (given and not fits):
        raise InputError(
            f"taps is {given!r}; expected None or an integer >= 0, which is 0 in continuous time and without "
            "a SlopeRestricted block."
        )
    return given


def absolute_stability(
    system: Any,
    popov: bool = False,
    solver: AbstractSolver | None = None,
    taps: int = 0,
    odd: bool = False,
) -> ControlResult:
    """The largest k for which x' = A x - B phi(C x) is proven stable for every phi in the sector [0, k].

    One input and one output. The circle criterion, for phi(y, t); with `popov` that of Popov, for phi(y)
    in continuous time and D = 0; with `taps` >= 1 that of Zames and Falb in discrete time, by multipliers
    with so many steps of memory, for phi(y) with slopes in [0, k], `odd` or not. `lower` is the largest k
    proven: its certificate is for `sector_loop` with the same arguments. `estimate` is the criterion's
    limit in floating point. Raises InputError.
    Source: Khalil, Nonlinear Systems (2002), Theorems 7.1 and 7.3; Carrasco, Heath, Zhang, Ahmad, Wang, IEEE
    Trans. Automat. Control 65 (2020).
    """
    started, reasons = time.perf_counter(), list[str]()
    plant = as_system(system)
    if (plant.inputs, plant.outputs) != (1, 1):
        raise InputError("absolute_stability takes a system with one input and one output.")
    if popov and (plant.discrete or plant.D.any()):
        raise InputError("Popov's criterion is for continuous time and D = 0.")
    if taps < 0 or (taps and not plant.discrete):
        raise InputError(f"taps is {taps!r}; expected an integer >= 0, and discrete time where it is not 0.")
    estimate = _circle(plant) if not popov and not taps and is_stable(plant) else math.nan
    if math.isfinite(estimate):
        tries = [estimate * (1.0 - slack) for slack in _SLACKS]
        proofs = ((k, _proven(plant, k, (popov, taps, odd), solver, reasons)) for k in tries)
        lower, certificate = next((p for p in proofs if p[1] is not None), (0.0, None))
    else:
        lower, estimate, certificate = _largest(plant, (popov, taps, odd), solver)
    if certificate is None:
        return undecided(reasons or ["nothing is proven for small sectors."], started, estimate)
    seconds = time.perf_counter() - started
    return ControlResult("proven", lower, math.inf, certificate, estimate, (), seconds)


def sector_loop(
    system: Any, k: float, popov: bool = False, taps: int = 0, odd: bool = False
) -> UncertainLoop:
    """x' = A x - B phi(y), y = C x - D phi(y), phi in the sector [0, k], time-invariant with `popov`.

    With `taps` >= 1: phi with slopes in [0, k], `odd` or not.
    """
    S = as_system(system)
    block = SlopeRestricted(0.0, k, odd) if taps else Sector(0.0, k, popov)  # type: ignore[arg-type]
    return UncertainLoop(System(S.A, -S.B, S.C, -S.D, S.dt), (block,))


Criterion = tuple[bool, int, bool]  # popov, taps, odd


def _circle(plant: System) -> float:
    """The limit of the circle criterion, 1/k + G positive real, by frequencies; cut at 2^40."""
    least = least_real_part(continuous(plant))[0]
    return -1.0 / least if least < -(2.0**-40) else 2.0**40


def _proven(
    plant: System, k: float, criterion: Criterion, solver: AbstractSolver | None, reasons: list[str]
) -> ControlCertificate | None:
    loop = sector_loop(plant, k, *criterion)
    return attempt(loop, _proposals(loop, 1.0, (0.0,), criterion[1], solver), reasons)


def _largest(
    plant: System, criterion: Criterion, solver: AbstractSolver | None
) -> tuple[float, float, ControlCertificate | None]:
    """(the largest k proven, the least k found for which it failed, the proof), by bisection up to 2^40."""
    found: dict[float, ControlCertificate] = {}

    def holds(k: float) -> bool:
        certificate = _proven(plant, k, criterion, solver, [])
        if certificate is not None:
            found[k] = certificate
        return certificate is not None

    low, high = 0.0, 1.0
    while holds(high) and high < 2.0**40:
        low, high = high, 4.0 * high
    while low == 0.0 and high > 2.0**-40:
        if holds(high / 4.0):
            low = high / 4.0
        else:
            high /= 4.0
    for _ in range(32 if low else 0):
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
        if high - low <= 1e-7 * high:
            break
    return low, high, found.get(low)


def _inside(problem: Problem, loop: UncertainLoop, gain: float, taps: int) -> dict[str, Any]:
    """The LMI with the largest margin; readers of its witness by name."""
    total, readers = _terms(problem, loop, gain**2, taps)
    margin, P = problem.scalar("margin"), problem.variable("P")
    problem.add(total + margin * np.eye(total.shape[0]) << 0)
    problem.add(P - margin * np.eye(P.shape[0]) >> 0)
    problem.add(P.trace() <= 1e4)
    problem.add(margin <= 1.0)
    problem.maximise(margin)
    return readers


def _optimum(loop: UncertainLoop, taps: int, solver: AbstractSolver | None) -> float:
    problem = Problem()
    square = problem.scalar("square")
    total, _ = _terms(problem, loop, square, taps)
    problem.add(total << 0)
    problem.add(problem.variable("P") >> 0)
    problem.minimise(square)
    solution = solve(problem.compile(), solver)
    if solution.y is None or solution.status.name in ("INFEASIBLE", "UNBOUNDED", "FAILED"):
        return math.nan
    return math.sqrt(max(float(problem.read(solution)["square"]), 0.0))


def _proposals(
    loop: UncertainLoop,
    estimate: float,
    slacks: tuple[float, ...],
    taps: int,
    solver: AbstractSolver | None,
) -> Iterator[Proposal]:
    for slack in slacks:
        gain = max(estimate * (1.0 + slack), 1e-12)
        problem = Problem()
        readers = _inside(problem, loop, gain, taps)
        solution = solve(problem.compile(), solver)
        if solution.y is not None:
            values = problem.read(solution)
            claim: AbstractControlClaim = RobustGainWithMemory(gain, taps) if taps else RobustGain(gain)
            yield claim, {name: read(values) for name, read in readers.items()}


def _terms(problem: Problem, loop: UncertainLoop, square: Any, taps: int) -> tuple[Any, dict[str, Any]]:
    """(the matrix that is to be negative, readers of the multipliers)."""
    S, n, (p, q) = loop.system, loop.system.states, loop.uncertain
    maps = uncertain_maps(Floats(), loop, taps)
    F = maps.next.mid
    states, size = F.shape
    X = np.eye(states, size)
    P = problem.symmetric(states, "P")
    total = F.T @ P @ F - X.T @ P @ X if S.discrete else X.T @ P @ F + F.T @ P @ X
    E = np.hstack([S.C[q:], np.zeros((S.outputs - q, size - n - S.inputs)), S.D[q:]])
    D = np.eye(size)[size - S.inputs + p :]
    total = total + E.T @ E - square * (D.T @ D)
    readers: dict[str, Any] = {"P": lambda values: symmetric_part(values["P"])}
    for i, (block, (rows, columns)) in enumerate(zip(loop.blocks, block_places(loop), strict=True)):
        select, seen = maps.p.mid[rows], maps.q.mid[columns]
        speed = S.C[columns] @ (F[:n] - X[:n] if S.discrete else F[:n])
        if isinstance(block, RepeatedGain):
            part = _repeated(problem, i, block, select, seen, readers)
        elif isinstance(block, Delay):
            part = _delay(problem, i, block, (select, seen, speed), readers)
        elif isinstance(block, NormBlock):
            weight = _nonnegative(problem, f"l{i}", 1, readers)
            part = weight * (block.bound**2 * seen.T @ seen - select.T @ select)
        else:
            assert isinstance(block, Sector | SlopeRestricted)
            low, high = select - block.lower[:, None] * seen, block.upper[:, None] * seen - select
            part = _doubled(low.T @ diag(_nonnegative(problem, f"l{i}", block.inputs, readers)) @ high)
            if has_popov(loop, i):
                weights = _nonnegative(problem, f"popov{i}", block.inputs, readers)
                part = part + _doubled(low.T @ diag(weights) @ speed)
            if isinstance(block, SlopeRestricted) and taps:
                part = part + _rearranged(problem, loop, i, maps, readers)
        total = total + part
    return total, readers


def _delay(
    problem: Problem, i: int, block: Delay, signals: tuple[np.ndarray, ...], readers: dict[str, Any]
) -> Any:
    select, seen, speed = signals
    names = [f"R{i}", f"X{i}"] if block.constant else [f"R{i}"]
    weights = [problem.symmetric(block.size, name) for name in names]
    for name, weight in zip(names, weights, strict=True):
        problem.add(weight >> 0, margin=1e-9)
        readers[name] = lambda values, name=name: symmetric_part(values[name])
    step = seen - select
    part = block.bound**2 * (speed.T @ weights[0] @ speed) - step.T @ weights[0] @ step
    return part if not block.constant else part + seen.T @ weights[1] @ seen - select.T @ weights[1] @ select


def _rearranged(
    problem: Problem, loop: UncertainLoop, i: int, maps: LoopMaps, readers: dict[str, Any]
) -> Any:
    """Zames and Falb's forms."""
    block, (p, q) = loop.blocks[i], block_places(loop)[i]
    assert isinstance(block, SlopeRestricted)
    mine, k, taps = places_in_past(loop, i), block.inputs, len(maps.past_p)
    alpha, beta = block.lower[:, None], block.upper[:, None]
    low, high = maps.p.mid[p] - alpha * maps.q.mid[q], beta * maps.q.mid[q] - maps.p.mid[p]
    name, kinds = f"zames{i}", 4 if block.odd else 2
    weights = problem.vector(kinds * taps * k, name)
    problem.add(weights >= 0)
    readers[name] = lambda values: np.maximum(np.reshape(values[name], (kinds, taps, k)), 0.0)
    left, right = [], []
    for kind in range(kinds):
        sign = -1.0 if kind < 2 else 1.0
        for past_p, past_q in zip(maps.past_p, maps.past_q, strict=True):
            P, Q = past_p.mid[mine], past_q.mid[mine]
            left.append(low if kind % 2 == 0 else low + sign * (P - alpha * Q))
            right.append(high + sign * (beta * Q - P) if kind % 2 == 0 else high)
    return _doubled(np.vstack(left).T @ diag(weights) @ np.vstack(right))


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
