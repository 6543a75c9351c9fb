"""The finisher: Newton's method on the dual with a barrier, from an interior start.

Every term is a product p_i q_i of two affine functions of z = (d, w) with a multiplier T_i (a neuron's
pieces; a pixel's (d - low)(d - high), whose multiplier is tau), or one such function. With P, Q their
gradients, K = [P Q]'M^-1 [P Q], sigma_i folded into the linear terms, and barrier parameter t, maximise

    F = s(y) + t (log det M + sum log eta + sum log nu + sum log tau).

    dF/dT = p q + t diag(K_pq),   dF/deta = -sigma p + t/eta,   dF/dmu = |d|^2 - eps^2 + t tr (M^-1)_dd,
    -Hessian = J'M^-1 J / 2 + t B,   J = [2d | P diag(q) + Q diag(p) | -sigma P | -sigma Q],
    B_TT = (K_pp o K_qq + K_pq o K_pq')/2,  B_mu,mu = |(M^-1)_dd|_F^2,  B_mu,T = sum_j (M^-1 P)_j (M^-1 Q)_j.

At the centre the primal value is s + t (number of barrier degrees), so that a negative one says that this
relaxation cannot certify the row; that verdict is an estimate, not a proof.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from ._dual import MarginDual

__all__ = ["Centred", "ascent_direction", "newton_ascent"]

_FLOOR = 0.02  # eta and nu start at least here, relative to T |v|
_REDUCTION = 0.15
_BEGIN = 0.3  # of the gap at the start: from the whole gap the path first leads back by a dozen steps


@dataclasses.dataclass(frozen=True, eq=False)
class Centred:
    """The best feasible y; `why` is "target", "optimal", "cannot", "budget" or "broken"."""

    y: np.ndarray
    value: float
    why: str


class _Model:
    """P, Q and constants in coordinates where d is reduced to the range of W_0' for a plain ball."""

    def __init__(self, dual: MarginDual) -> None:
        place, chain = dual.place, dual.place.chain
        self.dual = dual
        w0 = chain.weights[0]
        if dual.boxes == 0 and w0.shape[1] > w0.shape[0]:
            w0 = np.ascontiguousarray(np.linalg.qr(w0.T)[1].T)
        self.inputs = w0.shape[1]
        n, b = dual.neurons, dual.boxes
        self.dim = self.inputs + n
        v = np.zeros((self.dim, n))  # v_i = v[:, i]'z + offset
        weights, starts = [w0, *chain.weights[1:-1]], self.inputs + chain.ends
        for k, w in enumerate(weights):
            rows = slice(0, self.inputs) if k == 0 else slice(starts[k - 1], starts[k])
            v[rows, chain.ends[k] : chain.ends[k + 1]] = w.T
        e = np.zeros((self.dim, n))
        e[self.inputs :] = np.eye(n)
        c = np.concatenate(place.offsets[: chain.hidden])
        pixels = np.zeros((self.dim, b))
        pixels[:b, :b] = np.eye(b)
        low = place.low if place.low is not None else np.zeros(0)
        high = place.high if place.high is not None else np.zeros(0)
        self.p = np.hstack([pixels, e - dual.left * v])
        self.q = np.hstack([pixels, e - dual.right * v])
        self.unit = not b and not dual.left.any()  # P is (0, I)'
        self.cp = np.concatenate([-low, -dual.left * c])
        self.cq = np.concatenate([-high, -dual.right * c])
        self.row = np.zeros(self.dim)
        self.row[self.dim - dual.row.size :] = dual.row
        self.degrees = self.dim + 2 * n + b

    def split(self, y: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray, np.ndarray]:
        """mu, the objective's factor, T (pixels first), eta, nu."""
        head, t, eta, nu = self.dual.parts(y)
        d = self.dual
        mu = 1.0 if d.radius else (float(head[0]) if d.balls else 0.0)
        return (
            mu,
            float(head[-1]) if d.radius else 1.0,
            np.concatenate([head[d.balls : d.balls + d.boxes], t]),
            eta,
            nu,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Point:
    """s(y), the barrier's value and what the derivatives need."""

    value: float
    barrier: float
    factor: np.ndarray
    z: np.ndarray


def _at(model: _Model, y: np.ndarray) -> _Point | None:
    mu, weight, t, eta, nu = model.split(y)
    dual, n = model.dual, model.dual.neurons
    positive = np.concatenate([eta, nu, t[: dual.boxes]])
    if (positive <= 0.0).any() or (dual.balls and mu <= 0.0):
        return None
    if model.unit:
        half = np.zeros((model.dim, model.dim))
        half[model.inputs :] = 0.5 * t[:, None] * model.q.T
    else:
        half = (model.p * (0.5 * t)) @ model.q.T
    m = half + half.T
    index = np.arange(model.inputs)
    m[index, index] += mu
    factor, info = dpotrf(m, lower=1, clean=1)
    if info:
        return None
    lin_p, lin_q = t * model.cq, t * model.cp
    lin_p[dual.boxes :] -= dual.sigma * eta
    lin_q[dual.boxes :] -= dual.sigma * nu
    f = 0.5 * (model.p @ lin_p + model.q @ lin_q + weight * model.row)
    z = -dpotrs(factor, f, lower=1)[0]
    constant = (
        t @ (model.cp * model.cq) - (dual.sigma * eta) @ model.cp[-n:] - (dual.sigma * nu) @ model.cq[-n:]
    )
    if dual.balls:
        assert dual.place.eps is not None
        constant -= mu * dual.place.eps**2
    value = float(weight * dual.offset + constant + f @ z)
    barrier = float(2.0 * np.log(np.diag(factor)).sum() + np.log(positive).sum())
    return _Point(value, barrier, factor, z)


def _derivatives(model: _Model, y: np.ndarray, at: _Point, t_bar: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and negative Hessian (its upper triangle) of F in the order of y."""
    dual, r, n, b = model.dual, model.inputs, model.dual.neurons, model.dual.boxes
    _, _, t, eta, nu = model.split(y)
    inverse, _ = dpotri(at.factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    p, q = model.p.T @ at.z + model.cp, model.q.T @ at.z + model.cq
    mp, mq = inverse[:, r:] if model.unit else inverse @ model.p, inverse @ model.q
    kpp, kpq = (mp[r:], mq[r:]) if model.unit else (model.p.T @ mp, model.p.T @ mq)
    kqq = model.q.T @ mq
    heads, tb = dual.balls, dual.balls + b + (1 if dual.radius else 0)
    size = tb + 3 * n
    ti = np.concatenate([np.arange(heads, heads + b), np.arange(tb, tb + n)])  # where T sits in y
    ei, ni = np.arange(tb + n, tb + 2 * n), np.arange(tb + 2 * n, size)
    s, own = dual.sigma, slice(b, b + n)
    g, h = np.zeros(size), np.zeros((size, size))
    g[ti] = p * q + t_bar * np.diag(kpq)
    g[ti[:b]] += t_bar / t[:b]
    g[ei], g[ni] = -s * p[own] + t_bar / eta, -s * q[own] + t_bar / nu
    # J'M^-1 against P and Q: the column of T_i is q_i P_i + p_i Q_i
    tp = q[:, None] * kpp + p[:, None] * kpq.T
    tq = q[:, None] * kpq + p[:, None] * kqq
    h[np.ix_(ti, ti)] = 0.5 * (tp * q + tq * p) + 0.5 * t_bar * (kpp * kqq + kpq * kpq.T)
    h[np.ix_(ti, ei)], h[np.ix_(ti, ni)] = -0.5 * tp[:, own] * s, -0.5 * tq[:, own] * s
    h[np.ix_(ei, ei)] = 0.5 * (s[:, None] * kpp[own, own] * s)
    h[np.ix_(ni, ni)] = 0.5 * (s[:, None] * kqq[own, own] * s)
    h[np.ix_(ei, ni)] = 0.5 * (s[:, None] * kpq[own, own] * s)
    columns: list[tuple[int, np.ndarray]] = []
    if dual.balls:
        assert dual.place.eps is not None
        d = at.z[:r]
        g[0] = d @ d - dual.place.eps**2 + t_bar * np.trace(inverse[:r, :r])
        columns.append((0, 2.0 * np.concatenate([d, np.zeros(n)])))
    if dual.radius:
        g[tb - 1] = dual.offset + model.row @ at.z
        columns.append((tb - 1, model.row))
    for i, column in columns:
        image = inverse @ column
        jp, jq = model.p.T @ image, model.q.T @ image
        h[i, i] = 0.5 * column @ image
        h[i, ti], h[i, ei], h[i, ni] = 0.5 * (q * jp + p * jq), -0.5 * s * jp[own], -0.5 * s * jq[own]
    if dual.balls:
        h[0, 0] += t_bar * float((inverse[:r, :r] ** 2).sum())
        h[0, ti] += t_bar * np.einsum("ij,ij->j", mp[:r], mq[:r])
    if b and dual.radius:  # the objective's factor sits between tau and T
        h[ti[:b], tb - 1] = h[tb - 1, ti[:b]]
    diagonal = np.concatenate([ei, ni, ti[:b]])
    h[diagonal, diagonal] += t_bar / np.concatenate([eta, nu, t[:b]]) ** 2
    return g, h


def newton_ascent(
    dual: MarginDual,
    start: np.ndarray,
    *,
    target: float,
    iterations: int = 60,
    tolerance: float = 1e-7,
    stop: Callable[[], bool] = lambda: False,
) -> Centred:
    """Follow the central path from `start` until s > target or nothing is left to gain."""
    model = _Model(dual)
    y = _interior(dual, start)
    at = _at(model, y)
    if at is None:
        return Centred(start, -np.inf, "broken")
    t_bar = _BEGIN * max(abs(at.value), 0.05) / model.degrees
    best, best_y = at.value, y
    for _ in range(iterations):
        if best > target or stop():
            return Centred(best_y, best, "target" if best > target else "budget")
        step = ascent_direction(*_derivatives(model, y, at, t_bar))
        if step is None:
            return Centred(best_y, best, "broken")
        direction, slope = step
        moved = _line_search(model, y, at, direction, slope, t_bar)
        if moved is None:
            return Centred(best_y, best, "broken")
        y, at, length = moved
        if at.value > best:
            best, best_y = at.value, y
        decrement = float(np.sqrt(slope / t_bar))
        gap = t_bar * model.degrees
        if decrement < 2.0 and gap < tolerance * (1.0 + abs(at.value)):
            return Centred(best_y, best, "optimal")
        if decrement < 0.8:
            primal = at.value + gap + t_bar * decrement * float(np.sqrt(model.degrees)) / (1.0 - decrement)
            if np.isfinite(target) and primal < target:
                return Centred(best_y, best, "cannot")
            t_bar *= _REDUCTION if decrement < 0.5 else float(np.sqrt(_REDUCTION))
        elif length == 1.0 and decrement < 2.0:
            t_bar *= float(np.sqrt(_REDUCTION))
    return Centred(best_y, best, "target" if best > target else "budget")


def _interior(dual: MarginDual, start: np.ndarray) -> np.ndarray:
    y = start.copy()
    _, t, _, _ = dual.parts(y)
    floor = _FLOOR * t * dual.place.sizes_of_values
    n, h = dual.neurons, dual.head
    y[h + n : h + 2 * n] = np.maximum(y[h + n : h + 2 * n], floor)
    y[h + 2 * n :] = np.maximum(y[h + 2 * n :], floor)
    if dual.boxes:
        tau = y[dual.balls : dual.balls + dual.boxes]
        tau[:] = np.maximum(tau, 1e-3 * (y[0] if dual.balls else float(tau.max())))
    return y


def ascent_direction(g: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(H^-1 g, g'H^-1 g) for the scaled H with a little ridge where it needs one; None where it fails.

    Of H (rows contiguous) the upper triangle is read: for LAPACK, the lower one of its transpose.
    """
    scale = 1.0 / np.sqrt(np.maximum(np.diag(h), 1e-300))
    scaled = scale[:, None] * h * scale
    for ridge in (0.0, 1e-12, 1e-9):
        a = scaled.copy()
        a[np.diag_indices_from(a)] += ridge
        factor, info = dpotrf(a.T, lower=1, overwrite_a=1)
        if info == 0:
            direction = scale * dpotrs(factor, scale * g, lower=1)[0]
            slope = float(g @ direction)
            return (direction, slope) if np.isfinite(slope) and slope > 0.0 else None
    return None


def _line_search(
    model: _Model, y: np.ndarray, at: _Point, direction: np.ndarray, slope: float, t_bar: float
) -> tuple[np.ndarray, _Point, float] | None:
    dual = model.dual
    positive = np.ones(y.size, dtype=bool)
    positive[dual.head : dual.head + dual.neurons] = False
    if dual.radius:
        positive[dual.head - 1] = False
    shrinking = positive & (direction < 0.0)
    length = 1.0
    if shrinking.any():
        length = min(1.0, 0.95 * float((y[shrinking] / -direction[shrinking]).min()))
    here = at.value + t_bar * at.barrier
    while length > 1e-8:
        there = _at(model, y + length * direction)
        if there is not None and there.value + t_bar * there.barrier >= here + 0.05 * length * slope:
            return y + length * direction, there, length
        length *= 0.5
    return None
