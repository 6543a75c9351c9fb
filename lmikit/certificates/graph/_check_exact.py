"""Exact mode of the checker: V, Y and the matrix in integers, and one factor from floating point.

It shares with the proof the node types and the search for levels (whose result it checks), nothing
else: its own elimination, its own rule of what matters (exact zeros of V and Y, not of the maps), and
another theorem (`_exact_dominance`).
"""

import numpy as np

from ...graph import Affine, Apply, Graph
from ...graph._witness import Part
from ...nonlinear import AbstractGroups
from ._exact_dominance import Blocks, matrix_margin
from ._exact_matrix import ExactMatrix

__all__ = ["exact_part_margin"]

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
