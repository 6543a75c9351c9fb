"""Robust stability and gains with multipliers for every block: proposals, and what is proven."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._api import solve
from .._errors import InputError
from ..certificates.control import AbstractControlClaim, RobustGain, RobustGainWithMemory
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
    UncertainLoop,
)
from ._result import ControlResult, Proposal, attempt, undecided
from ._stability import symmetric_part

__all__ = ["robust_gain", "robust_proposals"]

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
    certificate = attempt(loop, robust_proposals(loop, estimate, slacks, memory, solver), reasons)
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


def robust_proposals(
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
