"""`lmikit inspect NET`: the network as it was read."""

import argparse
from typing import Any

from .. import _api
from ..graph import Affine, Apply, Graph
from ..network import AbstractLinearMap, Activation, DenseMap, Network, SparseMap
from ._commands import _emit, _network

__all__ = ["inspect"]


def _map(linear: AbstractLinearMap) -> dict[str, Any]:
    kind = {DenseMap: "dense", SparseMap: "sparse"}.get(type(linear), type(linear).__name__)
    return {"map": kind, "shape": list(linear.shape), "entries": int(linear.nonzeros().size)}


def _activation(activation: Activation) -> dict[str, Any]:
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
            known = isinstance(node.function, Activation)
            row |= _activation(node.function) if known else {"activation": node.function.name}  # type: ignore[arg-type]
        rows.append(row)
    return rows


def inspect(arguments: argparse.Namespace) -> int:
    """Print what was read: layers or nodes, shapes, entries, activations, and which methods take it."""
    network = _network(arguments)
    chain = isinstance(network, Network)
    methods = [m.cli_name for m in _api.default_methods()] if chain else ["lipsdp", "spectral-product"]
    rows = _layers(network) if isinstance(network, Network) else _nodes(network)
    maps = [m for row in rows for m in ([row] if chain else row.get("maps", []))]
    data = {
        "kind": "chain" if chain else "graph",
        "inputs": network.input_dim,
        "outputs": network.output_dim,
        "hidden_neurons": network.hidden_neurons,
        "entries": sum(m["entries"] for m in maps),
        "digest": network.digest,
        "methods": methods,
        "layers" if chain else "nodes": rows,
    }
    head = {k: v for k, v in data.items() if k not in ("layers", "nodes")} | {"methods": ", ".join(methods)}
    lines = [f"{key:<15} {value}" for key, value in head.items()]
    lines += [f"  {k:<3} {_text(row)}" for k, row in enumerate(rows)]
    _emit(arguments, data, "\n".join(lines))
    return 0


def _text(row: dict[str, Any]) -> str:
    """One layer or node in one line."""
    words = []
    if "node" in row:
        words.append(f"{row['node']} {row['size']} of {row['parents']}")
    for m in [row] if "map" in row else row.get("maps", []):
        words.append(f"{m['map']} {m['shape'][0]} x {m['shape'][1]} ({m['entries']} entries)")
    if "activation" in row:
        settings = ", ".join(f"{k}={v}" for k, v in row.get("settings", {}).items())
        words.append(row["activation"] + (f"({settings})" if settings else ""))
    return "; ".join(words)
