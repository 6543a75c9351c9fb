"""The eliminated form of a graph: v = V z, y = Y z on z = (x, w), linear nodes and neurons put in.

z holds the input and the outputs of those nonlinear channels that lie on a path from the input to the
output: all others have dw = 0 or no influence, and that is decided by zeros alone (the exact-zero rule).
Channels with alpha = beta are linear: w_i = alpha_i v_i is eliminated. Every entry of V and Y is
enclosed; it is an exact float wherever no product or overlapping sum of maps is involved.
"""

import dataclasses

import numpy as np

from ..network import DenseMap
from ..nonlinear import AbstractGroups
from ._enclosure import EnclosedMatrix
from ._graph import Graph
from ._nodes import Affine, Apply

__all__ = ["EliminatedForm", "eliminate", "reaches_output"]

Rows = dict[int, EnclosedMatrix]  # columns by source: 0 for x, else the node of the channels


@dataclasses.dataclass(frozen=True, eq=False)
class EliminatedForm:
    """`kept[k]`: the channels of nonlinear node k that are in z (all those of a group together).

    `V[k]`: their rows, by source; `Y`: the output's rows. Without a path from the input to the
    output `Y` is empty: the output is exactly constant.
    """

    graph: Graph
    kept: dict[int, np.ndarray]
    V: dict[int, Rows]
    Y: Rows

    @property
    def sources(self) -> tuple[int, ...]:
        """0 for the input, then the nodes with channels in z, in topological order."""
        return (0, *(k for k, channels in self.kept.items() if channels.size))

    def size(self, source: int) -> int:
        """Columns of z that belong to the source."""
        return self.kept[source].size if source else self.graph.input_dim


def eliminate(graph: Graph) -> EliminatedForm:
    """The eliminated form."""
    with np.errstate(all="ignore"):
        alive = _on_a_path(graph)
        kept = {k: np.flatnonzero(_nonlinear(graph.nodes[k]) & alive[k]) for k in graph.applied}
        values: list[Rows] = []
        V: dict[int, Rows] = {}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Affine):
                values.append(_affine_rows(node, values, alive[k]))
            elif isinstance(node, Apply):
                below = values[node.parent]
                V[k] = {s: rows.rows(kept[k]) for s, rows in below.items()}
                values.append(_applied_rows(node, k, below, kept[k], alive[k]))
            else:
                values.append({0: EnclosedMatrix.selection(node.size, np.arange(node.size))})
    empty = not alive[-1].any()
    return EliminatedForm(
        graph, kept, {k: _nonzero(rows) for k, rows in V.items()}, {} if empty else _nonzero(values[-1])
    )


def reaches_output(graph: Graph) -> bool:
    """Whether a path of entries that are not zero leads from the input to the output; no dense matrices."""
    return bool(_on_a_path(graph)[-1].any())


def _nonlinear(node: object) -> np.ndarray:
    assert isinstance(node, Apply)
    return np.ones(node.size, dtype=bool) if node.grouped else node.alpha != node.beta


def _passes(node: Apply, channels: np.ndarray) -> np.ndarray:
    """Through which channels an increment can pass, given where it comes in (or out)."""
    if isinstance(node.function, AbstractGroups):
        g = node.function.group_size
        return np.repeat(channels.reshape(-1, g).any(axis=1), g)
    return channels & ((node.alpha != 0.0) | (node.beta != 0.0))


def _on_a_path(graph: Graph) -> list[np.ndarray]:
    """Per node, the channels on a path of nonzero entries from the input to the output."""
    supports = [
        [m.to_dense() != 0.0 if isinstance(m, DenseMap) else m.to_sparse() != 0.0 for m in node.maps]
        if isinstance(node, Affine)
        else []
        for node in graph.nodes
    ]
    forward: list[np.ndarray] = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            moved = [s @ forward[p] for s, p in zip(supports[k], node.parents, strict=True)]
            forward.append(np.any(moved, axis=0))
        elif isinstance(node, Apply):
            forward.append(_passes(node, forward[node.parent]))
        else:
            forward.append(np.ones(node.size, dtype=bool))
    back = [np.zeros(node.size, dtype=bool) for node in graph.nodes]
    back[-1][:] = True
    for k in range(len(graph.nodes) - 1, 0, -1):
        node = graph.nodes[k]
        if isinstance(node, Affine):
            for s, p in zip(supports[k], node.parents, strict=True):
                back[p] |= s.T @ back[k]
        elif isinstance(node, Apply):
            back[k] = _passes(node, back[k])
            back[node.parent] |= back[k]
    return [f & b for f, b in zip(forward, back, strict=True)]


def _affine_rows(node: Affine, values: list[Rows], alive: np.ndarray) -> Rows:
    result: Rows = {}
    for m, p in zip(node.maps, node.parents, strict=True):
        entries = np.array(m.to_dense())
        entries[~alive] = 0.0
        linear = EnclosedMatrix(entries)
        for s, rows in values[p].items():
            term = linear @ rows
            result[s] = term if s not in result else result[s] + term
    return result


def _applied_rows(node: Apply, k: int, below: Rows, kept: np.ndarray, alive: np.ndarray) -> Rows:
    result: Rows = {}
    if not node.grouped:
        slope = np.where((node.alpha == node.beta) & alive, node.alpha, 0.0)
        if slope.any():
            result = {s: _zeroed(rows.rows_times(slope), slope == 0.0) for s, rows in below.items()}
    if kept.size:
        result[k] = EnclosedMatrix.selection(node.size, kept)
    return result


def _zeroed(rows: EnclosedMatrix, which: np.ndarray) -> EnclosedMatrix:
    """With exact zeros in these rows."""
    if rows.rad is None:
        return rows
    rad = rows.rad.copy()
    rad[which] = 0.0
    return EnclosedMatrix(rows.mid, rad)


def _nonzero(rows: Rows) -> Rows:
    return {s: e for s, e in rows.items() if e.mid.any() or (e.rad is not None and e.rad.any())}
