"""The least proven square of the norm of one large map, with a single Gram matrix and factorisation.

With C = 2**-p W the matrix [[b0 I, C'], [C, b1 I]] is positive definite only if ||W||^2 < b0 b1 4**p. The
theorem of `_verified_cholesky` is applied to it with b0 = 1/4 + c0, c0 its margin: then the first pivots are
1/4, their root 1/2 and the panel 2 C are exact, so that the panel's Gram matrix is known before b1 is, and
serves to find b1 as well. What remains is the Cholesky factorisation of (b1 - c1) I - 4 C C'.
"""

import math

import numpy as np
import scipy.linalg

from ._feasible import largest_eigenvalue
from ._verified_cholesky import MIN_NORMAL, U

__all__ = ["LARGE_MAP", "proven_square"]

LARGE_MAP = 1500  # rows and columns from which this is worth while
_RAISED = (1e-12, 1e-10, 1e-8)  # of the largest eigenvalue, which is known to rounding and to its tolerance


def proven_square(w: np.ndarray, estimate: float, headroom: float) -> tuple[float, float] | None:
    """(tau, margin) with ||W||^2 <= tau proven; None where W spans too far or `estimate` is far off.

    `estimate` of ||W||^2 chooses the power of two. `headroom` >= 1 multiplies the margins.
    """
    if not (math.isfinite(estimate) and estimate > 0.0):
        return None
    wide = w if w.shape[1] >= w.shape[0] else np.ascontiguousarray(w.T)
    power = -((-math.frexp(estimate)[1]) // 2) + 1  # 4 ||C||^2 in [1/4, 1)
    panel = np.ldexp(wide, 1 - power)
    if not (np.ldexp(panel, power - 1) == wide).all() or not float(np.abs(panel).max()) < 2.0:
        return None
    m, n = panel.shape
    gram = scipy.linalg.blas.dsyrk(1.0, panel.T, trans=1, lower=1)  # reads columns: (panel')' panel'
    largest = largest_eigenvalue(gram + np.tril(gram, -1).T)
    for raised in _RAISED:
        pivot = largest * (1.0 + raised)
        margin = headroom * _margin(m, n, pivot)
        b0, b1 = 0.25 + margin, pivot + margin
        b0, b1 = math.nextafter(b0, 1.0), math.nextafter(b1, 1.0)
        if not (0.25 <= b1 < 1.0 and b0 < 0.5 and b1 <= pivot * 1.01):
            return None
        shifted = -gram
        shifted[np.arange(m), np.arange(m)] += pivot
        factor, info = scipy.linalg.lapack.dpotrf(shifted, lower=1, clean=0, overwrite_a=1)
        diagonal = factor.diagonal()
        if info == 0 and np.isfinite(np.tril(factor)).all() and (diagonal > 0.0).all():
            tau = math.ldexp(math.nextafter(b0 * b1, 1.0), 2 * power)
            return (tau, margin) if 2.0**-1000 < tau < math.inf else None
    return None


def _margin(m: int, n: int, pivot: float) -> float:
    """c of the corollary for both blocks, from bounds of the diagonals: b0 <= 1/2, b1 <= 1.01 pivot."""
    t = n + np.arange(m) + 4.0  # above the diagonal, n of the first block and those before in the second
    second = float(np.sum(t * U / (1.0 - t * U))) * 1.01 * pivot
    first = n * (4.0 * U / (1.0 - 4.0 * U)) * 0.5
    total = float(m + n)
    underflow = 8.0 * total * (total + 2.0) * MIN_NORMAL
    return (first + second + underflow) * (1.0 + (2.0 * total + 24.0) * 2.0**-52)
