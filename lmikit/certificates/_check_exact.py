"""Exact mode of the checker: the same F = B - G G' in integers, dominance decided exactly.

Every float is an integer times a power of two, so is every entry of the LMI, so is the factor G after
rounding it to multiples of 2**-60. B, equilibrated by powers of two (a congruence, exact), G G' and F
are integer matrices over a common power of two. B = G G' + F and G G' >= 0; F diagonally dominant
with nonnegative diagonal implies F >= 0, hence B >= 0. Floating point only proposes G.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._check_eliminated import eliminated_blocks
from ._check_float import Blocks, factor, predicted_error
from ._check_integers import IntegerOperations, ScaledIntegers, common, exact, matmul, total

__all__ = ["eliminated_exact_margin", "exact_margin"]

_BITS = 60  # G is rounded to multiples of 2**-60
_FACTORS = (0.5, 0.1, 2.0)


def exact_margin(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> float:
    """The least row excess of F, rounded for display; nonnegative exactly if dominance holds."""
    return _margin(*_formed(weights, slopes, multipliers, rho))


def eliminated_exact_margin(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> float:
    """The same for version 2: multipliers of the neurons with alpha < beta only."""
    diagonal, lower = eliminated_blocks(weights, slopes, multipliers, rho, IntegerOperations())
    sums = [d if isinstance(d, ScaledIntegers) else common(*exact(d)) for d in diagonal]
    exponents = _equilibration(sums)
    if exponents is None:
        return -np.inf
    scaled = [_shifted(c, -(exponents[k + 1][:, None] + exponents[k])) for k, c in enumerate(lower)]
    return _margin(_equilibrated(sums, exponents), scaled)


def _margin(diagonal: list[ScaledIntegers] | None, lower: list[ScaledIntegers]) -> float:
    if diagonal is None:
        return -np.inf
    b = Blocks([d.to_float() for d in diagonal], [c.to_float() for c in lower])
    estimate = predicted_error(b)
    best = -np.inf
    for times in _FACTORS:
        shift = [np.full(d.size, times * e) for d, e in zip(b.diagonals(), estimate, strict=True)]
        g = factor(b, shift)
        if g is not None:
            best = max(best, _excess(diagonal, lower, g))
        if best >= 0.0:
            break
    return best


def _formed(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> Any:
    """Equilibrated exact blocks; (None, []) where a diagonal entry is not positive."""
    n0, m = weights[0].shape[1], weights[-1].shape[0]
    plain = [np.full(n0, rho), *(2.0 * t for t in multipliers), np.ones(m)]
    terms: list[ScaledIntegers | None] = [None] * len(plain)
    for k, ((alpha, beta), t) in enumerate(zip(slopes, multipliers, strict=True)):
        q = [2 * Fraction(a) * Fraction(b) * Fraction(x) for a, b, x in zip(alpha, beta, t, strict=True)]
        if any(q):
            terms[k] = _quadratic(weights[k], q)
    sums = [
        common(*exact(d)) if term is None else _plus_diagonal(term, d)
        for d, term in zip(plain, terms, strict=True)
    ]
    exponents = _equilibration(sums)
    if exponents is None:
        return None, []
    lower = []
    for k, w in enumerate(weights):
        integers, powers = exact(w)
        if k < len(slopes):
            row = [
                Fraction(a) * Fraction(x) + Fraction(b) * Fraction(x)
                for a, b, x in zip(*slopes[k], multipliers[k], strict=True)
            ]
            integers = integers * np.array([r.numerator for r in row], dtype=object)[:, None]
            down = np.array([r.denominator.bit_length() - 1 for r in row], dtype=np.int64)
            powers = powers - down[:, None]
        lower.append(common(-integers, powers - (exponents[k + 1][:, None] + exponents[k])))
    return _equilibrated(sums, exponents), lower


def _equilibration(sums: Sequence[ScaledIntegers]) -> list[np.ndarray] | None:
    """e with 2**-e A 2**-e of diagonal near 1; None where a diagonal entry is not positive."""
    exponents = []
    for s in sums:
        entries = s.values if s.values.ndim == 1 else np.diagonal(s.values)
        if not all(v > 0 for v in entries):
            return None
        exponents.append(np.array([(int(v).bit_length() - s.power) // 2 for v in entries], dtype=np.int64))
    return exponents


def _equilibrated(sums: Sequence[ScaledIntegers], exponents: Sequence[np.ndarray]) -> list[ScaledIntegers]:
    return [
        _shifted(s, -2 * e if s.values.ndim == 1 else -(e[:, None] + e))
        for s, e in zip(sums, exponents, strict=True)
    ]


def _quadratic(w: np.ndarray, q: list[Fraction]) -> ScaledIntegers:
    """W'diag(q)W."""
    v = common(*exact(w))
    power = max(x.denominator.bit_length() - 1 for x in q)
    scaled = np.array([x.numerator * ((1 << power) // x.denominator) for x in q], dtype=object)
    product = matmul(v.values.T, v.values * scaled[:, None])
    return ScaledIntegers(product, 2 * v.power + power)


def _plus_diagonal(term: ScaledIntegers, diagonal: np.ndarray) -> ScaledIntegers:
    extra = common(*exact(diagonal))
    power = max(term.power, extra.power)
    values = term.at(power).copy()
    index = np.arange(diagonal.size)
    values[index, index] += extra.at(power)
    return ScaledIntegers(values, power)


def _shifted(a: ScaledIntegers, exponents: np.ndarray) -> ScaledIntegers:
    return common(a.values, exponents - a.power)


def _rounded(g: np.ndarray) -> np.ndarray:
    """ScaledIntegers nearest to 2**60 g; entries beyond 4 would not come from an equilibrated matrix."""
    return np.rint(np.ldexp(np.clip(g, -4.0, 4.0), _BITS)).astype(np.int64).astype(object)


def _excess(
    b_diagonal: list[ScaledIntegers],
    b_lower: list[ScaledIntegers],
    g: tuple[list[np.ndarray], list[np.ndarray]],
) -> float:
    diagonal, lower = [_rounded(d) for d in g[0]], [_rounded(x) for x in g[1]]
    rows: list[ScaledIntegers] = []
    own: list[ScaledIntegers] = []
    for k, d in enumerate(diagonal):
        product = d * d if d.ndim == 1 else matmul(d, d.T)
        if k:
            product = product + matmul(lower[k - 1], lower[k - 1].T)
        block = b_diagonal[k]
        if block.values.ndim < product.ndim:
            full = np.zeros(product.shape, dtype=object)
            np.fill_diagonal(full, block.values)
            block = ScaledIntegers(full, block.power)
        f = total(block, ScaledIntegers(-product, 2 * _BITS))
        entries = f.values if f.values.ndim == 1 else np.diagonal(f.values).copy()
        own.append(ScaledIntegers(entries, f.power))
        sums = np.abs(f.values) if f.values.ndim == 1 else np.abs(f.values).sum(axis=1)
        rows.append(ScaledIntegers(sums - np.abs(entries), f.power))
    for k, x in enumerate(lower):
        product = x * diagonal[k] if diagonal[k].ndim == 1 else matmul(x, diagonal[k].T)
        f = total(b_lower[k], ScaledIntegers(-product, 2 * _BITS))
        rows[k + 1] = total(rows[k + 1], ScaledIntegers(np.abs(f.values).sum(axis=1), f.power))
        rows[k] = total(rows[k], ScaledIntegers(np.abs(f.values).sum(axis=0), f.power))
    worst: Fraction | None = None
    for row, diag in zip(rows, own, strict=True):
        power = max(row.power, diag.power)
        least = min(int(v) for v in (diag.at(power) - row.at(power)))
        excess = Fraction(least, 1 << power)
        worst = excess if worst is None else min(worst, excess)
    assert worst is not None
    shown = float(worst)
    return -5e-324 if shown == 0.0 and worst < 0 else shown
