"""Sectors of activations around a point, equilibria of loops: proven with outward rounding.

s(t) = (phi(c + t) - phi(c))/t is the mean of phi' over [c, c + t]. On 0 < a <= t <= b it is a mean of
s(a) and of phi' on [c + a, c + b] with a weight of at most (b - a)/b for the latter; it falls where
phi' is below it and rises where phi' is above. Hence finitely many cells bound it, exactly at their
ends where phi is convex or concave.
"""

import functools

import numpy as np

from ...intervals import Enclosure, Profile, profile_of
from ...intervals._enclosure import above, below
from ...intervals._relaxation import local_slopes
from ...network import Layer
from ...systems import NetworkLoop
from ..sdp._enclosure import SAFE
from ._balls import BallMatrix
from ._walk import Neurons, steps_of

__all__ = ["Equilibrium", "enclose_equilibrium", "sectors"]

_CELLS = 64
Pair = tuple[np.ndarray, np.ndarray]


def _steepest(layer: Layer | Neurons) -> np.ndarray:
    return np.maximum(np.abs(layer.alpha), np.abs(layer.beta))


def _derivative(profile: Profile, bounds: Pair, low: np.ndarray, high: np.ndarray) -> Pair:
    """Bounds of phi' on [low, high]; without a kink inside it moves by at most sup |phi''| (high - low)."""
    least, most = local_slopes(profile, bounds, low, high)
    at = profile.right(low)
    move = above(above(high - low) * profile.curvature)
    smooth = np.full(np.shape(low), True)
    for kink in profile.kinks:
        smooth &= ~((low <= kink) & (kink <= high))
    return (
        np.where(smooth, np.maximum(least, below(at.lo - move)), least),
        np.where(smooth, np.minimum(most, above(at.hi + move)), most),
    )


def _value(profile: Profile, steepest: np.ndarray, low: np.ndarray, high: np.ndarray) -> Enclosure:
    """phi on [low, high], short intervals, by its Lipschitz constant."""
    at = profile.value(low)
    reach = above(above(high - low) * steepest)
    return Enclosure(below(at.lo - reach), above(at.hi + reach))


def sectors(layer: Layer | Neurons, low: np.ndarray, high: np.ndarray, delta: np.ndarray) -> Pair:
    """alpha <= (phi(c + t) - phi(c))/t <= beta for all c in [low, high], 0 < |t| <= delta; arrays (n,)."""
    profile, steepest = profile_of(layer.activation), _steepest(layer)
    bounds = layer.activation.slopes_for(low.size, "sectors")
    center = _value(profile, steepest, low, high)
    reach = np.maximum(delta, 1e-12)
    t = reach * (np.arange(1, _CELLS + 1) / _CELLS)[:, None]
    t[-1] = reach
    alpha, beta = np.full(low.shape, np.inf), np.full(low.shape, -np.inf)
    for sign in (1.0, -1.0):
        a, b = _side(profile, steepest, bounds, (low, high), center, t, sign)
        alpha, beta = np.minimum(alpha, a), np.maximum(beta, b)
    return np.maximum(alpha, bounds[0]), np.minimum(beta, bounds[1])


def _side(
    profile: Profile,
    steepest: np.ndarray,
    bounds: Pair,
    c: Pair,
    center: Enclosure,
    t: np.ndarray,
    sign: float,
) -> Pair:
    ends = below(c[0] + sign * t), above(c[1] + sign * t)
    chord = (_value(profile, steepest, *ends) - center) * sign * Enclosure.of(t).reciprocal()  # s at each t
    start = np.vstack([np.zeros_like(t[:1]), t[:-1]])
    near = below(c[0] + np.minimum(sign * start, sign * t)), above(c[1] + np.maximum(sign * start, sign * t))
    least, most = _derivative(profile, bounds, *near)  # of phi' on each cell
    before = Enclosure(chord.lo[:-1], chord.hi[:-1])
    weight = Enclosure.of(t[1:] - start[1:]) * Enclosure.of(t[1:]).reciprocal()
    weight = Enclosure(np.zeros_like(weight.hi), above(weight.hi * (1.0 + 1e-15)))
    mixed_low = before + weight * (Enclosure.of(least[1:]) - before)
    mixed_high = before + weight * (Enclosure.of(most[1:]) - before)
    low = np.minimum(before.lo, mixed_low.lo)
    high = np.maximum(before.hi, mixed_high.hi)
    falls, rises = most[1:] <= low, least[1:] >= high
    low = np.where(falls, np.maximum(low, chord.lo[1:]), np.where(rises, before.lo, low))
    high = np.where(rises, np.minimum(high, chord.hi[1:]), np.where(falls, before.hi, high))
    return np.minimum(low.min(axis=0), least[0]), np.maximum(high.max(axis=0), most[0])


class Equilibrium:
    """The preactivations (low, high) of every step of neurons at the one equilibrium in a box."""

    def __init__(self, preactivations: list[Pair]) -> None:
        self.preactivations = preactivations


def _values(loop: NetworkLoop, x: BallMatrix) -> tuple[list[BallMatrix], BallMatrix]:
    """(preactivations, the network's output) for states within a ball."""
    values = [BallMatrix.of(loop.wiring.measurement()[0]) @ x]
    preactivations = []
    for step in steps_of(loop.network):
        if isinstance(step, Neurons):
            v = values[step.parent]
            preactivations.append(v)
            at = profile_of(step.activation).value(v.mid[:, 0])
            middle = 0.5 * at.lo + 0.5 * at.hi
            spread = above(np.maximum(at.hi - middle, middle - at.lo)) + _steepest(step) * v.rad[:, 0]
            values.append(BallMatrix(middle[:, None], spread[:, None] * SAFE))
        else:
            total = BallMatrix.of(step.bias[:, None])
            for W, p in zip(step.maps, step.parents, strict=True):
                total = BallMatrix.of(W) @ values[p] + total
            values.append(total)
    return preactivations, values[-1]


def _ends(v: BallMatrix) -> Pair:
    return below(v.mid[:, 0] - v.rad[:, 0]), above(v.mid[:, 0] + v.rad[:, 0])


def _jacobian(loop: NetworkLoop, preactivations: list[BallMatrix]) -> BallMatrix:
    """Of the field over all states with these preactivations."""
    moved, given = [BallMatrix.of(loop.wiring.measurement()[0])], iter(preactivations)
    for step in steps_of(loop.network):
        if isinstance(step, Neurons):
            v = next(given)
            bounds = step.activation.slopes_for(v.shape[0], "equilibrium")
            a, b = _derivative(profile_of(step.activation), bounds, *_ends(v))
            middle = 0.5 * a + 0.5 * b
            slopes = BallMatrix(np.diag(middle), np.diag(above(np.maximum(b - middle, middle - a))))
            moved.append(slopes @ moved[step.parent])
        else:
            terms = [BallMatrix.of(W) @ moved[p] for W, p in zip(step.maps, step.parents, strict=True)]
            moved.append(functools.reduce(BallMatrix.__add__, terms))
    u = BallMatrix.of(loop.plant.B[:, list(loop.control)]) @ moved[-1]
    return BallMatrix.of(loop.plant.A) + u


def enclose_equilibrium(loop: NetworkLoop, near: np.ndarray, radius: float) -> Equilibrium | None:
    """Prove that the loop has exactly one equilibrium with |x - near|_inf <= radius; None: not proven.

    Krawczyk's test: with g the field (less x in discrete time), R near g'^-1 and J enclosing g' on the box,
    |R g(near)| + |I - R J| radius < radius implies it (Rump, Acta Numerica 2010, Theorem 13.3).
    """
    if not 0.0 < radius < np.inf:
        return None
    n = near.size
    point = BallMatrix.of(near[:, None])
    box = BallMatrix(near[:, None], np.full((n, 1), radius))
    _, u = _values(loop, point)
    value = BallMatrix.of(loop.plant.A) @ point + BallMatrix.of(loop.plant.B[:, list(loop.control)]) @ u
    preactivations, _ = _values(loop, box)
    J = _jacobian(loop, preactivations)
    if loop.discrete:
        value, J = value - point, J - BallMatrix.of(np.eye(n))
    try:
        R = BallMatrix.of(np.linalg.inv(J.mid))
    except np.linalg.LinAlgError:
        return None
    step = R @ value
    rest = BallMatrix.of(np.eye(n)) - R @ J
    size = np.abs(step.mid[:, 0]) + step.rad[:, 0] + (np.abs(rest.mid) + rest.rad).sum(axis=1) * radius
    if not (size * SAFE < radius).all():
        return None
    return Equilibrium([_ends(v) for v in preactivations])
