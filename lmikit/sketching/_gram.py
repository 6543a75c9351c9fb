"""Gram iteration: repeated squaring of W'W, with its own rounding errors carried along.

sigma_max(W)^(2^K) = sigma_max of the K-th Gram matrix, and a Frobenius norm bounds it from above at
every K (Delattre, Barthelemy, Araujo, Allauzen, ICML 2023, arXiv 2305.16173). Plain
floating-point runs fall below sigma_max; the running error of `gram_bound` does not.
"""

import math
from typing import Any

import numpy as np

from .._arrays import ArrayModule, array_module
from .._errors import InputError, OptionError
from ._types import DeterministicBound

__all__ = ["gram_bound", "gram_values"]

_U = 2.0**-53
_UNDERFLOW = 2.0**-1000  # far above n m 2^-1074, the underflow of every sum here


def _up(x: float) -> float:
    return float(np.nextafter(x, np.inf))


def gram_bound(matrix: Any, *, rtol: float = 1e-9, max_squarings: int = 40) -> DeterministicBound:
    """sigma_max(W) <= value with every rounding error included, for float64 W (m, n) on the host.

    With p_i = 2^k >= |G_i|_F, X_i = G_i/p_i (exact but for underflow) and G_{i+1} = fl(X_i'X_i):
    |G_{i+1} - X_i'X_i| <= m_i u |X_i|'|X_i| entrywise for any order of summation (Jeannerod and
    Rump, SIAM J. Matrix Anal. Appl. 34, 2013), so |X_i|_2^2 <= |G_{i+1}|_2 + m_i u |X_i|_F^2, and
    b_i = p_i sqrt(b_{i+1} + m_i u |X_i|_F^2 + 2^-1000) bounds |G_i|_2 from above, with b_K the
    smaller of |G_K|_F and sqrt(|G_K|_1 |G_K|_inf). Stops once the value is within rtol of the
    estimate |G_K|_F^2/tr G_K <= |G_K|_2 or after max_squarings. Assumes IEEE binary64 with
    rounding to nearest, gradual underflow and conventional (not Strassen-like) products. Raises
    InputError for NaN and wrong shapes.
    """
    w = np.asarray(matrix, dtype=np.float64)
    if w.ndim != 2 or min(w.shape) < 1:
        raise InputError(f"layer has shape {w.shape}; expected a matrix (out, in) with both at least 1.")
    if not np.isfinite(w).all():
        raise InputError("layer holds NaN or infinity; expected finite numbers.")
    if not isinstance(max_squarings, int) or max_squarings < 1:
        raise OptionError(f"max_squarings is {max_squarings!r}; expected an integer of at least 1.")
    g = w if w.shape[0] >= w.shape[1] else w.T
    peak = float(np.abs(g).max())
    if peak == 0.0:
        return DeterministicBound(0.0, "gram", 0)
    start = math.frexp(peak)[1]
    g = np.ldexp(g, -start)  # entries below 1: no overflow in the norm; underflow is in _UNDERFLOW
    trail: list[tuple[int, float]] = []
    value = math.inf
    for step in range(max_squarings):
        exponent, error, x = _scaled(g)
        trail.append((exponent, error))
        g = x.T @ x
        value = _back(trail, min(_frobenius(g), _row_norm(g)))
        if _close(g, value, trail, rtol) or step == max_squarings - 1:
            break
    return DeterministicBound(_ldexp_up(_up(value + _UNDERFLOW), start), "gram", len(trail))


def _ldexp_up(value: float, exponent: int) -> float:
    """2^exponent * value, rounded up where it is subnormal; infinity where it overflows."""
    if exponent >= 0:
        with np.errstate(over="ignore"):
            return float(np.ldexp(value, exponent))
    result = float(np.ldexp(value, exponent))
    return result if float(np.ldexp(result, -exponent)) == value else _up(result)


def _frobenius(g: np.ndarray) -> float:
    """An upper bound on |g|_F: row sums of squares and their sum, each in any order of summation."""
    rows = np.einsum("ij,ij->i", g, g)
    relative = (2 * (g.shape[0] + g.shape[1]) + 8) * _U
    return _up(math.sqrt(_up(_up(float(rows.sum()) * (1.0 + relative)) + _UNDERFLOW)))


def _row_norm(g: np.ndarray) -> float:
    """sqrt(|g|_1 |g|_inf), an upper bound on |g|_2 that is exact for multiples of orthogonal layers."""
    size = np.abs(g)
    relative = 1.0 + (g.shape[0] + g.shape[1] + 4) * _U
    largest = _up(
        _up(float(size.sum(axis=0).max()) * relative) * _up(float(size.sum(axis=1).max()) * relative)
    )
    return _up(math.sqrt(_up(largest + _UNDERFLOW)))


def _scaled(g: np.ndarray) -> tuple[int, float, np.ndarray]:
    """(k, m u |X|_F^2 rounded up, X = 2^-k g) with 2^k >= |g|_F."""
    norm = _frobenius(g)
    exponent = math.frexp(norm)[1]
    x = np.ldexp(g, -exponent)
    size = float(np.ldexp(norm, -exponent))
    return exponent, _up(_up(g.shape[0] * _U * _up(size * size)) + _UNDERFLOW), x


def _back(trail: list[tuple[int, float]], last: float) -> float:
    """b_0 from b_K = last."""
    value = last
    for exponent, error in reversed(trail):
        root = _up(math.sqrt(_up(value + error)))
        value = float(np.ldexp(_up(root + _UNDERFLOW), exponent))
    return value


def _close(g: np.ndarray, value: float, trail: list[tuple[int, float]], rtol: float) -> bool:
    """Whether the bound is within rtol of what the same matrix says from below (estimate only)."""
    trace = float(np.trace(g))
    if trace <= 0.0:
        return True
    lower = float((g * g).sum()) / trace
    for exponent, _ in reversed(trail):
        lower = math.sqrt(lower) * 2.0**exponent
    return value <= lower * (1.0 + rtol)


def gram_values(stack: Any, *, squarings: int = 8, am: ArrayModule | None = None) -> Any:
    """Gram iteration for a stack (k, out, in) of layers at once, shape (k,), on any array module.

    Each value is at or above sigma_max in exact arithmetic, with excess factor at most
    rank^(2^-squarings / 2). Rounding is not covered: estimates, to be certified by `certificates.verify`.
    """
    am = am or array_module()
    xp = am.xp
    g = stack if stack.shape[1] >= stack.shape[2] else stack.transpose(0, 2, 1)
    logs = xp.zeros(g.shape[0], dtype=np.float64)
    for step in range(squarings + 1):
        peak = xp.maximum(xp.abs(g).max(axis=(1, 2)), np.finfo(g.dtype).tiny)
        g = g / peak[:, None, None]
        size = xp.sqrt((g * g).sum(axis=(1, 2), dtype=np.float64))
        size = xp.maximum(size, np.finfo(np.float64).tiny)
        logs = logs + (xp.log(peak.astype(np.float64)) + xp.log(size)) / 2.0**step
        if step < squarings:
            g = g / size[:, None, None].astype(g.dtype)
            g = xp.matmul(g.transpose(0, 2, 1), g)
    return xp.where(xp.abs(stack).max(axis=(1, 2)) == 0, 0.0, xp.exp(logs))
