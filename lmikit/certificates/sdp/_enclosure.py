"""Enclosures in float64: dot products, positive semidefiniteness, exact solutions of A(x) = d.

Dot products are sums of exact products (Dekker's splitting: x y = p + e without rounding) by
`math.fsum`, which rounds once. Solutions are enclosed as in Rump, Verification methods: rigorous
results using floating-point arithmetic, Acta Numerica 2010, section 10: with M = T diag(g) T' exactly,
R any matrix, a = ||I - R M||_inf < 1, the matrix M is regular and w = M^-1 d satisfies

    |w_i| <= q_i + a/(1 - a) max q,   q = |R d|.
"""

import math
from fractions import Fraction

import numpy as np
import scipy.sparse as sp

from .._verified_cholesky import BlockTridiagonal, verified_cholesky

__all__ = [
    "Projection",
    "column_dots",
    "gamma",
    "in_second_order_cone",
    "is_psd",
    "is_psd_exactly",
    "row_dots",
]

_U = 2.0**-53
SAFE = 1.0 + 1e-6  # covers the rounding of sums of bounds with fewer than 1e9 terms
_LARGEST_SINGULAR = 24  # order up to which a singular matrix without radii is decided in rationals
_LARGEST_ORDER = 9000  # of M: six dense matrices of that order are 4 GB


def gamma(n: float) -> float:
    """n u / (1 - n u), with room for the rounding of the bound itself."""
    return (n + 2.0) * _U / (1.0 - (n + 2.0) * _U) * SAFE


def _two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p + e = a b exactly for |a|, |b| in [2^-400, 2^400] or 0 (Dekker 1971)."""
    p = a * b
    factor = 134217729.0  # 2^27 + 1
    t, s = factor * a, factor * b
    ah, bh = t - (t - a), s - (s - b)
    al, bl = a - ah, b - bh
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _in_range(values: np.ndarray) -> bool:
    """Whether `_two_product` is exact for these factors."""
    size = np.abs(values[values != 0])
    return bool(
        np.isfinite(size).all() and (not size.size or (size.min() > 2.0**-400 and size.max() < 2.0**400))
    )


def row_dots(
    matrix: sp.csr_array, x: np.ndarray, extra: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(v, e): |matrix @ x + extra - v| <= e exactly; e = 0 where v is exact, inf out of range."""
    if not (_in_range(x) and _in_range(matrix.data)):
        return np.zeros(matrix.shape[0]), np.full(matrix.shape[0], np.inf)
    p, e = _two_product(matrix.data, x[matrix.indices])
    products, errors, ends = p.tolist(), e.tolist(), matrix.indptr.tolist()
    start = [0.0] * matrix.shape[0] if extra is None else extra.tolist()
    values, rest = np.zeros(matrix.shape[0]), np.zeros(matrix.shape[0])
    for k, (i, j, first) in enumerate(zip(ends[:-1], ends[1:], start, strict=True)):
        terms = [*products[i:j], *errors[i:j], first]
        values[k] = value = math.fsum(terms)
        terms.append(-value)
        rest[k] = math.fsum(terms)  # 0 where nothing was rounded
    return values, np.abs(rest) * SAFE


def column_dots(matrix: sp.csr_array, y: np.ndarray, extra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for extra + matrix'y."""
    return row_dots(sp.csr_array(matrix.T), y, extra)


def is_psd(mid: np.ndarray, rad: np.ndarray) -> tuple[bool, bool]:
    """(PSD, positive definite): proven of every symmetric matrix within rad of mid.

    Rows that are exactly zero are left out for the first statement and refute the second.
    """
    alive = (mid != 0).any(axis=0) | (rad != 0).any(axis=0)
    strict = bool(alive.all())
    if not strict:
        keep = np.ix_(alive, alive)
        mid, rad = mid[keep], rad[keep]
    if mid.shape[0] == 0:
        return True, strict
    ok = bool(np.isfinite(mid).all() and np.isfinite(rad).all())
    if not ok:
        return False, False
    if verified_cholesky(BlockTridiagonal.dense(mid, rad)).ok:
        return True, strict
    if mid.shape[0] > _LARGEST_SINGULAR or rad.any():
        return False, False
    return is_psd_exactly([[Fraction(v) for v in row] for row in mid.tolist()]), False


def is_psd_exactly(matrix: list[list[Fraction]]) -> bool:
    """Symmetric elimination in rationals: a negative pivot, or a zero one with a nonzero row, refutes."""
    a = [row[:] for row in matrix]
    for k in range(len(a)):
        pivot = a[k][k]
        if pivot < 0 or (pivot == 0 and any(a[k][k + 1 :])):
            return False
        if pivot == 0:
            continue
        for i in range(k + 1, len(a)):
            if a[i][k]:
                factor = a[i][k] / pivot
                for j in range(k, len(a)):
                    a[i][j] -= factor * a[k][j]
    return True


def in_second_order_cone(mid: np.ndarray, rad: np.ndarray) -> tuple[bool, bool]:
    """(in the cone, in its interior): proven in rationals of every point within rad of mid."""
    if not (np.isfinite(mid).all() and np.isfinite(rad).all()):
        return False, False
    if mid.size == 0:
        return True, True
    first = Fraction(float(mid[0])) - Fraction(float(rad[0]))
    rest = sum(
        (
            (abs(Fraction(a)) + Fraction(r)) ** 2
            for a, r in zip(mid[1:].tolist(), rad[1:].tolist(), strict=True)
        ),
        Fraction(0),
    )
    return first >= 0 and first**2 >= rest, first > 0 and first**2 > rest


class Projection:
    """Encloses the solution x = diag(w) T'u of least norm of  T diag(v) x = d  for small d.

    T (m, n) with radii T_rad; w >= 0 the metric, v > 0 weights, both powers of two or zero.
    `alpha` < 1 proves that M = T diag(v w) T' is regular, so that T has full row rank.
    """

    def __init__(self, T: sp.csr_array, T_rad: sp.csr_array | None, metric: np.ndarray, weight: np.ndarray):
        self.T, self.T_rad, self.metric = T, T_rad, metric
        self.alpha, self.fault = math.inf, ""
        m = T.shape[0]
        if m > _LARGEST_ORDER:
            self.fault = f"{m} equations need a dense matrix of that order; the limit is {_LARGEST_ORDER}"
            return
        g = metric * weight
        M, dM = self._gram(g)
        diagonal = np.diagonal(M)
        if not (np.isfinite(M).all() and (diagonal > 0).all()):
            self.fault = "an equation has no variable left"
            return
        e = -np.frexp(diagonal)[1] // 2
        self.scale = np.ldexp(1.0, e)
        M, dM = (a * self.scale[:, None] * self.scale for a in (M, dM))
        try:
            self.R = np.linalg.inv(M)
        except np.linalg.LinAlgError:
            self.fault = "A A* is singular in floating point"
            return
        self.aR = np.abs(self.R)
        defect = np.abs(np.eye(m) - self.R @ M) * SAFE + gamma(m + 2) * (self.aR @ np.abs(M))
        alpha = (defect + self.aR @ dM).sum(axis=1, initial=0.0) * SAFE
        self.alpha = float(alpha.max(initial=0.0)) if np.isfinite(alpha).all() else math.inf
        if not self.alpha < 1.0:
            self.fault = f"the regularity of A A* is not proven (||I - R A A*|| <= {self.alpha:.1e})"

    def _gram(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        T, absT = self.T, abs(self.T)
        M = ((T * g) @ T.T).toarray()
        size = ((absT * g) @ absT.T).toarray()
        terms = float(np.diff(T.indptr).max(initial=0))
        dM = gamma(terms + 1) * size
        if self.T_rad is not None:
            one = ((absT * g) @ self.T_rad.T).toarray()
            dM = dM + (one + one.T + ((self.T_rad * g) @ self.T_rad.T).toarray()) * SAFE
        return (M + M.T) / 2, (dM + dM.T) / 2 * SAFE + _U * SAFE * size

    def step(self, d: np.ndarray) -> np.ndarray:
        """x in floating point, no enclosure."""
        return np.asarray(self.metric * (self.T.T @ (self.scale * (self.R @ (self.scale * d)))))

    def radius(self, d: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Radii of x for every right-hand side within e of d."""
        scaled, error = d * self.scale, e * self.scale
        q = np.abs(self.R @ scaled) * SAFE + gamma(d.size + 2) * (self.aR @ np.abs(scaled))
        q = (q + self.aR @ error) * SAFE
        u = (q + self.alpha / (1.0 - self.alpha) * q.max(initial=0.0)) * SAFE * self.scale
        radius = abs(self.T).T @ u
        if self.T_rad is not None:
            radius = radius + self.T_rad.T @ u
        # underflows above cost less than 2^-900: |R| < 2^54, metric |T| scale < 2^101, metric 0 or >= 2^-200
        touched = np.diff(sp.csc_array(self.T).indptr) > 0
        if self.T_rad is not None:
            touched |= np.diff(sp.csc_array(self.T_rad).indptr) > 0
        return np.asarray(self.metric * (radius * SAFE + np.where(touched, 2.0**-700, 0.0)))
