"""Rays of infeasibility brought to rounding level, and the sizes that their residuals are compared with.

A correction in the metric of the ray itself keeps it in the cones and its small eigenvalues small:

    X <- X + X F(w) X,   z <- z - z^2 (G w),   s <- s + Q_s C w,   v <- v - theta A w,

with Q_s = 2 s s' - (s'J s) J, and w such that the gradient -F*(X) + G'z + A'v - C's vanishes. A ray that only
comes near to one (no y of moderate size is feasible, but some y is) does not survive it.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..lmi import LMI, SDP, Dual
from ..lmi._svec import SvecOrder, smat, svec, svec_pairs, to_svec

__all__ = ["absolute_gradient", "absolute_offset", "projected", "refined"]

_ROUNDS = 3
_DENSE = 2_000_000  # numbers of the F_i of one LMI up to which they are kept dense


def projected(ray: Dual) -> Dual:
    """The nearest multipliers in the cones."""
    X = tuple(_psd_part(X) for X in ray.X)
    return dataclasses.replace(ray, X=X, z=np.maximum(ray.z, 0.0), s=tuple(_cone_part(s) for s in ray.s))


def _psd_part(X: np.ndarray) -> np.ndarray:
    if not X.size or not np.isfinite(X).all():
        return X
    values, vectors = scipy.linalg.eigh(X)
    if values[0] >= 0:
        return X
    keep = values > 0
    part = (vectors[:, keep] * values[keep]) @ vectors[:, keep].T
    return np.asarray(0.5 * (part + part.T))


def _cone_part(s: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(s[1:])) if s.size else 0.0
    if not s.size or s[0] >= length:
        return s
    if s[0] <= -length:
        return np.zeros_like(s)
    half = 0.5 * (s[0] + length)
    return np.r_[half, half * s[1:] / length]


def absolute_gradient(sdp: SDP, dual: Dual) -> np.ndarray:
    """The gradient with every term replaced by its absolute value, shape (m,)."""
    value = abs(sdp.G).T @ np.abs(dual.z) + abs(sdp.A).T @ np.abs(dual.v)
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        value = value + _absolute_adjoint(lmi, np.abs(X))
    for soc, s in zip(sdp.socs, dual.s, strict=True):
        value = value + abs(soc.C).T @ np.abs(s)
    return np.asarray(value)


def _absolute_adjoint(lmi: LMI, X: np.ndarray) -> np.ndarray:
    """`LMI.adjoint` with every coefficient replaced by its absolute value."""
    if lmi.has_entries:
        weights = np.abs(lmi.P.data * lmi.Q.data) * X[lmi.P.indices, lmi.Q.indices]
    else:
        weights = np.asarray(abs(lmi.P).multiply(X @ abs(lmi.Q)).sum(axis=0)).ravel()
    return np.asarray(abs(lmi.E).T @ weights)


def absolute_offset(sdp: SDP, dual: Dual) -> float:
    """The offset with every term replaced by its absolute value."""
    value = float(np.abs(sdp.h) @ np.abs(dual.z)) + float(np.abs(sdp.b) @ np.abs(dual.v))
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        entries = lmi.F0.tocoo()
        value += float(np.abs(entries.data) @ np.abs(X[entries.row, entries.col]))
    return value + sum(float(np.abs(soc.d) @ np.abs(s)) for soc, s in zip(sdp.socs, dual.s, strict=True))


def refined(sdp: SDP, ray: Dual) -> Dual:
    """The ray after a few corrections; the same ray where they lead nowhere."""
    columns = [_Columns.of(lmi) for lmi in sdp.lmis]
    best, least = ray, _size(sdp, columns, ray)
    for _ in range(_ROUNDS):
        ray = _corrected(sdp, columns, ray)
        size = _size(sdp, columns, ray)
        if not size < least:
            break
        best, least = ray, size
    return best


def _gradient(sdp: SDP, columns: list["_Columns"], ray: Dual) -> np.ndarray:
    value = sdp.G.T @ ray.z + sdp.A.T @ ray.v
    for F, X in zip(columns, ray.X, strict=True):
        value = value - F.adjoint(X)
    for soc, s in zip(sdp.socs, ray.s, strict=True):
        value = value - soc.C.T @ s
    return np.asarray(value)


def _size(sdp: SDP, columns: list["_Columns"], ray: Dual) -> float:
    return float(np.abs(_gradient(sdp, columns, ray)).max(initial=0.0))


def _corrected(sdp: SDP, columns: list["_Columns"], ray: Dual) -> Dual:
    m = sdp.variables
    M = (sdp.G.T @ (ray.z[:, None] ** 2 * sdp.G)).toarray() if ray.z.size else np.zeros((m, m))
    theta = 1.0
    for F, X in zip(columns, ray.X, strict=True):
        F.add_squares(M, X)
    for soc, cone in zip(sdp.socs, ray.s, strict=True):
        C = soc.C.toarray()
        M += C.T @ _quadratic(cone, C) if cone.size else 0.0
    if ray.v.size:
        theta = max(1.0, float(np.abs(M).max(initial=0.0)))
        M += theta * (sdp.A.T @ sdp.A).toarray()
    g = _gradient(sdp, columns, ray)
    scale = np.sqrt(np.where(M.diagonal() > 0, M.diagonal(), 1.0))
    values, vectors = scipy.linalg.eigh(M / scale / scale[:, None])
    keep = values > 1e-13 * values[-1]
    w = vectors[:, keep] @ ((vectors[:, keep].T @ (g / scale)) / values[keep]) / scale
    blocks: list[np.ndarray] = []
    for F, old in zip(columns, ray.X, strict=True):
        change = old @ F.matrix(w) @ old if old.size else old
        blocks.append(old + 0.5 * (change + change.T))
    s = tuple(
        old + _quadratic(old, (soc.C @ w)[:, None])[:, 0] if old.size else old
        for soc, old in zip(sdp.socs, ray.s, strict=True)
    )
    z = ray.z - ray.z**2 * (sdp.G @ w)
    return dataclasses.replace(ray, X=tuple(blocks), z=z, v=ray.v - theta * (sdp.A @ w), s=s)


def _quadratic(s: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Q_s x for the columns of x."""
    determinant = s[0] ** 2 - float(s[1:] @ s[1:])
    flipped = np.concatenate([x[:1], -x[1:]])
    return np.asarray(2.0 * np.outer(s, s @ x) - determinant * flipped)


@dataclasses.dataclass(frozen=True, eq=False)
class _Columns:
    """The F_i of one LMI: dense where they are small, else as columns svec(F_i)."""

    order: int
    sparse: sp.csc_array
    dense: np.ndarray | None  # (m, n, n)

    @classmethod
    def of(cls, lmi: LMI) -> "_Columns":
        F, n = to_svec(lmi, SvecOrder.LOWER)[1], lmi.size
        if not 0 < F.shape[1] * n * n <= _DENSE:
            return cls(n, F, None)
        i, j = svec_pairs(n, SvecOrder.LOWER)
        dense = np.zeros((F.shape[1], n, n))
        dense[:, i, j] = dense[:, j, i] = F.T.toarray() / np.where(i == j, 1.0, SvecOrder.LOWER.scale)
        return cls(n, F, dense)

    def adjoint(self, X: np.ndarray) -> np.ndarray:
        """<F_i, X> for each i."""
        if self.dense is None:
            return np.asarray(self.sparse.T @ svec(X, SvecOrder.LOWER))
        return np.asarray(self.dense.reshape(len(self.dense), -1) @ X.ravel())

    def matrix(self, w: np.ndarray) -> np.ndarray:
        """sum_i w_i F_i."""
        if self.dense is None:
            return smat(self.sparse @ w, SvecOrder.LOWER) if self.order else np.zeros((0, 0))
        return np.asarray(np.tensordot(w, self.dense, 1))

    def add_squares(self, M: np.ndarray, X: np.ndarray) -> None:
        """M_ij += <F_i, X F_j X>."""
        if self.dense is not None:
            m = len(self.dense)
            M += self.dense.reshape(m, -1) @ (X @ self.dense @ X).reshape(m, -1).T
            return
        F = self.sparse
        used = np.flatnonzero(np.diff(F.indptr))
        if not used.size:
            return
        each = (smat(F[:, [i]].toarray().ravel(), SvecOrder.LOWER) for i in used)
        half = np.array([svec(X @ matrix @ X, SvecOrder.LOWER) for matrix in each])
        M[:, used] += F.T @ half.T
