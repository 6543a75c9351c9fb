"""Files of format "lmikit-cells-cert": written and strictly read here; nothing is proven."""

import dataclasses
import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import InputError
from ...claims import AbstractRegion
from .._kinds import read_text
from .._strict_json import (
    array_of,
    array_out,
    float_of,
    integer_of,
    list_of,
    object_of,
    parsed,
    require_format,
    text_of,
    tool_version,
)
from ..point._format_read import _region as _region_in
from ..point._format_write import _region as _region_out
from ._cells import Pairs
from ._emptiness import Emptiness
from ._interior import InteriorPoint
from ._tree import EMPTY, CellTree, CellWitness

if TYPE_CHECKING:
    from ._certificate import CellCertificate

__all__ = ["FORMAT", "CellDocument", "parse_cells", "read_cells", "render_cells"]

FORMAT, VERSION = "lmikit-cells-cert", 1
_LARGEST = 2**24
_DIGEST = re.compile("[0-9a-f]{64}")
_ENTRY = re.compile("(0|[1-9][0-9]{0,8}):([1-9a-f][0-9a-f]{0,65535})")


@dataclasses.dataclass(frozen=True, eq=False)
class CellDocument:
    """A file as data."""

    lower: float
    upper: float
    region: AbstractRegion | None
    digest: str
    witness: CellWitness


def render_cells(certificate: "CellCertificate") -> str:
    """The JSON text of a certificate."""
    witness, region = certificate.witness, certificate.region
    data = {
        "format": FORMAT,
        "version": VERSION,
        "claim": {
            "statement": certificate.claim,
            "lower": certificate.lower.hex(),
            "upper": certificate.upper.hex(),
            "region": None if region is None else _region_out(region),
        },
        "network": {"digest": certificate.network_digest, "inputs": _inputs(certificate)},
        "slopes": [
            {"size": int(a.size), "alpha": array_out(a), "beta": array_out(b)} for a, b in witness.slopes
        ],
        "tails": list(witness.tails),
        "tree": _tree_out(witness.tree),
        "point": _point_out(witness.point),
        "tool": {"name": "lmikit", "version": tool_version()},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _inputs(certificate: "CellCertificate") -> int:
    if certificate.region is not None:
        return certificate.region.dim
    point = certificate.witness.point
    return 1 if point is None else int(point.x.size)


def _tree_out(tree: CellTree) -> dict[str, Any]:
    entries = (
        " ".join(f"{p}:{m:x}" for p, m in zip(e.positions, e.multipliers, strict=True)) for e in tree.empties
    )
    splits = [e.split for e in tree.empties if e.split is not None]
    return {
        "nodes": len(tree.codes),
        "codes": array_out(np.array(tree.codes, dtype=np.float64)),
        "empty": ";".join(entries),
        "splits": array_out(np.concatenate(splits)) if splits else None,
    }


def _point_out(point: InteriorPoint | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {"x": array_out(point.x), "direction": array_out(point.direction)}


def read_cells(path: str | os.PathLike[str]) -> CellDocument:
    """Read and validate a file; raises InputError."""
    return parse_cells(read_text(path, "cells certificate file"))


def parse_cells(text: str) -> CellDocument:
    """Validate the text of a file; raises InputError naming the field."""
    return parsed(text, _document, "a valid certificate of cells")


def _document(data: Any) -> CellDocument:
    top = object_of(data, "the file", "format version claim network slopes tails tree point tool")
    require_format(top, FORMAT, (VERSION,))
    for field, value in object_of(top["tool"], "tool", "name version").items():
        text_of(value, f"tool.{field}")
    network = object_of(top["network"], "network", "digest inputs")
    digest = text_of(network["digest"], "network.digest")
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"network.digest is {digest!r}; expected 64 lower-case hexadecimal digits.")
    inputs = integer_of(network["inputs"], "network.inputs", 1, _LARGEST)
    lower, upper, region = _claim(top["claim"], inputs)
    slopes = _slopes(top["slopes"])
    tails = tuple(
        None if t is None else text_of(t, "tails") for t in list_of(top["tails"], "tails", len(slopes))
    )
    both = region is not None and region.ball is not None and region.box is not None
    tree = _tree(top["tree"], inputs if both else 0)
    witness = CellWitness(slopes, tails, tree, _point(top["point"], inputs))
    return CellDocument(lower, upper, region, digest, witness)


def _claim(data: Any, inputs: int) -> tuple[float, float, AbstractRegion | None]:
    from ._certificate import sentence

    fields = object_of(data, "claim", "statement lower upper region")
    region = None if fields["region"] is None else _region_in(fields["region"])
    if region is not None and region.dim != inputs:
        raise InputError(f"claim.region has dimension {region.dim}; expected network.inputs, {inputs}.")
    if fields["statement"] != sentence(region):
        raise InputError(f"claim.statement is {fields['statement']!r}; expected {sentence(region)!r}.")
    return float_of(fields["lower"], "claim.lower"), float_of(fields["upper"], "claim.upper"), region


def _slopes(data: Any) -> Pairs:
    if not isinstance(data, list):
        raise InputError("slopes is not a list with one entry per hidden layer.")
    pairs = []
    for k, item in enumerate(data):
        name = f"slopes[{k}]"
        fields = object_of(item, name, "size alpha beta")
        size = integer_of(fields["size"], f"{name}.size", 1, _LARGEST)
        alpha, beta = (array_of(fields[side], f"{name}.{side}", size) for side in ("alpha", "beta"))
        if (alpha > beta).any():
            raise InputError(f"{name} has alpha > beta; expected alpha <= beta.")
        pairs.append((alpha, beta))
    return tuple(pairs)


def _tree(data: Any, width: int) -> CellTree:
    """`width` numbers per empty cell are the split of a ball and a box."""
    fields = object_of(data, "tree", "nodes codes empty splits")
    nodes = integer_of(fields["nodes"], "tree.nodes", 1, _LARGEST)
    values = array_of(fields["codes"], "tree.codes", nodes)
    if (values != np.rint(values)).any() or (values < EMPTY).any() or (values > _LARGEST).any():
        raise InputError("tree.codes holds something else than neurons, -1 (bounded) and -2 (empty).")
    codes = tuple(int(v) for v in values)
    text = text_of(fields["empty"], "tree.empty")
    entries = text.split(";") if text else []
    if (fields["splits"] is not None) != bool(width and entries):
        raise InputError("tree.splits is there without empty cells of a ball and a box, or lacks.")
    splits: list[np.ndarray | None] = [None] * len(entries)
    if width and entries:
        splits = list(array_of(fields["splits"], "tree.splits", width * len(entries)).reshape(-1, width))
    return CellTree(codes, tuple(_empty(e, s) for e, s in zip(entries, splits, strict=True)))


def _empty(text: str, split: np.ndarray | None) -> Emptiness:
    positions, multipliers = [], []
    for part in text.split(" "):
        match = _ENTRY.fullmatch(part)
        if match is None:
            raise InputError(f"tree.empty holds {part[:40]!r}; expected position:multiplier, hexadecimal.")
        positions.append(int(match.group(1)))
        multipliers.append(int(match.group(2), 16))
    return Emptiness(tuple(positions), tuple(multipliers), split)


def _point(data: Any, inputs: int) -> InteriorPoint | None:
    if data is None:
        return None
    fields = object_of(data, "point", "x direction")
    return InteriorPoint(
        array_of(fields["x"], "point.x", inputs), array_of(fields["direction"], "point.direction", inputs)
    )
