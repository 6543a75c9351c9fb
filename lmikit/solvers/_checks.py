"""What lmikit computes itself about a solver's answer: dual objective and rays.

Dual objective:  g = -sum_k <X_k, F0_k> - h'z - b'v - sum_j d_j's_j - 1/2 y'H y,  with y a point
at which the Lagrangian is stationary.

A dual ray proves infeasibility: X_k PSD, z >= 0, s_j in the second-order cone,

    -sum_k F_k*(X_k) + G'z + A'v - sum_j C_j's_j = 0,   sum_k <X_k, F0_k> + h'z + b'v + sum_j d_j's_j < 0.

A primal ray proves that the objective decreases without end from any feasible point (that
there is one is not claimed):  c'y < 0,  H y = 0,  F_k(y) - F0_k PSD,  C_j y in the cone,
G y <= 0,  A y = 0. The checks are numerical: each number is compared with the terms that it is the
sum of, with the tolerance `RAY_TOLERANCE`.
"""

import dataclasses

import numpy as np
import scipy.linalg

from .._eigen import least_eigenvalue
from ..lmi import SDP, Dual
from ..lmi._residuals import relative_violations, usual_size
from ._refine import absolute_gradient, absolute_offset, projected, refined

__all__ = [
    "RAY_TOLERANCE",
    "bound_slack",
    "checked_dual_ray",
    "checked_primal_ray",
    "dual_objective",
    "gap_scale",
    "offset_and_gradient",
    "solve_constant",
]

RAY_TOLERANCE = 1e-6
_MOST_REFINED = 1500  # variables: larger rays are taken as they are
_NOTHING = 1e-13  # of a gradient, beside an offset of -1: no y below 1e13 is feasible


def _inner(matrix: object, X: np.ndarray) -> float:
    coo = matrix.tocoo()  # type: ignore[attr-defined]
    return float(coo.data @ X[coo.row, coo.col])


def _offset(sdp: SDP, dual: Dual) -> float:
    """sum_k <X_k, F0_k> + h'z + b'v + sum_j d_j's_j."""
    value = float(sdp.h @ dual.z) + float(sdp.b @ dual.v)
    value += sum(_inner(lmi.F0, X) for lmi, X in zip(sdp.lmis, dual.X, strict=True))
    return value + sum(float(soc.d @ s) for soc, s in zip(sdp.socs, dual.s, strict=True))


def _gradient(sdp: SDP, dual: Dual) -> np.ndarray:
    """-sum_k F_k*(X_k) + G'z + A'v - sum_j C_j's_j, shape (m,)."""
    value = sdp.G.T @ dual.z + sdp.A.T @ dual.v
    for lmi, X in zip(sdp.lmis, dual.X, strict=True):
        value = value - lmi.adjoint(X)
    for soc, s in zip(sdp.socs, dual.s, strict=True):
        value = value - soc.C.T @ s
    return np.asarray(value)


def offset_and_gradient(sdp: SDP, dual: Dual) -> tuple[float, np.ndarray]:
    """Both sums of this module's first lines, the linear one first."""
    return _offset(sdp, dual), _gradient(sdp, dual)


def dual_objective(sdp: SDP, y: np.ndarray, dual: Dual) -> float:
    """The dual objective of this module's first lines, in floating point; not a proven bound."""
    quadratic = 0.0 if sdp.H is None else 0.5 * float(y @ (sdp.H @ y))
    return -_offset(sdp, dual) - quadratic


def bound_slack(sdp: SDP, y: np.ndarray, dual: Dual) -> float:
    """How far the dual objective may be from a lower bound near y: |r|'|y|, relative to `gap_scale`.

    r is the gradient of the Lagrangian at y; for r = 0 the dual objective is a lower bound, else
    only for points y' with r'y' >= r'y.
    """
    gradient = sdp.c + _gradient(sdp, dual) + (0.0 if sdp.H is None else sdp.H @ y)
    return float(np.abs(gradient) @ np.abs(y)) / gap_scale(sdp, y)


def _min_eigenvalue(X: np.ndarray) -> float:
    if X.shape[0] == 0:
        return np.inf
    return least_eigenvalue(X)


def _soc_margin(point: np.ndarray) -> float:
    return np.inf if point.size == 0 else float(point[0] - np.linalg.norm(point[1:]))


def gap_scale(sdp: SDP, y: np.ndarray) -> float:
    """What gaps are relative to: the objective and the sizes of its terms, at y and at usual points."""
    terms = float(np.abs(sdp.c) @ np.maximum(np.abs(y), usual_size(sdp)))
    return max(abs(sdp.objective(y)), terms) or 1.0


def checked_dual_ray(sdp: SDP, ray: Dual, tolerance: float = RAY_TOLERANCE) -> Dual | None:
    """The ray, refined and scaled to offset -1, if it proves infeasibility up to `tolerance`, else None.

    Each component of the gradient must be small beside the terms that cancel in it: that a component is
    small beside the others says only that no y of moderate size is feasible, and there are problems all
    of whose feasible y are large.
    """
    value = _offset(sdp, ray)
    if not np.isfinite(value) or value >= 0:
        return None
    ray = projected(_divided(ray, -value))
    candidates = [ray]
    if 0 < sdp.variables <= _MOST_REFINED:
        candidates.insert(0, refined(sdp, ray))
    return next((found for one in candidates if (found := _accepted(sdp, one, tolerance)) is not None), None)


def _divided(ray: Dual, by: float) -> Dual:
    X, s = tuple(X / by for X in ray.X), tuple(part / by for part in ray.s)
    return dataclasses.replace(ray, X=X, z=ray.z / by, v=ray.v / by, s=s)


def _accepted(sdp: SDP, ray: Dual, tolerance: float) -> Dual | None:
    value = _offset(sdp, ray)
    if not np.isfinite(value) or value >= -1e-10 * absolute_offset(sdp, ray):
        return None
    ray = _divided(ray, -value)
    gradient = np.abs(_gradient(sdp, ray))
    if not (gradient <= np.maximum(tolerance * absolute_gradient(sdp, ray), _NOTHING)).all():
        return None
    if not all(_nearly_psd(X, tolerance) for X in ray.X):
        return None
    margins: list[tuple[float, float]] = []
    margins += [(_soc_margin(part), np.abs(part).max(initial=0.0)) for part in ray.s]
    margins += [(float(ray.z.min(initial=np.inf)), ray.z.max(initial=0.0))]
    return ray if all(margin >= -tolerance * size for margin, size in margins) else None


def _nearly_psd(X: np.ndarray, tolerance: float) -> bool:
    """Smallest eigenvalue with the diagonal scaled to 1; rows of a negligible diagonal are negligible."""
    size, diagonal = float(np.abs(X).max(initial=0.0)), X.diagonal()
    if not size:
        return True
    small = diagonal < 1e-12 * size
    if float(np.abs(X[small]).max(initial=0.0)) > 1e-9 * size:
        return False
    d = 1.0 / np.sqrt(diagonal[~small])
    return _min_eigenvalue(X[np.ix_(~small, ~small)] * d * d[:, None]) >= -tolerance


def checked_primal_ray(sdp: SDP, y: np.ndarray, tolerance: float = RAY_TOLERANCE) -> np.ndarray | None:
    """The ray scaled to c'y = -1 if it proves unboundedness up to `tolerance`, else None."""
    value = float(sdp.c @ y)
    if not np.isfinite(y).all() or not np.isfinite(value) or value >= 0:
        return None
    y = y / -value
    worst = max(relative_violations(sdp, y, recession=True), default=0.0)
    if sdp.H is not None:
        curved, size = np.abs(sdp.H @ y), abs(sdp.H) @ np.full(y.size, np.abs(y).max(initial=0.0))
        worst = max(worst, float((curved / np.where(size > 0, size, 1.0)).max(initial=0.0)))
    return y if worst <= tolerance else None


def solve_constant(sdp: SDP, tolerance: float) -> Dual | None:
    """For an SDP without variables: None if its constant constraints hold, else a dual ray.

    Each is allowed `tolerance` relative to the size of its own data.
    """
    X = [np.zeros((lmi.size, lmi.size)) for lmi in sdp.lmis]
    z, v = np.zeros(sdp.h.size), np.zeros(sdp.b.size)
    s = [np.zeros(soc.d.size) for soc in sdp.socs]
    for k, lmi in enumerate(sdp.lmis):
        values, vectors = scipy.linalg.eigh(lmi.F0.toarray()) if lmi.size else (np.ones(1), np.zeros((1, 1)))
        if values[0] < -tolerance * max(1.0, abs(values[-1])):
            X[k] = np.outer(vectors[:, 0], vectors[:, 0]) / -values[0]
            return Dual(tuple(X), z, v, tuple(s))
    for j, soc in enumerate(sdp.socs):
        margin, length = _soc_margin(soc.d), float(np.linalg.norm(soc.d[1:]))
        if margin < -tolerance * max(1.0, length):
            s[j][0] = 1.0
            s[j][1:] = -soc.d[1:] / length if length else 0.0
            s[j] /= -margin
            return Dual(tuple(X), z, v, tuple(s))
    for i in np.flatnonzero(sdp.h < -tolerance):
        z[i] = -1 / sdp.h[i]
        return Dual(tuple(X), z, v, tuple(s))
    for i in np.flatnonzero(np.abs(sdp.b) > tolerance):
        v[i] = -1 / sdp.b[i]
        return Dual(tuple(X), z, v, tuple(s))
    return None
