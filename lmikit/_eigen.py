"""One extreme eigenvalue of a symmetric matrix, in plain floating point.

LAPACK's drivers for a part of the spectrum (syevr, syevx) find no eigenvalue, or end with an error, in one
of ten matrices next to a multiple of the identity, which the Gram matrices of orthogonal layers are: then
the whole spectrum is computed. Nothing here is a proof.
"""

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

__all__ = ["eigenpairs", "least_eigenvalue", "top_eigenpair", "top_eigenvalue"]


def top_eigenvalue(a: np.ndarray) -> float:
    """lambda_max of a symmetric matrix of order 1 or more; NaN where entries are not finite."""
    return _value(a, len(a) - 1)


def least_eigenvalue(a: np.ndarray) -> float:
    """lambda_min of a symmetric matrix of order 1 or more; NaN where entries are not finite."""
    return _value(a, 0)


def top_eigenpair(a: np.ndarray) -> tuple[float, np.ndarray]:
    """(lambda_max, a unit vector); raises LinAlgError where no driver converges, entries being finite."""
    n = len(a)
    try:
        values, vectors = scipy.linalg.eigh(a, subset_by_index=(n - 1, n - 1), check_finite=False)
        if values.size and vectors.shape[1]:
            return float(values[0]), vectors[:, 0]
    except np.linalg.LinAlgError:
        pass  # the whole spectrum is left
    values, vectors = np.linalg.eigh(a)
    return float(values[-1]), vectors[:, -1]


def eigenpairs(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ascending eigenvalues, orthonormal columns) of a symmetric matrix, in its dtype.

    LAPACK called by itself: for matrices of order 16 NumPy's wrapper costs as much as the work.
    """
    driver = _DRIVERS.get(a.dtype.char)
    if driver is not None:
        values, vectors, info = driver(a)
        if info == 0:
            return values, vectors
    values, vectors = np.linalg.eigh(a)
    return values, vectors


_DRIVERS = {"f": lapack.ssyevd, "d": lapack.dsyevd}


def _value(a: np.ndarray, index: int) -> float:
    if len(a) == 1:
        return float(a[0, 0])
    if not np.isfinite(a).all():
        return float("nan")
    if a.dtype == np.float64:  # without SciPy's checks, which cost more than small matrices do
        values, _, count, _, info = lapack.dsyevr(a, compute_v=0, range="I", il=index + 1, iu=index + 1)
        if info == 0 and count == 1:
            return float(values[0])
    return float(np.linalg.eigvalsh(a)[index])
