"""Multipliers of nearly optimal gates, corrected where the matrix of LipSDP is nearly singular.

`_gate_dual` gives multipliers t with M(rho, t) V = 0 up to what the ascent has left, so M has a few
eigenvalues just below 0. Raising all of t until they are gone costs as many times their size as there
are layers. The subspace Q of the least eigenvalues, V among them, asks for much less: with tau_a the
relative change of t_a and delta that of rho, all matrices scaled to a unit diagonal of multipliers,

    min delta + 1/2 sum_a u_a tau_a^2   subject to   H + delta E + sum_a tau_a G_a >= 0,
    H = Q'M Q,  E = Q_0'Q_0,  G_a = t_a Q'A_a Q     (one step of a spectral bundle method; compare
    Helmberg and Rendl, SIAM J. Optim. 2000).

Its dual, max -<H, S> - 1/2 sum_a <G_a, S>^2 / u_a over S >= 0 with <E, S> = 1, has a few hundred unknowns,
the solution tau_a = <G_a, S> / u_a, and S close to the coordinates of V V' in Q. Eigenvectors v_j just above
those of Q add the curvature of a Schur complement, <S, sum_j H_j H_j' / lambda_j> with
H_j = sum_a tau_a t_a Q'A_a v_j (Overton and Womersley, SIAM J. Matrix Anal. Appl. 1995): of low rank, so that
B = G (u + K'K)^-1 G' takes the place of the sum. u_a = t_a r_a^2 |u_a|^2 of the gates, times a constant,
stands for the rest of the spectrum. What comes out is a proposal: a factorisation of the whole matrix
decides, and Q S Q' gives gates.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg

from .._arrays import ArrayModule

__all__ = ["corrected"]

_SPARE, _MOST = 4, 24  # columns of H beyond the rank of V, and in all
_CURVED, _MOST_CURVED = 40, 100  # further eigenvectors (or one a layer), whose curvature is taken as it is
_RANK = 1e-3  # relative singular values of V that count
_SHARE = 1e-5  # relative eigenvalues of S that count in the curvature
_ROUNDS = 3  # of inverse iteration
_MOST_SHIFT = 0.1
_LEAST_WEIGHT = 1e-3  # of u_a, relative to the mean of its layer
_FIRST_MU, _LAST_MU, _MU_STEP = 1e-1, 1e-3, 0.1  # of the barrier, relative to the least eigenvalue
_MOST_STEPS = 60
_MOST_CHANGE, _MOST_DELTA = 1.0, 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class _UnitMultipliers:
    """M(rho, t) with unit multipliers: rows of layer k times t_k^-1/2, the input's times rho^-1/2."""

    am: ArrayModule
    weights: list[Any]
    centre: list[Any]
    product: list[Any]  # alpha beta

    def factored(self, shift: float) -> "_BlockFactor | None":
        """The block Cholesky factor of M + shift I; None where it is not positive definite."""
        am, xp, w = self.am, self.am.xp, self.weights
        factors, across = [], []
        taken = None
        for k, following in enumerate(w):
            size = following.shape[1]
            block = xp.zeros((size, size)) if taken is None else am.less_gram(xp.zeros((size, size)), taken)
            block = xp.tril(block) + xp.tril(block, -1).T
            if k + 1 == len(w):
                block = block - am.product(following.T, following)
            elif bool((self.product[k] != 0.0).any()):
                block = block + am.product(following.T, self.product[k] * following)
            block.ravel()[:: size + 1] += 1.0 + shift
            factor = am.cholesky(block)
            if factor is None:
                return None
            factors.append(factor)
            if k + 1 < len(w):
                taken = -am.solve_triangular(factor, xp.ascontiguousarray((self.centre[k] * following).T))
                across.append(taken)
        return _BlockFactor(am, w, factors, across)

    def rows(self, q: Any) -> tuple[np.ndarray, "_FormRows", np.ndarray]:
        """(input, neurons, outputs) of the columns q, as rows, in host memory."""
        am, parts = self.am, _parts(q, self.weights)
        v = [am.to_numpy(am.product(w, x)).T for w, x in zip(self.weights, parts, strict=True)]
        centre, product = (am.to_numpy(am.xp.concatenate(x))[:, 0] for x in (self.centre, self.product))
        w, inputs = am.to_numpy(q[self.weights[0].shape[1] :]).T, np.concatenate(v[:-1], axis=1)
        w = np.ascontiguousarray(w)
        rows = _FormRows(w, inputs, w - centre * inputs, product * inputs - centre * w)
        return am.to_numpy(parts[0]).T, rows, v[-1]


@dataclasses.dataclass(frozen=True, eq=False)
class _BlockFactor:
    """M + shift I = F F': blocks F_kk, and F_kk^-1 times the block above the diagonal."""

    am: ArrayModule
    weights: list[Any]
    factors: list[Any]
    across: list[Any]

    def solve(self, b: Any) -> Any:
        """(F F')^-1 b."""
        am, z = self.am, _parts(b, self.weights)
        for k, factor in enumerate(self.factors):
            rest = z[k] if k == 0 else z[k] - am.product(self.across[k - 1].T, z[k - 1])
            z[k] = am.solve_triangular(factor, rest)
        for k in range(len(z) - 1, -1, -1):
            rest = z[k] if k + 1 == len(z) else z[k] - am.product(self.across[k], z[k + 1])
            z[k] = am.solve_triangular(self.factors[k], rest, transposed=True)
        return am.xp.concatenate(z)


def _parts(x: Any, weights: Sequence[Any]) -> list[Any]:
    """The rows of x by layers, the input first."""
    ends = np.cumsum([w.shape[1] for w in weights])
    return [x[int(a) : int(b)] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class Corrected:
    """d = rho / t and rho after the step, and columns V whose V V' is X = Q S Q'."""

    d: list[np.ndarray]
    rho: float
    values: list[Any]


def corrected(
    am: ArrayModule,
    weights: Sequence[Any],
    slopes: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    values: Sequence[Any],
    rho: float,
    d: Sequence[np.ndarray],
    shift: float,
    curvature: float,
) -> "Corrected | None":
    """Better d = rho / t than those of the gates, V = `values` (input and neurons, one array per layer).

    `slopes`: centres and radii; `shift`: minus the least eigenvalue of M, roughly. None where M is far
    from positive semidefinite.
    """
    xp, (centre, radius) = am.xp, slopes
    roots = [xp.ones((weights[0].shape[1], 1)), *(am.asarray(1.0 / np.sqrt(x))[:, None] for x in d)]
    left = [*roots[1:], rho**-0.5]
    scaled = _UnitMultipliers(
        am,
        [after * w / before[:, 0] for after, w, before in zip(left, weights, roots, strict=True)],
        [am.asarray(c)[:, None] for c in centre],
        [am.asarray(c * c - r * r)[:, None] for c, r in zip(centre, radius, strict=True)],
    )
    shift *= 2.0  # inverse iteration with a shift at an eigenvalue would find that one alone
    factor = scaled.factored(shift)
    while factor is None and shift < _MOST_SHIFT:
        shift *= 4.0
        factor = scaled.factored(shift)
    if factor is None:
        return None
    columns = xp.concatenate([root * v for root, v in zip(roots, values, strict=True)])
    try:
        with np.errstate(all="ignore"):
            q, order = _nearly_singular(am, factor, columns, min(max(len(d), _CURVED), _MOST_CURVED))
            tau, delta, S = _correction(scaled, q, columns, np.concatenate(radius), order, curvature)
            size, turn = np.linalg.eigh(S)
    except np.linalg.LinAlgError:  # no digits are left, or there were none
        return None
    if not (np.isfinite(tau).all() and np.isfinite(delta) and size[-1] > 0.0):
        return None
    ends = np.cumsum([x.size for x in d])[:-1]
    changes = np.split(np.clip(tau - delta, -_MOST_CHANGE, _MOST_CHANGE), ends)
    kept = size > _SHARE**2 * size[-1]
    fresh = _parts(am.product(q, am.asarray(turn[:, kept] * np.sqrt(size[kept]))), scaled.weights)
    return Corrected(
        [x * np.exp(-change) for x, change in zip(d, changes, strict=True)],
        rho * (1.0 + delta),
        [x / root for x, root in zip(fresh, roots, strict=True)],
    )


def _nearly_singular(am: ArrayModule, factor: _BlockFactor, columns: Any, curved: int) -> tuple[Any, int]:
    """Orthonormal columns near the eigenvectors of the least eigenvalues; how many belong into H."""
    basis = _orthonormal(am, columns, _RANK, _MOST - _SPARE)
    order = min(basis.shape[1] + _SPARE, columns.shape[0])
    rng = np.random.default_rng(0)
    more = min(order + curved, columns.shape[0]) - basis.shape[1]
    fresh = am.asarray(rng.standard_normal((columns.shape[0], more)))
    basis = am.xp.concatenate([basis, fresh / columns.shape[0] ** 0.5], axis=1)
    for _ in range(_ROUNDS):
        basis = _orthonormal(am, factor.solve(basis), 0.0, basis.shape[1])
    return basis, min(order, basis.shape[1])


def _orthonormal(am: ArrayModule, x: Any, least: float, most: int) -> Any:
    """The left singular vectors of x with singular values above `least`, relative; at most `most`."""
    x = x / am.xp.maximum(am.xp.sqrt((x * x).sum(axis=0)), 1e-290) if least == 0.0 else x
    for cut in (least, 0.0):  # twice: a Gram matrix squares the condition
        size, turn = np.linalg.eigh(am.to_numpy(am.product(x.T, x)))
        kept = np.flatnonzero(size > max(cut * cut, 1e-14) * size[-1])[-most:]
        if not kept.size:
            raise np.linalg.LinAlgError("the columns vanish, or are not finite.")
        x = am.product(x, am.asarray(turn[:, kept] / np.sqrt(size[kept])))
    return x


@dataclasses.dataclass(frozen=True, eq=False)
class _FormRows:
    """Columns of Q as rows: w, v of all neurons, and w - c v, alpha beta v - c w of t_a x'A_a y."""

    w: np.ndarray
    v: np.ndarray
    w_part: np.ndarray
    v_part: np.ndarray

    def turned(self, turn: np.ndarray, used: slice = slice(None)) -> "_FormRows":
        return _FormRows(*(turn @ x[used] for x in (self.w, self.v, self.w_part, self.v_part)))


def _correction(
    scaled: _UnitMultipliers, q: Any, columns: Any, radius: np.ndarray, order: int, curvature: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """(tau, delta, X's coordinates in q) of the small problem over the `order` least eigenvalues."""
    am = scaled.am
    first, rows, y = scaled.rows(q)
    whole = first @ first.T - y @ y.T + rows.w_part @ rows.w.T + rows.v_part @ rows.v.T
    if not np.isfinite(whole).all():
        raise np.linalg.LinAlgError("the matrix of the small problem is not finite.")
    sizes, turn = np.linalg.eigh(whole)
    rows, first = rows.turned(turn.T), turn.T @ first
    i, j = np.triu_indices(order)
    coordinates = turn[:, :order].T @ am.to_numpy(am.product(q.T, columns))
    E = first[:order] @ first[:order].T
    S = coordinates @ coordinates.T
    total = float((E * S).sum())
    S /= total
    u = radius**2 * ((coordinates.T @ rows.v[:order]) ** 2).sum(axis=0) / total
    u = np.sqrt(curvature * np.maximum(u, _LEAST_WEIGHT * u.mean()))
    K = _curved(rows, sizes, S, order) / u
    G = _pairs(rows, rows, i, j) * np.where(i == j, 1.0, 2.0)[:, None] / u
    inner = scipy.linalg.cho_factor(K @ K.T + np.eye(K.shape[0]), check_finite=False)
    across = K @ G.T
    B = G @ G.T - across.T @ scipy.linalg.cho_solve(inner, across, check_finite=False)
    S = _small_dual(np.diag(sizes[:order]), E, B, S)
    s = S[i, j]
    tau = (s @ G - scipy.linalg.cho_solve(inner, across @ s, check_finite=False) @ K) / u
    delta = -float(sizes[:order] @ S.diagonal()) - float(s @ B @ s)  # both values of the problem are equal
    return tau, min(max(delta, -_MOST_DELTA), _MOST_DELTA), turn[:, :order] @ S @ turn[:, :order].T


def _pairs(x: _FormRows, y: _FormRows, i: Any, j: Any) -> np.ndarray:
    """t_a x_i'A_a y_j for pairs of columns, one pair a row."""
    result = x.w_part[i] * y.w[j]
    result += x.v_part[i] * y.v[j]
    return result


def _curved(rows: _FormRows, sizes: np.ndarray, S: np.ndarray, order: int) -> np.ndarray:
    """K of 1/2 tau'K'K tau = <S, sum_j H_j(tau) H_j(tau)' / lambda_j>, j the eigenvalues left out of H."""
    share, turn = np.linalg.eigh(S)
    kept = share > _SHARE * share[-1]
    x = rows.turned((turn[:, kept] * np.sqrt(2.0 * share[kept])).T, slice(order))
    i, j = (index.ravel() for index in np.indices((x.w.shape[0], sizes.size - order)))
    return _pairs(x, rows, i, j + order) / np.sqrt(np.maximum(sizes[order:], 1e-14))[j, None]


def _small_dual(H: np.ndarray, E: np.ndarray, B: np.ndarray, S: np.ndarray) -> np.ndarray:
    """min <H, S> + s'B s / 2 over S >= 0, <E, S> = 1, s the upper triangle of S, by a barrier.

    Newton's steps are F D F' with S = F F': the barrier's second derivative is then mu on every D.
    """
    order = S.shape[0]
    rows, cols = np.triu_indices(order)
    twice = np.where(rows == cols, 1.0, 2.0)
    half = np.where(rows == cols, 0.5, np.sqrt(0.5))  # of the unit vectors of D
    h, e = H[rows, cols] * twice, E[rows, cols] * twice
    S = S + 1e-3 * np.trace(S) / order * np.eye(order)
    S /= (E * S).sum()
    size = max(-float(np.linalg.eigvalsh(H)[0]), 1e-14) * np.trace(S)
    F, last = np.linalg.cholesky(S), _LAST_MU * size
    slope = np.zeros_like(S)
    slope[rows, cols] = slope[cols, rows] = (B @ S[rows, cols] + h) / twice
    # where the start is far from the optimum, the barrier begins as strong as the slope there
    mu = max(_FIRST_MU * size, float(np.linalg.norm(F.T @ slope @ F)) / order)
    for _ in range(_MOST_STEPS):
        F = np.linalg.cholesky(S)
        P = F[np.ix_(rows, rows)] * F[np.ix_(cols, cols)]
        P += F[np.ix_(rows, cols)] * F[np.ix_(cols, rows)]
        P *= half
        hessian = P.T @ B @ P
        hessian.ravel()[:: rows.size + 1] += mu
        gradient = P.T @ (B @ S[rows, cols] + h) - mu * (rows == cols)
        normal = P.T @ e
        factor = scipy.linalg.cho_factor(
            hessian, check_finite=False
        )  # without digits it is an error of its own
        both = scipy.linalg.cho_solve(factor, np.stack([gradient, normal], axis=1), check_finite=False)
        step = (both[:, 0] @ normal) / (both[:, 1] @ normal) * both[:, 1] - both[:, 0]
        D = np.zeros_like(S)
        D[rows, cols] = step * np.where(rows == cols, 1.0, np.sqrt(0.5))
        D[cols, rows] = D[rows, cols]
        room = -float(np.linalg.eigvalsh(D)[0])
        length = 1.0 if room <= 0.9 else 0.9 / room
        S = S + length * (F @ D @ F.T)
        if length == 1.0:
            if mu <= last:
                break
            mu *= _MU_STEP
    return S
