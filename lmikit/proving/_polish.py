"""From a pair of interior points to a narrower one: primal-dual steps that keep both feasible.

The direction of Helmberg, Rendl, Vanderbei, Wolkowicz; Kojima, Shindoh, Hara; Monteiro:

    S = F(y),  X + dX = s m S^-1 - sym(X F*(dy) S^-1),  A*(X + dX) = c + H (y + dy),  A (y + dy) = b.

Floating point; a solver stops at its tolerance, these steps go on to where rounding stops them.
"""

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from ..certificates.sdp._data import Cone, ConeLayout
from ._correction import Corrector

__all__ = ["polish"]

_CENTRING = 0.15
_FRACTION = 0.9


def polish(
    cone: Cone, corrector: Corrector, y: np.ndarray, x: np.ndarray, steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (y, x), each nearer to the optimum; ends early where a step fails. Without cones only."""
    shape = cone.layout
    if sum(shape.soc) or not corrector.affordable():
        return
    for _ in range(steps):
        moved = _step(cone, corrector, y, x)
        if moved is None:
            return
        y, x = moved
        right = cone.c if cone.H is None else cone.c + cone.H @ y
        x = corrector(x, right, steps=1)  # what rounding took from stationarity
        yield y, x


def _inverse(S: np.ndarray) -> np.ndarray | None:
    factor, info = scipy.linalg.lapack.dpotrf(S, lower=1)
    if info != 0:
        return None
    inverse, info = scipy.linalg.lapack.dpotri(factor, lower=1)
    return None if info != 0 else np.tril(inverse) + np.tril(inverse, -1).T


def _step(
    cone: Cone, corrector: Corrector, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    shape, line, zero = cone.layout, cone.layout.linear_slice, cone.layout.zero_slice
    s = cone.f + cone.T.T @ y
    blocks = range(len(shape.psd))
    X = [shape.matrix(x, k) for k in blocks]
    inverses = [_inverse(shape.matrix(s, k)) for k in blocks]
    if any(inverse is None for inverse in inverses) or not (s[line] > 0).all() or not (x[line] > 0).all():
        return None
    inverse = [S for S in inverses if S is not None]
    order = sum(shape.psd) + shape.linear
    mu = float((cone.weight * x)[: zero.start] @ s[: zero.start]) / max(order, 1)
    if not mu > 0:
        return None
    target = _CENTRING * mu
    images = corrector.images(X, inverse)
    images[line] = (x[line] / s[line])[:, None] * corrector.T.T[line].toarray()
    centre = shape.pack(inverse, [1.0 / s[line], np.zeros(zero.stop - zero.start)])
    dy, v = _newton(cone, corrector, y, s, x, images, target * centre)
    if dy is None:
        return None
    moved = target * centre - images @ dy[corrector.keep] - x
    moved[zero] = v
    ds = cone.T.T @ dy
    primal, dual = (_longest(shape, a, b) for a, b in ((s, ds), (x, moved)))
    if max(primal, dual) < 1e-3:
        return None
    return y + primal * dy, x + dual * moved


def _newton(
    cone: Cone,
    corrector: Corrector,
    y: np.ndarray,
    s: np.ndarray,
    x: np.ndarray,
    images: np.ndarray,
    centre: np.ndarray,
) -> tuple[np.ndarray | None, np.ndarray]:
    """dy (m,) and dv of the Newton system, symmetric with the equalities as a border."""
    keep, zero = corrector.keep, cone.layout.zero_slice
    M = corrector.T @ (cone.weight[:, None] * images)
    gradient = cone.c.copy()
    if cone.H is not None:
        H = cone.H[keep][:, keep].toarray()
        M = M + H
        gradient = gradient + cone.H @ y
    B = corrector.T[:, zero].toarray()  # (kept, q): minus A'
    rest = cone.weight * centre
    rest[zero] = x[zero]
    right = np.concatenate([(cone.T @ rest - gradient)[keep], -s[zero]])
    q = B.shape[1]
    whole = np.block([[(M + M.T) / 2, -B], [-B.T, np.zeros((q, q))]])
    right[keep.sum() :] = s[zero]
    diagonal = np.abs(np.diagonal(whole))
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    try:
        solved = scale * np.linalg.solve(whole * scale[:, None] * scale, scale * right)
    except np.linalg.LinAlgError:
        return None, np.zeros(q)
    if not np.isfinite(solved).all():
        return None, np.zeros(q)
    dy = np.zeros(keep.size)
    dy[keep] = solved[: keep.sum()]
    return dy, solved[keep.sum() :]


def _longest(shape: ConeLayout, point: np.ndarray, direction: np.ndarray) -> float:
    """A fraction of the way to the boundary, at most 1."""
    line = shape.linear_slice
    ratio = -direction[line] / point[line]
    worst = float(ratio.max(initial=0.0))
    for k, n in enumerate(shape.psd):
        if n:
            try:
                back, here = shape.matrix(-direction, k), shape.matrix(point, k)
                values = scipy.linalg.eigh(back, here, eigvals_only=True)
            except np.linalg.LinAlgError:
                return 0.0
            worst = max(worst, float(values[-1]))
    return 1.0 if worst <= _FRACTION else _FRACTION / worst
