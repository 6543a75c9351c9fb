"""The two sides of a proof in float64 with radii: a feasible y near y, and multipliers near X.

PRIMAL. y is moved to the exact solution of A y = b nearest to it (enclosed); F(y), h - G y and the
cones are enclosed over that and proven; the objective is rounded upwards in rationals.
DUAL. Weak duality: if T diag(weight) x = c + H u and x in the dual cone, then for every feasible y

    c'y + 1/2 y'Hy >= -sum weight_j f_j x_j - 1/2 u'H u        (H PSD).

x is moved to an exact solution of the equation (enclosed), x in the cone is proven over that. Or it stays,
and the defect d costs sum |d_i| B_i where |y_i| <= B_i.
"""

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ._data import Cone, ConeLayout
from ._enclosure import SAFE, Projection, column_dots, in_second_order_cone, is_psd, row_dots
from ._exact import convex, dependent_fault, exact_gradient, objective
from ._records import Drop, DualSide, PrimalSide

__all__ = ["DualResult", "PrimalResult", "dual_side", "metric", "primal_side"]


@dataclasses.dataclass(frozen=True)
class PrimalResult:
    """`ok`: proven; `strict`: in the interior of every cone; `value` is above the objective."""

    ok: bool
    strict: bool = False
    value: float = math.inf
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class DualResult:
    """`ok`: proven; `value` is below the optimum (for a ray: below its value)."""

    ok: bool
    value: float = -math.inf
    reason: str = ""


def _kept(size: int, drop: Drop) -> np.ndarray:
    keep = np.ones(size, dtype=bool)
    keep[list(drop)] = False
    return keep


def primal_side(cone: Cone, side: PrimalSide) -> PrimalResult:
    """Prove that a feasible y is near `side.y`."""
    y = side.y
    moved = _onto_equalities(cone, side)
    if isinstance(moved, str):
        return PrimalResult(False, reason=moved)
    mid, rad = column_dots(cone.T, y, cone.f)
    rad = rad + cone.f_rad + abs(cone.T).T @ moved * SAFE
    if cone.T_rad is not None:
        rad = rad + cone.T_rad.T @ (np.abs(y) + moved) * SAFE
    rad = rad * SAFE
    fault, strict = _in_cone(cone, mid, rad)
    if fault:
        return PrimalResult(False, reason=fault)
    return PrimalResult(True, strict, objective(cone.c, cone.H, y, moved), "")


def _onto_equalities(cone: Cone, side: PrimalSide) -> np.ndarray | str:
    """Radii of y (m,): A y = b has a solution within them of `side.y`."""
    part = cone.layout.zero_slice
    if part.start == part.stop:
        return np.zeros(cone.c.size)
    A, b = -sp.csr_array(cone.T[:, part].T), cone.f[part]
    fault = dependent_fault(A, b.tolist(), side.drop)
    if fault:
        return f"equalities: {fault}"
    keep = _kept(b.size, side.drop)
    A, b = sp.csr_array(A[keep]), b[keep]
    d, e = row_dots(-A, side.y, b)
    if not (d.any() or e.any()):  # y satisfies them exactly
        return np.zeros(cone.c.size)
    ones = np.ones(cone.c.size)
    projection = Projection(A, None, ones, ones)
    if projection.fault:
        return f"equalities: {projection.fault}"
    return projection.radius(d, e)


def _in_cone(cone: Cone, mid: np.ndarray, rad: np.ndarray) -> tuple[str, bool]:
    """("", strict) where every point within rad of mid is proven to lie in K; rows = 0 are not looked at."""
    shape, strict = cone.layout, True
    line = shape.linear_slice
    low = mid[line] - rad[line]  # one rounding, which keeps the sign
    if not (low >= 0).all():
        return f"row {int(np.argmin(low)) + 1} of the inequalities is not proven nonnegative", False
    strict &= bool((low > 0).all())
    for k, part in enumerate(shape.soc_slices()):
        inside, interior = in_second_order_cone(mid[part], rad[part])
        if not inside:
            return f"second-order cone {k + 1} is not proven", False
        strict &= interior
    for k, _ in enumerate(shape.psd):
        inside, interior = is_psd(shape.matrix(mid, k), shape.matrix(rad, k))
        if not inside:
            return f"block {k + 1} is not proven positive semidefinite", False
        strict &= interior
    return "", strict


def dual_side(
    cone: Cone, side: DualSide, bounds: np.ndarray | None = None, cache: dict[Any, Projection] | None = None
) -> DualResult:
    """Prove a lower bound from multipliers near those of `side`; `cone` is on the side's faces.

    `cache` keeps the enclosures of A A* of one cone and one set of dropped equations by their metric.
    """
    shape = cone.layout
    x = shape.pack(side.X, [side.z, *side.s, side.v])
    fault = convex(cone.H)
    if fault:
        return DualResult(False, reason=fault)
    u = np.zeros(cone.c.size) if cone.H is None or side.u is None else side.u
    right, right_error = (cone.c, np.zeros(u.size)) if cone.H is None else row_dots(cone.H, u, cone.c)
    weighted = cone.weight * x
    d, e = row_dots(-cone.T, weighted, right)
    e = e + right_error
    if cone.T_rad is not None:
        e = e + cone.T_rad @ np.abs(weighted) * SAFE
    e = e * SAFE
    paid = Fraction(0)
    if side.metric == "paid":
        if bounds is None:
            return DualResult(False, reason="the defect is to be paid, but no bounds on y are given")
        rad = np.zeros_like(x)
        if not (np.isfinite(d).all() and np.isfinite(e).all()):
            return DualResult(False, reason="the multipliers are out of range")
        for defect, error, most in zip(np.abs(d).tolist(), e.tolist(), bounds.tolist(), strict=True):
            paid += (Fraction(defect) + Fraction(error)) * Fraction(most)
    else:
        radii = _onto_stationarity(cone, side, x, u, d, e, {} if cache is None else cache)
        if isinstance(radii, str):
            return DualResult(False, reason=radii)
        rad = radii
    fault, _ = _in_cone(cone, x, rad)
    if fault:
        return DualResult(False, reason=f"multipliers: {fault}")
    return _value(cone, x, rad, u, paid)


def _onto_stationarity(
    cone: Cone,
    side: DualSide,
    x: np.ndarray,
    u: np.ndarray,
    d: np.ndarray,
    e: np.ndarray,
    cache: dict[Any, Projection],
) -> np.ndarray | str:
    if not (d.any() or e.any()):  # stationary as it is, exactly
        return np.zeros_like(x)
    keep = _kept(cone.c.size, side.drop)
    if side.drop:
        if cone.T_rad is not None:
            return "stationarity: equations are dropped, but the data have radii"
        fault = dependent_fault(cone.T, exact_gradient(cone.c, cone.H, u), side.drop)
        if fault:
            return f"stationarity: {fault}"
    g = metric(cone.layout, x, side.metric)
    key = (side.metric, g.tobytes())
    if key not in cache:
        T_rad = None if cone.T_rad is None else sp.csr_array(cone.T_rad[keep])
        cache[key] = Projection(sp.csr_array(cone.T[keep]), T_rad, g, cone.weight)
    projection = cache[key]
    if projection.fault:
        return f"stationarity: {projection.fault}"
    return projection.radius(d[keep], e[keep])


def metric(shape: ConeLayout, x: np.ndarray, name: str) -> np.ndarray:
    """What a correction may change: 1, or about the size of x in its own scale; 0 where x is pinned to 0.

    Pinned are zero rows of a block, zeros among z, cones that are zero: they stay exactly zero.
    """
    if name not in ("plain", "scaled"):
        raise InputError(f"metric is {name!r}; expected 'plain', 'scaled' or 'paid'.")
    result = np.ones(shape.total)
    for k, part in enumerate(shape.psd_slices()):
        block = shape.matrix(x, k)
        result[part] = shape.pack([_block_metric(block, name)], [])
    line = shape.linear_slice
    result[line] = _power(x[line] ** 2, name)
    for part in shape.soc_slices():
        if part.stop > part.start:
            result[part] = _power(np.full(part.stop - part.start, x[part.start] ** 2), name)
    return result


def _power(size: np.ndarray, name: str) -> np.ndarray:
    """1 or the power of two near `size`, 0 where it is 0."""
    if name == "plain":
        return np.where(size > 0, 1.0, 0.0)
    return np.where(size > 0, np.ldexp(1.0, np.clip(np.frexp(size)[1], -200, 200)), 0.0)


def _block_metric(block: np.ndarray, name: str) -> np.ndarray:
    alive = (block != 0).any(axis=0)
    root = np.where(alive, _power(np.abs(np.diagonal(block)) + (0.0 if name == "scaled" else 1.0), name), 0.0)
    return np.outer(root, root)


def _value(cone: Cone, x: np.ndarray, rad: np.ndarray, u: np.ndarray, paid: Fraction) -> DualResult:
    weighted = cone.weight * x
    row = sp.csr_array(-cone.f[None, :])
    value, error = row_dots(row, weighted)
    slack = float((cone.weight * (np.abs(cone.f) * rad + cone.f_rad * (np.abs(x) + rad))).sum()) * SAFE
    if not math.isfinite(float(value[0]) + float(error[0]) + slack):
        return DualResult(False, reason="the multipliers are out of range")
    exact = Fraction(float(value[0])) - Fraction(float(error[0])) - Fraction(slack) - paid
    if cone.H is not None:
        zero = np.zeros_like(cone.c)
        exact -= Fraction(objective(zero, cone.H, u, zero))
    low = float(exact)
    return DualResult(True, low if Fraction(low) <= exact else math.nextafter(low, -math.inf))
