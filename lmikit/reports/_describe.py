"""A network as plain data: layers or nodes, shapes, entries, activations, and the methods that take it."""

from typing import Any

import numpy as np

from .._api import default_methods, methods_for
from .._errors import InputError
from .._image_api import image_plan
from ..certificates.point import is_curved, point_network, slopes_of_pieces
from ..graph import Affine, Apply, Graph
from ..maps import Convolution2d
from ..network import (
    AbstractLinearMap,
    Activation,
    DenseMap,
    Identity,
    Network,
    SelectMap,
    SparseMap,
    TransposedMap,
)

__all__ = ["describe", "maps_of"]


def describe(network: Network | Graph) -> dict[str, Any]:
    """Kind, sizes, entries, digest, layers or nodes, and per method what it does with the network."""
    chain = isinstance(network, Network)
    rows = _layers(network) if isinstance(network, Network) else _nodes(network)
    maps = [m for row in rows for m in ([row] if chain else row.get("maps", []))]
    taken = sorted({m.cli_name for m in methods_for(network) if m is not None})
    plan = image_plan(network)
    why = "needs a chain" if plan is None else "would unroll the convolutions"
    return {
        "kind": "chain" if chain else "graph",
        "inputs": network.input_dim,
        "outputs": network.output_dim,
        "hidden_neurons": network.hidden_neurons,
        "entries": sum(m["entries"] for m in maps),
        "digest": network.digest,
        "default": "one multiplier per neuron, unrolled" if plan is None else str(plan),
        "methods": taken,
        "at_a_point": _at_a_point(network),
        "not_for_it": dict.fromkeys(sorted({m.cli_name for m in default_methods()} - set(taken)), why),
        "layers" if chain else "nodes": rows,
    }


def _at_a_point(network: Network | Graph) -> str:
    """Whether margins and radii at a point are for this network, and as what."""
    try:
        chain = point_network(network)
    except InputError as error:
        return f"no: {error}"
    for layer in chain.layers[:-1]:
        phi = layer.activation
        pieces = isinstance(phi, Identity) or slopes_of_pieces(phi, layer.linear.shape[0]) is not None
        if not (pieces or is_curved(phi)):
            return f"no: {phi.name} is not known there"
    if chain is network:
        return "margins and radii"
    return f"margins and radii, as a chain of {chain.hidden_neurons} neurons"


def maps_of(network: Network | Graph) -> list[tuple[str, AbstractLinearMap]]:
    """(where, map) of every linear map."""
    if isinstance(network, Network):
        return [(f"layer {k}", layer.linear) for k, layer in enumerate(network.layers)]
    return [
        (f"node {k}" + (f", from {p}" if len(node.maps) > 1 else ""), linear)
        for k, node in enumerate(network.nodes)
        if isinstance(node, Affine)
        for linear, p in zip(node.maps, node.parents, strict=True)
    ]


def _map(linear: AbstractLinearMap) -> dict[str, Any]:
    known = {DenseMap: "dense", SparseMap: "sparse", SelectMap: "selection", Convolution2d: "convolution"}
    inner = linear.original if isinstance(linear, TransposedMap) else linear
    kind = known.get(type(inner), type(inner).__name__)
    row = {
        "map": kind + (", transposed" if inner is not linear else ""),
        "shape": list(linear.shape),
        "entries": _entries(inner),
        "stored_as": getattr(inner, "source_dtype", "F64"),
    }
    if isinstance(inner, Convolution2d):
        row |= {
            "kernel": list(inner.kernel.shape),
            "images": [*inner.input_shape],
            "to": [*inner.output_shape],
        }
        row |= {"stride": list(inner.stride), "padding": [list(p) for p in inner.padding]}
    return row


def _entries(linear: AbstractLinearMap) -> int:
    """Numbers that the map is made of: a convolution's are those of its kernel."""
    if isinstance(linear, Convolution2d):
        return int(np.count_nonzero(linear.kernel))
    return int(linear.nonzeros().size)


def _activation(activation: Any) -> dict[str, Any]:
    if not isinstance(activation, Activation):
        return {"activation": activation.name}
    settings = {k: v for k, v in activation.parameters().items() if isinstance(v, (int, float, str))}
    return {"activation": activation.name, "settings": settings}


def _layers(network: Network) -> list[dict[str, Any]]:
    return [{**_map(layer.linear), **_activation(layer.activation)} for layer in network.layers]


def _nodes(graph: Graph) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for node in graph.nodes:
        row: dict[str, Any] = {
            "node": type(node).__name__.lower(),
            "size": node.size,
            "parents": list(node.parents),
        }
        if isinstance(node, Affine):
            row["maps"] = [_map(linear) for linear in node.maps]
        elif isinstance(node, Apply):
            row |= _activation(node.function)
        rows.append(row)
    return rows
