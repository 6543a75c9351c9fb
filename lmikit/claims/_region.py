"""Regions of inputs, given by float64 numbers and meant exactly: a ball, a box, or what both share."""

import abc
import dataclasses
import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .._convert import as_number, floats
from .._errors import InputError

__all__ = ["AbstractRegion", "Ball", "BallAndBox", "Box", "linf_ball"]


def _vector(name: str, values: Any) -> np.ndarray:
    array = floats(name, values)
    if array.ndim != 1 or not array.size:
        raise InputError(f"{name} has shape {array.shape}; expected (n_0,) with n_0 >= 1.")
    return array


class AbstractRegion(abc.ABC):
    """A closed set of inputs x in R^n_0."""

    kind: ClassVar[str]

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """n_0."""

    @property
    @abc.abstractmethod
    def ball(self) -> "Ball | None":
        """The ball that the region is, or is cut from."""

    @property
    @abc.abstractmethod
    def box(self) -> "Box | None":
        """The box that the region is, or is cut from."""

    @property
    @abc.abstractmethod
    def anchor(self) -> np.ndarray:
        """A point to start from: the ball's centre, or the middle of the box (rounded)."""

    @abc.abstractmethod
    def describe(self) -> str:
        """The set in symbols."""

    def same_as(self, other: "AbstractRegion") -> bool:
        """Whether both are given by the same numbers."""

        def numbers(region: AbstractRegion) -> list[Any]:
            ball, box = region.ball, region.box
            round_ = [None, None] if ball is None else [ball.x0, ball.radius]
            return [*round_, *([None, None] if box is None else [box.lower, box.upper])]

        return all(
            (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in zip(numbers(self), numbers(other), strict=True)
        )

    def contains(self, x: np.ndarray) -> bool:
        """Whether the float64 point x lies in the region, decided in rational arithmetic."""
        point = _vector("x", x)
        if point.size != self.dim:
            raise InputError(f"x has {point.size} entries; expected {self.dim}.")
        box, ball = self.box, self.ball
        if box is not None and not bool(((box.lower <= point) & (point <= box.upper)).all()):
            return False
        if ball is None:
            return True
        square = sum(
            ((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(point.tolist(), ball.x0.tolist(), strict=True)),
            Fraction(0),
        )
        return square <= Fraction(ball.radius) ** 2


@dataclasses.dataclass(frozen=True, eq=False)
class Ball(AbstractRegion):
    """{x: ||x - x0||_2 <= radius}, radius > 0."""

    x0: np.ndarray
    radius: float
    kind: ClassVar[str] = "ball"

    def __post_init__(self) -> None:
        object.__setattr__(self, "x0", _vector("x0", self.x0))
        object.__setattr__(self, "radius", as_number("the radius of the ball", self.radius))
        if not self.radius > 0.0:
            raise InputError(f"the radius of the ball is {self.radius}; expected a positive finite number.")

    @property
    def dim(self) -> int:
        return int(self.x0.size)

    @property
    def ball(self) -> "Ball":
        return self

    @property
    def box(self) -> None:
        return None

    @property
    def anchor(self) -> np.ndarray:
        return self.x0

    def describe(self) -> str:
        return f"||x - x0||_2 <= {self.radius!r}"


@dataclasses.dataclass(frozen=True, eq=False)
class Box(AbstractRegion):
    """{x: lower <= x <= upper}, entry by entry."""

    lower: np.ndarray
    upper: np.ndarray
    kind: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        for label in ("lower", "upper"):
            object.__setattr__(self, label, _vector(label, getattr(self, label)))
        if self.lower.shape != self.upper.shape or (self.lower > self.upper).any():
            raise InputError(
                f"the box has lower {self.lower.shape} and upper {self.upper.shape}; expected the same "
                "shape and lower <= upper."
            )

    @property
    def dim(self) -> int:
        return int(self.lower.size)

    @property
    def ball(self) -> None:
        return None

    @property
    def box(self) -> "Box":
        return self

    @property
    def anchor(self) -> np.ndarray:
        return np.clip(self.lower + (self.upper - self.lower) / 2.0, self.lower, self.upper)

    def describe(self) -> str:
        return "lower <= x <= upper"


@dataclasses.dataclass(frozen=True, eq=False)
class BallAndBox(AbstractRegion):
    """{x: ||x - x0||_2 <= radius and lower <= x <= upper}; x0 itself lies in the box."""

    inside: Ball
    limits: Box
    kind: ClassVar[str] = "ball and box"

    def __post_init__(self) -> None:
        if not isinstance(self.inside, Ball) or not isinstance(self.limits, Box):
            raise InputError("BallAndBox takes a Ball and a Box.")
        if self.inside.dim != self.limits.dim:
            raise InputError(f"the ball has dimension {self.inside.dim}, the box {self.limits.dim}.")
        if not self.limits.contains(self.inside.x0):
            raise InputError("x0 lies outside the box; expected a point of it. Clip it, or widen the box.")

    @property
    def dim(self) -> int:
        return self.inside.dim

    @property
    def ball(self) -> Ball:
        return self.inside

    @property
    def box(self) -> Box:
        return self.limits

    @property
    def anchor(self) -> np.ndarray:
        return self.inside.x0

    def describe(self) -> str:
        return f"{self.inside.describe()} and {self.limits.describe()}"


def linf_ball(x0: Any, eps: float, lower: Any = None, upper: Any = None) -> Box:
    """A box that contains {x: ||x - x0||_inf <= eps}, its limits rounded outwards, cut to [lower, upper].

    Raises InputError for eps < 0 and for x0 outside the limits.
    """
    x0 = _vector("x0", x0)
    if not (math.isfinite(eps) and eps >= 0.0):
        raise InputError(f"eps is {eps}; expected a finite number, zero or more.")
    low, high = np.nextafter(x0 - eps, -np.inf), np.nextafter(x0 + eps, np.inf)
    if lower is not None:
        low = np.maximum(low, np.broadcast_to(floats("lower", lower), x0.shape))
    if upper is not None:
        high = np.minimum(high, np.broadcast_to(floats("upper", upper), x0.shape))
    if (x0 < low).any() or (x0 > high).any():
        raise InputError("x0 lies outside the limits; expected lower <= x0 <= upper.")
    return Box(low, high)
