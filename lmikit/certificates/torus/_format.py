"""The text of a torus certificate: JSON with hexadecimal floats, base64 arrays, maps by SHA-256.

The format is specified in docs/convolutions.md; reading refuses whatever it does not know.
"""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from ..._errors import InputError
from ...torus import TorusForm, TorusWitness
from .._strict_json import (
    float_of,
    integer_of,
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
from ..graph._format import graph_record

if TYPE_CHECKING:
    from ._certificate import TorusCertificate

__all__ = ["FORMAT", "TorusDocument", "admissibility", "parse_torus", "render_torus", "torus_record"]

FORMAT, VERSION = "lmikit-torus-cert", 1
_LARGEST_ARRAY = 10**8
_FIXED = {
    "norm": "l2->l2",
    "scope": "global",
    "semantics": "real",
    "statement": "||f(x) - f(x')||_2 <= L ||x - x'||_2 for all x, x', of the real-arithmetic function "
    "defined by these float weights; not of a float inference",
}


@dataclasses.dataclass(frozen=True)
class TorusDocument:
    """A certificate file as data; nothing in it is proven."""

    bound: float
    witness: TorusWitness
    record: tuple[object, ...]
    admissibility: str
    margin: float
    lower: float | None


def torus_record(form: TorusForm) -> tuple[object, ...]:
    """What the claim is about: the nodes of the graph, by kind, hashes of maps and slopes."""
    return graph_record(form.source)


def admissibility(form: TorusForm) -> str:
    """What each node and map demands of the torus, as text that can be compared."""
    return json.dumps(form.images.admissibility(form.graph), sort_keys=True)


def render_torus(certificate: "TorusCertificate") -> str:
    """The JSON text of a certificate."""
    witness = certificate.witness
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {**_FIXED, "L": certificate.bound.hex()},
        "graph": [json.loads(str(node)) for node in certificate.record],
        "proof": {
            "cells": list(witness.cells),
            "admissibility": json.loads(certificate.admissibility),
            "d_in": witness.d_in.hex(),
            "d_out": witness.d_out.hex(),
            "multipliers": [sized_array_out(t) for t in witness.multipliers],
            "head": [sized_array_out(t) for t in witness.head],
        },
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": certificate.produced_by},
        "margin": float(certificate.margin).hex(),
        "unproven": {
            "lower": optional_out(certificate.lower),
            "optimum_at_least": optional_out(witness.optimum_at_least),
        },
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def parse_torus(text: str) -> TorusDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid certificate of a network on a torus")


def _document(data: Any) -> TorusDocument:
    top = object_of(data, "the file", "format version claim graph proof tool margin unproven")
    require_format(top, FORMAT, (VERSION,))
    claim = object_of(top["claim"], "claim", "norm scope semantics statement L")
    for field, text in _FIXED.items():
        if claim[field] != text:
            raise InputError(f"claim.{field} is {claim[field]!r}; expected {text!r}.")
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        text_of(value, f"tool.{field}")
    unproven = object_of(top["unproven"], "unproven", "lower optimum_at_least")
    if not isinstance(top["graph"], list) or not all(isinstance(node, dict) for node in top["graph"]):
        raise InputError("graph is not a list of nodes.")
    record = tuple(json.dumps(node, sort_keys=True) for node in top["graph"])  # compared, never computed with
    bound = float_of(claim["L"], "claim.L")
    if bound < 0.0:
        raise InputError(f"claim.L is {bound!r}; expected zero or more.")
    witness, admissible = _proof(
        top["proof"],
        tool["produced_by"],
        optional_float(unproven["optimum_at_least"], "unproven.optimum_at_least"),
    )
    lower = optional_float(unproven["lower"], "unproven.lower")
    return TorusDocument(bound, witness, record, admissible, float_of(top["margin"], "margin"), lower)


def _proof(data: Any, produced_by: str, optimum: float | None) -> tuple[TorusWitness, str]:
    proof = object_of(data, "proof", "cells admissibility d_in d_out multipliers head")
    for field in ("cells", "admissibility", "multipliers", "head"):
        if not isinstance(proof[field], list):
            raise InputError(f"proof.{field} is not a list.")
    if len(proof["cells"]) != 2:
        raise InputError("proof.cells is not a list of two integers.")
    cells = [integer_of(m, "proof.cells", 1, 2**20) for m in proof["cells"]]
    arrays = {
        field: tuple(sized_array_of(t, f"proof.{field}[{k}]") for k, t in enumerate(proof[field]))
        for field in ("multipliers", "head")
    }
    witness = TorusWitness(
        (cells[0], cells[1]),
        float_of(proof["d_in"], "proof.d_in"),
        float_of(proof["d_out"], "proof.d_out"),
        arrays["multipliers"],
        arrays["head"],
        produced_by,
        optimum,
    )
    return witness, json.dumps(proof["admissibility"], sort_keys=True)
