"""Networks without a nonlinearity on a region: the multipliers in closed form.

With row . f(x) = c + a . (x - anchor), on the ball mu = |a| / (2 eps) gives c - eps |a|, on a box
tau_j = |a_j| / (upper_j - lower_j) gives the exact minimum, and the largest radius is c / |a|.
"""

import numpy as np

from ..certificates.point import MultiplierGroup, PointWitness, point_digest
from ..claims import AbstractRegion, Ball, BallAndBox, Box, PointClaim
from ..network import Network

__all__ = ["linear_margins", "linear_radius"]

_LEAST = 1e-9  # of the rows' sizes: keeps M positive definite where a row is constant


def linear_margins(
    network: Network, region: AbstractRegion, rows: np.ndarray, offsets: np.ndarray
) -> PointWitness:
    """A witness with the least values on the ball or box; on both, the better of the two."""
    a, values = _affine(network, region.anchor, rows, offsets)
    least = _LEAST * (float(np.abs(a).max(initial=0.0)) + float(np.abs(values).max()) + 1e-300)
    groups, lower = [], np.full(len(rows), -np.inf)
    for r in range(len(rows)):
        for mu, tau, bound in _choices(region, a[r], float(values[r]), least):
            groups.append(MultiplierGroup((r,), np.ones(1), mu, tau, ()))
            lower[r] = max(lower[r], bound)
    claim = PointClaim(region, rows, lower, offsets)
    return PointWitness(point_digest(network), claim, tuple(groups), "linear function")


def _choices(
    region: AbstractRegion, a: np.ndarray, value: float, least: float
) -> list[tuple[float, np.ndarray, float]]:
    """(mu, tau, bound) by the ball, by the box."""
    found, ball, box = [], region.ball, region.box
    if ball is not None:
        mu = max(float(np.linalg.norm(a)), least) / (2.0 * ball.radius)
        tau = np.zeros(0 if box is None else box.dim)
        found.append((mu, tau, value - float(np.linalg.norm(a)) * ball.radius))
    if box is not None:
        width = box.upper - box.lower
        thin = np.maximum(width, 1e-12 * (1.0 + float(width.max())))
        low, high = box.lower - region.anchor, box.upper - region.anchor
        bound = value + float(np.minimum(a * low, a * high).sum())
        found.append((0.0, np.maximum(np.abs(a), least) / thin, bound))
    return found


def linear_radius(
    network: Network, x0: np.ndarray, rows: np.ndarray, offsets: np.ndarray, box: Box | None
) -> PointWitness | None:
    """A witness for the largest ball on which every row is positive; None where one is not at x0."""
    a, values = _affine(network, x0, rows, offsets)
    if not (values > 0.0).all():
        return None
    norms = np.maximum(np.linalg.norm(a, axis=1), _LEAST * values)
    tau = np.zeros(0 if box is None else box.dim)
    groups = tuple(
        MultiplierGroup((r,), np.array([2.0 * values[r] / norms[r] ** 2]), 1.0, tau, ())
        for r in range(len(rows))
    )
    ball = Ball(x0, float((values / norms).min()))
    region = ball if box is None else BallAndBox(ball, box)
    claim = PointClaim(region, rows, np.zeros(len(rows)), offsets, "radius")
    return PointWitness(point_digest(network), claim, groups, "linear function")


def _affine(
    network: Network, anchor: np.ndarray, rows: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and values at the anchor, per row."""
    last = network.layers[-1]
    return rows @ last.linear.to_dense(), rows @ network(anchor) + offsets
