"""The way to the neighbourhood of the best multipliers: Newton's method on their logarithms.

In deep networks the best multipliers are far from Fast's, by factors that differ from layer to layer and from
channel to channel, and Newton's method on the multipliers themselves at most doubles them. Of s = log T,

    minimise tau log d - log det N - e sum of (log det M(w) - sum of log T_a),

the barrier (`Star`) of matrices scaled to a constant diagonal: a channel that receives or sends next to
nothing is left where it is, and scaling a layer changes nothing. In s the function has been found to be
convex (no proof: eigenvalues below zero are taken for zero). d is eliminated, at its best for every s. Steps
are those of Levenberg and Marquardt, the trust being in s (Nocedal, Wright, "Numerical optimization", section
10.3); every iterate is strictly feasible.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from ._star import Star

__all__ = ["approached"]

_STEPS = 60
_LONGEST = 2.0  # of a step in s
_LEAST = 0.05  # of the curvature that a channel in the barrier's full weight has
_FAR = 1e3  # times what d must exceed: where it does not matter
_HOPELESS = 1e12  # damping


@dataclasses.dataclass(frozen=True, eq=False)
class _LogPoint:
    """s, its value with the best d, that d and what d must exceed."""

    s: np.ndarray
    value: float
    d: float
    needed: float


class _LogMerit:
    def __init__(self, star: Star, tau: float) -> None:
        self.star, self.tau = star, tau

    def at(self, s: np.ndarray, d: float) -> _LogPoint | None:
        """None outside; d of a point nearby."""
        far = _FAR * d
        trial = self.star.trial(np.append(np.exp(s), far))
        if trial is None:
            return None
        roots = far - trial.slack
        best = _best(roots, self.tau)
        rest = trial.value + float(np.log(trial.slack).sum() + self.star.balance @ s)
        value = rest + self.tau * math.log(best) - float(np.log(best - roots).sum())
        return _LogPoint(s, value, best, float(roots.max())) if math.isfinite(value) else None

    def derivatives(self, here: _LogPoint) -> tuple[np.ndarray, np.ndarray]:
        """In s, with d as good as it can be."""
        y = np.append(np.exp(here.s), here.d)
        barrier = self.star.barrier(y)
        g = y * barrier.gradient
        H = y[:, None] * barrier.hessian * y
        H[np.diag_indices(y.size)] += g
        side = H[:-1, -1] / H[-1, -1]
        return g[:-1] + self.star.balance - side * (g[-1] + self.tau), H[:-1, :-1] - np.outer(
            side, H[-1, :-1]
        )


def _best(roots: np.ndarray, tau: float) -> float:
    """The least tau log d - sum of log (d - roots): sum of d / (d - root) = tau."""
    top = float(roots.max())
    low, high = top, top * (1.0 + 2.0 * roots.size / (tau - roots.size))
    for _ in range(60):
        d = 0.5 * (low + high)
        low, high = (d, high) if d == top or (d / (d - roots)).sum() > tau else (low, d)
    return high


def approached(star: Star, y: np.ndarray, tau: float, tolerance: float) -> Iterator[tuple[float, np.ndarray]]:
    """(what d must exceed, y) after each step, until the gain of log d is below the tolerance.

    `star` without caps; tau well above its degree, the weight of log d.
    """
    merit, damping, slow = _LogMerit(star, tau), 0.1, 0
    here = merit.at(np.log(y[:-1]), float(y[-1]))
    for _ in range(_STEPS):
        if here is None:
            return
        found = _step(merit, here, damping)
        if found is None:
            return
        slow = slow + 1 if here.value - found[0].value < tolerance * tau else 0
        here, damping = found
        yield here.needed, np.append(np.exp(here.s), here.d)
        if slow == 2:
            return


def _step(merit: _LogMerit, here: _LogPoint, damping: float) -> tuple[_LogPoint, float] | None:
    """The next point and damping."""
    g, H = merit.derivatives(here)
    scale = np.sqrt(np.maximum(np.diagonal(H), _LEAST * merit.star.balance))
    try:
        values, vectors = np.linalg.eigh(H / scale / scale[:, None])
    except np.linalg.LinAlgError:
        return None
    values, along = np.maximum(values, 0.0), vectors.T @ (g / scale)
    while damping < _HOPELESS:
        p = -(vectors @ (along / (values + damping))) / scale
        if np.abs(p).max() > _LONGEST:
            damping *= 1.5
            continue
        gain = -float(g @ p + 0.5 * p @ H @ p)
        new = merit.at(here.s + p, here.d)
        share = -1.0 if new is None else (here.value - new.value) / gain
        if new is None or not share > 0.1:
            damping *= 2.5
            continue
        if share > 0.9:
            new = _longer(merit, here, new, p)
        return new, damping / 2.5 if share > 0.7 else damping * (2.0 if share < 0.3 else 1.0)
    return None


def _longer(merit: _LogMerit, here: _LogPoint, new: _LogPoint, p: np.ndarray) -> _LogPoint:
    """Twice and four times the step, while that gains."""
    for factor in (2.0, 4.0):
        more = merit.at(here.s + factor * p, here.d)
        if more is None or more.value >= new.value:
            break
        new = more
    return new
