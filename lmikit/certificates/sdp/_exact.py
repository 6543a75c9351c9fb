"""Exact statements that both modes share: objectives, convexity, dependent equations."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from ._enclosure import is_psd, is_psd_exactly
from ._records import Drop

__all__ = ["convex", "dependent_fault", "exact_gradient", "exact_objective", "objective"]

_LARGEST_EXACT = 120  # order of H up to which a singular one is decided in rationals


def exact_objective(
    c: np.ndarray, H: sp.csr_array | None, y: np.ndarray, radius: Sequence[Fraction]
) -> Fraction:
    """An upper bound of c'y + 1/2 y'Hy over all points within `radius` of y."""
    point = [Fraction(v) for v in y.tolist()]
    gradient = [Fraction(v) for v in c.tolist()]
    value = sum((g * p for g, p in zip(gradient, point, strict=True)), Fraction(0))
    if H is not None:
        coo = H.tocoo()
        for i, j, v in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True):
            h = Fraction(v)
            value += h * point[i] * point[j] / 2
            gradient[i] += h * point[j]
            value += abs(h) * radius[i] * radius[j] / 2
    return value + sum((abs(g) * r for g, r in zip(gradient, radius, strict=True)), Fraction(0))


def exact_gradient(c: np.ndarray, H: sp.csr_array | None, u: np.ndarray) -> list[Fraction]:
    """c + H u in rationals."""
    result = [Fraction(v) for v in c.tolist()]
    if H is not None and u.any():
        point, coo = [Fraction(v) for v in u.tolist()], H.tocoo()
        for i, j, v in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True):
            result[i] += Fraction(v) * point[j]
    return result


def objective(c: np.ndarray, H: sp.csr_array | None, y: np.ndarray, radius: np.ndarray) -> float:
    """The same, rounded upwards."""
    if not (np.isfinite(y).all() and np.isfinite(radius).all()):
        return math.inf
    exact = exact_objective(c, H, y, [Fraction(r) for r in radius.tolist()])
    value = float(exact)
    return value if Fraction(value) >= exact else math.nextafter(value, math.inf)


def convex(H: sp.csr_array | None) -> str:
    """The empty string where H is proven PSD: by Cholesky, or in rationals where it is singular and small."""
    if H is None:
        return ""
    dense = H.toarray()
    if is_psd(dense, np.zeros_like(dense))[0]:
        return ""
    if dense.shape[0] > _LARGEST_EXACT:
        return "H is not proven positive semidefinite"
    if is_psd_exactly([[Fraction(v) for v in row] for row in dense.tolist()]):
        return ""
    return "H is not positive semidefinite, in exact arithmetic"


def dependent_fault(rows: sp.csr_array, right: Sequence[Fraction | float], drop: Drop) -> str:
    """The empty string where every dropped equation is exactly the combination of kept ones."""
    for i, combination in drop.items():
        if any(j in drop for j in combination):
            return f"equation {i + 1} is dropped for one that is dropped itself"
        total: dict[int, Fraction] = {}
        for j, factor in [(i, Fraction(-1)), *combination.items()]:
            part = slice(rows.indptr[j], rows.indptr[j + 1])
            for k, v in zip(rows.indices[part].tolist(), rows.data[part].tolist(), strict=True):
                total[k] = total.get(k, Fraction(0)) + factor * Fraction(v)
        if any(total.values()):
            return f"equation {i + 1} is not the combination that is given"
        if Fraction(right[i]) != sum((f * Fraction(right[j]) for j, f in combination.items()), Fraction(0)):
            return f"equation {i + 1} contradicts the combination that is given"
    return ""
