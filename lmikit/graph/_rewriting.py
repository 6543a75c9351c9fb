"""Reflections and (max, min) pairs as one |.| or ReLU neuron per group, exactly."""

from fractions import Fraction

import numpy as np

from .._errors import InputError
from ..network import Abs, DenseMap, ReLU, identity_map
from ..nonlinear import AbstractGroups, MaxMinPairs, Reflect
from ._graph import Graph
from ._nodes import Affine, Apply, Node

__all__ = ["without_groups"]


def without_groups(graph: Graph) -> Graph:
    """The same function with slope-restricted neurons only.

    A pair is (x_2 + r, x_1 - r), r = relu(x_1 - x_2). A reflection with 2 u / u'u exact in float64 is
    v + u (|s| - s) / u'u, s = u'v. Both show the same bound as the constraint on the group, with half the
    neurons; but v then enters linearly, which makes deep graphs dense. Raises InputError for sorted
    groups of more than two and for reflections whose coefficients are not floats.
    """
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            nodes.append(Affine(node.maps, tuple(place[p] for p in node.parents), node.bias))
        elif isinstance(node, Apply) and isinstance(node.function, AbstractGroups):
            _rewrite(nodes, node.function, node.size, place[node.parent])
        elif isinstance(node, Apply):
            nodes.append(Apply(node.function, place[node.parent], node.size))
        else:
            nodes.append(node)
        place[k] = len(nodes) - 1
    return Graph(tuple(nodes))


def _rewrite(nodes: list[Node], function: AbstractGroups, size: int, parent: int) -> None:
    groups = function.groups(size)
    eye = np.eye(groups)
    if isinstance(function, MaxMinPairs):
        read, through, into = [[1.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0], [-1.0]]
        nodes.append(Affine((DenseMap(np.kron(eye, read)),), (parent,)))
        nodes.append(Apply(ReLU(), len(nodes) - 1, groups))
        maps = (DenseMap(np.kron(eye, through)), DenseMap(np.kron(eye, into)))
        nodes.append(Affine(maps, (parent, len(nodes) - 1)))
        return
    if not isinstance(function, Reflect):
        raise InputError(f"{function.name} has no rewriting by one neuron per group.")
    u = function.direction
    exact = sum((Fraction(float(x)) ** 2 for x in u), start=Fraction(0))
    square = float(exact)
    if np.frexp(square)[0] != 0.5 or Fraction(square) != exact:
        raise InputError("the coefficients u / u'u of this reflection are not floats; keep the constraint.")
    into = u[:, None] / square  # exact: a division by a power of two
    if not np.array_equal(into[:, 0] * square, u):  # unless it underflows
        raise InputError("the coefficients u / u'u of this reflection are not floats; keep the constraint.")
    nodes.append(Affine((DenseMap(np.kron(eye, u[None])),), (parent,)))
    nodes.append(Apply(Abs(), len(nodes) - 1, groups))
    back = (identity_map(size), DenseMap(np.kron(eye, into)), DenseMap(np.kron(eye, -into)))
    nodes.append(Affine(back, (parent, len(nodes) - 1, len(nodes) - 2)))
