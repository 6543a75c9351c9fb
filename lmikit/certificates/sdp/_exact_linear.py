"""Linear algebra of the exact checker: dyadic rationals as integers over a power of two.

Floating point proposes (a Cholesky factor, an inverse), integers decide: B - G G' diagonally dominant
with nonnegative diagonal proves B PSD; ||I - R M||_inf < 1 proves M regular and bounds M^-1 d.
"""

from fractions import Fraction

import numpy as np

from .._check_integers import matmul
from ._enclosure import is_psd_exactly

__all__ = ["Refused", "common_power", "enclose_solution", "psd_exactly", "rounded_up"]

_BITS = 60
_LARGEST_SINGULAR = 24


class Refused(Exception):
    """A reason to refuse; it does not leave the checker."""


def common_power(values: list[Fraction]) -> tuple[list[int], int]:
    """(n, p): values = n 2**-p, for dyadic rationals."""
    power = max((v.denominator.bit_length() - 1 for v in values), default=0)
    return [v.numerator << (power - (v.denominator.bit_length() - 1)) for v in values], power


def rounded_up(value: Fraction) -> Fraction:
    """A dyadic number with about 64 bits, at or above a nonnegative rational."""
    if value == 0:
        return value
    shift = 64 - (value.numerator.bit_length() - value.denominator.bit_length())
    scaled = value * Fraction(2) ** shift
    return Fraction(-((-scaled.numerator) // scaled.denominator)) / Fraction(2) ** shift


def _float(values: np.ndarray, power: int) -> np.ndarray:
    """Nearest floats of integers over 2**power (any sign of power)."""
    top, bottom = (1, 1 << power) if power >= 0 else (1 << -power, 1)
    flat = [int(v) * top / bottom for v in values.ravel()]
    return np.array(flat, dtype=np.float64).reshape(values.shape)


def _scaled(values: np.ndarray, power: int, e: np.ndarray) -> tuple[np.ndarray, int]:
    """Integers of 2**-(e_i + e_j) a_ij and their power: a congruence, exact."""
    top = 2 * int(e.max(initial=0))
    shift = (top - (e[:, None] + e)).astype(object)
    return values * np.array([1 << int(s) for s in shift.ravel()], dtype=object).reshape(
        values.shape
    ), power + top


def psd_exactly(values: np.ndarray, power: int, radius: list[Fraction]) -> bool:
    """Whether (a_ij 2**-power) - diag(radius) is proven PSD, a a symmetric array of integers."""
    alive = np.array([any(row) for row in values != 0], dtype=bool) | np.array(
        [r != 0 for r in radius], dtype=bool
    )
    values = values[np.ix_(alive, alive)]
    kept = [rounded_up(r) for r, keep in zip(radius, alive, strict=True) if keep]
    n = values.shape[0]
    if n == 0:
        return True
    fine = max([power, *(r.denominator.bit_length() - 1 for r in kept)])
    values = values * (1 << (fine - power))
    index = np.arange(n)
    values[index, index] -= np.array([int(r * (1 << fine)) for r in kept], dtype=object)
    diagonal = [int(v) for v in values[index, index]]
    if min(diagonal) < 0:
        return False
    if n <= _LARGEST_SINGULAR:
        return is_psd_exactly([[Fraction(int(v)) for v in row] for row in values.tolist()])
    if min(diagonal) == 0:
        return False
    e = np.array([(v.bit_length() - fine) // 2 for v in diagonal], dtype=np.int64)
    b, p = _scaled(values, fine, e)
    return _dominant(b, p, _float(b, p))


def _dominant(b: np.ndarray, power: int, approximate: np.ndarray) -> bool:
    n = b.shape[0]
    shift = 2.0 * n**1.5 * 2.0**-53
    for _ in range(6):
        try:
            g = np.linalg.cholesky(approximate - shift * np.eye(n))
        except np.linalg.LinAlgError:
            shift /= 8.0
            continue
        whole = np.rint(np.ldexp(np.clip(g, -4.0, 4.0), _BITS)).astype(np.int64).astype(object)
        product = matmul(whole, whole.T)
        top = max(power, 2 * _BITS)
        rest = b * (1 << (top - power)) - product * (1 << (top - 2 * _BITS))
        index = np.arange(n)
        sums = np.abs(rest).sum(axis=1) - np.abs(rest[index, index])
        if all(int(d) >= int(s) for d, s in zip(rest[index, index], sums, strict=True)):
            return True
        shift = 4.0 * max(int(s) / (1 << top) for s in sums)
    return False


def enclose_solution(
    columns: list[dict[int, Fraction]], metric: list[Fraction], size: int, d: list[Fraction]
) -> list[Fraction]:
    """Radii of x = diag(metric) T'w with T diag(metric) T' w = d exactly; T (size, n) by its columns.

    Raises Refused where T is not proven to have full row rank.
    """
    if not any(d):
        return [Fraction(0)] * len(columns)
    live = [j for j, column in enumerate(columns) if column and metric[j]]
    flat, power = common_power([v for j in live for v in columns[j].values()])
    weights, weight_power = common_power([metric[j] for j in live])
    M = np.zeros((size, size), dtype=object)
    position = 0
    for j, weight in zip(live, weights, strict=True):
        rows = list(columns[j])
        values = np.array(flat[position : position + len(rows)], dtype=object)
        position += len(rows)
        M[np.ix_(rows, rows)] += np.outer(values, values) * weight
    bound = _solution_bound(M, 2 * power + weight_power, d)
    return [
        metric[j] * sum((abs(v) * bound[i] for i, v in column.items()), Fraction(0))
        for j, column in enumerate(columns)
    ]


def _solution_bound(M: np.ndarray, power: int, d: list[Fraction]) -> list[Fraction]:
    """Componentwise bounds of |M^-1 d|, M symmetric integers over 2**power."""
    m = M.shape[0]
    diagonal = [int(v) for v in np.diagonal(M)]
    if min(diagonal, default=1) <= 0:
        raise Refused("an equation has no variable left")
    e = np.array([(v.bit_length() - power) // 2 for v in diagonal], dtype=np.int64)
    scaled, p = _scaled(M, power, e)
    try:
        inverse = np.linalg.inv(_float(scaled, p))
    except np.linalg.LinAlgError:
        raise Refused("A A* is singular") from None
    largest = float(np.abs(inverse).max(initial=1.0))
    if not np.isfinite(largest):
        raise Refused("A A* is singular")
    bits = 61 - int(np.frexp(largest)[1])
    R = np.array([int(v) for v in np.rint(np.ldexp(inverse, bits)).ravel()], dtype=object).reshape(m, m)
    rest = matmul(R, scaled)
    top = p + bits
    one = 1 << top if top >= 0 else None
    if one is None:
        raise Refused("A A* is out of range")
    rest[np.arange(m), np.arange(m)] -= one
    alpha = max((Fraction(int(s), one) for s in np.abs(rest).sum(axis=1)), default=Fraction(0))
    if alpha >= 1:
        raise Refused(f"the regularity of A A* is not proven (||I - R A A*|| <= {float(alpha):.1e})")
    scale = [Fraction(2) ** -int(k) for k in e]
    whole, d_power = common_power([v * s for v, s in zip(d, scale, strict=True)])
    q = np.abs(np.dot(R, np.array(whole, dtype=object)))
    unit = Fraction(1, 1 << d_power) / Fraction(2) ** bits
    extra = alpha / (1 - alpha) * int(max(q))
    return [rounded_up((int(v) + extra) * unit * s) for v, s in zip(q, scale, strict=True)]
