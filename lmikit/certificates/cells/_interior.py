"""A lower bound of the Lipschitz constant: ||J u|| / ||u|| at a point inside a cell.

THEOREM. Let X be convex with interior points, x in X, and let every neuron have a preactivation that is not
0 at x, a preactivation that is constant near x, or one slope on both sides. Then f is affine near x with a
Jacobian J, and X contains segments of every direction near x; so the constant on X is at least ||J u|| /
||u|| for every u. That the cell has interior points follows from the strict signs; a sign of 0 would not do.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from ...claims import AbstractRegion
from ..point import Dyadic
from ._cells import CellTheory

__all__ = ["InteriorPoint", "interior_norm"]


@dataclasses.dataclass(frozen=True, eq=False)
class InteriorPoint:
    """x (n_0,) of the region and a direction u (n_0,), float64 numbers meant exactly."""

    x: np.ndarray
    direction: np.ndarray


def jacobian_at(theory: CellTheory, x: np.ndarray) -> Dyadic | None:
    """J (m, n_0) exactly where the network is affine near x, else None."""
    value = Dyadic.exact(np.asarray(x, dtype=np.float64)[:, None])
    jacobian = Dyadic.exact(np.eye(value.values.shape[0]))
    for k in range(theory.hidden):
        matrix = theory.matrices[k]
        v = Dyadic(np.dot(matrix.values, value.values), matrix.power + value.power) + theory.biases[k]
        moved = Dyadic(np.dot(matrix.values, jacobian.values), matrix.power + jacobian.power)
        left, right = theory.pieces[k]
        signs = [int(entry > 0) - int(entry < 0) for entry in v.values[:, 0]]
        for i, sign in enumerate(signs):
            if sign == 0 and left[i] != right[i] and any(moved.values[i]):
                return None
        slope = Dyadic.exact(np.where(np.array(signs) >= 0, right, left)).columns()
        value, jacobian = v * slope, moved * slope
    last = theory.matrices[-1]
    return Dyadic(np.dot(last.values, jacobian.values), last.power + jacobian.power)


def interior_norm(theory: CellTheory, region: AbstractRegion | None, point: InteriorPoint) -> float:
    """A float at or below ||J u|| / ||u||; 0 where the point or the direction proves nothing."""
    u = Dyadic.exact(point.direction)
    if u.is_zero() or (region is not None and not region.contains(point.x)):
        return 0.0
    jacobian = jacobian_at(theory, point.x)
    if jacobian is None:
        return 0.0
    image = Dyadic(np.dot(jacobian.values, u.values), jacobian.power + u.power)
    rise = Fraction(int((image.values * image.values).sum()), 1 << (2 * image.power))
    run = Fraction(int((u.values * u.values).sum()), 1 << (2 * u.power))
    return _root_below(rise / run)


def _root_below(square: Fraction) -> float:
    """A float at or below the square root."""
    try:
        found = math.sqrt(square)
    except OverflowError:
        return 0.0
    while found > 0.0 and Fraction(found) ** 2 > square:
        found = math.nextafter(found, 0.0)
    return found
