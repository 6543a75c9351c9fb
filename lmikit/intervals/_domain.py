"""The normal form of a region for bounds: a ball (perhaps infinite) and a box (perhaps infinite)."""

import dataclasses
import math

import numpy as np

from ..claims import AbstractRegion
from ._enclosure import above, below

__all__ = ["Domain"]


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
    """{x : ||x - center||_2 <= radius, lower <= x <= upper}, exactly as these floats say.

    `radius` is infinite where there is no ball, `lower` and `upper` (n_0,) where there is no box;
    with a box alone `center` lies in it. A batch of boxes has arrays (B, n_0).
    """

    center: np.ndarray
    radius: float
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, region: AbstractRegion) -> "Domain":
        """The same set."""
        ball, box = region.ball, region.box
        unbounded = np.full(region.dim, math.inf)
        return cls(
            region.anchor,
            math.inf if ball is None else ball.radius,
            -unbounded if box is None else box.lower,
            unbounded if box is None else box.upper,
        )

    @classmethod
    def boxes(cls, lower: np.ndarray, upper: np.ndarray) -> "Domain":
        """A batch of boxes (B, n_0)."""
        return cls(np.clip(lower + (upper - lower) / 2.0, lower, upper), math.inf, lower, upper)

    @property
    def has_box(self) -> bool:
        """Whether there is a box."""
        return bool(np.isfinite(self.lower).all() and np.isfinite(self.upper).all())

    @property
    def magnitude(self) -> np.ndarray:
        """Upper bounds of |x_i|, (n_0,)."""
        low = np.maximum(self.lower, below(self.center - self.radius))
        high = np.minimum(self.upper, above(self.center + self.radius))
        return np.maximum(np.abs(low), np.abs(high))
