"""Lower bounds of linear functions on a `Domain`: ball, box, and both at once.

On the ball, A x >= A c - r ||A||. On the box with middle m and half widths h, A x >= A m - |A| h. On both,
for ANY B: A x >= min over the ball of B x + min over the box of (A - B) x; the best B is a multiple of
c - x* at the minimiser x* (Lagrange), here found by bisection and good for nothing but tightness.
"""

import numpy as np

from ._domain import Domain
from ._enclosure import above, below
from ._rounding import SAFE, TINY, U, gamma, norm_above, sums, times

__all__ = ["lower_bounds"]

_STEPS = 30


def lower_bounds(domain: Domain, a: np.ndarray) -> np.ndarray:
    """Per row of a (m, n_0) a number at or below A x for every x of the domain, (m,).

    For a batch of boxes, a (B, m, n_0) or one (m, n_0) for all of them: (B, m).
    """
    finite_ball, box = np.isfinite(domain.radius), domain.has_box
    found = np.full(a.shape[-2], -np.inf)
    if finite_ball:
        found = np.maximum(found, _on_ball(domain, a))
    if box:
        found = np.maximum(found, _on_box(domain, a))
    if finite_ball and box and a.size:
        b = _split(domain, a)
        c = a - b
        error = (np.abs(c) @ domain.magnitude) * (U * SAFE) + TINY * (1.0 + domain.magnitude.sum())
        both = below(below(_on_ball(domain, b) + _on_box(domain, c)) - error)
        found = np.maximum(found, both)
    return found


def _on_ball(domain: Domain, a: np.ndarray) -> np.ndarray:
    center = domain.center
    error = gamma(center.size + 2) * SAFE * (np.abs(a) @ np.abs(center)) + TINY * (1.0 + np.abs(center).sum())
    reach = above(domain.radius * norm_above(a))
    return below(below(a @ center - reach) - error)


def _on_box(domain: Domain, a: np.ndarray) -> np.ndarray:
    middle = 0.5 * domain.lower + 0.5 * domain.upper
    half = above(np.maximum(domain.upper - middle, middle - domain.lower))
    size = np.abs(a)
    scale = np.abs(middle) + half
    error = gamma(middle.shape[-1] + 4) * SAFE * times(size, scale) + TINY * (1.0 + sums(scale))
    return below(below(times(a, middle) - times(size, half)) - error)


def _split(domain: Domain, a: np.ndarray) -> np.ndarray:
    """B of the top of this file, per row."""
    low, high = domain.lower - domain.center, domain.upper - domain.center
    norms = np.linalg.norm(a, axis=1)
    with np.errstate(all="ignore"):
        start = np.log(np.maximum(norms, 1e-300) / max(2.0 * domain.radius, 1e-300))
        left, right = start - 40.0, start.copy()  # at `start` the ball's own minimiser has length r
        for _ in range(_STEPS):
            middle = 0.5 * (left + right)
            step = np.clip(-a / (2.0 * np.exp(middle))[:, None], low, high)
            short = (step * step).sum(axis=1) <= domain.radius**2
            left, right = np.where(short, left, middle), np.where(short, middle, right)
        twice = 2.0 * np.exp(right)[:, None]
        b = -twice * np.clip(-a / twice, low, high)
    return np.where(np.isfinite(b), b, 0.0)
