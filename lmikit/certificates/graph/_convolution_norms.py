"""Norms of convolutions without a matrix: one small proof per frequency of a torus.

`lmikit.torus._single` has the lemma: ||K|| <= max over w of ||S(w)||, S(w) the symbols on an admissible
torus, and any of them proves. ||S|| <= g exactly if [[g I, S^*], [S, g I]] is PSD, here as a real
symmetric matrix, with a radius for what rounding does to S. A symbol of one row or column has the norm of a
vector, |S|_F. Real kernels have conjugate symbols at opposite frequencies, so that half of them suffice.
"""

import math

import numpy as np

from ...maps import Convolution2d
from ...torus._single import SingleTorus, groups_of, single_tori
from ...torus._symbols import Symbol
from .._verified_cholesky import BlockTridiagonal, verified_cholesky

__all__ = ["convolution_is_below", "convolution_norm"]

_HEADROOM = 6.0  # room for other checkers' margins
_INFLATIONS = (0.0, *(10.0**k for k in range(-14, 1)))
_FAR = 1e-6


def convolution_is_below(conv: Convolution2d, gain: float) -> bool:
    """Whether ||K||_2 <= gain is proven on one of the tori."""
    return all(
        any(
            float(torus.estimates.max()) <= gain * (1.0 + _FAR) and _below(torus, gain)
            for torus in single_tori(group)
        )
        for group in groups_of(conv)
        if group.kernel.any()
    )


def convolution_norm(conv: Convolution2d) -> float:
    """A float for which `convolution_is_below` holds, close to the norm on the torus; infinity if none."""
    return max((_norm(single_tori(group)[0]) for group in groups_of(conv) if group.kernel.any()), default=0.0)


def _below(torus: SingleTorus, gain: float) -> bool:
    for _, symbol in torus.symbols():
        if min(symbol.rad.shape) == 1:
            if float(_lengths(symbol).max()) > gain:
                return False
        elif not all(_proven(symbol, j, gain, 1.0) for j in range(len(symbol.re))):
            return False
    return True


def _norm(torus: SingleTorus) -> float:
    gain = 0.0
    for _, symbol in torus.symbols():
        if min(symbol.rad.shape) == 1:
            gain = max(gain, float(_lengths(symbol).max()))
            continue
        for j in range(len(symbol.re)):
            if gain > 0.0 and _proven(symbol, j, gain, _HEADROOM):
                continue
            gain = max(gain, _largest(symbol, j))
            if not math.isfinite(gain):
                return math.inf
    return gain


def _largest(symbol: Symbol, j: int) -> float:
    S = symbol.re[j] + 1j * symbol.im[j]
    gram = S @ np.conj(S.T) if S.shape[0] <= S.shape[1] else np.conj(S.T) @ S
    if not np.isfinite(gram).all():
        return math.inf
    estimate = math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1])))
    for e in _INFLATIONS:
        if _proven(symbol, j, estimate * (1.0 + e), _HEADROOM):
            return estimate * (1.0 + e)
    return math.inf


def _proven(symbol: Symbol, j: int, gain: float, headroom: float) -> bool:
    if not (math.isfinite(gain) and gain > 0.0):
        return False
    re, im, rad = symbol.re[j], symbol.im[j], symbol.rad
    if re.shape[0] > re.shape[1]:  # the longer side first: its block stays diagonal
        re, im, rad = re.T, -im.T, rad.T
    S = np.vstack([np.hstack([re, -im]), np.hstack([im, re])])
    rows, columns = S.shape
    spread = np.tile(rad, (2, 2))
    matrix = BlockTridiagonal((np.full(columns, gain), np.full(rows, gain)), (S,), (None, None), (spread,))
    return verified_cholesky(matrix, headroom).ok


def _lengths(symbol: Symbol) -> np.ndarray:
    """|S(w)|_F per frequency, rounded upwards: n squares, their sum and its root err by (n + 3) u."""
    n = 2.0 * symbol.rad.size
    re, im = np.abs(symbol.re) + symbol.rad, np.abs(symbol.im) + symbol.rad
    with np.errstate(all="ignore"):
        top = np.maximum(re, im).max()
        if top == 0.0 or not np.isfinite(top):
            return np.full(len(re), top)
        scale = 2.0 ** -float(np.clip(np.frexp(top)[1], -1000, 1000))
        square = ((re * scale) ** 2 + (im * scale) ** 2).sum(axis=(1, 2)) * (1.0 + (n + 8.0) * 2.0**-52)
        lengths = np.sqrt(square + n * 2.0**-1000) * (1.0 + 2.0**-50) / scale
        return np.asarray(np.nextafter(lengths, np.inf))  # the division rounds where it underflows
