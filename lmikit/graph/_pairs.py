"""(max, min) pairs as neurons with slopes of their own, exactly and without skips."""

import numpy as np

from ..network import DenseMap, PReLU
from ..nonlinear import MaxMinPairs
from ._graph import Graph
from ._nodes import Affine, Apply, Node

__all__ = ["pairs_as_neurons"]

_READ = [[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]]  # (v_1, v_2) -> (v_1 - v_2, v_2, v_1)
_BACK = [[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]  # (r, v_2, v_1) -> (v_2 + r, v_1 - r)


def pairs_as_neurons(graph: Graph) -> Graph:
    """The same function with every pair as (v_2 + r, v_1 - r), r = relu(v_1 - v_2); v_1, v_2 pass beside r.

    The activation is a PReLU with slopes 0, 1, 1 on the left; all entries of the new maps are 0, 1 or -1,
    so that nothing is rounded, and a chain stays a chain. Other nodes are as they were.
    """
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            nodes.append(Affine(node.maps, tuple(place[p] for p in node.parents), node.bias))
        elif isinstance(node, Apply) and isinstance(node.function, MaxMinPairs):
            eye = np.eye(node.size // 2)
            nodes.append(Affine((DenseMap(np.kron(eye, _READ)),), (place[node.parent],)))
            slopes = PReLU(np.tile([0.0, 1.0, 1.0], len(eye)))
            nodes.append(Apply(slopes, len(nodes) - 1, 3 * len(eye)))
            nodes.append(Affine((DenseMap(np.kron(eye, _BACK)),), (len(nodes) - 1,)))
        elif isinstance(node, Apply):
            nodes.append(Apply(node.function, place[node.parent], node.size))
        else:
            nodes.append(node)
        place[k] = len(nodes) - 1
    return Graph(tuple(nodes))
