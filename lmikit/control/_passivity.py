"""Passivity and its index, proven or refuted."""

import math
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from .._api import solve
from .._errors import InputError
from ..certificates.control import NotPassive, Passive
from ..lmi import Problem
from ..systems import System
from ._norms import is_stable
from ._result import ControlResult, Proposal, attempt, undecided
from ._riccati import continuous, crossings, frequency_witness, h_infinity_peak, riccati
from ._stability import as_subject, lyapunov_matrix, rounded, symmetric_part

__all__ = ["least_real_part", "passivity"]

_SLACKS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
_GRIDS = (2.0**-24, 2.0**-12, 2.0**-4, 1.0)


def passivity(system: Any) -> ControlResult:
    """Prove or refute that a stable system is passive; enclose its input passivity index.

    lower <= nu <= upper, nu the largest number with integral u'y >= nu integral |u|^2 from x(0) = 0 over all
    intervals. Proven: lower >= 0, by the positive real lemma. Refuted: upper < 0, by one frequency with
    Re u*G u < 0. A system with D = 0 has nu <= 0, and is proven passive only where a P with P B = C'
    exactly is found in floats. A system that is not stable is left undecided. Raises InputError.
    Source: Boyd et al., Linear Matrix Inequalities in System and Control Theory (1994), section 6.3.3.
    """
    started, reasons = time.perf_counter(), list[str]()
    subject = as_subject(system)
    plant = rounded(subject)
    if plant.inputs != plant.outputs or not plant.inputs:
        raise InputError(
            f"passivity needs as many outputs as inputs; got {plant.outputs} and {plant.inputs}."
        )
    if not is_stable(plant):
        return undecided(("the system is not stable, as far as floats tell.",), started)
    smooth = continuous(plant)
    estimate, frequency = least_real_part(smooth)
    proven = None
    if abs(estimate) < 1e-9:
        proven = attempt(subject, _exact_storage(plant), reasons)
    if proven is None:
        proven = attempt(subject, _storages(smooth, estimate), reasons)
    refused = attempt(subject, _refutations(plant, smooth, estimate, frequency), reasons)
    lower = proven.claim.index if proven is not None and isinstance(proven.claim, Passive) else -math.inf
    upper = refused.claim.index if refused is not None and isinstance(refused.claim, NotPassive) else math.inf
    verdict = "proven" if lower >= 0.0 else "refuted" if upper < 0.0 else "undecided"
    certificate = refused if verdict == "refuted" else proven
    seconds = time.perf_counter() - started
    why = () if verdict != "undecided" else tuple(reasons) or ("the index is 0 as far as floats tell.",)
    return ControlResult(verdict, lower, upper, certificate, estimate, why, seconds)


def _hermitian(smooth: System, frequency: float) -> np.ndarray:
    G = smooth.response(frequency)
    return np.asarray((G + G.conj().T) / 2)


def least_real_part(smooth: System) -> tuple[float, float]:
    """(the least eigenvalue of the Hermitian part over all frequencies, where), by level sets."""
    values = np.linalg.eigvals(smooth.A) if smooth.states else np.zeros(1)
    far = 1e7 * (1.0 + float(np.abs(values).max()))

    def value(w: float) -> float:
        return float(np.linalg.eigvalsh(_hermitian(smooth, w)).min())

    at_infinity = float(np.linalg.eigvalsh((smooth.D + smooth.D.T) / 2).min())
    size = np.abs(values)
    trial = np.concatenate([[0.0], np.abs(values.imag), size, size * math.sqrt(3.0), size / 3.0])
    best = min((value(w), w) for w in trial.tolist())
    if at_infinity < best[0]:
        best = (at_infinity, far)
    for _ in range(30):
        level = best[0] - 1e-10 * (1.0 + abs(best[0]))
        R = 2.0 * level * np.eye(smooth.inputs) - smooth.D - smooth.D.T
        if not smooth.states or np.linalg.eigvalsh(-R).min() <= 0.0:
            break
        w = crossings(smooth, np.zeros_like(smooth.A), -smooth.C.T, -R)
        found = [(value(f), f) for f in ((w[1:] + w[:-1]) / 2).tolist() + w.tolist()]
        if not found or min(found)[0] >= level:
            break
        best = min(found)
    return best


def _storages(smooth: System, estimate: float) -> Iterator[Proposal]:
    n = smooth.states
    reach = h_infinity_peak(System(smooth.A, smooth.B, np.eye(n))).gain or 1.0
    for slack in _SLACKS:
        step = slack * (1.0 + abs(estimate))
        index = 0.0 if abs(estimate) < slack and estimate >= 0.0 else estimate - step
        R = smooth.D + smooth.D.T - 2.0 * (estimate - step / 2) * np.eye(smooth.inputs)
        if n == 0:
            yield Passive(index), {"P": np.zeros((0, 0))}
            continue
        P = riccati(smooth, step / (2.0 * reach**2) * np.eye(n), -smooth.C.T, R)
        if P is not None:
            yield Passive(index), {"P": P}


def _refutations(plant: System, smooth: System, estimate: float, frequency: float) -> Iterator[Proposal]:
    u = np.linalg.eigh(_hermitian(smooth, frequency))[1][:, 0]
    P = lyapunov_matrix(plant.A, 1.0 if plant.discrete else 0.0, plant.discrete)
    witness = {"P": P, **frequency_witness(plant, frequency, u)}
    reached = float(np.linalg.eigvalsh(_hermitian(smooth, frequency)).min())
    for slack in _SLACKS:
        yield NotPassive(reached + slack * (1.0 + abs(estimate))), witness


def _exact_storage(plant: System) -> Iterator[Proposal]:
    """P with P B = C' exactly, where D + D' = 0, continuous: free entries on a grid, others follow."""
    n = plant.states
    if plant.discrete or (plant.D + plant.D.T).any() or n == 0:
        return
    if np.array_equal(plant.B, plant.C.T):
        yield Passive(0.0), {"P": np.eye(n)}
    problem = Problem()
    X, t = problem.symmetric(n, "P"), problem.scalar("t")
    problem.add(-(plant.A.T @ X + X @ plant.A) - t * np.eye(n) >> 0)
    problem.add(X - t * np.eye(n) >> 0)
    problem.add(X @ plant.B == plant.C.T)
    problem.add(t <= 1.0)
    problem.maximise(t)
    solution = solve(problem.compile())
    if solution.y is None:
        return
    near = symmetric_part(problem.read(solution)["P"])
    for grid in _GRIDS:
        P = _on_the_equations(near, plant, grid)
        if P is not None:
            yield Passive(0.0), {"P": P}


def _on_the_equations(near: np.ndarray, plant: System, grid: float) -> np.ndarray | None:
    """Floats that satisfy P B = C' exactly, near `near`; None where the solution is no float."""
    n = plant.states
    pairs = [(i, j) for i in range(n) for j in range(i + 1)]
    place = {pair: k for k, pair in enumerate(pairs)}
    rows = []
    for i in range(n):
        for k in range(plant.inputs):
            row = [Fraction(0)] * (len(pairs) + 1)
            for j in range(n):
                row[place[max(i, j), min(i, j)]] += Fraction(float(plant.B[j, k]))
            row[-1] = Fraction(float(plant.C[k, i]))
            rows.append(row)
    pivots = _eliminate(rows, len(pairs))
    values = [Fraction(round(float(near[i, j]) / grid)) * Fraction(grid) for i, j in pairs]
    for row, pivot in pivots:
        rest = sum((row[k] * values[k] for k in range(len(pairs)) if k != pivot), Fraction(0))
        values[pivot] = row[-1] - rest
    P = np.zeros((n, n))
    for (i, j), value in zip(pairs, values, strict=True):
        P[i, j] = P[j, i] = float(value)
        if Fraction(float(P[i, j])) != value:
            return None
    return P


def _eliminate(rows: list[list[Fraction]], columns: int) -> list[tuple[list[Fraction], int]]:
    """Reduced rows with their pivots; every pivot column is zero in the other rows."""
    done: list[tuple[list[Fraction], int]] = []
    for given in rows:
        row = list(given)
        for reduced, pivot in done:
            if row[pivot]:
                f = row[pivot]
                row = [a - f * b for a, b in zip(row, reduced, strict=True)]
        pivot = max(range(columns), key=lambda k: abs(row[k]))
        if not row[pivot]:
            continue
        row = [a / row[pivot] for a in row]
        cleaned = []
        for reduced, p in done:
            f = reduced[pivot]
            cleaned.append(([a - f * b for a, b in zip(reduced, row, strict=True)] if f else reduced, p))
        done = [*cleaned, (row, pivot)]
    return done
