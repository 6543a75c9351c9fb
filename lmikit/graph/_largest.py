"""Maxima of sorted groups as trees of ReLU, max(a, b) = b + relu(a - b), exactly in real arithmetic."""

import numpy as np
import scipy.sparse as sp

from ..network import ReLU, SelectMap, SparseMap
from ..nonlinear import SortGroups
from ._graph import Graph
from ._groups import halved
from ._nodes import Affine, Apply, Node

__all__ = ["largest_as_trees"]


def largest_as_trees(graph: Graph) -> Graph:
    """The same function with a tree for every sorting of which only the largest of each group is read.

    All entries of the new maps are 0, 1 or -1. Other nodes are as they were.
    """
    sizes = {k: _size_if_largest(graph, k, node) for k, node in enumerate(graph.nodes)}
    wanted = {k: size for k, size in sizes.items() if size}
    if not wanted:
        return graph
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        if k in wanted:
            source, groups = _entries(graph, k, wanted[k])
            place[k] = _tree(nodes, place[source], graph.nodes[source].size, groups)
            continue
        if isinstance(node, Affine):
            maps = tuple(
                SparseMap(m.to_sparse()[:, wanted[p] - 1 :: wanted[p]]) if p in wanted else m
                for m, p in zip(node.maps, node.parents, strict=True)
            )
            nodes.append(Affine(maps, tuple(place[p] for p in node.parents), node.bias))
        elif isinstance(node, Apply):
            nodes.append(Apply(node.function, place[node.parent], node.size))
        else:
            nodes.append(node)
        place[k] = len(nodes) - 1
    return Graph(tuple(nodes))


def _size_if_largest(graph: Graph, k: int, node: Node) -> int:
    """The size of the groups if node k sorts them and every reader is a map of their last entries, else 0."""
    if not (isinstance(node, Apply) and isinstance(node.function, SortGroups)) or k == len(graph.nodes) - 1:
        return 0
    last = np.zeros(node.size, dtype=bool)
    last[node.function.size - 1 :: node.function.size] = True
    for reader in graph.nodes:
        if k in reader.parents:
            if not isinstance(reader, Affine):
                return 0
            read = [m.to_sparse() for m, p in zip(reader.maps, reader.parents, strict=True) if p == k]
            if any(not last[np.unique(m.indices[m.data != 0.0])].all() for m in read):
                return 0
    return node.function.size


def _entries(graph: Graph, k: int, size: int) -> tuple[int, list[np.ndarray]]:
    """The node whose entries are compared, and which: gathered groups without their repeats."""
    parent = graph.nodes[k].parents[0]
    gather = graph.nodes[parent]
    index = np.arange(gather.size).reshape(-1, size)
    if not (isinstance(gather, Affine) and len(gather.maps) == 1 and isinstance(gather.maps[0], SelectMap)):
        return parent, list(index)
    assert gather.bias is not None
    if gather.bias.any():
        return parent, list(index)
    read = np.asarray(gather.maps[0].indices)
    return gather.parents[0], [np.unique(read[own]) for own in index]


def _tree(nodes: list[Node], at: int, size: int, groups: list[np.ndarray]) -> int:
    """Appends the tree on node `at`; returns the place of the maxima, one for each group."""
    while True:
        first = np.concatenate([g[: g.size // 2 * 2 : 2] for g in groups])
        second = np.concatenate([g[1 : g.size // 2 * 2 : 2] for g in groups])
        over = np.concatenate([g[g.size // 2 * 2 :] for g in groups])
        pairs = first.size
        read = _picked(np.concatenate([second, over]), size)
        if not pairs:
            nodes.append(Affine((SparseMap(_picked(np.concatenate(groups), size)),), (at,)))
            return len(nodes) - 1
        nodes.append(Affine((SparseMap(_picked(first, size) - _picked(second, size)),), (at,)))
        nodes.append(Apply(ReLU(), len(nodes) - 1, pairs))
        added = sp.csr_array(
            (np.ones(pairs), (np.arange(pairs), np.arange(pairs))), shape=(pairs + over.size, pairs)
        )
        nodes.append(Affine((SparseMap(read), SparseMap(added)), (at, len(nodes) - 1)))
        at, size = len(nodes) - 1, pairs + over.size
        groups = halved([g.size for g in groups], pairs)


def _picked(index: np.ndarray, size: int) -> sp.csr_array:
    """The rows e_i' for these i."""
    place = np.arange(index.size), index
    return sp.csr_array((np.ones(index.size), place), shape=(index.size, size))
