"""From a chain to a graph and back."""

import numpy as np

from .._errors import InputError
from ..network import AbstractLinearMap, Activation, DenseMap, Identity, Layer, Network
from ._graph import Graph
from ._nodes import Affine, Apply, Input, Node

__all__ = ["chain_graph", "chain_with_layers", "graph_chain", "is_chain"]


def chain_graph(network: Network) -> Graph:
    """A chain as a graph: per layer an affine node, and a nonlinear one but for the last.

    Raises InputError where a layer's slopes are narrower than its activation's: those hold on a part of
    the inputs only.
    """
    nodes: list[Node] = [Input(network.input_dim)]
    for k, layer in enumerate(network.layers):
        nodes.append(Affine((layer.linear,), (len(nodes) - 1,), layer.bias))
        if k + 1 < len(network.layers):
            node = Apply(layer.activation, len(nodes) - 1, layer.linear.shape[0])
            if not (np.array_equal(node.alpha, layer.alpha) and np.array_equal(node.beta, layer.beta)):
                raise InputError(f"layer {k} has slopes other than {layer.activation.name}'s; pass Slopes.")
            nodes.append(node)
    return Graph(tuple(nodes))


def graph_chain(graph: Graph) -> Network:
    """The same function as a chain; raises InputError where the graph is none."""
    return chain_with_layers(graph)[0]


def is_chain(graph: Graph) -> bool:
    """Whether every node takes the one before it, and acts on one neuron at a time: `graph_chain` works."""
    return all(
        node.parents == (k - 1,) and (not isinstance(node, Apply) or isinstance(node.function, Activation))
        for k, node in enumerate(graph.nodes[1:], start=1)
    )


def chain_with_layers(graph: Graph) -> tuple[Network, tuple[int, ...]]:
    """The chain, and the index of the hidden layer of each nonlinear node; raises InputError."""
    layers: list[Layer] = []
    place: list[int] = []
    pending: tuple[AbstractLinearMap, np.ndarray] | None = None
    for k, node in enumerate(graph.nodes[1:], start=1):
        if node.parents != (k - 1,):
            raise _needs_chain(f"node {k} has the parents {list(node.parents)}")
        if isinstance(node, Affine):
            assert node.bias is not None
            if pending is not None:
                layers.append(_layer(pending, Identity(), k))
            pending = node.maps[0], node.bias
        elif isinstance(node, Apply):
            if not isinstance(node.function, Activation):
                raise _needs_chain(f"node {k} applies {node.function.name} to groups of channels")
            size = node.size
            layers.append(_layer(pending or (DenseMap(np.eye(size)), np.zeros(size)), node.function, k))
            place.append(len(layers) - 1)
            pending = None
    size = graph.output_dim
    layers.append(_layer(pending or (DenseMap(np.eye(size)), np.zeros(size)), Identity(), len(graph.nodes)))
    return Network(tuple(layers), graph.input_dim), tuple(place)


def _layer(affine: tuple[AbstractLinearMap, np.ndarray], activation: Activation, k: int) -> Layer:
    return Layer.of(affine[0], affine[1], activation, f"node {k}")


def _needs_chain(reason: str) -> InputError:
    return InputError(
        f"this needs a chain; the graph is none: {reason}. "
        "Of the bounds, LipSDP(), BurerMonteiro() and SpectralProduct() take graphs."
    )
