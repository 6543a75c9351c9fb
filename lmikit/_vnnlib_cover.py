"""`Cover`: the halvings of a property's boxes and what is refuted where, as data and as the file cover.json.

A node of a case's tree stands for a box, the root for the case's own. It has closings, each saying that
some alternatives have no point in the box (by an enclosure, or by the certificate in file number n), and is
split at a coordinate and a float64 number, or is a leaf. Closings hold in the boxes below, too.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, cast

from ._errors import InputError
from .adapters import VnnlibProperty
from .certificates._strict_json import float_of, object_of, parsed, require_format

__all__ = [
    "COVER_NAME",
    "Closing",
    "Cover",
    "CoverNode",
    "file_name",
    "parse_cover",
    "property_digest",
    "render_cover",
]

FORMAT, VERSION = "lmikit-vnnlib-cover", 1
COVER_NAME = "cover.json"
Verdict = Literal["unsat", "sat", "unknown"]
_DIGEST = re.compile("[0-9a-f]{64}")
_TOKEN = re.compile(
    r"(?:(s)(\d{1,9}):([-.0-9a-fx]{1,40}p[-+]\d{1,4})|(e)(\d[\d.]*)|(f)(\d{1,9}):(\d[\d.]*)|([lo]))\Z",
    re.ASCII,
)
_RATIONAL = re.compile(r"-?[0-9]{1,4000}(/[0-9]{1,4000})?\Z", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Closing:
    """None of `alternatives` has a point in the box; `file` is the number of its certificate, or None."""

    alternatives: tuple[int, ...]
    file: int | None


@dataclasses.dataclass(eq=False)
class CoverNode:
    """A box of the tree; `split` (coordinate, number) has `children` with x_i <= number and x_i >= number."""

    closings: list[Closing] = dataclasses.field(default_factory=list)
    split: tuple[int, float] | None = None
    children: tuple["CoverNode", "CoverNode"] | None = None
    open: bool = True

    def halved(self, coordinate: int, at: float) -> tuple["CoverNode", "CoverNode"]:
        """The two boxes."""
        self.split, self.children, self.open = (coordinate, at), (CoverNode(), CoverNode()), False
        return self.children

    def nodes(self) -> Iterator["CoverNode"]:
        """All nodes, depth first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            if node.children is not None:
                stack += [node.children[1], node.children[0]]


@dataclasses.dataclass(frozen=True, eq=False)
class Cover:
    """What a folder says: for the network and the property with these digests; `x` is a counterexample."""

    verdict: Verdict
    network: str
    specification: str
    cases: tuple[CoverNode, ...]
    x: tuple[str, ...] | None


def file_name(number: int) -> str:
    """Where the certificate with that number is."""
    return f"box-{number:06d}.json"


def property_digest(prop: VnnlibProperty) -> str:
    """SHA-256 of what a property says: sizes, boxes and inequalities, in the order of the file."""
    sha = hashlib.sha256(f"lmikit-vnnlib-property-1\n{prop.inputs} {prop.outputs}\n".encode())
    for case in prop.cases:
        sha.update((" ".join(map(str, (*case.lower, *case.upper))) + "\n").encode())
        for part in case.alternatives:
            for row, bound in zip(part.coefficients.tolist(), part.bounds, strict=True):
                sha.update((" ".join(str(int(c)) for c in row) + f" <= {bound}\n").encode())
            sha.update(b"or\n")
        sha.update(b"case\n")
    return sha.hexdigest()


def render_cover(cover: Cover) -> str:
    """The text of cover.json."""
    data = {
        "format": FORMAT,
        "version": VERSION,
        "verdict": cover.verdict,
        "network": {"digest": cover.network},
        "property": {"digest": cover.specification},
        "cases": [_tokens(root) for root in cover.cases],
        "counterexample": None if cover.x is None else list(cover.x),
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _tokens(root: CoverNode) -> str:
    found = []
    for node in root.nodes():
        for closing in node.closings:
            names = ".".join(map(str, closing.alternatives))
            found.append(f"e{names}" if closing.file is None else f"f{closing.file}:{names}")
        if node.split is not None:
            found.append(f"s{node.split[0]}:{node.split[1].hex()}")
        else:
            found.append("o" if node.open else "l")
    return " ".join(found)


def parse_cover(text: str) -> Cover:
    """Validate the text of cover.json; raises InputError naming the field. Nothing is proven."""
    return parsed(text, _document, "a valid cover", "cover.json")


def _document(data: Any) -> Cover:
    top = object_of(data, "cover.json", "format version verdict network property cases counterexample")
    require_format(top, FORMAT, (VERSION,))
    if top["verdict"] not in ("unsat", "sat", "unknown"):
        raise InputError(f"verdict is {top['verdict']!r}; expected 'unsat', 'sat' or 'unknown'.")
    digests = []
    for field in ("network", "property"):
        digest = object_of(top[field], field, "digest")["digest"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise InputError(f"{field}.digest is {digest!r}; expected 64 lower-case hexadecimal digits.")
        digests.append(digest)
    cases = top["cases"]
    if not isinstance(cases, list) or not all(isinstance(c, str) for c in cases):
        raise InputError("cases is not a list of strings.")
    point = top["counterexample"]
    if point is not None:
        good = isinstance(point, list) and all(isinstance(v, str) and _RATIONAL.match(v) for v in point)
        if not good:
            raise InputError('counterexample is not null or a list of fractions such as "-1/3".')
    trees = tuple(_tree(f"cases[{k}]", c) for k, c in enumerate(cases))
    verdict = cast(Verdict, top["verdict"])
    return Cover(verdict, digests[0], digests[1], trees, None if point is None else tuple(point))


def _tree(name: str, text: str) -> CoverNode:
    root = CoverNode()
    stack = [root]
    for token in text.split(" "):
        match = _TOKEN.match(token)
        if match is None or not stack:
            raise InputError(f"{name} holds {token[:40]!r} where a closing, a split or a leaf is expected.")
        split, coordinate, at, enclosed, named, filed, number, others, leaf = match.groups()
        node = stack[-1]
        if enclosed or filed:
            names = _alternatives(name, named if enclosed else others)
            node.closings.append(Closing(names, int(number) if filed else None))
            continue
        stack.pop()
        if split:
            first, second = node.halved(int(coordinate), float_of(at, name))
            stack += [second, first]
        node.open = leaf == "o"
    if stack:
        raise InputError(f"{name} ends before its last leaf.")
    return root


def _alternatives(name: str, text: str) -> tuple[int, ...]:
    parts = text.split(".")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"{name} holds the alternatives {text[:40]!r}; expected numbers joined by dots.")
    return tuple(map(int, parts))
