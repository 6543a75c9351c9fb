"""One step of a primal-dual interior-point method on the torus LMI: HKM direction, Mehrotra's corrector.

X is held on the pattern of Z only; wherever the direction dX = s mu R - X - (X dZ R + R dZ X) / 2, R = Z^-1,
needs the other blocks those of the completion of largest determinant take their place (Fukuda, Kojima,
Murota, Nakata, "Exploiting sparsity in semidefinite programming via matrix completion I", SIAM J. Optim.
2000). The figures are floating point: proposals and estimates of the gap.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ._lmi import TorusLmi
from ._tridiagonal import Tridiagonal, completed, inverted, is_definite

__all__ = ["TorusPoint", "advanced", "centred", "least_value"]


Limit = Callable[[np.ndarray, np.ndarray, float], float]


@dataclasses.dataclass(frozen=True, eq=False)
class TorusPoint:
    """y = (T, F), X and Z = Z(y) on the pattern; the lengths of the step that led there."""

    y: np.ndarray
    X: Tridiagonal
    Z: Tridiagonal
    lengths: tuple[float, float] = (1.0, 1.0)

    def gap(self) -> float:
        """<X, Z> / F, how far F may be from the optimum where X is feasible."""
        return self.X.inner(self.Z) / float(self.y[-1])


def least_value(lmi: TorusLmi, X: Tridiagonal) -> float:
    """What X shows of L^2 for every choice of multipliers; 0 where nothing.

    F <= sum tr E_0 X E_0' + sum_a T_a <A_a, X> where sum <Y'Y, X> = 1, and T >= 0: an X with <A_a, X> <= 0
    bounds F. One that is nearly so becomes one when nodes before others weigh more: <A_a, X> compares the
    output of a nonlinearity with its input. Channels that this does not help have next to no output: none.
    """
    best = 0.0
    for growth in np.geomspace(1e-9, 1e-1, 17):
        scaled = lmi.weighted(X, 1.0 + growth)
        traces = lmi.traces(scaled)
        silent = traces[:-1] > 0.0
        if silent.any():
            scaled = lmi.weighted(X, 1.0 + growth, silent)
            traces = lmi.traces(scaled)
        size = float(lmi.xp.trace(scaled.own[0][:, : lmi.inputs, : lmi.inputs].real.sum(axis=0)))
        if size > 0.0 and (traces[:-1] <= 0.0).all():
            best = max(best, -float(traces[-1]) / size)
    return best


def centred(lmi: TorusLmi, y: np.ndarray, mu: float) -> TorusPoint | None:
    """X = mu Z(y)^-1; None where Z(y) is not definite."""
    Z = lmi.matrix(y)
    R = inverted(Z, lmi.places, lmi.xp)
    return None if R is None else TorusPoint(y, lmi.cut(R.dense(lmi.xp)).scaled(mu), Z)


def advanced(lmi: TorusLmi, point: TorusPoint, limit: Limit) -> TorusPoint | None:
    """The next point, None where floating point allows none; `limit` may shorten a step along dy."""
    xp = lmi.xp
    R_chain, X_chain = inverted(point.Z, lmi.places, xp), completed(point.X, lmi.places, xp)
    if R_chain is None or X_chain is None:
        return None
    R, X = R_chain.dense(xp), X_chain.dense(xp)
    gram = lmi.gram_of(X, R)
    if not np.isfinite(gram).all():
        return None
    solve = _solver(gram)
    b = np.zeros(lmi.size)
    b[-1] = 1.0
    mu = point.X.inner(point.Z) / lmi.degree
    with np.errstate(over="ignore", invalid="ignore"):
        dy = solve(b)
    if not np.isfinite(dy).all():
        return None
    dZ = lmi.matrix(dy, 0.0)
    moved = dZ.times(R, lmi.places, xp)
    product = X_chain.times(moved)
    dX = lmi.cut(product).plus(point.X).scaled(-1.0)
    primal, dual = _lengths(lmi, point, dX, dZ, 1.0)
    after = point.X.plus(dX, primal).inner(point.Z.plus(dZ, dual)) / lmi.degree
    power = 2 if min(primal, dual) > 0.5 else 1
    share = min(1.0, max((after / mu) ** power, 1e-6))

    full = -0.5 * (product + product.swapaxes(1, 2).conj()) - X
    second = lmi.pattern(full, moved)
    centre = lmi.cut(R).scaled(share * mu)
    dy = solve(b + lmi.traces(centre) - lmi.traces(second))
    if not np.isfinite(dy).all():
        return None
    dZ = lmi.matrix(dy, 0.0)
    product = X_chain.times(dZ.times(R, lmi.places, xp))
    dX = centre.plus(point.X, -1.0).plus(lmi.cut(product), -1.0).plus(second, -1.0)
    primal, dual = (_short(a) for a in _lengths(lmi, point, dX, dZ, 1.05))
    if dy[-1] < 0.0:  # F > 0 is no constraint of the LMI
        dual = min(dual, -0.5 * point.y[-1] / float(dy[-1]))
    dual = limit(point.y, dy, dual)
    y = point.y + dual * dy
    return TorusPoint(y, point.X.plus(dX, primal), lmi.matrix(y), (primal, dual))


def _short(length: float) -> float:
    return min(1.0, (0.6 + 0.35 * min(1.0, length) ** 0.5) * length)


def _lengths(
    lmi: TorusLmi, point: TorusPoint, dX: Tridiagonal, dZ: Tridiagonal, most: float
) -> tuple[float, float]:
    """How far X and Z can go, at most `most`."""
    primal = _longest(lambda a: completed(point.X.plus(dX, a), lmi.places, lmi.xp) is not None, most)
    dual = _longest(lambda a: is_definite(point.Z.plus(dZ, a), lmi.xp), most)
    return primal, dual


def _longest(inside: Callable[[float], bool], most: float) -> float:
    if inside(most):
        return most
    low, high = 0.0, most
    for _ in range(7):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low


def _solver(gram: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Of the scaled Schur complement, with one round of refinement."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    A = scale[:, None] * gram * scale
    shift = 0.0
    while True:
        try:
            factor = scipy.linalg.cho_factor(A + shift * np.eye(len(A)), lower=True)
            break
        except scipy.linalg.LinAlgError:
            shift = max(1e-15, 10.0 * shift)

    def solve(right: np.ndarray) -> np.ndarray:
        x = scipy.linalg.cho_solve(factor, scale * right, check_finite=False)
        x = x + scipy.linalg.cho_solve(factor, scale * right - A @ x, check_finite=False)
        return np.asarray(scale * x)

    return solve
