"""Elementary functions with proven error bounds, vectorised: exp, log1p, erf, sin, cos.

The C library's functions carry no proof, so these are computed from +, -, *, / alone.

exp(v), -700 <= v <= 0. k = rint(v / ln 2), r = (v - k H) - k Lo with ln 2 = H + Lo + d, H of 42 bits, |d| <
2**-95: k H is exact (|k| < 2**11), v - k H is exact (Sterbenz; k = 0 trivially), and the last two operations
leave |r - (v - k ln 2)| <= 2**-54 with |r| <= 0.35. Horner's rule for sum_{i <= 14} r**i / i! with rounded
coefficients errs by at most gamma_30 sum |r|**i / i! <= 30 u 1.001 e**0.35; the remainder is below
0.35**15 e**0.35 / 15! < 2**-61. Relative to e**-0.35 that is below 62 u + 2**-54 + 2**-60; with the factor
2**k, which is exact here, the relative error is below 2**-46.

erf(x), 0 <= x <= 6: 2 / sqrt(pi) exp(-x**2) x sum_n (2 x**2)**n / (1 3 5 .. (2n + 1)) (Abramowitz and Stegun
7.1.6), all terms positive; the term n = 161 is at most 72**161 / 323!! < 1e-37 and the ratio of later ones
below 1/4. Beyond 6, erf lies between erf(6) and 1.

log1p(t), 0 <= t <= 1: for any y, y - log(1 + t) = log(exp(y) / (1 + t)), so exp's enclosure tells
how wrong the library's value is.
"""

import math

import numpy as np

from ._enclosure import Enclosure, above, below

__all__ = ["cosine", "decaying_exp", "error_function", "log_one_plus", "sine"]

_LN2_HI = float.fromhex("0x1.62e42fefa38p-1")
_LN2_LO = float.fromhex("0x1.ef35793c7673p-45")
_EXP = [1.0 / math.factorial(i) for i in range(15)]
_RELATIVE = 2.0**-46
_FLOOR = -700.0
_TWO_OVER_ROOT_PI = Enclosure.between(1.1283791670955125, 1.1283791670955128)  # 1.12837916709551257389...
# pi / 2 = P1 + P2 + rest, P1 of 33 bits, |rest| < 2**-86
_P1 = float.fromhex("0x1.921fb544p+0")
_P2 = float.fromhex("0x1.0b4611a626331p-34")
_LARGEST_ANGLE = 1e4


def decaying_exp(v: Enclosure) -> Enclosure:
    """exp(v) for v <= 0, in [0, 1]."""
    return Enclosure(
        np.maximum(below(_exp_point(v.lo) * (1.0 - 2.0 * _RELATIVE)), 0.0) * (v.lo >= _FLOOR),
        np.minimum(above(_exp_point(v.hi) * (1.0 + 2.0 * _RELATIVE)), 1.0),
    )


def _exp_point(v: np.ndarray) -> np.ndarray:
    v = np.clip(v, _FLOOR, 0.0)
    k = np.rint(v * (1.0 / math.log(2.0)))
    r = (v - k * _LN2_HI) - k * _LN2_LO
    value = np.full_like(r, _EXP[-1])
    for c in reversed(_EXP[:-1]):
        value = value * r + c
    return np.asarray(np.ldexp(value, k.astype(np.int64)))


def log_one_plus(t: Enclosure) -> Enclosure:
    """log(1 + t) for 0 <= t <= 1."""
    return Enclosure(_log_end(t.lo).lo, _log_end(t.hi).hi)


def _log_end(t: np.ndarray) -> Enclosure:
    y = np.log1p(np.clip(t, 0.0, 1.0))
    # exp(-y) (1 + t) = 1 + q, so log(1 + t) = y + log(1 + q), |log(1 + q)| <= |q| / (1 - |q|)
    product = decaying_exp(Enclosure.of(-y)) * (Enclosure.of(1.0) + t)
    q = product - 1.0
    size = np.maximum(np.abs(q.lo), np.abs(q.hi))
    size = np.where(size < 0.5, above(size * (1.0 + 4.0 * size)), np.inf)
    return (Enclosure.of(y) + Enclosure(-size, size)).clipped(0.0, 1.0)


def error_function(x: np.ndarray) -> Enclosure:
    """erf(x) for any floats x."""
    size = np.abs(x)
    inner = Enclosure.of(np.minimum(size, 6.0))
    square = inner.squared()
    doubled = 2.0 * (inner.lo * inner.lo)
    series = np.ones_like(size)
    for n in range(160, 0, -1):  # positive terms, three roundings and that of 2 x**2 in each step
        series = 1.0 + doubled * series / (2.0 * n + 1.0)
    total = Enclosure(series * (1.0 - 1e-13), series * (1.0 + 1e-13))  # gamma_800 and the terms left out
    value = (_TWO_OVER_ROOT_PI * decaying_exp(-square) * inner * total).clipped(0.0, 1.0)
    value = Enclosure.where(size > 6.0, Enclosure(value.lo, np.ones_like(size)), value)
    return Enclosure.where(x < 0.0, -value, value)


def sine(v: np.ndarray) -> Enclosure:
    """sin(v); [-1, 1] for |v| > 1e4."""
    return _circular(v, 0)


def cosine(v: np.ndarray) -> Enclosure:
    """cos(v); [-1, 1] for |v| > 1e4."""
    return _circular(v, 1)


def _circular(v: np.ndarray, shift: int) -> Enclosure:
    far = np.abs(v) > _LARGEST_ANGLE
    inside = np.where(far, 0.0, v)
    k = np.rint(inside * (2.0 / math.pi))
    # k P1 is exact (33 + 14 bits); |k| 2**-86 < 2**-70 covers the rest of pi / 2
    r = (Enclosure.of(inside) - k * _P1) - (
        Enclosure.of(k) * _P2 + Enclosure(-np.ldexp(1.0, -70), np.ldexp(1.0, -70))
    )
    quadrant = np.mod(k + shift, 4.0)
    square = r.squared()
    sin, cos = r * _series(square, 1), _series(square, 0)
    value = Enclosure.where(np.mod(quadrant, 2.0) == 0.0, sin, cos)
    value = Enclosure.where(quadrant >= 2.0, -value, value).clipped(-1.0, 1.0)
    whole = Enclosure(np.full_like(v, -1.0), np.ones_like(v))
    return Enclosure.where(far, whole, value)


def _series(square: Enclosure, first: int) -> Enclosure:
    """sum_i (-1)**i s**i / (2 i + first)! for 0 <= s <= 1, remainder below 1 / 21!."""
    total = Enclosure.of(np.zeros_like(square.lo))
    for i in range(9, -1, -1):
        coefficient = Enclosure.of((-1.0) ** i / math.factorial(2 * i + first))
        wide = Enclosure(below(coefficient.lo), above(coefficient.hi))
        total = wide + square * total
    return total + Enclosure.between(-1e-18, 1e-18)
