"""Exact statements about floats: every binary64 number is a rational, and so are their products."""

import math
from collections.abc import Iterable
from fractions import Fraction

__all__ = ["bound_covers", "root_upward", "round_upward"]


def bound_covers(bound: float, rho: float, pow2: int) -> bool:
    """Whether 4**pow2 * rho <= bound**2, exactly; false for NaN, infinity and negative numbers."""
    if not (math.isfinite(bound) and math.isfinite(rho) and bound >= 0.0 and rho >= 0.0):
        return False
    return Fraction(rho) * Fraction(4) ** pow2 <= Fraction(bound) ** 2


def root_upward(rho: float, pow2: int) -> float:
    """The least float found with 2**pow2 * sqrt(rho) <= it; inf on overflow."""
    if not math.isfinite(rho) or rho < 0.0:
        return math.inf
    try:
        bound = math.ldexp(math.sqrt(rho), pow2)
    except OverflowError:
        return math.inf
    while not bound_covers(bound, rho, pow2):
        bound = math.nextafter(bound, math.inf)
        if bound == math.inf:
            return math.inf
    return bound


def round_upward(factors: Iterable[float]) -> float:
    """The least float at or above the exact product of finite nonnegative floats; inf on overflow."""
    product = Fraction(1)
    for factor in factors:
        product *= Fraction(factor)
    try:
        value = float(product)
    except OverflowError:
        return math.inf
    return value if Fraction(value) >= product else math.nextafter(value, math.inf)
