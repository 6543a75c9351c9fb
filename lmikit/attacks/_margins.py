"""Projected gradient descent on margins, many points at once: l2 balls, boxes, and balls cut by boxes.

Each restart chases one row of its point, the smallest ones first; steps are along the normalised gradient
in a ball and along its sign in a box, and shrink to zero. (Madry et al., ICLR 2018; Gowal et al.,
"An alternative surrogate loss for PGD-based adversarial testing", 2019, for the targets.)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .._errors import InputError, OptionError
from ..claims import AbstractRegion
from ..graph import Graph
from ..network import Network

__all__ = ["Attack", "Attacked", "attack_margins", "settle"]

_BATCH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """How hard to try: `steps` per restart; the restarts chase the `targets` smallest rows in turn."""

    steps: int = 100
    restarts: int = 10
    targets: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.targets) < 1:
            raise OptionError(
                f"steps={self.steps}, restarts={self.restarts}, targets={self.targets}; expected at least 1."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """The worst points found (N, n_0), each inside its region exactly, and their least rows (N,).

    `margins` are computed in floating point: an estimate from above of what can be certified.
    """

    points: np.ndarray
    margins: np.ndarray


def attack_margins(
    network: Network | Graph,
    regions: Sequence[AbstractRegion],
    rows: np.ndarray,
    offsets: np.ndarray,
    attack: Attack | None = None,
) -> Attacked:
    """Minimise min_r rows[i, r] . f(x) + offsets[i, r] over regions[i], for every i.

    rows (N, R, m), offsets (N, R); all regions are of one kind. Raises InputError for shapes.
    """
    attack = Attack() if attack is None else attack
    count = len(regions)
    if not count or rows.shape[:1] != (count,) or rows.ndim != 3 or offsets.shape != rows.shape[:2]:
        raise InputError(
            f"{count} regions, rows {rows.shape}, offsets {offsets.shape}; expected N, (N, R, m), (N, R)."
        )
    if len({region.kind for region in regions}) != 1 or any(r.dim != network.input_dim for r in regions):
        raise InputError("the regions are of several kinds or not of the network's input dimension.")
    points = np.array([region.anchor for region in regions])
    margins = _values(network, points, rows, offsets).min(axis=1)
    rng = np.random.default_rng(attack.seed)
    width = max(1, _BATCH // attack.restarts)
    for first in range(0, count, width):
        part = slice(first, min(first + width, count))
        found, x = _attack_part(network, regions[part], rows[part], offsets[part], attack, rng)
        better = found < margins[part]
        margins[part] = np.where(better, found, margins[part])
        points[part][better] = x[better]
    points = np.array([settle(region, x) for region, x in zip(regions, points, strict=True)])
    return Attacked(points, _values(network, points, rows, offsets).min(axis=1))


def settle(region: AbstractRegion, x: np.ndarray) -> np.ndarray:
    """A float64 point of the region near x, membership decided exactly."""
    x = np.asarray(x, dtype=np.float64)
    box, ball = region.box, region.ball
    shrink = 2.0**-48
    for _ in range(24):
        if box is not None:
            x = np.clip(x, box.lower, box.upper)
        if region.contains(x):
            return x
        if ball is not None:
            x = ball.x0 + (x - ball.x0) * (1.0 - shrink)
            shrink *= 4.0
    return region.anchor


class _Regions:
    """Arrays of one kind of region, one row per point of the batch."""

    def __init__(self, regions: Sequence[AbstractRegion]) -> None:
        self.centre = np.array([r.anchor for r in regions])
        balls = [r.ball for r in regions]
        boxes = [r.box for r in regions]
        self.radius = None if balls[0] is None else np.array([[b.radius] for b in balls if b is not None])
        self.lower = None if boxes[0] is None else np.array([b.lower for b in boxes if b is not None])
        self.upper = None if boxes[0] is None else np.array([b.upper for b in boxes if b is not None])

    def projected(self, x: np.ndarray) -> np.ndarray:
        """Into the box, then towards the centre, which stays in the box."""
        if self.lower is not None:
            x = np.clip(x, self.lower, self.upper)
        if self.radius is not None:
            d = x - self.centre
            length = np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-300)
            x = self.centre + d * np.minimum(1.0, self.radius / length)
        return x

    def random(self, rng: np.random.Generator) -> np.ndarray:
        if self.radius is None:
            assert self.lower is not None
            assert self.upper is not None
            return rng.uniform(self.lower, self.upper)
        g = rng.standard_normal(self.centre.shape)
        g *= 0.5 * self.radius / np.linalg.norm(g, axis=1, keepdims=True)
        return self.projected(self.centre + g)

    def stepped(self, x: np.ndarray, gradient: np.ndarray, share: float) -> np.ndarray:
        """One step downhill of `share` of the region's size."""
        if self.radius is None:
            assert self.lower is not None
            assert self.upper is not None
            return self.projected(x - 0.5 * share * (self.upper - self.lower) * np.sign(gradient))
        length = np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-300)
        return self.projected(x - share * self.radius * gradient / length)


def _attack_part(
    network: Network | Graph,
    regions: Sequence[AbstractRegion],
    rows: np.ndarray,
    offsets: np.ndarray,
    attack: Attack,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The least margins (n,) and their points, all restarts of all points as one batch."""
    count, times = len(regions), attack.restarts
    batch = _Regions([region for region in regions for _ in range(times)])
    c, o = np.repeat(rows, times, axis=0), np.repeat(offsets, times, axis=0)
    x = batch.random(rng)
    x[::times] = batch.centre[::times]
    order = np.argsort(_values(network, batch.centre, c, o), axis=1)
    rank = np.tile(np.arange(times) % min(attack.targets, rows.shape[1]), count)
    everyone = np.arange(count * times)
    target = c[everyone, order[everyone, rank]]
    best, where = np.full(count * times, np.inf), x.copy()
    for step in range(attack.steps):
        outputs, gradient = _descent(network, x, target)
        values = (np.einsum("brm,bm->br", c, outputs) + o).min(axis=1)
        better = values < best
        best[better], where[better] = values[better], x[better]
        x = batch.stepped(x, gradient, 0.3 * (1.0 - step / attack.steps) + 0.002)
    values = _values(network, x, c, o).min(axis=1)
    better = values < best
    best[better], where[better] = values[better], x[better]
    winner = best.reshape(count, times).argmin(axis=1) + np.arange(count) * times
    return best[winner], where[winner]


def _values(network: Network | Graph, x: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("brm,bm->br", rows, network(x)) + offsets)


def _descent(network: Network | Graph, x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (B, m) and the gradient of target[b] . f(x[b]) in x[b]; 0 for derivatives at kinks."""
    if isinstance(network, Graph):
        values = network.values(x.T)
        return values[-1].T, network.vjp(values, target.T, kinks=0.0).T
    value, slopes = x.T, []
    for layer in network.layers:
        v = layer.preactivation(value)
        value = layer.activation(v, axis=0)
        slopes.append(np.nan_to_num(layer.activation.derivative(v, axis=0), nan=0.0))
    back = target.T
    for layer, slope in zip(reversed(network.layers), reversed(slopes), strict=True):
        back = layer.linear.rmatvec(slope * back)
    return value.T, back.T
