"""Roots of unity, cos(2 pi j / m) and sin(2 pi j / m), in integers: proven, not taken from a library.

j/m is brought into the first octant exactly, x = 2 pi f in [0, pi/4]. pi comes from Machin's formula, the
Taylor terms t_(k+1) = t_k x^2 / ((2k+1)(2k+2)) are computed in fixed point with 32 guard bits: every step
halves the error before and adds at most 4 units (floors, and the error of x^2), so that fewer than 100
terms err by less than 2^10 units together, and the series stops below one unit: the error is below 2**-bits.
"""

import functools
from fractions import Fraction

import numpy as np

__all__ = ["float_roots", "integer_roots"]

_GUARD = 32
_BITS = 128


@functools.lru_cache(maxsize=64)
def integer_roots(m: int, bits: int = _BITS) -> tuple[tuple[int, int], ...]:
    """(c, s) for j = 0 .. m - 1 with |c - 2**bits cos|, |s - 2**bits sin| <= 1."""
    return tuple(_root(Fraction(j, m), bits) for j in range(m))


@functools.lru_cache(maxsize=64)
def float_roots(m: int) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin) for j = 0 .. m - 1 as floats within 2**-53 of the exact ones."""
    scale = 1 << _BITS
    pairs = [(c / scale, s / scale) for c, s in integer_roots(m)]  # nearest floats: within 2**-54 + 2**-128
    array = np.array(pairs).reshape(m, 2)
    array.setflags(write=False)
    return array[:, 0], array[:, 1]


def _root(f: Fraction, bits: int) -> tuple[int, int]:
    """cos and sin of 2 pi f, 0 <= f < 1."""
    if f > Fraction(1, 2):
        c, s = _root(1 - f, bits)
        return c, -s
    if f > Fraction(1, 4):
        c, s = _root(Fraction(1, 2) - f, bits)
        return -c, s
    if f > Fraction(1, 8):
        c, s = _root(Fraction(1, 4) - f, bits)
        return s, c
    inner = bits + _GUARD
    x = 2 * _pi(inner) * f.numerator // f.denominator
    square = x * x >> inner
    values = []
    for term, k in ((1 << inner, 1), (x, 2)):  # cos: 1, x^2/(1 2), ...; sin: x, x^3/(2 3), ...
        total, sign = 0, 1
        while term:
            total += sign * term
            term = (term * square >> inner) // (k * (k + 1))
            sign, k = -sign, k + 2
        values.append((total + (1 << (_GUARD - 1))) >> _GUARD)
    return values[0], values[1]


@functools.lru_cache(maxsize=8)
def _pi(bits: int) -> int:
    """2**bits pi within 1, by 16 atan(1/5) - 4 atan(1/239)."""
    inner = bits + _GUARD

    def atan_inverse(n: int) -> int:
        power = (1 << inner) // n
        total, k = 0, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power //= n * n
            k += 2
        return total

    return (16 * atan_inverse(5) - 4 * atan_inverse(239)) >> _GUARD
