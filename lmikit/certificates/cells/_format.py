"""Files of format "lmikit-cells-cert": written and strictly read here; nothing is proven."""

import dataclasses
import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import InputError
from ...claims import AbstractRegion
from .._format_read import _array, _hex, _integer, _list, _no_constant, _no_duplicates, _object, _text
from .._format_write import _array_out, _version
from .._kinds import read_text
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
            {"size": int(a.size), "alpha": _array_out(a), "beta": _array_out(b)} for a, b in witness.slopes
        ],
        "tails": list(witness.tails),
        "tree": _tree_out(witness.tree),
        "point": _point_out(witness.point),
        "tool": {"name": "lmikit", "version": _version()},
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
        "codes": _array_out(np.array(tree.codes, dtype=np.float64)),
        "empty": ";".join(entries),
        "splits": _array_out(np.concatenate(splits)) if splits else None,
    }


def _point_out(point: InteriorPoint | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {"x": _array_out(point.x), "direction": _array_out(point.direction)}


def read_cells(path: str | os.PathLike[str]) -> CellDocument:
    """Read and validate a file; raises InputError."""
    return parse_cells(read_text(path, "cells certificate file"))


def parse_cells(text: str) -> CellDocument:
    """Validate the text of a file; raises InputError naming the field."""
    try:
        data = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"the certificate is not a JSON file ({error}); it may be truncated.") from error
    top = _object(data, "the file", "format version claim network slopes tails tree point tool")
    if top["format"] != FORMAT or top["version"] != VERSION or isinstance(top["version"], bool):
        raise InputError(
            f"format {top['format']!r}, version {top['version']!r}; expected {FORMAT!r}, {VERSION}."
        )
    for field, value in _object(top["tool"], "tool", "name version").items():
        _text(value, f"tool.{field}")
    network = _object(top["network"], "network", "digest inputs")
    digest = _text(network["digest"], "network.digest")
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"network.digest is {digest!r}; expected 64 lower-case hexadecimal digits.")
    inputs = _integer(network["inputs"], "network.inputs", 1, _LARGEST)
    lower, upper, region = _claim(top["claim"], inputs)
    slopes = _slopes(top["slopes"])
    tails = tuple(None if t is None else _text(t, "tails") for t in _list(top["tails"], "tails", len(slopes)))
    both = region is not None and region.ball is not None and region.box is not None
    tree = _tree(top["tree"], inputs if both else 0)
    witness = CellWitness(slopes, tails, tree, _point(top["point"], inputs))
    return CellDocument(lower, upper, region, digest, witness)


def _claim(data: Any, inputs: int) -> tuple[float, float, AbstractRegion | None]:
    from ._certificate import sentence

    fields = _object(data, "claim", "statement lower upper region")
    region = None if fields["region"] is None else _region_in(fields["region"])
    if region is not None and region.dim != inputs:
        raise InputError(f"claim.region has dimension {region.dim}; expected network.inputs, {inputs}.")
    if fields["statement"] != sentence(region):
        raise InputError(f"claim.statement is {fields['statement']!r}; expected {sentence(region)!r}.")
    return _hex(fields["lower"], "claim.lower"), _hex(fields["upper"], "claim.upper"), region


def _slopes(data: Any) -> Pairs:
    if not isinstance(data, list):
        raise InputError("slopes is not a list with one entry per hidden layer.")
    pairs = []
    for k, item in enumerate(data):
        name = f"slopes[{k}]"
        fields = _object(item, name, "size alpha beta")
        size = _integer(fields["size"], f"{name}.size", 1, _LARGEST)
        alpha, beta = (_array(fields[side], f"{name}.{side}", size) for side in ("alpha", "beta"))
        if (alpha > beta).any():
            raise InputError(f"{name} has alpha > beta; expected alpha <= beta.")
        pairs.append((alpha, beta))
    return tuple(pairs)


def _tree(data: Any, width: int) -> CellTree:
    """`width` numbers per empty cell are the split of a ball and a box."""
    fields = _object(data, "tree", "nodes codes empty splits")
    nodes = _integer(fields["nodes"], "tree.nodes", 1, _LARGEST)
    values = _array(fields["codes"], "tree.codes", nodes)
    if (values != np.rint(values)).any() or (values < EMPTY).any() or (values > _LARGEST).any():
        raise InputError("tree.codes holds something else than neurons, -1 (bounded) and -2 (empty).")
    codes = tuple(int(v) for v in values)
    text = _text(fields["empty"], "tree.empty")
    entries = text.split(";") if text else []
    if (fields["splits"] is not None) != bool(width and entries):
        raise InputError("tree.splits is there without empty cells of a ball and a box, or lacks.")
    splits: list[np.ndarray | None] = [None] * len(entries)
    if width and entries:
        splits = list(_array(fields["splits"], "tree.splits", width * len(entries)).reshape(-1, width))
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
    fields = _object(data, "point", "x direction")
    return InteriorPoint(
        _array(fields["x"], "point.x", inputs), _array(fields["direction"], "point.direction", inputs)
    )
