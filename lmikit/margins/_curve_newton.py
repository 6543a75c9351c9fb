"""Newton's method with a barrier on the dual with arbitrary quadratic terms per neuron.

With the notation of `_curve_model`, y = (multipliers | head), head = mu on a ball or, for radii, the
weight of the objective (then mu = 1, eps = 0), s(y) = min_z L and M = sum y_i N_i (+ mu I on d), maximise

    F = s(y) + t (log det M + sum log y_i),   inequalities only in the sum,
    dF/dy_i = -g_i(z) + t tr(M^-1 N_i) + t / y_i,
    -Hessian = J'M^-1 J / 2 + t tr(M^-1 N_i M^-1 N_j) + t diag(1 / y_i**2),   J_i = -grad g_i(z).

At the centre the primal value is s + t (degree of the barrier): an estimate of what the terms can give.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from ._curve_model import CurveTerms
from ._newton import ascent_direction

__all__ = ["CurvePoint", "CurveProblem", "climb_curves"]

_REDUCTION = 0.15
_KEEP = 1.0 - 2.0**-30  # room for the roundings of a proof, as in `_dual`


@dataclasses.dataclass(frozen=True, eq=False)
class CurvePoint:
    """y with s(y), its barrier, M's factor and the minimiser."""

    y: np.ndarray
    value: float
    barrier: float
    factor: np.ndarray
    z: np.ndarray


class CurveProblem:
    """Terms, the row of the objective, and the ball; `radius` makes the radius form."""

    def __init__(self, terms: CurveTerms, row: np.ndarray, offset: float, radius: bool = False) -> None:
        self.terms, self.radius = terms, radius
        self.v, self.e = terms.anchor.matrices
        anchor = terms.anchor
        ball = anchor.region.ball
        self.eps = 0.0 if ball is None or radius else ball.radius
        self.ball = ball is not None
        self.heads = 1 if self.ball else 0
        self.count = len(terms.neuron)
        self.bounded = np.concatenate([~terms.free, np.full(self.heads, not radius)])
        self.set_row(row, offset)
        self.degrees = self.v.shape[0] + int(self.bounded.sum())

    def set_row(self, row: np.ndarray, offset: float) -> None:
        """Change the objective to row . f + offset."""
        anchor = self.terms.anchor
        last = anchor.chain.slopes.weights[-1]
        self.start = float(row @ anchor.outputs + offset)
        self.row = np.zeros(self.v.shape[0])
        self.row[self.row.size - last.shape[1] :] = last.T @ row

    def split(self, y: np.ndarray) -> tuple[float, float]:
        """mu and the objective's weight."""
        if self.radius:
            return 1.0, float(y[-1])
        return (float(y[-1]) if self.ball else 0.0), 1.0

    def quadratic(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """M, f without the objective, and the constant without it."""
        mu, _ = self.split(y)
        c = self.terms.summed(y[: self.count])
        half = (self.v * (0.5 * c[:, 1])) @ self.e.T
        m = (self.v * c[:, 0]) @ self.v.T + half + half.T + (self.e * c[:, 2]) @ self.e.T
        index = np.arange(self.terms.anchor.inputs)
        m[index, index] += mu
        m[np.diag_indices_from(m)] *= _KEEP
        return m, 0.5 * (self.v @ c[:, 3] + self.e @ c[:, 4]), float(c[:, 5].sum()) - mu * self.eps**2

    def at(self, y: np.ndarray) -> CurvePoint | None:
        """s(y) and what goes with it; None where y is not inside."""
        positive = y[self.bounded]
        if not (positive > 0.0).all():
            return None
        m, f, constant = self.quadratic(y)
        factor, info = dpotrf(m, lower=1, clean=1)
        if info:
            return None
        _, weight = self.split(y)
        f = f + 0.5 * weight * self.row
        z = -dpotrs(factor, f, lower=1)[0]
        value = constant + weight * self.start + float(f @ z)
        barrier = float(2.0 * np.log(np.diag(factor)).sum() + np.log(positive).sum())
        return CurvePoint(y, value, barrier, factor, z) if np.isfinite(value + barrier) else None

    def derivatives(self, at: CurvePoint, t_bar: float) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and negative Hessian of F."""
        terms, v, e, n = self.terms, self.v, self.e, self.count
        own, q = terms.neuron, terms.numbers
        inverse, _ = dpotri(at.factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        h, u = (v.T @ at.z)[own], (e.T @ at.z)[own]
        mv, me = inverse @ v, inverse @ e
        kvv, kvw, kww = v.T @ mv, v.T @ me, e.T @ me
        value = (q[:, 0] * h + q[:, 1] * u + q[:, 3]) * h + (q[:, 2] * u + q[:, 4]) * u + q[:, 5]
        trace = q[:, 0] * np.diag(kvv)[own] + q[:, 1] * np.diag(kvw)[own] + q[:, 2] * np.diag(kww)[own]
        g, hess = np.zeros(n + self.heads), np.zeros((n + self.heads, n + self.heads))
        g[:n] = -value - t_bar * trace
        p, r, s = (k[np.ix_(own, own)] for k in (kvv, kvw, kww))
        jv, ju = 2.0 * q[:, 0] * h + q[:, 1] * u + q[:, 3], q[:, 1] * h + 2.0 * q[:, 2] * u + q[:, 4]
        cross = jv[:, None] * r * ju
        hess[:n, :n] = 0.5 * (jv[:, None] * p * jv + cross + cross.T + ju[:, None] * s * ju)
        hess[:n, :n] += t_bar * _traces(q, p, r, s)
        if self.heads:
            self._head(at, t_bar, inverse, (mv, me), (jv, ju), g, hess)
        index = np.flatnonzero(self.bounded)
        g[index] += t_bar / at.y[index]
        hess[index, index] += t_bar / at.y[index] ** 2
        return g, hess

    def _head(
        self,
        at: CurvePoint,
        t_bar: float,
        inverse: np.ndarray,
        images: tuple[np.ndarray, np.ndarray],
        jacobian: tuple[np.ndarray, np.ndarray],
        g: np.ndarray,
        hess: np.ndarray,
    ) -> None:
        """The entries of mu, or of the objective's weight."""
        own, q, d = self.terms.neuron, self.terms.numbers, self.terms.anchor.inputs
        column = np.array(self.row)
        if self.radius:
            g[-1] = self.start + self.row @ at.z
        else:
            g[-1] = at.z[:d] @ at.z[:d] - self.eps**2 + t_bar * np.trace(inverse[:d, :d])
            column = np.concatenate([2.0 * at.z[:d], np.zeros(len(at.z) - d)])
        image = inverse @ column
        cross = -0.5 * (jacobian[0] * (self.v.T @ image)[own] + jacobian[1] * (self.e.T @ image)[own])
        hess[-1, -1] = 0.5 * column @ image
        if not self.radius:
            mv, me = images[0][:d], images[1][:d]
            vv, vw, ww = (np.einsum("ij,ij->j", a, b)[own] for a, b in ((mv, mv), (mv, me), (me, me)))
            cross -= t_bar * (q[:, 0] * vv + q[:, 1] * vw + q[:, 2] * ww)
            hess[-1, -1] += t_bar * float((inverse[:d, :d] ** 2).sum())
        hess[-1, :-1] = hess[:-1, -1] = cross

    def rate(self, y: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best value of every row with the multipliers t y (see `MarginDual.scaled_rows`), and 1 / t."""
        anchor = self.terms.anchor
        last = anchor.chain.slopes.weights[-1]
        q = np.zeros((self.v.shape[0], len(rows)))
        q[len(q) - last.shape[1] :] = last.T @ rows.T
        return self.rate_vectors(y, q, rows @ anchor.outputs + offsets)

    def rate_vectors(self, y: np.ndarray, q: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`rate` for objectives starts + q'z, q (dim, R)."""
        m, f, constant = self.quadratic(y)
        factor, info = dpotrf(m, lower=1, clean=1)
        if info:
            return np.full(len(starts), -np.inf), np.ones(len(starts))
        zq, zf = dpotrs(factor, q, lower=1)[0], dpotrs(factor, f, lower=1)[0]
        alpha = 0.25 * np.einsum("ij,ij->j", q, zq)
        beta = float(f @ zf) - constant
        linear = starts - q.T @ zf
        if self.radius:
            factors = np.maximum(linear, 1e-300) / np.maximum(2.0 * alpha, 1e-300)
            return factors * (linear - factors * alpha) - beta, factors
        if not (np.isfinite(beta) and beta > 0.0):
            return np.full(len(starts), -np.inf), np.ones(len(starts))
        return linear - 2.0 * np.sqrt(alpha * beta), np.sqrt(beta / np.maximum(alpha, 1e-300))


def _traces(q: np.ndarray, p: np.ndarray, r: np.ndarray, s: np.ndarray) -> np.ndarray:
    """tr(S_i K_ij S_j K_ij'), S = [[vv, vw/2], [vw/2, ww]], K_ij = [[p, r], [r', s]], by pairs of terms."""
    a, b, c = q[:, 0], 0.5 * q[:, 1], q[:, 2]
    rt = r.T
    total = a[:, None] * (p * p * a + 2.0 * p * r * b + r * r * c)
    total += 2.0 * b[:, None] * (p * rt * a + (p * s + r * rt) * b + r * s * c)
    total += c[:, None] * (rt * rt * a + 2.0 * rt * s * b + s * s * c)
    return np.asarray(total)


def climb_curves(
    problem: CurveProblem,
    y: np.ndarray,
    *,
    target: float,
    iterations: int,
    tolerance: float = 1e-6,
    stop: Callable[[], bool] = lambda: False,
) -> CurvePoint | None:
    """Follow the central path until s > target or nothing is left to gain; None where y is not inside."""
    at = problem.at(y)
    if at is None:
        return None
    t_bar = max(abs(at.value), 0.05) / problem.degrees
    best = at
    for _ in range(iterations):
        if best.value > target or stop():
            break
        step = ascent_direction(*problem.derivatives(at, t_bar))
        moved = None if step is None else _line_search(problem, at, step[0], step[1], t_bar)
        if step is None or moved is None:
            break
        at, length = moved
        best = at if at.value > best.value else best
        decrement, gap = float(np.sqrt(step[1] / t_bar)), t_bar * problem.degrees
        if decrement < 2.0 and gap < tolerance * (1.0 + abs(at.value)):
            break
        if decrement < 0.8:
            primal = at.value + gap + t_bar * decrement * problem.degrees**0.5 / (1.0 - decrement)
            if np.isfinite(target) and primal < target:
                break
            t_bar *= _REDUCTION if decrement < 0.5 else _REDUCTION**0.5
        elif length == 1.0 and decrement < 2.0:
            t_bar *= _REDUCTION**0.5
    return best


def _line_search(
    problem: CurveProblem, at: CurvePoint, direction: np.ndarray, slope: float, t_bar: float
) -> tuple[CurvePoint, float] | None:
    shrinking = problem.bounded & (direction < 0.0)
    length = 1.0
    if shrinking.any():
        length = min(1.0, 0.95 * float((at.y[shrinking] / -direction[shrinking]).min()))
    here = at.value + t_bar * at.barrier
    while length > 1e-8:
        there = problem.at(at.y + length * direction)
        if there is not None and there.value + t_bar * there.barrier >= here + 0.05 * length * slope:
            return there, length
        length *= 0.5
    return None
