"""Networks as graphs of affine and nonlinear nodes; one sweep for values and derivatives."""

from ._builder import GraphBuilder, Value
from ._carried import carried_chain
from ._chain import chain_graph, graph_chain, is_chain
from ._difference import output_difference
from ._forward import enclosed_outputs
from ._graph import Graph
from ._known import OneLipschitz
from ._largest import largest_as_trees
from ._lower import graph_lower_bound
from ._nodes import Affine, Apply, Input
from ._pairs import pairs_as_neurons
from ._rewriting import without_groups
from ._witness import GraphWitness, Part

__all__ = [
    "Affine",
    "Apply",
    "Graph",
    "GraphBuilder",
    "GraphWitness",
    "Input",
    "OneLipschitz",
    "Part",
    "Value",
    "carried_chain",
    "chain_graph",
    "enclosed_outputs",
    "graph_chain",
    "graph_lower_bound",
    "is_chain",
    "largest_as_trees",
    "output_difference",
    "pairs_as_neurons",
    "without_groups",
]
