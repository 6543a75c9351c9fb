"""Proofs that an open cell has no point in a region: a nonnegative combination that is never positive.

THEOREM (Farkas, the easy half). Let lambda >= 0, not all 0, and let sum_t lambda_t sign_t v_t(x) <= 0 for
every x of X, v_t the affine forms of a path. Then no x of X has sign_t v_t(x) > 0 for all t. The supremum
of an affine function g.x + c is

    box:           sum_j max(g_j l_j, g_j u_j) + c
    ball:          g.x0 + r ||g|| + c, compared with 0 by squares
    ball and box:  at most that of h.x on the ball plus that of (g - h).x on the box, for ANY vector h
    all of R^n:    c where g = 0.

All of it is decided in integers; multipliers are integers.
"""

import dataclasses

import numpy as np

from ...claims import AbstractRegion
from ..point import Dyadic
from ._cells import Cell

__all__ = ["Emptiness", "ExactRegion", "combination", "proves_empty"]


@dataclasses.dataclass(frozen=True, eq=False)
class Emptiness:
    """lambda: positive integers at positions of the path; `split` h (n_0,), scaled alike, or None."""

    positions: tuple[int, ...]
    multipliers: tuple[int, ...]
    split: np.ndarray | None = None


class ExactRegion:
    """A region's numbers as integers; None is all of R^n."""

    def __init__(self, region: AbstractRegion | None) -> None:
        self.region = region
        ball = None if region is None else region.ball
        box = None if region is None else region.box
        self.center = None if ball is None else Dyadic.exact(ball.x0)
        self.radius = None if ball is None else Dyadic.exact(np.array([ball.radius]))
        self.box = None if box is None else (Dyadic.exact(box.lower), Dyadic.exact(box.upper))

    def never_positive(self, g: Dyadic, c: Dyadic, split: np.ndarray | None = None) -> bool:
        """Whether g.x + c <= 0 on the region is decided, g (n_0,), c (1,); `split` is h."""
        if self.box is None and self.center is None:
            return g.is_zero() and int(c.values[0]) <= 0
        if self.center is None:
            return int((self._on_box(g) + c).values[0]) <= 0
        part, rest = g, c
        if self.box is not None:
            part = Dyadic.exact(np.zeros(g.values.size) if split is None else split)
            rest = c + self._on_box(g - part)
        return self._ball_at_most(part, rest)

    def _on_box(self, g: Dyadic) -> Dyadic:
        assert self.box is not None
        low, high = g * self.box[0], g * self.box[1]
        a, b, power = low._pair(high)
        return Dyadic(np.array([int(np.maximum(a, b).sum())], dtype=object), power)

    def _ball_at_most(self, g: Dyadic, c: Dyadic) -> bool:
        """g.x0 + r ||g|| + c <= 0."""
        assert self.center is not None
        assert self.radius is not None
        middle = _dot(g, self.center) + c
        if int(middle.values[0]) > 0:
            return False
        reach, room = self.radius * self.radius * _dot(g, g), middle * middle
        return int((reach - room).values[0]) <= 0


def _dot(a: Dyadic, b: Dyadic) -> Dyadic:
    product = a * b
    return Dyadic(np.array([int(product.values.sum())], dtype=object), product.power)


def combination(cell: Cell, emptiness: Emptiness) -> Dyadic:
    """sum_t lambda_t sign_t (coefficients, constant) of the cell's path, (n_0 + 1,)."""
    width = cell.forms[0].values.shape[1]
    total = Dyadic(np.zeros(width, dtype=object), 0)
    for position, multiplier in zip(emptiness.positions, emptiness.multipliers, strict=True):
        layer, neuron, sign = cell.path[position]
        form = cell.forms[layer]
        total = total + Dyadic(form.values[neuron] * (sign * multiplier), form.power)
    return total


def proves_empty(cell: Cell, region: ExactRegion, emptiness: Emptiness) -> bool:
    """Whether these multipliers prove that the open cell has no point in the region."""
    positions, multipliers = emptiness.positions, emptiness.multipliers
    if not positions or len(positions) != len(multipliers) or any(m <= 0 for m in multipliers):
        return False
    if any(not 0 <= p < len(cell.path) for p in positions):
        return False
    total = combination(cell, emptiness)
    g, c = Dyadic(total.values[:-1], total.power), Dyadic(total.values[-1:], total.power)
    return region.never_positive(g, c, emptiness.split)
