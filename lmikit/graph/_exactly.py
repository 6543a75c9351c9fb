"""Products and sums of matrices that are exact in float64, or are not made: None where one might round."""

from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

__all__ = ["exact_image", "exact_product", "exact_sum"]

_NORMAL = 2.0**-1022
Array = TypeVar("Array", np.ndarray, sp.csr_array)


def exact_product(a: sp.csr_array, b: sp.csr_array) -> sp.csr_array | None:
    """a b where no entry is a sum of two products and one factor has powers of two only."""
    if not (_powers(a.data) or _powers(b.data)):
        return None
    count = sp.csr_array(_ones(a) @ _ones(b))
    if count.nnz and count.data.max() > 1.0:
        return None
    product = sp.csr_array(a @ b)
    product.eliminate_zeros()
    return product if product.nnz == count.nnz and _normal(product.data) else None


def exact_image(a: sp.csr_array, x: np.ndarray) -> np.ndarray | None:
    """a x, on the same terms."""
    if not x.any():
        return np.zeros(a.shape[0])
    found = exact_product(a, sp.csr_array(x[:, None]))
    return None if found is None else np.asarray(found.toarray()).ravel()


def exact_sum(a: Array, b: Array) -> Array | None:
    """a + b where no sum of two entries is rounded (Knuth's two-sum leaves nothing)."""
    if sp.issparse(a):
        both = sp.coo_array(_ones(a).multiply(_ones(b)))
        if both.nnz:
            index = both.coords
            if not _sums_exactly(np.asarray(a[index]).ravel(), np.asarray(b[index]).ravel()):
                return None
        total: Any = sp.csr_array(a + b)
        total.eliminate_zeros()
        return total
    return a + b if _sums_exactly(np.asarray(a), np.asarray(b)) else None


def _sums_exactly(a: np.ndarray, b: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        total = a + b
        back = total - a
        rest = (a - (total - back)) + (b - back)
    return bool(np.isfinite(total).all() and (rest == 0.0).all())  # False for NaN


def _ones(a: sp.csr_array) -> sp.csr_array:
    """Where entries are not zero."""
    found = sp.csr_array(
        (np.where(a.data == 0.0, 0.0, 1.0), a.indices.copy(), a.indptr.copy()), shape=a.shape
    )
    found.eliminate_zeros()
    return found


def _powers(values: np.ndarray) -> bool:
    """Whether all are plus or minus powers of two, or zero."""
    return bool(((np.abs(np.frexp(values)[0]) == 0.5) | (values == 0.0)).all())


def _normal(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (np.abs(values) >= _NORMAL)).all())
