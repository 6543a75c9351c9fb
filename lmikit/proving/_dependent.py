"""Equations that follow exactly from others: found in floating point, kept only where exact."""

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..certificates.sdp._exact import dependent_fault
from ..certificates.sdp._records import Drop

__all__ = ["dependent_rows"]

_LARGEST = 3e7  # entries of the matrix, dense
_DENOMINATOR = 1000


def dependent_rows(rows: Any, right: np.ndarray, radii: Any) -> Drop:
    """Rows that are exact rational combinations (denominators up to 1000) of the rest, right-hand sides too.

    Returns {} where there are none, where they are not found, or where the data are not exact.
    """
    matrix = sp.csr_array(rows)
    m = matrix.shape[0]
    used = np.flatnonzero(np.diff(sp.csc_array(matrix).indptr))
    if radii is not None or not m or m * used.size > _LARGEST:
        return {}
    dense = matrix[:, used].toarray()
    size = np.abs(dense).max(axis=1, initial=0.0)
    scaled = dense / np.where(size > 0, size, 1.0)[:, None]
    gram = scaled @ scaled.T
    r, pivots = scipy.linalg.qr(gram, mode="r", pivoting=True)[-2:]
    diagonal = np.abs(np.diagonal(r))
    rank = int((diagonal > 1e-11 * diagonal.max(initial=0.0)).sum()) if diagonal.any() else 0
    if rank == m:
        return {}
    kept, drop = np.sort(pivots[:rank]), {}
    solved = (
        np.linalg.lstsq(dense[kept].T, dense[pivots[rank:]].T, rcond=None)[0]
        if rank
        else np.zeros((0, m - rank))
    )
    for k, i in enumerate(pivots[rank:].tolist()):
        row = {}
        for j, value in zip(kept.tolist(), solved[:, k].tolist(), strict=True):
            near = Fraction(value).limit_denominator(_DENOMINATOR)
            if near:
                row[j] = near
        if not dependent_fault(matrix, right.tolist(), {i: row}):
            drop[i] = row
    return drop
