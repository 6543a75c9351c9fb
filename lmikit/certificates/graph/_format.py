"""The text of a graph's certificate: JSON with hexadecimal floats, base64 arrays, maps by SHA-256.

The format is specified in docs/graph_certificate_format.md; reading refuses whatever it does not know.
"""

import dataclasses
import json
import math
import os
from typing import TYPE_CHECKING, Any

from ..._errors import InputError
from ...graph import Affine, Apply, Graph
from ...graph._witness import GraphWitness, Part
from ...nonlinear import AbstractGroups
from .._kinds import read_text
from .._strict_json import (
    array_out,
    float_of,
    index_of,
    object_of,
    optional_float,
    optional_out,
    parsed,
    require_format,
    sized_array_of,
    sized_array_out,
    text_of,
    tool_version,
)

if TYPE_CHECKING:
    from ._certificate import GraphCertificate

__all__ = [
    "FORMAT",
    "GraphDocument",
    "graph_record",
    "parse_graph",
    "read_graph",
    "recorded_outputs",
    "render_graph",
]

FORMAT, VERSION = "lmikit-graph-cert", 1
_NORMS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}
_NAMES = {value: name for name, value in _NORMS.items()}
_LARGEST_ARRAY = 10**8
_FIXED = {
    "scope": "global",
    "semantics": "real",
    "statement": "||f(x) - f(x')||_q <= L ||x - x'||_p for all x, x', of the real-arithmetic function "
    "defined by these float weights; not of a float inference",
}


@dataclasses.dataclass(frozen=True)
class GraphDocument:
    """A certificate file as data; nothing in it is proven."""

    bound: float
    witness: GraphWitness
    record: tuple[object, ...]
    margin: float
    lower: float | None


def graph_record(graph: Graph) -> tuple[object, ...]:
    """What the claim is about: nodes by index and kind, hashes of maps, slopes. Plain, comparable data."""
    return tuple(json.dumps(_node_out(node), sort_keys=True) for node in graph.nodes)


def recorded_outputs(record: tuple[object, ...]) -> int:
    """The size of the last node."""
    return int(json.loads(str(record[-1]))["size"])


def _node_out(node: object) -> dict[str, Any]:
    if isinstance(node, Affine):
        maps = [{"shape": list(m.shape), "sha256": m.digest} for m in node.maps]
        return {"kind": "affine", "size": node.size, "parents": list(node.parents), "maps": maps}
    if not isinstance(node, Apply):
        return {"kind": "input", "size": node.size}  # type: ignore[attr-defined]
    entry = {"size": node.size, "parents": [node.parent]}
    if isinstance(node.function, AbstractGroups):
        parameters = {k: _plain(v) for k, v in node.function.parameters().items()}
        return {"kind": "groups", **entry, "function": node.function.name, "parameters": parameters}
    return {"kind": "slopes", **entry, "alpha": array_out(node.alpha), "beta": array_out(node.beta)}


def _plain(value: object) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.hex() if isinstance(value, float) else value


def render_graph(certificate: "GraphCertificate") -> str:
    """The JSON text of a certificate."""
    witness = certificate.witness
    p, q = certificate.norm
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {**_FIXED, "p": _NAMES[p], "q": _NAMES[q], "L": certificate.bound.hex()},
        "graph": [json.loads(str(node)) for node in certificate.graph_record],
        "proof": {
            "kind": witness.kind,
            "rewritten": witness.rewritten,
            "parts": [_part_out(part) for part in witness.parts],
            "gains": [g.hex() for g in witness.gains],
        },
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": certificate.produced_by},
        "margin": float(certificate.margin).hex(),
        "unproven": {
            "lower": optional_out(certificate.lower),
            "optimum_at_least": optional_out(witness.optimum_at_least),
        },
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _part_out(part: Part) -> dict[str, Any]:
    return {
        "row": part.row,
        "column": part.column,
        "d_in": sized_array_out(part.d_in),
        "d_out": sized_array_out(part.d_out),
        "multipliers": [sized_array_out(t) for t in part.multipliers],
    }


def read_graph(path: str | os.PathLike[str]) -> GraphDocument:
    """Read and validate a file; raises InputError."""
    return parse_graph(read_text(path))


def parse_graph(text: str) -> GraphDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid certificate of a graph")


def _document(data: Any) -> GraphDocument:
    top = object_of(data, "the file", "format version claim graph proof tool margin unproven")
    require_format(top, FORMAT, (VERSION,))
    claim = object_of(top["claim"], "claim", "scope semantics statement p q L")
    for field, text in _FIXED.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    norm = _norm(claim["p"], "claim.p"), _norm(claim["q"], "claim.q")
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        text_of(value, f"tool.{field}")
    unproven = object_of(top["unproven"], "unproven", "lower optimum_at_least")
    if not isinstance(top["graph"], list) or not all(isinstance(node, dict) for node in top["graph"]):
        raise InputError("graph is not a list of nodes.")
    record = tuple(json.dumps(node, sort_keys=True) for node in top["graph"])  # compared, never computed with
    proof = object_of(top["proof"], "proof", "kind rewritten parts gains")
    for field in ("parts", "gains"):
        if not isinstance(proof[field], list):
            raise InputError(f"proof.{field} is not a list.")
    if not isinstance(proof["rewritten"], bool):
        raise InputError("proof.rewritten is not true or false.")
    witness = GraphWitness(
        text_of(proof["kind"], "proof.kind"),
        norm,
        tuple(_part(part, f"proof.parts[{k}]") for k, part in enumerate(proof["parts"])),
        tuple(float_of(g, f"proof.gains[{k}]") for k, g in enumerate(proof["gains"])),
        tool["produced_by"],
        optional_float(unproven["optimum_at_least"], "unproven.optimum_at_least"),
        proof["rewritten"],
    )
    bound = float_of(claim["L"], "claim.L")
    if bound < 0.0:
        raise InputError(f"claim.L is {bound!r}; expected zero or more.")
    lower = optional_float(unproven["lower"], "unproven.lower")
    return GraphDocument(bound, witness, record, float_of(top["margin"], "margin"), lower)


def _norm(data: Any, name: str) -> float:
    if text_of(data, name) not in _NORMS:
        raise InputError(f"{name} is {data!r}; expected one of {', '.join(_NORMS)}.")
    return _NORMS[data]


def _part(data: Any, name: str) -> Part:
    fields = object_of(data, name, "row column d_in d_out multipliers")
    if not isinstance(fields["multipliers"], list):
        raise InputError(f"{name}.multipliers is not a list.")
    return Part(
        sized_array_of(fields["d_in"], f"{name}.d_in"),
        sized_array_of(fields["d_out"], f"{name}.d_out"),
        tuple(sized_array_of(t, f"{name}.multipliers[{k}]") for k, t in enumerate(fields["multipliers"])),
        index_of(fields["row"], f"{name}.row"),
        index_of(fields["column"], f"{name}.column"),
    )
