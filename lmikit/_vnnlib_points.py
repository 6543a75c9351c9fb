"""Points of a case's box that satisfy an alternative, in rationals or by enclosure."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from .adapters import OutputLimits
from .attacks import exact_outputs
from .certificates.point import (
    proven_intervals,
    slopes_of_pieces,
)
from .claims import Box
from .network import Network

__all__ = ["Satisfied", "rational_within", "satisfied_at"]


@dataclasses.dataclass(frozen=True, eq=False)
class Satisfied:
    """x (n_0,) of the case's box, rational, whose outputs satisfy every row of an alternative.

    `y` are the exact outputs, or the outputs computed in floating point for networks with
    activations that have no rational values; their rows are then proven by enclosure.
    """

    x: tuple[Fraction, ...]
    y: tuple[float, ...]
    alternative: int


def satisfied_at(
    network: Network, x: tuple[Fraction, ...], rows: OutputLimits, alternative: int
) -> Satisfied | None:
    """x with its outputs if every row of the alternative holds there, in rationals or by enclosure."""
    if all(
        slopes_of_pieces(layer.activation, layer.linear.shape[0]) is not None for layer in network.layers[:-1]
    ):
        y = exact_outputs(network, x)
        held = all(
            sum((Fraction(c) * v for c, v in zip(row, y, strict=True) if c), Fraction(0)) <= bound
            for row, bound in zip(rows.coefficients.tolist(), rows.bounds, strict=True)
        )
        return Satisfied(x, tuple(map(float, y)), alternative) if held else None
    near = np.array([float(v) for v in x])
    if not rows.bounds:
        return Satisfied(x, tuple(network(near).tolist()), alternative)
    around = Box(np.nextafter(near, -np.inf), np.nextafter(near, np.inf))
    least = proven_intervals(network, around).margins(-rows.coefficients)
    held = all(
        math.isfinite(v) and Fraction(v) + bound >= 0
        for v, bound in zip(least.tolist(), rows.bounds, strict=True)
    )
    return Satisfied(x, tuple(network(near).tolist()), alternative) if held else None


def rational_within(x: float, lower: Fraction, upper: Fraction) -> Fraction:
    """A rational of [lower, upper] near x, a float64 where the interval has one near x."""
    value = Fraction(x)
    for inner in (x, math.nextafter(x, math.inf), math.nextafter(x, -math.inf)):
        if lower <= Fraction(inner) <= upper:
            return Fraction(inner)
    return min(max(value, lower), upper)
