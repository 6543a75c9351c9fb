"""The checker of one sparse map that is too large for dense blocks: tau I - W'W by weighted row sums.

For any p > 0 with |W|'(|W| p) <= tau p, entry by entry, tau I - W'W is PSD (Schur's test). The checker finds
its own p by power iteration and decides with it: in exact mode in rational numbers; in float mode with a
factor for every rounding of the two sums, of at most n nonnegative products each.
"""

import itertools
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

__all__ = ["LARGEST_DENSE", "wide_margin"]

LARGEST_DENSE = 2**27  # entries up to which a map is checked as a dense block
_STEPS = 200
_LARGEST = 2.0**100  # of |W|: what is beyond could overflow


def wide_margin(w: sp.csr_array, tau: Fraction, exact: bool) -> float:
    """The least of 1 - (|W|'|W| p)_i / (tau p_i) found, rounded for display; nonnegative means proven."""
    size = sp.csr_array(abs(w))
    if not tau > 0 or not (size.data < _LARGEST).all():
        return -np.inf
    if not size.data.any():
        return 1.0
    power = int(np.frexp(size.data.max())[1])  # 2**-power |W| has its largest entry in [1/2, 1)
    scaled = sp.csr_array((np.ldexp(size.data, -power), size.indices, size.indptr), shape=size.shape)
    target = tau / Fraction(4) ** power
    if target < Fraction(1, 4):  # below the square of an entry
        return -np.inf
    back = sp.csr_array(scaled.T)
    n = max(int(np.diff(m.indptr).max(initial=0)) for m in (scaled, back))
    p = np.ones(size.shape[1])
    best = -np.inf
    for _ in range(_STEPS):
        product = back @ (scaled @ p)
        # underflow: of ldexp, of the products and of p times an entry, each below 2**-1073
        above = product * (1.0 + 8.0 * (n + 8.0) * 2.0**-53) + (n + 1.0) ** 2 * 2.0**-900
        margin = 1.0 - float((above / p).max()) * (1.0 + 2.0**-50) / float(target)
        best = max(best, margin)
        if margin >= 0.0:
            break
        p = np.maximum(product / product.max(), 1e-100)
    if best < 0.0 or not exact:
        return best
    return best if _exactly(size, p, tau) else -np.inf


def _exactly(size: sp.csr_array, p: np.ndarray, tau: Fraction) -> bool:
    """|W|'(|W| p) <= tau p in rational numbers."""
    values, weights = [Fraction(v) for v in size.data.tolist()], [Fraction(v) for v in p.tolist()]
    sums = [Fraction(0)] * len(weights)
    starts, columns = size.indptr.tolist(), size.indices.tolist()
    for a, b in itertools.pairwise(starts):
        row = sum((values[k] * weights[columns[k]] for k in range(a, b)), Fraction(0))
        for k in range(a, b):
            sums[columns[k]] += values[k] * row
    return all(total <= tau * weight for total, weight in zip(sums, weights, strict=True))
