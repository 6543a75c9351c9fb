"""Projected limited-memory BFGS ascent of a concave function that is -infinity outside a cone.

Bound y >= lower, variables scaled; coordinates that sit at their bound with a gradient that points
outwards are masked out of the two-loop direction; a step to an infeasible point is shortened by 0.3;
the memory is dropped once before giving up. (Liu and Nocedal, Math. Programming 45, 1989;
Bertsekas, SIAM J. Control Optim. 20, 1982, for the projection.)
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ._dual import DualValue

__all__ = ["Ascent", "ascend_projected"]

_ARMIJO = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Ascent:
    """The best point found; `why` is "target", "budget", "flat" or "stalled"."""

    y: np.ndarray
    value: float
    why: str


class _Memory:
    """Pairs of steps and gradient changes (in scaled variables)."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.steps: list[np.ndarray] = []
        self.changes: list[np.ndarray] = []

    def clear(self) -> None:
        self.steps, self.changes = [], []

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        curvature = step @ change
        if curvature > 1e-12 * np.sqrt((step @ step) * (change @ change)):
            self.steps.append(step)
            self.changes.append(change)
            if len(self.steps) > self.most:
                del self.steps[0], self.changes[0]

    def direction(self, gradient: np.ndarray, active: np.ndarray) -> np.ndarray:
        free = np.where(active, 0.0, gradient)
        q = free.copy()
        pairs = list(zip(self.steps, self.changes, strict=True))
        rates = []
        for s, c in reversed(pairs):
            rates.append((s @ q) / (s @ c))
            q -= rates[-1] * c
        if pairs:
            s, c = pairs[-1]
            q *= (s @ c) / (c @ c)
        else:
            q *= 0.1 / max(float(np.abs(q).max()), 1e-300)
        for (s, c), rate in zip(pairs, reversed(rates), strict=True):
            q += s * (rate - (c @ q) / (s @ c))
        q[active] = 0.0
        if q @ free <= 0.0:
            self.clear()
            q = free * (0.1 / max(float(np.abs(free).max()), 1e-300))
        return q


def ascend_projected(
    evaluate: Callable[[np.ndarray], DualValue],
    start: np.ndarray,
    scale: np.ndarray,
    lower: np.ndarray,
    *,
    budget: int,
    target: float,
    stop: Callable[[], bool] = lambda: False,
    memory: int = 20,
) -> Ascent:
    """Climb from `start` until value > target, `budget` evaluations, `stop()` or no progress."""
    low = lower / scale
    x = np.maximum(start / scale, low)
    here = evaluate(x * scale)
    if here.gradient is None:
        return Ascent(x * scale, -np.inf, "stalled")
    gradient, pairs = here.gradient * scale, _Memory(memory)
    values, used = [here.value], 1
    while values[-1] <= target:
        if used >= budget or stop():
            return Ascent(x * scale, values[-1], "budget")
        active = (x <= low + 1e-12) & (gradient <= 0.0)
        q = pairs.direction(gradient, active)
        longest = float(np.abs(q).max(initial=0.0))
        if longest > 3.0:
            q *= 3.0 / longest
        step, new = 1.0, None
        while used < budget and step > 1e-7:
            trial = np.maximum(x + step * q, low)
            there = evaluate(trial * scale)
            used += 1
            if there.gradient is not None and there.value >= values[-1] + _ARMIJO * (gradient @ (trial - x)):
                new = there
                break
            step *= 0.3 if there.gradient is None else 0.4
        if new is None or new.gradient is None:
            if used >= budget or not pairs.steps:
                return Ascent(x * scale, values[-1], "budget" if used >= budget else "stalled")
            pairs.clear()
            continue
        scaled = new.gradient * scale
        pairs.add(trial - x, gradient - scaled)
        x, gradient = trial, scaled
        values.append(new.value)
        if len(values) > 12 and values[-1] - values[-12] < 1e-6 * (1e-3 + abs(values[-1])):
            return Ascent(x * scale, values[-1], "flat")
    return Ascent(x * scale, values[-1], "target")
