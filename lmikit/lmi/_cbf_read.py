"""The sections of a CBF file as arrays; what they mean is in `_cbf.py`."""

import dataclasses
import os

import numpy as np

from ._text import TextLines
from ._triplets import CONSTANT

__all__ = ["Sections", "read_sections"]

_CONES = ("F", "L+", "L-", "L=", "Q")
_VERSIONS = (1, 2, 3)


def _no_records(indices: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((indices, 0), dtype=np.int64), np.zeros(0)


@dataclasses.dataclass
class Sections:
    """What a file holds so far; coordinate sections are (indices (k, r), values (r,))."""

    maximise: bool = False
    variables: int = 0
    constraints: int = 0
    variable_cones: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    constraint_cones: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    psd_variables: list[int] = dataclasses.field(default_factory=list)
    psd_constraints: list[int] = dataclasses.field(default_factory=list)
    constant: float = 0.0
    objective: tuple[np.ndarray, np.ndarray] = (np.zeros(0, dtype=np.int64), np.zeros(0))
    psd_objective: tuple[np.ndarray, np.ndarray] = dataclasses.field(default_factory=lambda: _no_records(4))
    F: tuple[np.ndarray, np.ndarray] = dataclasses.field(default_factory=lambda: _no_records(4))
    A: tuple[np.ndarray, np.ndarray, np.ndarray] = (
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.int64),
        np.zeros(0),
    )
    b: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    H: tuple[np.ndarray, np.ndarray] = dataclasses.field(default_factory=lambda: _no_records(4))
    D: tuple[np.ndarray, np.ndarray] = dataclasses.field(default_factory=lambda: _no_records(4))


def read_sections(path: str | os.PathLike[str]) -> Sections:
    """All sections of a file; InputError, with the line, where one is malformed, unknown or repeated."""
    file = TextLines(path, replaced="\r", comments="#")
    file.lines = [line.split("#")[0] for line in file.lines]
    data, seen = Sections(), set()
    while _skip_blank(file):
        keyword = file.next("a keyword")[0]
        if keyword in seen:
            file.fail(f"the section {keyword} comes twice")
        if keyword not in _READERS:
            known = ", ".join(_READERS)
            file.fail(f"the section {keyword!r} is not supported; expected one of {known}")
        if keyword != "VER" and "VER" not in seen:
            file.fail(f"expected the section VER first and got {keyword}")
        seen.add(keyword)
        _READERS[keyword](file, data)
    if "VER" not in seen:
        file.fail("the file is empty; expected the section VER", 0)
    if not data.variables and not data.psd_variables:
        file.fail("the file has no variables; expected a section VAR or PSDVAR")
    data.b = data.b if data.b.size else np.zeros(data.constraints)
    return data


def _skip_blank(file: TextLines) -> bool:
    """Move to the next line with text; whether there is one."""
    while file.position < len(file.lines) and not file.lines[file.position].strip():
        file.position += 1
    return file.position < len(file.lines)


def _version(file: TextLines, data: Sections) -> None:
    version = file.integer(file.next("the version")[0], "the version", 0)
    if version not in _VERSIONS:
        file.fail(f"version {version} is not supported; expected one of {', '.join(map(str, _VERSIONS))}")


def _sense(file: TextLines, data: Sections) -> None:
    word = file.next("MIN or MAX")[0]
    if word not in ("MIN", "MAX"):
        file.fail(f"OBJSENSE is {word!r}; expected MIN or MAX")
    data.maximise = word == "MAX"


def _cones(file: TextLines, what: str) -> tuple[int, list[tuple[str, int]]]:
    words = file.next(f"the number of {what} and of cones")
    if len(words) != 2:
        file.fail(f"expected the number of {what} and of cones, and got {len(words)} words")
    total, count = (file.integer(word, "a count", 0) for word in words)
    file.require_room(total, what)
    cones = []
    for _ in range(count):
        words = file.next("a cone and its size")
        if words[0] not in _CONES:
            file.fail(f"the cone {words[0]!r} is not supported; expected one of {', '.join(_CONES)}")
        if len(words) != 2:
            file.fail(f"expected a cone and its size, and got {' '.join(words)!r}")
        cones.append((words[0], file.integer(words[1], "the size of a cone", 1)))
    if sum(size for _, size in cones) != total:
        file.fail(f"the cones hold {sum(size for _, size in cones)} {what}; expected {total}")
    return total, cones


def _variables(file: TextLines, data: Sections) -> None:
    data.variables, data.variable_cones = _cones(file, "variables")


def _constraints(file: TextLines, data: Sections) -> None:
    data.constraints, data.constraint_cones = _cones(file, "constraints")


def _sizes(file: TextLines) -> list[int]:
    count = file.integer(file.next("a count")[0], "a count", 0)
    sizes = [file.integer(file.next("a size")[0], "the size of a matrix", 1) for _ in range(count)]
    file.require_room(sum(sizes), "the sizes of the matrices")
    return sizes


def _psd_variables(file: TextLines, data: Sections) -> None:
    data.psd_variables = _sizes(file)
    file.require_room(
        sum(n * (n + 1) // 8 for n in data.psd_variables), "the entries of the matrices, by four,"
    )


def _psd_constraints(file: TextLines, data: Sections) -> None:
    data.psd_constraints = _sizes(file)


def _coordinates(file: TextLines, limits: list[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A count and that many rows of indices below their limits and one value; none may come twice."""
    count = file.integer(file.next("the number of entries")[0], "the number of entries", 0)
    start = file.position
    table = file.rows(len(limits) + 1, [(name, 0, top - 1) for name, top in limits], count)
    indices = table[:, :-1].astype(np.int64).T
    order = np.lexsort(indices)
    same = np.flatnonzero((np.diff(indices[:, order], axis=1) == 0).all(axis=0))
    if same.size:
        k = int(order[same[0] + 1])
        file.fail(
            f"the entry {tuple(indices[:, k].tolist())} comes twice", file.line_of(start, k * table.shape[1])
        )
    return indices, table[:, -1]


def _matrix_entries(
    file: TextLines, head: list[tuple[str, int]], sizes: list[int], block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates that end in (row, column) of a symmetric matrix; `block` is the index that names it."""
    largest = max(sizes, default=0)
    start = file.position
    indices, values = _coordinates(file, [*head, ("row", largest), ("column", largest)])
    low, high = indices[-2:].min(axis=0), indices[-2:].max(axis=0)
    outside = high >= np.array([*sizes, 0])[indices[block]]
    if outside.any():
        k = int(np.argmax(outside))
        where = file.line_of(start, 1 + k * (indices.shape[0] + 1))
        file.fail(f"entry ({indices[-2, k]}, {indices[-1, k]}) lies outside its matrix", where)
    both = np.vstack([indices[:-2], low, high])
    _, first, counts = np.unique(both, axis=1, return_index=True, return_counts=True)
    if (counts > 1).any():
        k = int(first[np.argmax(counts > 1)])
        where = file.line_of(start, 1 + k * (indices.shape[0] + 1))
        file.fail(f"entry ({indices[-2, k]}, {indices[-1, k]}) is given in both triangles", where)
    return both, values


def _psd_objective(file: TextLines, data: Sections) -> None:
    head = [("variable", len(data.psd_variables))]
    indices, values = _matrix_entries(file, head, data.psd_variables, 0)
    data.psd_objective = np.vstack([np.zeros_like(indices[:1]), indices]), values


def _objective(file: TextLines, data: Sections) -> None:
    indices, values = _coordinates(file, [("variable", data.variables)])
    data.objective = indices[0], values


def _constant(file: TextLines, data: Sections) -> None:
    data.constant = float(file.rows(1, [], 1)[0, 0])


def _psd_rows(file: TextLines, data: Sections) -> None:
    head = [("constraint", data.constraints), ("variable", len(data.psd_variables))]
    data.F = _matrix_entries(file, head, data.psd_variables, 1)


def _rows(file: TextLines, data: Sections) -> None:
    indices, values = _coordinates(file, [("constraint", data.constraints), ("variable", data.variables)])
    data.A = indices[0], indices[1], values


def _shifts(file: TextLines, data: Sections) -> None:
    indices, values = _coordinates(file, [("constraint", data.constraints)])
    data.b = np.zeros(data.constraints)
    data.b[indices[0]] = values


def _psd_terms(file: TextLines, data: Sections) -> None:
    head = [("matrix", len(data.psd_constraints)), ("variable", data.variables)]
    data.H = _matrix_entries(file, head, data.psd_constraints, 0)


def _psd_shifts(file: TextLines, data: Sections) -> None:
    indices, values = _matrix_entries(file, [("matrix", len(data.psd_constraints))], data.psd_constraints, 0)
    data.D = np.insert(indices, 1, CONSTANT, axis=0), values


_READERS = {
    "VER": _version,
    "OBJSENSE": _sense,
    "PSDVAR": _psd_variables,
    "VAR": _variables,
    "PSDCON": _psd_constraints,
    "CON": _constraints,
    "OBJFCOORD": _psd_objective,
    "OBJACOORD": _objective,
    "OBJBCOORD": _constant,
    "FCOORD": _psd_rows,
    "ACOORD": _rows,
    "BCOORD": _shifts,
    "HCOORD": _psd_terms,
    "DCOORD": _psd_shifts,
}
