"""The fully connected layers at the end, and how the first of them reads the images."""

import dataclasses
import itertools

import numpy as np

from ..graph import Affine, Apply, Graph
from ..graph._enclosure import EnclosedMatrix
from ._layout import Images, not_on_a_torus

__all__ = ["Head", "head_of"]

Rows = dict[int, EnclosedMatrix]


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """v_1 = sum of reads[s] w_s, then v_(j+1) = maps[j - 1] phi_j(v_j), the last one is the output.

    `reads[s]` (r, size of node s): s nonlinear nodes of the trunk, or 0 for the input; linear maps between
    are multiplied in, with radii. `nodes`: the head's nonlinear nodes, none for a linear head.
    """

    reads: Rows
    nodes: tuple[int, ...]
    maps: tuple[EnclosedMatrix, ...]

    @property
    def width(self) -> int:
        """r."""
        return int(next(iter(self.reads.values())).mid.shape[0])


def head_of(graph: Graph, images: Images) -> Head | None:
    """The head; None where the output is an image. Raises InputError where it is no chain."""
    trunk = images.shapes
    if len(graph.nodes) - 1 in trunk:
        return None
    values: dict[int, Rows] = {}
    before: dict[int, Rows] = {}
    for k, node in enumerate(graph.nodes):
        if k in trunk:
            continue
        if isinstance(node, Apply):
            if node.grouped:
                raise not_on_a_torus(f"node {k} applies {node.function!r} to groups")
            before[k] = _of(graph, trunk, values, node.parent, np.eye(node.size))
            values[k] = {k: EnclosedMatrix.selection(node.size, np.arange(node.size))}
        elif isinstance(node, Affine):
            total: Rows = {}
            for linear, parent in zip(node.maps, node.parents, strict=True):
                for s, rows in _of(graph, trunk, values, parent, linear.to_dense()).items():
                    total[s] = total[s] + rows if s in total else rows
            values[k] = total
    return _as_chain(trunk, before, values[len(graph.nodes) - 1])


def _of(
    graph: Graph, trunk: dict[int, tuple[int, int, int]], values: dict[int, Rows], k: int, entries: np.ndarray
) -> Rows:
    """entries times the value of node k, by source."""
    left = EnclosedMatrix(np.asarray(entries))
    if k not in trunk:
        return {s: left @ rows for s, rows in values[k].items()}
    found: Rows = {}
    pending = {k: left}
    for node_index in range(k, -1, -1):  # back through the trunk's linear maps
        if node_index not in pending:
            continue
        rows, node = pending.pop(node_index), graph.nodes[node_index]
        if not isinstance(node, Affine):
            found[node_index] = rows
            continue
        for linear, parent in zip(node.maps, node.parents, strict=True):
            part = rows @ EnclosedMatrix(np.asarray(linear.to_dense()))
            pending[parent] = pending[parent] + part if parent in pending else part
    return found


def _as_chain(trunk: dict[int, tuple[int, int, int]], before: dict[int, Rows], output: Rows) -> Head:
    stages = [*before.items(), (-1, output)]
    first = stages[0][1]
    if any(s not in trunk for s in first):
        raise not_on_a_torus("the fully connected layers do not begin at an image")
    maps = []
    for (previous, _), (k, rows) in itertools.pairwise(stages):
        if set(rows) != {previous}:
            raise not_on_a_torus(
                f"the fully connected layers are no chain (node {k}); max-pooling of few pixels is a "
                "tree of ReLU, which is none: lmikit.lipschitz bounds so small a network with one "
                "multiplier per neuron, or GraphBuilder.max_pool(tree=False) keeps the windows"
            )
        maps.append(rows[previous])
    return Head(first, tuple(before), tuple(maps))
