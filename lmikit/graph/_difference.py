"""The graph of the difference of two outputs."""

import numpy as np

from .._errors import InputError
from ..network import DenseMap
from ._graph import Graph
from ._nodes import Affine

__all__ = ["output_difference"]


def output_difference(graph: Graph, i: int, j: int) -> Graph:
    """f_i - f_j as a graph of one output: e_i - e_j, whose entries are exact, after the outputs.

    Raises InputError for outputs that the graph does not have, or twice the same.
    """
    if i == j or not (0 <= i < graph.output_dim and 0 <= j < graph.output_dim):
        raise InputError(
            f"got the outputs {i} and {j}; expected two different ones of 0..{graph.output_dim - 1}."
        )
    row = np.zeros((1, graph.output_dim))
    row[0, i], row[0, j] = 1.0, -1.0
    return Graph((*graph.nodes, Affine((DenseMap(row),), (len(graph.nodes) - 1,))))
