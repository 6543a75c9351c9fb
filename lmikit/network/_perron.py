"""Weights under which the row sums of |W|'|W| are as equal as they can be: for norms of sparse maps."""

import math

import numpy as np
import scipy.sparse as sp

__all__ = ["perron_weights", "weighted_row_sums"]

_STEPS = 120
_SMALLEST = 1e-100  # of the largest weight, so that none underflows
_SETTLED = 1e-10  # decrease of the largest ratio, relative, that ends the iteration


def weighted_row_sums(size: sp.csr_array, p: np.ndarray) -> np.ndarray:
    """(M p)_i / p_i with M = |W|'|W| for size = |W| (m, n) and p > 0 (n,): the largest is >= ||W||^2.

    M <= diag((M p)_i / p_i) in the semidefinite order (Gershgorin after scaling by p). In floating point.
    """
    return np.asarray(size.T @ (size @ p)) / p


def perron_weights(size: sp.csr_array) -> tuple[np.ndarray, float]:
    """(p, t): power iteration on |W|'|W|, whose largest weighted row sum t falls at every step."""
    p, best, least = np.ones(size.shape[1]), np.ones(size.shape[1]), math.inf
    for _ in range(_STEPS):
        ratios = weighted_row_sums(size, p)
        largest = float(ratios.max(initial=0.0))
        if not math.isfinite(largest):
            break
        settled = largest >= least * (1.0 - _SETTLED)
        if largest < least:
            best, least = p, largest
        if settled or largest == 0.0:
            break
        following = p * ratios
        p = np.maximum(following / following.max(), _SMALLEST)
    return best, least
