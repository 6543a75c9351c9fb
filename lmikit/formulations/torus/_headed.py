"""The torus LMI of a network that ends in fully connected layers: path following, feasible at every step.

Minimises t d + phi (`Star`) by Newton's method while t grows. Every iterate is strictly feasible, so that the
best one is an answer at any time. At a Newton decrement q < 1 of the barrier with parameter v, d is within
(v + (q + v^(1/2)) q / (1 - q)) / t of the optimum (Nesterov, "Introductory lectures on convex optimization",
theorem 4.2.7). The figures are floating point: proposals and estimates of the gap.
"""

import logging
import math
import time

import numpy as np
import scipy.linalg

from ..._progress import Progress, ProgressCallback
from ...torus import TorusForm, TorusWitness
from ._fast import fast_torus
from ._model import torus_model
from ._star import Star, Trial

__all__ = ["headed"]

_log = logging.getLogger("lmikit")
_STEPS = 150
_START = 0.7  # of what Fast allows
_DEAD = 1e5  # times the least multiplier of a node: of channels that receive next to nothing
_ROOM = 100.0, 2.0  # caps on the multipliers relative to the start, the second of dead channels
_CENTRED = 0.7  # decrement from which t grows
_GROWTH, _FAR = 5.0, 10.0  # of t, and to what decrement at most


def headed(
    form: TorusForm,
    *,
    gap: float = 1e-4,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> TorusWitness:
    """Multipliers per channel and per neuron of the head, their value, and the solver's lower end of it.

    Stops within the relative gap of L^2, or at the time limit with the best iterate, Fast's multipliers
    where they are better.
    """
    begin = time.perf_counter()
    deadline = math.inf if time_limit is None else begin + time_limit
    model = torus_model(form)
    inside = fast_torus(form, model, _START, balanced=True)
    if not 1e-100 < inside.d_out < 1e100:  # squares of its inverse would leave the range
        return fast_torus(form, model)
    parts = [*inside.multipliers, *inside.head]
    y = np.append(np.concatenate(parts), 2.0 * inside.d_out)
    caps = [t * np.where(t > _DEAD * t.min(), _ROOM[1], _ROOM[0]) for t in parts]
    star = Star(model, np.append(np.concatenate(caps), 1e4 * y[-1]))
    here = star.trial(y)
    best, lower, t = (math.inf, y), 0.0, None
    for step in range(_STEPS):
        if here is None:
            break
        best = min(best, (here.needed, y), key=lambda pair: pair[0])
        seconds = time.perf_counter() - begin
        if progress is not None:
            least = math.sqrt(lower) if lower > 0.0 else None
            value = math.sqrt(best[0])
            progress(Progress("torus", step, objective=value, bound_on_optimum=least, seconds=seconds))
        if begin + seconds > deadline or lower > (1.0 - gap) * best[0]:
            break
        barrier = star.barrier(y)
        newton = _Newton(barrier.gradient, barrier.hessian)
        t = -float(barrier.gradient[-1]) if t is None else t
        decrement = newton.decrement(t)
        if decrement < 1.0:
            lower = max(lower, float(y[-1]) - newton.distance(t, star.degree))
        if decrement < _CENTRED:
            t = min(_GROWTH * t, newton.farthest(_FAR), 2.0 * star.degree / (gap * float(y[-1])))
        _log.debug("torus with head: step %d, t %.2e, decrement %.2g, L %.8g, at least %.8g",
                   step, t, decrement, best[0] ** 0.5, lower**0.5)  # fmt: skip
        moved = _moved(star, y, here, newton.direction(t), t)
        if moved is None:
            break
        y, here = moved
    fast = fast_torus(form, model)
    if not best[0] < fast.d_out:
        return fast
    return _witness(form, best[0], best[1], [len(a) for a in parts], lower)


def _witness(form: TorusForm, value: float, y: np.ndarray, sizes: list[int], lower: float) -> TorusWitness:
    parts, count = tuple(np.split(y[:-1], np.cumsum(sizes)[:-1])), len(form.channels)
    least = math.sqrt(lower) if lower > 0.0 else None
    return TorusWitness(form.cells, 1.0, value, parts[:count], parts[count:], "LipSDP on the torus", least)


class _Newton:
    """Newton's direction of t d + phi for every t: the Hessian does not depend on t."""

    def __init__(self, gradient: np.ndarray, hessian: np.ndarray) -> None:
        price = np.zeros_like(gradient)
        price[-1] = 1.0
        right = np.stack([price, gradient], axis=1)
        scale = 1.0 / np.sqrt(np.diagonal(hessian))[:, None]
        A, shift = scale * hessian * scale.T, 0.0
        while True:
            try:
                factor = scipy.linalg.cho_factor(A + shift * np.eye(len(A)), lower=True)
                break
            except scipy.linalg.LinAlgError:
                shift = max(1e-14, 10.0 * shift)
        found = scipy.linalg.cho_solve(factor, scale * right)
        found = found + scipy.linalg.cho_solve(factor, scale * right - A @ found)
        self._found = scale * found
        self._gram = right.T @ self._found

    def direction(self, t: float) -> np.ndarray:
        """Of descent."""
        return np.asarray(-(t * self._found[:, 0] + self._found[:, 1]))

    def decrement(self, t: float) -> float:
        """The length of the direction in the Hessian's norm."""
        (cc, cg), (_, gg) = self._gram
        return math.sqrt(max(0.0, t * t * cc + 2.0 * t * cg + gg))

    def farthest(self, decrement: float) -> float:
        """The largest t with that decrement."""
        (cc, cg), (_, gg) = self._gram
        return float((math.sqrt(max(0.0, cg * cg - cc * (gg - decrement**2))) - cg) / cc)

    def distance(self, t: float, degree: float) -> float:
        """How far d may be from its optimum, at a decrement below 1."""
        q = self.decrement(t)
        return (degree + (q + math.sqrt(degree)) * q / (1.0 - q)) / t


def _moved(
    star: Star, y: np.ndarray, here: Trial, direction: np.ndarray, t: float
) -> tuple[np.ndarray, Trial] | None:
    """Backtracking on t d + phi, and longer steps while they gain; None where nothing is gained.

    (Newton at most doubles a multiplier that ought to be far larger.)
    """

    def merit(point: np.ndarray, trial: Trial) -> float:
        return t * float(point[-1]) + trial.value

    before = merit(y, here)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = float(np.where(direction < 0.0, -y / direction, np.inf).min())
    length = min(1.0, 0.95 * room)
    found: tuple[np.ndarray, Trial] | None = None
    for _ in range(40):
        point = y + length * direction
        trial = star.trial(point)
        if trial is not None and merit(point, trial) < before:
            found = point, trial
            break
        length *= 0.6
    while found is not None and length >= 0.9:
        length *= 2.0
        point = y + length * direction
        trial = star.trial(point)
        if trial is None or merit(point, trial) >= merit(*found):
            break
        found = point, trial
    return found
