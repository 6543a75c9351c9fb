"""Reading files of format "lmikit-point-cert", strictly; nothing is proven here."""

import os
import re
from typing import Any

import numpy as np

from ..._errors import InputError
from ...claims import AbstractRegion, Ball, BallAndBox, Box, PointClaim
from .._kinds import read_text
from .._strict_json import array_of, float_of, integer_of, list_of, object_of, parsed, require_format, text_of
from ._format_write import FORMAT, VERSION, VERSION_2
from ._witness import MultiplierGroup, PointWitness, TermMultipliers

__all__ = ["parse_point", "read_point"]

_LARGEST = 2**24  # neurons, inputs, rows
_DIGEST = re.compile("[0-9a-f]{64}")


def read_point(path: str | os.PathLike[str]) -> PointWitness:
    """Read and validate a file; raises InputError."""
    return parse_point(read_text(path, "point certificate file"), os.fspath(path))


def parse_point(text: str, name: str = "the certificate") -> PointWitness:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid point certificate", name)


def _document(data: Any) -> PointWitness:
    fields = "format version claim network groups tool"
    stated = data.get("version") if isinstance(data, dict) else None
    second = type(stated) is int and stated == VERSION_2
    top = object_of(data, "the file", fields + " enclosed" if second else fields)
    require_format(top, FORMAT, (VERSION, VERSION_2))
    version = VERSION_2 if second else VERSION
    digest = text_of(object_of(top["network"], "network", "digest")["digest"], "network.digest")
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"network.digest is {digest!r}; expected 64 lower-case hexadecimal digits.")
    tool = object_of(top["tool"], "tool", "name version produced_by")
    for field, value in tool.items():
        text_of(value, f"tool.{field}")
    claim = _claim(top["claim"], version)
    enclosed = top["enclosed"] if second else []
    if not isinstance(enclosed, list):
        raise InputError("enclosed is not a list.")
    rows = tuple(integer_of(r, "enclosed", 0, len(claim.rows) - 1) for r in enclosed)
    if not isinstance(top["groups"], list) or not (top["groups"] or rows):
        raise InputError("groups is not a list of at least one entry.")
    groups = tuple(_group(g, f"groups[{k}]", claim) for k, g in enumerate(top["groups"]))
    return PointWitness(digest, claim, groups, tool["produced_by"], rows)


def _claim(data: Any, version: int) -> PointClaim:
    own = "semantics " if version == VERSION_2 else ""
    fields = object_of(data, "claim", own + "kind statement region shape rows offsets lower")
    semantics = text_of(fields["semantics"], "claim.semantics") if own else "real"
    count, outputs = (
        integer_of(n, "claim.shape", 1, _LARGEST) for n in list_of(fields["shape"], "claim.shape", 2)
    )
    kind = text_of(fields["kind"], "claim.kind")
    if kind not in ("margin", "radius"):
        raise InputError(f"claim.kind is {kind!r}; expected 'margin' or 'radius'.")
    claim = PointClaim(
        _region(fields["region"]),
        array_of(fields["rows"], "claim.rows", count * outputs).reshape(count, outputs),
        array_of(fields["lower"], "claim.lower", count),
        array_of(fields["offsets"], "claim.offsets", count),
        "radius" if kind == "radius" else "margin",
        semantics,
    )
    if fields["statement"] != claim.sentence:
        raise InputError(f"claim.statement is {fields['statement']!r}; expected {claim.sentence!r}.")
    return claim


def _region(data: Any) -> AbstractRegion:
    fields = object_of(data, "claim.region", "kind dim x0 radius lower upper")
    dim = integer_of(fields["dim"], "claim.region.dim", 1, _LARGEST)
    kind = text_of(fields["kind"], "claim.region.kind")
    needs: dict[str, tuple[str, ...]] = {Ball.kind: ("x0", "radius"), Box.kind: ("lower", "upper")}
    needs[BallAndBox.kind] = (*needs[Ball.kind], *needs[Box.kind])
    if kind not in needs:
        raise InputError(f"claim.region.kind is {kind!r}; expected one of {', '.join(needs)}.")
    extra = [f for f in ("x0", "radius", "lower", "upper") if (fields[f] is not None) != (f in needs[kind])]
    if extra:
        raise InputError(f"claim.region of kind {kind!r} has or lacks {', '.join(extra)}.")
    arrays = {
        f: array_of(fields[f], f"claim.region.{f}", dim)
        for f in ("x0", "lower", "upper")
        if fields[f] is not None
    }
    ball = Ball(arrays["x0"], float_of(fields["radius"], "claim.region.radius")) if "x0" in arrays else None
    box = Box(arrays["lower"], arrays["upper"]) if "lower" in arrays else None
    if ball is not None and box is not None:
        return BallAndBox(ball, box)
    region = ball if ball is not None else box
    assert region is not None
    return region


def _group(data: Any, name: str, claim: PointClaim) -> MultiplierGroup:
    fields = object_of(data, name, "rows scales mu tau layers")
    if not isinstance(fields["rows"], list) or not isinstance(fields["layers"], list):
        raise InputError(f"{name}.rows or {name}.layers is not a list.")
    rows = tuple(integer_of(r, f"{name}.rows", 0, len(claim.rows) - 1) for r in fields["rows"])
    tau = np.zeros(0) if fields["tau"] is None else array_of(fields["tau"], f"{name}.tau", claim.region.dim)
    layers = []
    for k, layer in enumerate(fields["layers"]):
        if not isinstance(layer, list):
            raise InputError(f"{name}.layers[{k}] is not a list.")
        layers.append(tuple(_term(item, f"{name}.layers[{k}][{j}]") for j, item in enumerate(layer)))
    scales = array_of(fields["scales"], f"{name}.scales", len(rows))
    return MultiplierGroup(rows, scales, float_of(fields["mu"], f"{name}.mu"), tau, tuple(layers))


def _term(data: Any, name: str) -> TermMultipliers:
    fields = object_of(data, name, "term size multipliers parameters")
    size = integer_of(fields["size"], f"{name}.size", 1, _LARGEST)
    if not isinstance(fields["parameters"], dict):
        raise InputError(f"{name}.parameters is not an object.")
    parameters = {p: array_of(v, f"{name}.parameters.{p}", size) for p, v in fields["parameters"].items()}
    values = array_of(fields["multipliers"], f"{name}.multipliers", size)
    return TermMultipliers(text_of(fields["term"], f"{name}.term"), values, parameters)
