"""Float mode of the checker: B = G G' + F with F bounded entry by entry.

Forming. Every entry of the LMI is the float below within its radius; constants are generous:
c = fl(fl(fl(alpha + beta) t) w) carries three roundings, W'diag(q)W at most m + 4.

The residual. G is any floating-point factor. fl(G G') is within g_t |G||G|' of G G' in any order of
summation, t the number of products of an entry, plus 2**-1022 (t + 2) for underflow; the
subtraction from B adds one rounding of its result. Let l_i be the Euclidean norm of row i of G.
|G||G|'_ij <= l_i l_j, and the matrix (l_i l_j) restricted to the block pattern is below
diag(sum of l_j^2 over the blocks beside and at i) in the semidefinite order (Gershgorin after scaling
by l). So B >= 0 for all matrices within the radii if, for all rows,

    F_ii - sum_{j != i} |F_ij| - sum_j rad_ij - sum_{blocks} g l_block^2 - underflow >= 0.

Nothing is assumed about how G was computed, only that matrix products are sums of products.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from ._check_balls import BallOperations, MatrixBall
from ._check_eliminated import eliminated_blocks

__all__ = ["Blocks", "eliminated_float_margin", "factor", "float_margin", "predicted_error"]

_U = 2.0**-53
_FACTORS = (1.5, 1.2, 2.5, 5.0)


class Blocks:
    """A symmetric block-tridiagonal matrix; a first diagonal block may be a vector."""

    def __init__(self, diagonal: Sequence[np.ndarray], lower: Sequence[np.ndarray]) -> None:
        self.diagonal, self.lower = list(diagonal), list(lower)

    def diagonals(self) -> list[np.ndarray]:
        return [d if d.ndim == 1 else np.diagonal(d) for d in self.diagonal]


def float_margin(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> float:
    """The least row excess of F in the equilibrated LMI; nonnegative means proven."""
    return _margin(*_formed(weights, slopes, multipliers, rho))


def eliminated_float_margin(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> float:
    """The same for version 2: multipliers of the neurons with alpha < beta only."""
    diagonal, lower = eliminated_blocks(weights, slopes, multipliers, rho, BallOperations())
    balls = [d if isinstance(d, MatrixBall) else MatrixBall(d, np.zeros_like(d)) for d in diagonal]
    return _margin(
        Blocks([b.mid for b in balls], [b.mid for b in lower]),
        Blocks([b.rad for b in balls], [b.rad for b in lower]),
    )


def _margin(values: Blocks, radii: Blocks) -> float:
    if not all((d > 0.0).all() for d in values.diagonals()):
        return -np.inf
    exponents = [np.frexp(d)[1] // 2 for d in values.diagonals()]
    b, rad = _scaled(values, exponents), _scaled(radii, exponents)
    if not all(np.isfinite(x).all() for x in (*b.diagonal, *b.lower, *rad.diagonal, *rad.lower)):
        return -np.inf
    rows = _row_sums(rad)
    best = -np.inf
    for times in _FACTORS:
        shift = [times * (p + r) for p, r in zip(predicted_error(b), rows, strict=True)]
        g = factor(b, shift)
        if g is not None:
            best = max(best, _excess(b, g, rows))
        if best >= 0.0:
            break
    return best


def _formed(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[np.ndarray, np.ndarray]],
    multipliers: Sequence[np.ndarray],
    rho: float,
) -> tuple[Blocks, Blocks]:
    """[rho I + .., 2T_1 + .., ..., 2T_L, I] with lower blocks -S T W and -W_L, and the radii."""
    diagonal = [np.full(weights[0].shape[1], rho), *(2.0 * t for t in multipliers)]
    radii = [np.zeros_like(d) for d in diagonal]
    lower, lower_rad = [], []
    for k, ((alpha, beta), t) in enumerate(zip(slopes, multipliers, strict=True)):
        w = weights[k]
        size = np.abs(w)
        c = -(((alpha + beta) * t)[:, None] * w)
        lower.append(c)
        lower_rad.append(8.0 * _U * np.abs(c) + 2.0**-1070 * (1.0 + size))
        mixed = np.flatnonzero((alpha != 0.0) & (beta != 0.0))
        if mixed.size:
            q = 2.0 * t[mixed] * (alpha[mixed] * beta[mixed])
            v, m = w[mixed], float(mixed.size)
            term = v.T @ (v * q[:, None])
            span = (2.0 * m + 16.0) * _U * (np.abs(v).T @ (np.abs(v) * np.abs(q)[:, None]))
            tiny = 2.0**-1060 * (m + 1.0) * (1.0 + t[mixed].max()) * (1.0 + size.max()) ** 2
            term, span = 0.5 * (term + term.T), span + 4.0 * _U * np.abs(term) + tiny
            total = term + np.diag(diagonal[k])
            radii[k] = 0.5 * (span + span.T) + np.diag(4.0 * _U * np.abs(np.diagonal(total)))
            radii[k] *= 1.0 + 2.0**-40
            diagonal[k] = total
    lower.append(-weights[-1])
    lower_rad.append(np.zeros_like(weights[-1]))
    ones = np.ones(weights[-1].shape[0])
    return Blocks([*diagonal, ones], lower), Blocks([*radii, np.zeros_like(ones)], lower_rad)


def _scaled(a: Blocks, exponents: Sequence[np.ndarray]) -> Blocks:
    diagonal = [
        np.ldexp(d, -2 * e) if d.ndim == 1 else np.ldexp(d, -(e[:, None] + e))
        for d, e in zip(a.diagonal, exponents, strict=True)
    ]
    lower = [np.ldexp(c, -(exponents[k + 1][:, None] + exponents[k])) for k, c in enumerate(a.lower)]
    return Blocks(diagonal, lower)


def _row_sums(a: Blocks) -> list[np.ndarray]:
    """sum_j |a_ij| over all j."""
    rows = [np.abs(d) if d.ndim == 1 else np.abs(d).sum(axis=1) for d in a.diagonal]
    for k, c in enumerate(a.lower):
        rows[k + 1] = rows[k + 1] + np.abs(c).sum(axis=1)
        rows[k] = rows[k] + np.abs(c).sum(axis=0)
    return rows


def _product_errors(a: Blocks, traces: Sequence[float]) -> list[float]:
    """sum over the blocks beside and at k of g_t trace, t the products per entry of G G'."""
    sizes = [d.size for d in a.diagonals()]
    dense = [d.ndim == 2 or k > 0 for k, d in enumerate(a.diagonal)]
    columns = [n if full else 1 for n, full in zip(sizes, dense, strict=True)]  # nonzeros of a row of G_kk

    def g(products: int) -> float:
        return 1.01 * (products + 4.0) * _U

    result = []
    for k in range(len(sizes)):
        total = g(columns[k] + (sizes[k - 1] if k else 0)) * traces[k]
        if k:
            total += g(columns[k - 1]) * traces[k - 1]
        if k + 1 < len(sizes):
            total += g(columns[k]) * traces[k + 1]
        result.append(total)
    return result


def predicted_error(a: Blocks) -> list[float]:
    """The error that `float_margin` will have to subtract per block, before G is known."""
    return _product_errors(a, [float(d.sum()) for d in a.diagonals()])


Factor = tuple[list[np.ndarray], list[np.ndarray]]


def factor(a: Blocks, shift: Sequence[np.ndarray]) -> Factor | None:
    """Diagonal and lower blocks of a floating-point factor of A - diag(shift); None if it breaks down."""
    diagonal: list[np.ndarray] = []
    lower: list[np.ndarray] = []
    try:
        for k, (block, s) in enumerate(zip(a.diagonal, shift, strict=True)):
            if k == 0 and block.ndim == 1:
                diagonal.append(np.sqrt(block - s))
                continue
            schur = (np.diag(block) if block.ndim == 1 else block) - np.diag(s)
            if k:
                last = diagonal[-1]
                c = a.lower[k - 1]
                lower.append(c / last if last.ndim == 1 else _solved(last, c))
                schur = schur - lower[-1] @ lower[-1].T
            diagonal.append(np.linalg.cholesky(schur))
    except np.linalg.LinAlgError:
        return None
    return (diagonal, lower) if all(np.isfinite(x).all() for x in (*diagonal, *lower)) else None


def _solved(triangle: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.linalg.solve_triangular(triangle, c.T, lower=True, check_finite=False).T)


def _excess(a: Blocks, g: Factor, rad_rows: Sequence[np.ndarray]) -> float:
    diagonal, lower = g
    norms = [d**2 if d.ndim == 1 else (d**2).sum(axis=1) for d in diagonal]
    for k, x in enumerate(lower):
        norms[k + 1] = norms[k + 1] + (x**2).sum(axis=1)
    n = sum(v.size for v in norms)
    errors = _product_errors(a, [float(v.sum()) * (1.0 + 8.0 * n * _U) + 2.0**-1000 for v in norms])
    f_diagonal = []
    for k, d in enumerate(diagonal):
        product = d**2 if d.ndim == 1 else d @ d.T
        if k:
            product = product + lower[k - 1] @ lower[k - 1].T
        block = a.diagonal[k]
        f_diagonal.append((np.diag(block) if block.ndim < product.ndim else block) - product)
    f_lower = [
        c - (lower[k] * diagonal[k] if diagonal[k].ndim == 1 else lower[k] @ diagonal[k].T)
        for k, c in enumerate(a.lower)
    ]
    f = Blocks(f_diagonal, f_lower)
    worst = np.inf
    slop = 1.0 + (4.0 * n + 64.0) * _U  # the sums below, and one rounding of each entry of F
    for row, own, rad, error in zip(_row_sums(f), f.diagonals(), rad_rows, errors, strict=True):
        against = (row - np.abs(own)) + 2.0 * n * _U * row + rad + error + 2.0**-1000
        excess = own * (1.0 - 2.0 * _U) - against * slop
        worst = min(worst, float(excess.min()) if np.isfinite(excess).all() else -np.inf)
    return worst
