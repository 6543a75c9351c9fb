"""Lines below and above an activation on an interval, with intercepts that are proven for any slope.

For a slope s, phi(v) - s v is bounded on [l, u] from its values at knots (the ends, the kinks and, for
curved functions, a grid): between neighbouring knots a and b, where |phi''| <= C,

    phi(v) - s v >= min(values at a and b) - C (b - a)**2 / 8

(the chord of a function minus the function is at most that). So slopes are free choices, made to leave
little area, and only the intercepts carry the proof.
"""

import dataclasses

import numpy as np

from ._enclosure import Enclosure, above, below
from ._profile import Profile

__all__ = ["Relaxation", "intercept", "local_slopes", "relaxation"]

_CELLS = 48
_CORE = np.linspace(-6.0, 6.0, 49)  # where the smooth activations bend


@dataclasses.dataclass(frozen=True, eq=False)
class Relaxation:
    """low_slope v + low <= phi(v) <= up_slope v + up for lower <= v <= upper, per neuron (n,).

    `range_lower`, `range_upper` enclose phi(v) there.
    """

    lower: np.ndarray
    upper: np.ndarray
    low_slope: np.ndarray
    low: np.ndarray
    up_slope: np.ndarray
    up: np.ndarray
    range_lower: np.ndarray
    range_upper: np.ndarray

    @property
    def magnitude(self) -> np.ndarray:
        """Upper bounds of |phi(v)|."""
        return np.maximum(np.abs(self.range_lower), np.abs(self.range_upper))

    @property
    def argument(self) -> np.ndarray:
        """Upper bounds of |v|."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


def relaxation(
    profile: Profile, lower: np.ndarray, upper: np.ndarray, low_slope: np.ndarray | None = None
) -> Relaxation:
    """The relaxation on [lower, upper] (n,); `low_slope` fixes the slopes of the lines below."""
    knots = _knots(profile, lower, upper)
    values = profile.value(knots)
    with np.errstate(all="ignore"):
        gap = above(np.diff(knots, axis=0))
        sag = above(above(gap * gap) * (profile.curvature / 8.0 * (1.0 + 1e-10)))
        sag = sag if profile.curvature else np.zeros_like(sag)
        middle = 0.5 * lower + 0.5 * upper
        candidates = _slopes(profile, lower, upper, middle, values)
        lowers = candidates if low_slope is None else [low_slope]
        low_slope, low = _best(profile, lowers, knots, values, sag, middle, -1.0)
        up_slope, up = _best(profile, candidates, knots, values, sag, middle, 1.0)
    flat = np.zeros_like(lower)
    range_upper = _intercept(profile, flat, knots, values, sag, 1.0)
    range_lower = _intercept(profile, flat, knots, values, sag, -1.0)
    return Relaxation(lower, upper, low_slope, low, up_slope, up, range_lower, range_upper)


def intercept(
    profile: Profile, lower: np.ndarray, upper: np.ndarray, slope: np.ndarray, side: float
) -> np.ndarray:
    """c with phi(v) <= slope v + c on [lower, upper] (side 1), or phi(v) >= slope v + c (side -1); (n,)."""
    knots = _knots(profile, lower, upper)
    with np.errstate(all="ignore"):
        gap = above(np.diff(knots, axis=0))
        sag = above(above(gap * gap) * (profile.curvature / 8.0 * (1.0 + 1e-10)))
        sag = sag if profile.curvature else np.zeros_like(sag)
    return _intercept(profile, slope, knots, profile.value(knots), sag, side)


def _knots(profile: Profile, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    rows = [lower, upper, *(np.full_like(lower, kink) for kink in profile.kinks)]
    if profile.curvature:
        with np.errstate(all="ignore"):
            rows += [lower + t * (upper - lower) for t in np.linspace(0.0, 1.0, _CELLS + 1)[1:-1]]
        rows += [np.full_like(lower, c) for c in _CORE]
    return np.sort(np.clip(np.stack(rows), lower, upper), axis=0)


def _slopes(
    profile: Profile, lower: np.ndarray, upper: np.ndarray, middle: np.ndarray, values: Enclosure
) -> list[np.ndarray]:
    """Slopes worth trying: the chord, tangents at the ends and the middle, and 0."""
    width = upper - lower
    chord = np.where(width > 0.0, (values.hi[-1] - values.lo[0]) / np.where(width > 0.0, width, 1.0), 0.0)
    tangents = [profile.right(lower).hi, profile.left(upper).lo, profile.right(middle).lo]
    tangents += [profile.right(0.75 * lower + 0.25 * upper).lo, profile.right(0.25 * lower + 0.75 * upper).lo]
    tangents = tangents if profile.curvature else tangents[:2]
    found = [chord, *tangents, np.zeros_like(lower)]
    return [np.where(np.isfinite(s), np.clip(s, -1e8, 1e8), 0.0) for s in found]


def _best(
    profile: Profile,
    candidates: list[np.ndarray],
    knots: np.ndarray,
    values: Enclosure,
    sag: np.ndarray,
    middle: np.ndarray,
    side: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept whose line is nearest at the middle."""
    lines = [(s, _intercept(profile, s, knots, values, sag, side)) for s in candidates]
    if len(lines) == 1:
        return lines[0]
    heights = np.stack([np.nan_to_num(side * (s * middle + c), nan=np.inf) for s, c in lines])
    pick = heights.argmin(axis=0)[None]
    slopes, intercepts = np.stack([s for s, _ in lines]), np.stack([c for _, c in lines])
    return np.take_along_axis(slopes, pick, 0)[0], np.take_along_axis(intercepts, pick, 0)[0]


def _intercept(
    profile: Profile, s: np.ndarray, knots: np.ndarray, values: Enclosure, sag: np.ndarray, side: float
) -> np.ndarray:
    """The least c with phi(v) <= s v + c (side 1), or the largest with phi(v) >= s v + c (side -1)."""
    with np.errstate(all="ignore"):
        g = values - Enclosure.of(knots) * s
        if side > 0.0:
            found = above(np.maximum(g.hi[1:], g.hi[:-1]) + sag).max(axis=0)
            limit = values.hi[-1]
            better = np.minimum(found, limit)
        else:
            found = below(np.minimum(g.lo[1:], g.lo[:-1]) - sag).min(axis=0)
            limit = values.lo[0]
            better = np.maximum(found, limit)
        return np.asarray(np.where(s == 0.0, better, found) if profile.rising else found)


def local_slopes(
    profile: Profile, bounds: tuple[np.ndarray, np.ndarray], lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta) with alpha <= (phi(a) - phi(b)) / (a - b) <= beta for all a != b in [lower, upper].

    By the mean value theorem on each piece these are the extremes of phi', which is monotone between
    its turns: it suffices to look at the ends, at both sides of the kinks inside, and to take the
    global `bounds` where a turn (widened by 1e-6) lies inside.
    """
    right, left = profile.right(lower), profile.left(upper)
    alpha, beta = np.minimum(right.lo, left.lo), np.maximum(right.hi, left.hi)
    for kink in profile.kinks:
        inside = (lower < kink) & (kink < upper)
        at = np.full_like(lower, kink)
        for side in (profile.right(at), profile.left(at)):
            alpha = np.where(inside, np.minimum(alpha, side.lo), alpha)
            beta = np.where(inside, np.maximum(beta, side.hi), beta)
    if profile.turns:
        within = profile.turns_within
        turning = ~((np.abs(lower) < within) & (np.abs(upper) < within))
        for turn in profile.turns:
            turning |= (lower <= turn + 1e-6) & (upper >= turn - 1e-6)
        alpha = np.where(turning, bounds[0], alpha)
        beta = np.where(turning, bounds[1], beta)
    return np.clip(alpha, bounds[0], bounds[1]), np.clip(beta, bounds[0], bounds[1])
