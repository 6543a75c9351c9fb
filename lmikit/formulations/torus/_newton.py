"""Path following for the torus LMI: minimise -t log F - sum log det Z by Newton's method, t growing.

At a centre F is within a factor exp(-degree / t) of the optimum, degree the rows of all matrices together
(the parameter of the barrier -log det; log F is concave: Boyd, Vandenberghe, Convex optimization, section
11.2.2). The figures are floating point: proposals and estimates of the gap.
"""

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ._dense import DenseTorus

__all__ = ["Centre", "follow"]

_GROWTH = 5.0  # of t after each centring
_CENTRED = 0.7  # Newton decrement from which t grows
_MOST = 300  # steps


@dataclasses.dataclass(frozen=True, eq=False)
class Centre:
    """The last point, the relative gap of F there, tr R_00 per frequency, Newton steps taken."""

    point: np.ndarray
    gap: float
    weights: np.ndarray
    steps: int


def follow(
    problem: DenseTorus,
    start: np.ndarray,
    *,
    gap: float,
    first_gap: float = 1.0,
    deadline: float = math.inf,
    progress: Callable[[float, int], None] | None = None,
) -> Centre:
    """From a feasible start to a centre with the relative gap; earlier at the deadline (perf_counter)."""
    point, factor = start, problem.factor(start)
    assert factor is not None
    t = problem.degree / first_gap
    steps, weights = 0, np.ones(len(factor))
    while steps < _MOST and time.perf_counter() < deadline:
        barrier = problem.barrier(factor)
        weights = barrier.weights
        g, H = barrier.gradient.copy(), barrier.hessian.copy()
        g[-1] -= t / point[-1]
        H[-1, -1] += t / point[-1] ** 2
        direction = _solved(H, -g)
        decrement = math.sqrt(max(0.0, float(-g @ direction)))
        if progress is not None:
            progress(float(point[-1]) ** -0.5, steps)
        if decrement < _CENTRED:
            if problem.degree / t <= gap:
                break
            t = min(t * _GROWTH, problem.degree / gap * 1.0001)
            g[-1] = barrier.gradient[-1] - t / point[-1]
            H[-1, -1] = barrier.hessian[-1, -1] + t / point[-1] ** 2
            direction = _solved(H, -g)
        moved = _step(problem, point, factor, direction, float(g @ direction), t)
        if moved is None:
            break
        point, factor = moved
        steps += 1
    return Centre(point, problem.degree / t, weights, steps)


def _solved(H: np.ndarray, right: np.ndarray) -> np.ndarray:
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(H), 1e-300))
    A = scale[:, None] * H * scale
    shift = 0.0
    while True:
        try:
            factor = scipy.linalg.cho_factor(A + shift * np.eye(len(A)), lower=True)
            break
        except scipy.linalg.LinAlgError:
            shift = max(1e-14, 10.0 * shift)
    x = scipy.linalg.cho_solve(factor, scale * right)
    x = x + scipy.linalg.cho_solve(factor, scale * right - A @ x)
    return np.asarray(scale * x)


def _step(
    problem: DenseTorus,
    point: np.ndarray,
    factor: np.ndarray,
    direction: np.ndarray,
    slope: float,
    t: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Backtracking on -t log F - log det Z; None where nothing is gained."""
    before = -t * math.log(point[-1]) - problem.log_det(factor)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.where(direction < 0.0, -point / direction, np.inf)
    length = min(1.0, 0.95 * float(bounds.min()))
    for _ in range(40):
        trial = point + length * direction
        found = problem.factor(trial)
        if found is not None:
            after = -t * math.log(trial[-1]) - problem.log_det(found)
            if after <= before + 0.05 * length * slope:
                return _further(problem, point, direction, length, (trial, found), after, t)
        length *= 0.6
    return None


def _further(
    problem: DenseTorus,
    point: np.ndarray,
    direction: np.ndarray,
    length: float,
    best: tuple[np.ndarray, np.ndarray],
    value: float,
    t: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Longer steps while they gain: Newton at most doubles a multiplier that ought to be far larger."""
    while length >= 0.9:
        length *= 2.0
        trial = point + length * direction
        found = problem.factor(trial)
        if found is None:
            break
        after = -t * math.log(trial[-1]) - problem.log_det(found)
        if after >= value:
            break
        best, value = (trial, found), after
    return best
