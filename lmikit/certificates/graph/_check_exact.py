"""Exact mode of the checker: V, Y and the matrix in integers, and one factor from floating point.

It shares with the proof the node types and the search for levels (whose result it checks), nothing
else: its own elimination, its own rule of what matters (exact zeros of V and Y, not of the maps), and
another theorem: B = G G' + F with F diagonally dominant and its diagonal nonnegative gives B >= 0, for
any G. G is a floating-point factor rounded to multiples of 2**-60.
"""

import itertools
from fractions import Fraction

import numpy as np
import scipy.linalg

from ...graph import Affine, Apply, Graph
from ...graph._levels import levels
from ...graph._witness import Part
from ...nonlinear import AbstractGroups
from ._exact_matrix import ExactMatrix

__all__ = ["exact_norm_margin", "exact_part_margin", "matrix_margin"]

_BITS = 60
_SHIFTS = (4.0, 30.0, 0.5, 250.0)
Rows = dict[int, ExactMatrix]  # by source: 0 is the input
_OUT = -1


def exact_part_margin(graph: Graph, part: Part) -> float | None:
    """The least row excess of F (nonnegative: proven); None where y is exactly constant."""
    V, Y, sizes = _eliminated(graph)
    V, Y, kept = _needed(graph, V, Y, sizes)
    if part.row is not None:
        Y = {s: e.part(np.array([part.row]), np.arange(e.shape[1])) for s, e in Y.items()}
    if part.column is not None:
        V = {k: _one_column(rows, part.column) for k, rows in V.items()}
        Y = _one_column(Y, part.column)
    if not any(e.nonzero().any() for e in Y.values()):
        return None
    blocks = _blocks(graph, part, V, Y, kept)
    order = [0, *(k for k in graph.applied if kept[k].size), _OUT]
    return matrix_margin(blocks, order)


def _one_column(rows: Rows, column: int) -> Rows:
    return {s: e.part(np.arange(e.shape[0]), np.array([column])) if s == 0 else e for s, e in rows.items()}


def _eliminated(graph: Graph) -> tuple[dict[int, Rows], Rows, dict[int, np.ndarray]]:
    """V per nonlinear node (all channels), Y, and the channels of each node that move and are not linear."""
    values: list[Rows] = []
    V: dict[int, Rows] = {}
    channels: dict[int, np.ndarray] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            rows: Rows = {}
            for linear, p in zip(node.maps, node.parents, strict=True):
                W = ExactMatrix.of(linear.to_dense())
                for s, e in values[p].items():
                    rows[s] = rows[s] + W @ e if s in rows else W @ e
            values.append(rows)
        elif isinstance(node, Apply):
            V[k] = values[node.parent]
            channels[k] = _moving(node, V[k])
            values.append(_after(node, k, V[k], channels[k]))
        else:
            values.append({0: ExactMatrix.of(np.eye(node.size))})
    return V, values[-1], channels


def _moving(node: Apply, rows: Rows) -> np.ndarray:
    moves = np.zeros(node.size, dtype=bool)
    for e in rows.values():
        moves |= e.nonzero().any(axis=1)
    if isinstance(node.function, AbstractGroups):
        g = node.function.group_size
        return np.flatnonzero(np.repeat(moves.reshape(-1, g).any(axis=1), g))
    return np.flatnonzero(moves & (node.alpha != node.beta))


def _after(node: Apply, k: int, rows: Rows, channels: np.ndarray) -> Rows:
    result: Rows = {}
    if not node.grouped:
        slope = ExactMatrix.of(np.diag(np.where(node.alpha == node.beta, node.alpha, 0.0)))
        if slope.nonzero().any():
            result = {s: slope @ e for s, e in rows.items()}
    own = np.zeros((node.size, channels.size))
    own[channels, np.arange(channels.size)] = 1.0
    if channels.size:
        result[k] = ExactMatrix.of(own)
    return result


def _needed(
    graph: Graph, V: dict[int, Rows], Y: Rows, channels: dict[int, np.ndarray]
) -> tuple[dict[int, Rows], Rows, dict[int, np.ndarray]]:
    """V, Y restricted to the channels that y depends on through nonzero entries."""
    use = {k: np.zeros(channels[k].size, dtype=bool) for k in graph.applied}
    for s, e in Y.items():
        if s:
            use[s] |= e.nonzero().any(axis=0)
    for k in reversed(graph.applied):
        node = graph.nodes[k]
        assert isinstance(node, Apply)
        if isinstance(node.function, AbstractGroups):
            g = node.function.group_size
            use[k] = np.repeat(use[k].reshape(-1, g).any(axis=1), g)
        for s, e in V[k].items():
            if s:
                use[s] |= e.nonzero()[channels[k][use[k]]].any(axis=0)
    columns = {0: np.arange(graph.input_dim)} | {k: np.flatnonzero(use[k]) for k in graph.applied}
    kept = {k: channels[k][use[k]] for k in graph.applied}
    V = {
        k: {s: e.part(kept[k], columns[s]) for s, e in V[k].items() if columns[s].size} for k in graph.applied
    }
    m = np.arange(graph.output_dim)
    return V, {s: e.part(m, columns[s]) for s, e in Y.items() if columns[s].size}, kept


Blocks = dict[tuple[int, int], ExactMatrix]


def _blocks(graph: Graph, part: Part, V: dict[int, Rows], Y: Rows, kept: dict[int, np.ndarray]) -> Blocks:
    """The lower triangle by sources, diagonal ends included."""
    inputs = graph.input_dim if part.column is None else 1
    outputs = graph.output_dim if part.row is None else 1
    blocks: Blocks = {
        (0, 0): ExactMatrix.of(np.diag(np.broadcast_to(part.d_in, (inputs,)))),
        (_OUT, _OUT): ExactMatrix.of(np.diag(np.broadcast_to(part.d_out, (outputs,)))),
    }

    def add(row: int, column: int, e: ExactMatrix) -> None:
        blocks[row, column] = blocks[row, column] + e if (row, column) in blocks else e

    for k, t in zip(graph.applied, part.multipliers, strict=True):
        if not kept[k].size:
            continue
        node = graph.nodes[k]
        assert isinstance(node, Apply)
        ww, wv, vv = _forms(node, kept[k], t)
        add(k, k, ww)
        for s, e in V[k].items():
            add(k, s, wv @ e)
        names = sorted(V[k]) if vv.nonzero().any() else []
        for i, early in enumerate(names):
            right = vv @ V[k][early]
            for late in names[i:]:
                add(late, early, V[k][late].T @ right)
    for s, e in Y.items():
        add(_OUT, s, -e)
    return blocks


def _forms(node: Apply, kept: np.ndarray, t: np.ndarray) -> tuple[ExactMatrix, ExactMatrix, ExactMatrix]:
    """(ww, wv, vv) of sigma = w'ww w + 2 w'wv v + v'vv v."""
    if isinstance(node.function, AbstractGroups):
        return _group_forms(node.function, kept, t)
    T, a, b = (ExactMatrix.of(np.diag(x[kept])) for x in (t, node.alpha, node.beta))
    twice = T + T
    return twice, -(T @ (a + b)), twice @ a @ b


def _group_forms(
    function: AbstractGroups, kept: np.ndarray, t: np.ndarray
) -> tuple[ExactMatrix, ExactMatrix, ExactMatrix]:
    g, k = function.group_size, function.identities.shape[1]
    per_group = t.reshape(-1, function.multipliers_per_group)[kept[::g] // g]
    count = len(per_group)
    N, B = (np.kron(np.eye(count), m) for m in (function.norm_directions, function.identities))
    lam = np.kron(np.diag(per_group[:, 0]), np.eye(function.norm_directions.shape[1]))
    nu, mu = np.zeros((count * k, count * k)), np.zeros((count * k, count * k))
    for i, values in enumerate(per_group):
        for matrix, own in ((nu, values[1 : 1 + k * (k + 1) // 2]), (mu, values[1 + k * (k + 1) // 2 :])):
            at = 0
            for p in range(k):
                for q in range(p, k):
                    matrix[i * k + p, i * k + q] = matrix[i * k + q, i * k + p] = own[at]
                    at += 1
    E_N, E_B, E_lam, E_nu, E_mu = (ExactMatrix.of(x) for x in (N, B, lam, nu, mu))
    norm = E_N @ E_lam @ E_N.T
    return (
        norm + E_B @ E_mu @ E_B.T,
        (E_B @ (E_nu + -E_mu) @ E_B.T).half(),
        -(norm + E_B @ E_nu @ E_B.T),
    )


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
