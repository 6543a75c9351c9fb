"""Running error bounds of float64 matrix products, kept as vectors so that they cost a product more.

Every bound below is for sums of products in any order, with or without fused operations (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1): |fl(A x) - A x| <= gamma_n |A||x|,
gamma_n = n u / (1 - n u), plus one underflow of 2**-1074 per product. Bounds are
themselves sums of nonnegative floats, so with `SAFE` = 1 + 2**-20 a computed bound covers its own
rounding up to 2**30 terms, and `TINY` per entry its underflows.
"""

from typing import Any

import numpy as np

__all__ = ["SAFE", "TINY", "U", "gamma", "norm_above", "sums", "times"]

U = 2.0**-53
SAFE = 1.0 + 2.0**-20
TINY = 2.0**-1000


def gamma(n: int) -> float:
    """An upper bound of n u / (1 - n u); inf where that means nothing."""
    return float(n * U / (1.0 - n * U) * SAFE) if n < 2**50 else float("inf")


def norm_above(a: np.ndarray) -> np.ndarray:
    """Upper bounds of the Euclidean norms along the last axis; squares below 2**-1022 included."""
    n = a.shape[-1]
    largest = np.abs(a).max(axis=-1, initial=0.0)
    scale = np.ldexp(1.0, -np.frexp(np.where(largest > 0.0, largest, 1.0))[1])
    scaled = a * scale[..., None]
    norm = np.sqrt((scaled * scaled).sum(axis=-1)) * (1.0 + gamma(n + 8)) + 2.0**-400
    return np.asarray(np.nextafter(norm / scale, np.inf))


def times(a: Any, x: np.ndarray) -> np.ndarray:
    """a @ x for a vector x (n,), or for a batch of vectors (B, n), one for each of a (B, m, n) or all of a
    (m, n). For a vector a may be sparse.

    Also in a batch every entry is a sum of n products.
    """
    return np.asarray(a @ x if x.ndim == 1 else (a @ x[..., None])[..., 0])


def sums(x: np.ndarray) -> np.ndarray:
    """The sum along the last axis, which is kept, to be added to vectors of another length."""
    return np.asarray(x.sum(axis=-1, keepdims=True))
