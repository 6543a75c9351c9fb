"""Whether a symmetric matrix of integers is positive semidefinite: B = G G' + F.

F diagonally dominant with its diagonal nonnegative gives B >= 0, for any G. G is a floating-point factor
rounded to multiples of 2**-60.
"""

import itertools
from fractions import Fraction

import numpy as np
import scipy.linalg

from ...graph._levels import levels
from ._exact_matrix import ExactMatrix

__all__ = ["Blocks", "exact_norm_margin", "matrix_margin"]

_BITS = 60
_SHIFTS = (4.0, 30.0, 0.5, 250.0)
Blocks = dict[tuple[int, int], ExactMatrix]  # by sources, the lower triangle


def matrix_margin(blocks: Blocks, order: list[int], radii: Blocks | None = None) -> float:
    """The least row excess of F for the symmetric matrix of these blocks, and all within the radii of it."""
    sizes = [blocks[s, s].shape[0] if (s, s) in blocks else 0 for s in order]
    place = {s: i for i, s in enumerate(order)}
    pairs = [(place[a], place[b]) for a, b in blocks]
    partition = levels(sizes, pairs)
    level = {i: n for n, group in enumerate(partition) for i in group}
    if any(abs(level[a] - level[b]) > 1 for a, b in pairs) or sorted(level) != list(range(len(order))):
        return -np.inf
    diagonal = [_joined(blocks, order, sizes, group, group) for group in partition]
    lower = [_joined(blocks, order, sizes, partition[n + 1], partition[n]) for n in range(len(partition) - 1)]
    exponents = []
    for e in diagonal:
        entries = [int(v) for v in np.diagonal(e.values)]
        if not all(v > 0 for v in entries):
            return -np.inf
        exponents.append(np.array([-((v.bit_length() - e.power) // 2) for v in entries], dtype=np.int64))
    diagonal = [e.shifted(x, x) for e, x in zip(diagonal, exponents, strict=True)]
    lower = [e.shifted(exponents[n + 1], exponents[n]) for n, e in enumerate(lower)]
    spread = None
    if radii:
        own = [_joined(radii, order, sizes, group, group) for group in partition]
        sides = [_joined(radii, order, sizes, b, a) for a, b in itertools.pairwise(partition)]
        spread = _row_sums(
            [e.shifted(x, x) for e, x in zip(own, exponents, strict=True)],
            [e.shifted(exponents[n + 1], exponents[n]) for n, e in enumerate(sides)],
        )
    return _dominance(diagonal, lower, spread)


def _row_sums(diagonal: list[ExactMatrix], lower: list[ExactMatrix]) -> list[ExactMatrix]:
    """Of nonnegative matrices, per level."""
    rows = [ExactMatrix(e.values.sum(axis=1)[:, None], e.power) for e in diagonal]
    for k, e in enumerate(lower):
        rows[k + 1] = rows[k + 1] + ExactMatrix(e.values.sum(axis=1)[:, None], e.power)
        rows[k] = rows[k] + ExactMatrix(e.values.sum(axis=0)[:, None], e.power)
    return rows


def _joined(
    blocks: Blocks, order: list[int], sizes: list[int], rows: tuple[int, ...], columns: tuple[int, ...]
) -> ExactMatrix:
    heights, widths = np.cumsum([0, *(sizes[i] for i in rows)]), np.cumsum([0, *(sizes[j] for j in columns)])
    found = []
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            key = order[r], order[c]
            e = blocks.get(key) or (blocks[key[::-1]].T if key[::-1] in blocks else None)
            if e is not None:
                found.append((np.s_[heights[i] : heights[i + 1], widths[j] : widths[j + 1]], e))
    power = max((e.power for _, e in found), default=0)
    values = np.zeros((int(heights[-1]), int(widths[-1])), dtype=object)
    for where, e in found:
        values[where] = e.at(power)
    return ExactMatrix(values, power)


def _dominance(
    diagonal: list[ExactMatrix], lower: list[ExactMatrix], spread: list[ExactMatrix] | None
) -> float:
    floats, below = [e.floats() for e in diagonal], [e.floats() for e in lower]
    n = max(d.shape[0] for d in floats)
    best = -np.inf
    for times in _SHIFTS:
        factor = _factor(floats, below, times * (n + 8.0) * 2.0**-52)
        if factor is not None:
            best = max(best, _excess(diagonal, lower, *factor, spread))
        if best >= 0.0:
            break
    return best


def _factor(
    diagonal: list[np.ndarray], lower: list[np.ndarray], shift: float
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """G by blocks, of the matrix less `shift` on its diagonal; None where it breaks down."""
    own: list[np.ndarray] = []
    below: list[np.ndarray] = []
    try:
        for k, block in enumerate(diagonal):
            schur = block - shift * np.eye(block.shape[0])
            if k:
                below.append(scipy.linalg.solve_triangular(own[-1], lower[k - 1].T, lower=True).T)
                schur = schur - below[-1] @ below[-1].T
            own.append(np.linalg.cholesky(schur))
    except (np.linalg.LinAlgError, ValueError):
        return None
    return (own, below) if all(np.isfinite(x).all() for x in (*own, *below)) else None


def _rounded(g: np.ndarray) -> ExactMatrix:
    """Multiples of 2**-60; entries beyond 4 do not occur in a factor of an equilibrated matrix."""
    integers = np.rint(np.ldexp(np.clip(g, -4.0, 4.0), _BITS)).astype(np.int64).astype(object)
    return ExactMatrix(integers, _BITS)


def _excess(
    diagonal: list[ExactMatrix],
    lower: list[ExactMatrix],
    own: list[np.ndarray],
    below: list[np.ndarray],
    spread: list[ExactMatrix] | None,
) -> float:
    """min over rows of F_ii - sum_{j != i} |F_ij| - sum of the radii, F = B - G G'."""
    G, X = [_rounded(g) for g in own], [_rounded(x) for x in below]
    rows: list[ExactMatrix] = []
    for k, g in enumerate(G):
        product = g @ g.T
        if k:
            product = product + X[k - 1] @ X[k - 1].T
        f = diagonal[k] + -product
        entries = np.diagonal(f.values)
        off = np.abs(f.values).sum(axis=1) - np.abs(entries)
        rows.append(ExactMatrix((entries - off)[:, None], f.power))
    for k, x in enumerate(X):
        f = lower[k] + -(x @ G[k].T)
        size = np.abs(f.values)
        rows[k + 1] = rows[k + 1] + ExactMatrix(-size.sum(axis=1)[:, None], f.power)
        rows[k] = rows[k] + ExactMatrix(-size.sum(axis=0)[:, None], f.power)
    if spread is not None:
        rows = [r - s for r, s in zip(rows, spread, strict=True)]
    worst: Fraction = min(r.least() for r in rows)
    shown = float(worst)
    return -5e-324 if shown == 0.0 and worst < 0 else shown


def exact_norm_margin(entries: np.ndarray, gain: float) -> float:
    """The margin for [[gain I, W'], [W, gain I]] >= 0, that is ||W||_2 <= gain."""
    rows, columns = entries.shape
    support = entries != 0.0
    if max(support.sum(axis=0).max(), support.sum(axis=1).max()) <= 1 and np.abs(entries).max() <= gain:
        return 0.0  # at most one entry per row and column: the norm is the largest of them, and here it fits
    ends = {(0, 0): np.full(columns, gain), (1, 1): np.full(rows, gain)}
    blocks = {key: ExactMatrix.of(np.diag(d)) for key, d in ends.items()}
    return matrix_margin({**blocks, (1, 0): ExactMatrix.of(entries)}, [0, 1])
