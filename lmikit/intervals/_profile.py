"""`Profile`: what is proven about an activation, and the two shapes that profiles have."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._enclosure import Enclosure

__all__ = ["Function", "Profile", "piecewise", "smooth"]

Function = Callable[[np.ndarray], Enclosure]


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """Proven facts about phi; arrays of arguments have neurons along the last axis.

    `value(v)` encloses phi(v). `right(v)` and `left(v)` enclose the one-sided derivatives.
    `kinks` lists the points where phi' jumps, `turns` (with some room) those where it turns;
    between them phi' is monotone. `curvature` is sup |phi''| off the kinks; 0 means piecewise
    linear. `rising` says that phi is nondecreasing.
    """

    value: Function
    right: Function
    left: Function
    kinks: tuple[float, ...] = ()
    turns: tuple[float, ...] = ()
    curvature: float = 0.0
    rising: bool = False
    turns_within: float = math.inf  # all turns with |v| below this are listed


def piecewise(kinks: tuple[float, ...], slopes: tuple[Any, ...], offsets: tuple[float, ...]) -> Profile:
    """phi(v) = slopes[i] v + offsets[i] between kinks[i-1] and kinks[i], all exact."""

    def pieces(v: np.ndarray, closed: bool) -> np.ndarray:
        count = np.zeros(v.shape, dtype=np.int64)
        for kink in kinks:
            count += (v >= kink) if closed else (v > kink)
        return count

    def chosen(v: np.ndarray, closed: bool) -> np.ndarray:
        index = pieces(v, closed)
        return np.asarray(np.choose(index, [np.broadcast_to(s, v.shape) for s in slopes]))

    def value(v: np.ndarray) -> Enclosure:
        slope = chosen(v, True)
        offset = np.choose(pieces(v, True), [np.full(v.shape, c) for c in offsets])
        whole = (slope == 0.0) | (np.abs(slope) == 1.0)
        exact = np.where(slope == 0.0, offset, slope * v)  # one of the two terms is absent in every piece
        product = Enclosure.of(slope) * v
        return Enclosure(np.where(whole, exact, product.lo), np.where(whole, exact, product.hi))

    assert all(c == 0.0 or (isinstance(s, float) and s == 0.0) for s, c in zip(slopes, offsets, strict=True))
    rising = all(bool(np.all(np.asarray(s) >= 0.0)) for s in slopes)
    return Profile(
        value,
        lambda v: Enclosure.of(chosen(v, True)),
        lambda v: Enclosure.of(chosen(v, False)),
        kinks,
        rising=rising,
    )


def smooth(
    value: Function, slope: Function, turns: tuple[float, ...], curvature: float, rising: bool = False
) -> Profile:
    return Profile(value, slope, slope, (), turns, curvature, rising)
