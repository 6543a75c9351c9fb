"""Margins of points and multipliers, in floating point; nothing here is a proof."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .._arrays import blas_threads
from .._convert import floats
from .._eigen import least_eigenvalue
from .._errors import InputError

if TYPE_CHECKING:
    from ._sdp import SDP
    from ._solution import Dual

__all__ = [
    "DualResiduals",
    "Residuals",
    "dual_residuals",
    "minimum_eigenvalue",
    "relative_violations",
    "residuals",
    "usual_size",
]

_DENSE = 60  # order up to which dense arithmetic is faster than sparse
_MOST = 200_000  # numbers of P up to which it is dense then
_TINY = 32  # below this order no BLAS uses more than one thread
_SMALL = 200  # below this order, more BLAS threads only cost time


def minimum_eigenvalue(matrix: Any) -> float:
    """The smallest eigenvalue of a symmetric matrix, +inf for one of order 0."""
    n = int(matrix.shape[0])
    if n == 0:
        return np.inf
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    if n < _TINY:
        return least_eigenvalue(dense)
    with blas_threads(1 if n < _SMALL else None):
        return least_eigenvalue(dense)


def _cone_margin(x: np.ndarray) -> float:
    """First entry less the norm of the rest."""
    return float(x[0] - np.linalg.norm(x[1:])) if x.size else np.inf


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Margins of a point y: negative means violated by that much.

    lmis: smallest eigenvalue of each F_k(y); socs: first entry less the norm of the rest;
    inequality: min of h - G y; equality: max of |A y - b|. Empty parts give inf, or 0 for the equality.
    """

    objective: float
    lmis: tuple[float, ...]
    socs: tuple[float, ...]
    inequality: float
    equality: float

    @property
    def violation(self) -> float:
        """The largest violation, 0 for a feasible point."""
        return max(0.0, self.equality, *(-margin for margin in (*self.lmis, *self.socs, self.inequality)))

    def __str__(self) -> str:
        worst = min((margin, k) for k, margin in enumerate(self.lmis)) if self.lmis else None
        parts = [f"objective {self.objective:.10g}", f"violation {self.violation:.2e}"]
        if worst is not None:
            parts.append(f"smallest eigenvalue {worst[0]:.2e} (block {worst[1]} of {len(self.lmis)})")
        return ", ".join(parts)


def residuals(sdp: "SDP", y: np.ndarray) -> Residuals:
    """The margins of y (m,) in every constraint, each block by its smallest eigenvalue."""
    y = floats("y", y)
    if y.shape != (sdp.variables,):
        raise InputError(f"y has shape {y.shape}; expected ({sdp.variables},).")
    return Residuals(
        objective=sdp.objective(y),
        lmis=tuple(minimum_eigenvalue(lmi.evaluate(y)) for lmi in sdp.lmis),
        socs=tuple(_cone_margin(soc.C @ y + soc.d) for soc in sdp.socs),
        inequality=float(np.min(sdp.h - sdp.G @ y, initial=np.inf)),
        equality=float(np.max(np.abs(sdp.A @ y - sdp.b), initial=0.0)),
    )


@dataclasses.dataclass(frozen=True)
class DualResiduals:
    """Margins of multipliers and the gap to a point.

    stationarity: max of |c + H y - sum F_k*(X_k) + G'z + A'v - sum C_j's_j|; lmis: smallest eigenvalue
    of each X_k (nan where X is known on a pattern only); gap: c'y + 1/2 y'Hy less the dual objective.
    """

    objective: float
    gap: float
    stationarity: float
    lmis: tuple[float, ...]
    socs: tuple[float, ...]
    inequality: float

    @property
    def violation(self) -> float:
        """The largest violation of dual feasibility that can be told, 0 for feasible multipliers."""
        margins = (margin for margin in (*self.lmis, *self.socs, self.inequality) if margin == margin)
        return max(0.0, self.stationarity, *(-margin for margin in margins))

    def __str__(self) -> str:
        return f"dual objective {self.objective:.10g}, gap {self.gap:.2e}, violation {self.violation:.2e}"


def dual_residuals(sdp: "SDP", y: np.ndarray, dual: "Dual") -> DualResiduals:
    """The margins of multipliers, in the Lagrangian of `Dual`, and the duality gap at y (m,)."""
    sizes = [lmi.size for lmi in sdp.lmis]
    if [X.shape for X in dual.X] != [(n, n) for n in sizes]:
        raise InputError(f"dual.X has shapes {[X.shape for X in dual.X]}; expected square ones of {sizes}.")
    curvature = np.zeros(sdp.variables) if sdp.H is None else sdp.H @ y
    gradient = sdp.c + curvature + sdp.G.T @ dual.z + sdp.A.T @ dual.v
    value = -0.5 * float(y @ curvature) - float(sdp.h @ dual.z) - float(sdp.b @ dual.v)
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        gradient = gradient - lmi.adjoint(X)
        coo = lmi.F0.tocoo()
        value -= float(coo.data @ X[coo.row, coo.col])
    for soc, s in zip(sdp.socs, dual.s, strict=True):
        gradient = gradient - soc.C.T @ s
        value -= float(soc.d @ s)
    return DualResiduals(
        objective=value,
        gap=sdp.objective(y) - value,
        stationarity=float(np.max(np.abs(gradient), initial=0.0)),
        lmis=tuple(minimum_eigenvalue(X) if dual.X_complete else np.nan for X in dual.X),
        socs=tuple(_cone_margin(s) for s in dual.s),
        inequality=float(np.min(dual.z, initial=np.inf)),
    )


def relative_violations(sdp: "SDP", y: np.ndarray, *, recession: bool = False) -> tuple[float, ...]:
    """How far y (m,) violates each constraint, relative to the sizes of its own terms; 0 where it holds.

    One number per LMI, cone, inequality and equality. An LMI F(y) is measured as D^-1/2 F(y) D^-1/2 by its
    smallest eigenvalue, D_ii = |F0_ii| + sum_k |F_k,ii| |y_k|, so that neither the unit of y, nor that of a
    constraint, nor that of a row of an LMI has a say. Where the constant is 0, entries of y count with the
    size that is usual in this problem. With `recession` F0, h, b, d are left out: y is a direction.
    """
    y = np.asarray(y, dtype=np.float64)
    usual = float(np.abs(y).max(initial=0.0))
    usual = usual if recession else max(usual, usual_size(sdp))
    scale = _Scale(np.abs(y), np.maximum(np.abs(y), usual), 0.0 if recession else 1.0)
    values = [_lmi_violation(lmi, y, scale) for lmi in sdp.lmis]
    for soc in sdp.socs:
        d = scale.constants * soc.d
        size = float(np.linalg.norm(scale.of(np.full(1, np.linalg.norm(d)), abs(soc.C))))
        values.append(_ratio(-_cone_margin(soc.C @ y + d), size))
    for matrix, vector, equality in ((sdp.G, sdp.h, False), (sdp.A, sdp.b, True)):
        if not vector.size:
            continue
        excess = matrix @ y - scale.constants * vector
        sizes = scale.of(scale.constants * np.abs(vector), abs(matrix))
        values += [_ratio(e, s) for e, s in zip(np.abs(excess) if equality else excess, sizes, strict=True)]
    return tuple(values)


def usual_size(sdp: "SDP") -> float:
    """The largest y at which the constants of a constraint balance its coefficients; 1 without constants."""
    ratios = []
    pairs = [(lmi.F0, lmi.E) for lmi in sdp.lmis] + [(soc.d, soc.C) for soc in sdp.socs]
    for constant, linear in [*pairs, (sdp.h, sdp.G), (sdp.b, sdp.A)]:
        values = constant.data if sp.issparse(constant) else constant
        top, bottom = float(np.abs(values).max(initial=0.0)), float(np.abs(linear.data).max(initial=0.0))
        if top > 0 and bottom > 0:
            ratios.append(top / bottom)
    return max(ratios, default=1.0)


@dataclasses.dataclass(frozen=True)
class _Scale:
    y: np.ndarray  # absolute values
    wide: np.ndarray  # at least the usual size
    constants: float  # 0 for directions

    def of(self, constant: np.ndarray, linear: Any) -> np.ndarray:
        """|constant| + |linear| |y|, row by row; with the usual size of y where the constant is 0."""
        return np.asarray(np.where(constant > 0, constant + linear @ self.y, linear @ self.wide))


def _ratio(excess: float, scale: float) -> float:
    if not excess > 0:
        return 0.0 if excess == excess else np.inf
    return float(excess / scale) if scale > 0 else np.inf


def _lmi_violation(lmi: Any, y: np.ndarray, scale: _Scale) -> float:
    if lmi.size <= _DENSE and lmi.size * lmi.P.shape[1] <= _MOST:
        return _small_violation(lmi, y, scale)
    F = lmi.evaluate(y) if scale.constants else lmi.evaluate(y) - lmi.F0
    if not F.nnz:
        return 0.0
    diagonal = sp.csr_array(abs(lmi.P).multiply(abs(lmi.Q))) @ abs(lmi.E)
    sizes = scale.of(scale.constants * np.abs(lmi.F0.diagonal()), diagonal)
    rows = abs(F).max(axis=1).toarray().ravel()
    sizes = np.where(sizes > 0, sizes, np.where(rows > 0, rows, 1.0))
    D = sp.diags_array(1.0 / np.sqrt(sizes))
    return max(0.0, -minimum_eigenvalue(D @ F @ D))


def _small_violation(lmi: Any, y: np.ndarray, scale: _Scale) -> float:
    """`_lmi_violation` in dense arithmetic."""
    F0, terms = lmi.F0.toarray() * scale.constants, _DenseTerms(lmi)
    F = F0 + terms.matrix(lmi.E @ y)
    rows = np.abs(F).max(axis=1, initial=0.0)
    if not rows.any():
        return 0.0
    size, E = np.abs(F0.diagonal()), lmi.E
    absolute, columns = np.abs(E.data), np.repeat(np.arange(E.shape[1]), np.diff(E.indptr))
    near, wide = (
        terms.diagonal(np.bincount(E.indices, absolute * v[columns], minlength=E.shape[0]))
        for v in (scale.y, scale.wide)
    )
    sizes = np.where(size > 0, size + near, wide)
    sizes = np.where(sizes > 0, sizes, np.where(rows > 0, rows, 1.0))
    d = 1.0 / np.sqrt(sizes)
    return max(0.0, -minimum_eigenvalue(F * d * d[:, None]))


class _DenseTerms:
    """P and Q of a small LMI as positions, where every term is an entry, or as dense arrays."""

    def __init__(self, lmi: Any) -> None:
        self.n, self.entries = lmi.size, lmi.has_entries
        if self.entries:
            self.i, self.j = lmi.P.indices.astype(np.int64), lmi.Q.indices
            self.weight = lmi.P.data * lmi.Q.data
        else:
            self.P, self.Q = lmi.P.toarray(), lmi.Q.toarray()

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """sym(P diag(x) Q')."""
        if self.entries:
            n = self.n
            half = np.bincount(self.i * n + self.j, self.weight * x, minlength=n * n).reshape(n, n)
        else:
            half = (self.P * x) @ self.Q.T
        return np.asarray(0.5 * (half + half.T))

    def diagonal(self, x: np.ndarray) -> np.ndarray:
        """sum over terms of |P_it Q_it| x_t for each row i."""
        if self.entries:
            on = self.i == self.j
            return np.bincount(self.i[on], (np.abs(self.weight) * x)[on], minlength=self.n)
        return np.asarray(np.abs(self.P * self.Q) @ x)
