"""Detection of the floating-point environment of this thread; a proof outside IEEE defaults is refused.

Every theorem used in proofs assumes binary64 with round to nearest, ties to even, and gradual
underflow. Flush-to-zero and denormals-are-zero are flags of the running thread (PyTorch's
`set_flush_denormal` sets them for NumPy too), and so is the rounding mode (C's `fesetround`), hence
the test is made at run time, in the thread that computes, in scalar code and through the BLAS.

The theorem also assumes that LAPACK's triangular solve and Cholesky divide by diagonal entries and
invert no blocks. That is a property of the installed library, probed once per process on a
triangle whose blocks are very badly conditioned: substitution is backward stable row by row
(Higham, Accuracy and Stability, Theorem 8.5), products with a rounded inverse are not.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg.blas
import scipy.linalg.lapack

from ._errors import NotCertified

__all__ = ["environment_fault", "kernel_fault", "require_ieee"]

_TINY = np.array([2.0**-1022, 2.0**-1074, 1.0, 2.0**-53, 2.0**-60, 3 * 2.0**-53, 0.5, 2.0**60])


def environment_fault() -> str:
    """What is wrong with this thread's binary64 arithmetic; the empty string if nothing is."""
    normal, denormal, one, half_ulp, small, three_halves, half, large = _TINY
    with np.errstate(all="ignore"):
        if not normal * half > 0.0 or not (normal - normal * half) > 0.0:
            return "results below 2**-1022 are flushed to zero"
        if denormal * large != 2.0**-1014 or not denormal + denormal > 0.0:
            return "subnormal operands are taken as zero"
        if _vector_faulty():
            return "the vector or BLAS kernels flush subnormal numbers"
        nearest = (
            one + small == 1.0
            and -one - small == -1.0
            and one - small == 1.0
            and one + half_ulp == 1.0
            and -one - half_ulp == -1.0
            and one + three_halves == 1.0 + 2.0**-51
            and -one - three_halves == -1.0 - 2.0**-51
        )
    return "" if nearest else "the rounding mode is not 'to nearest, ties to even'"


def _vector_faulty() -> bool:
    values = np.full((16, 16), _TINY[1])
    scale = np.diag(np.full(16, _TINY[7]))
    wanted = np.full((16, 16), 2.0**-1014)
    product = scipy.linalg.blas.dgemm(1.0, values, scale)
    halves = np.full(16, _TINY[0]) * np.full(16, _TINY[6])
    return not (np.array_equal(product, wanted) and np.array_equal(values @ scale, wanted) and halves.all())


def kernel_fault(solve: Callable[..., Any] = scipy.linalg.lapack.dtrtrs) -> str:
    """What shows that the triangular solve or Cholesky is not substitution; empty if nothing does."""
    rng = np.random.default_rng(0)
    for n in (6, 40, 120):
        near = np.arange(n)[:, None] // 8 == np.arange(n) // 8
        triangle = np.tril(np.where(near, rng.uniform(-1e4, 1e4, (n, n)), 2.0**-60), -1)
        np.fill_diagonal(triangle, rng.uniform(1.0, 2.0, n))
        b = triangle @ rng.uniform(-1.0, 1.0, (n, 3))
        x, info = solve(triangle, b, lower=1)
        if (
            info != 0
            or not np.isfinite(x).all()
            or not _rows_hold(triangle, x, b, range(n - 1, 0, -max(1, n // 4)))
        ):
            return "the BLAS's triangular solve is not backward stable substitution"
        if not _cholesky_holds(triangle, rng):
            return "LAPACK's Cholesky is not backward stable substitution"
    return ""


def _rows_hold(triangle: np.ndarray, x: np.ndarray, b: np.ndarray, rows: range) -> bool:
    """|L x - b| <= (n + 4) u |L||x| in exact rationals, on some rows."""
    for i in rows:
        terms = [Fraction(triangle[i, k]) * Fraction(x[k, 0]) for k in range(i + 1)]
        if abs(sum(terms) - Fraction(b[i, 0])) > (i + 5) * Fraction(2) ** -53 * sum(map(abs, terms)):
            return False
    return True


def _cholesky_holds(triangle: np.ndarray, rng: np.random.Generator) -> bool:
    """|R R' - A| <= (n + 4) u |r_i||r_j| in exact rationals, on some entries of an ill-conditioned A."""
    n = triangle.shape[0]
    rows = triangle[:, : max(1, n - 2)] / 1e4
    a = rows @ rows.T + 1e-7 * np.eye(n)
    a = np.tril(a) + np.tril(a, -1).T
    factor, info = scipy.linalg.lapack.dpotrf(a, lower=1, clean=1)
    if info != 0 or not np.isfinite(factor).all():
        return False
    norms = np.linalg.norm(factor, axis=1) * (1.0 + 1e-10)
    for i, j in rng.integers(0, n, (8, 2)):
        i, j = max(i, j), min(i, j)
        product = sum(Fraction(factor[i, k]) * Fraction(factor[j, k]) for k in range(j + 1))
        if abs(product - Fraction(a[i, j])) > (n + 4) * Fraction(2) ** -53 * Fraction(norms[i] * norms[j]):
            return False
    return True


@functools.cache
def _kernel_fault_once() -> str:
    return kernel_fault()


def require_ieee() -> None:
    """Raise NotCertified where this thread's arithmetic is not the one that the proofs assume.

    The message names the fault, what was expected and how to reset it.
    """
    fault = environment_fault()
    if fault:
        raise NotCertified(
            f"the floating-point environment of this thread is not IEEE 754's default: {fault}; expected "
            "gradual underflow and round-to-nearest. Reset it (torch.set_flush_denormal(False), "
            "fesetround(FE_TONEAREST)) and verify again."
        )
    fault = _kernel_fault_once()
    if fault:
        raise NotCertified(
            f"{fault}, which the rounding theorem assumes; install SciPy with OpenBLAS or reference LAPACK."
        )
