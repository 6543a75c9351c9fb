"""SDPA sparse files (.dat-s): minimise c'x subject to sum_i x_i F_i - F_0 PSD.

A block of negative size -k is diagonal: k linear inequalities, which become rows of G y <= h.
Blocks of positive size become LMIs; F0 of an LMI is -F_0 of the file. Format: SDPA manual,
"sparse data format"; comment lines start with " or *; {}(), are white space; the words after the
numbers of a header line are ignored. Dialects: `_sdpa_dialects`; gzip files and byte order marks in `_text`.
"""

import os

import numpy as np
import scipy.sparse as sp

from .._errors import InputError, OptionError
from .._files import reading
from ._entries import lmi_from_entries, upper_entries
from ._sdp import SDP
from ._sdpa_dialects import leading_number, plain_entries, without_fortran
from ._text import TextLines, write_atomically
from ._triplets import CONSTANT, Triplets, sorted_runs

__all__ = ["read_sdpa", "write_sdpa"]


def read_sdpa(path: str | os.PathLike[str], *, duplicates: str = "error") -> SDP:
    """An SDP from a sparse SDPA file, gzipped or not; positive blocks in order as LMIs, all diagonal blocks
    as G y <= h.

    An entry that comes twice is refused, or with `duplicates` "sum" added up, with "last" overwritten.
    Fortran exponents (1.0D+01), words after numbers and comments among the entries are read over. Raises
    InputError, with the line, where the file is malformed: indices out of range, an entry given twice, an
    entry off the diagonal of a diagonal block, numbers missing or not finite; OptionError for `duplicates`.
    """
    if duplicates not in ("error", "sum", "last"):
        raise OptionError(f"duplicates is {duplicates!r}; expected 'error', 'sum' or 'last'.")
    with reading(path, "a sparse SDPA file"):
        file = TextLines(path, replaced="{}(),\r", comments='"*', cleaned=plain_entries)
        return _read(file, duplicates)


def _read(file: TextLines, duplicates: str) -> SDP:
    m = file.integer(leading_number(file.next("the number of variables")[0]), "the number of variables", 1)
    blocks = file.integer(leading_number(file.next("the number of blocks")[0]), "the number of blocks", 0)
    given = _header_numbers(file, blocks, "block sizes", int)
    file.require_room(sum(map(abs, given)), "the sizes of the blocks")
    sizes = np.array(given, dtype=np.int64)
    if (sizes == 0).any():
        file.fail("a block has size 0; expected a positive size, or a negative one for a diagonal block")
    c = np.array(_header_numbers(file, m, "objective coefficients", float))
    start = file.position
    largest = int(np.abs(sizes).max(initial=1))
    limits = [("matrix", 0, m), ("block", 1, max(blocks, 1)), ("row", 1, largest), ("column", 1, largest)]
    table = file.rows(5, limits)
    which, block, row, col = table[:, :4].astype(np.int64).T - np.array([[1], [1], [1], [1]])
    row, col = np.minimum(row, col), np.maximum(row, col)
    val = np.where(which == CONSTANT, -table[:, 4], table[:, 4])
    _check_entries(file, start, sizes, block, row, col)
    which, block, row, col, val = _once_each(file, start, sizes, (which, block, row, col, val), duplicates)
    return _build(c, sizes, which, block, row, col, val)


def _header_numbers(file: TextLines, count: int, what: str, kind: type) -> list:
    """`count` numbers, on one line or several; words after them on the last line are ignored."""
    values: list = []
    while len(values) < count:
        for word in file.next(f"{count} {what}")[: count - len(values)]:
            try:
                values.append(kind(leading_number(word)) if kind is int else kind(without_fortran(word)))
            except ValueError:
                file.fail(f"expected {count} {what} and got {word[:40]!r} after {len(values)} of them")
            if kind is float and not np.isfinite(values[-1]):
                file.fail(f"expected finite {what} and got {word[:40]!r}")
    return values


def _check_entries(
    file: TextLines,
    start: int,
    sizes: np.ndarray,
    block: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
) -> None:
    outside = col >= np.abs(sizes)[block]
    if outside.any():
        k = int(np.argmax(outside))
        file.fail(
            f"entry ({row[k] + 1}, {col[k] + 1}) lies outside block {block[k] + 1}, of size "
            f"{abs(sizes[block[k]])}",
            file.line_of(start, 5 * k),
        )
    off = (sizes[block] < 0) & (row != col)
    if off.any():
        k = int(np.argmax(off))
        file.fail(
            f"entry ({row[k] + 1}, {col[k] + 1}) is off the diagonal of the diagonal block {block[k] + 1}",
            file.line_of(start, 5 * k),
        )


def _once_each(
    file: TextLines, start: int, sizes: np.ndarray, entries: tuple[np.ndarray, ...], duplicates: str
) -> tuple[np.ndarray, ...]:
    """The entries with those that come several times refused, summed, or but the last dropped."""
    which, block, row, col, val = entries
    offsets = np.cumsum(np.abs(sizes)) - np.abs(sizes)
    order, first = sorted_runs(offsets[block] + row, offsets[block] + col, which)
    if first.size == which.size:
        return entries
    if duplicates == "error":
        run = int(np.argmax(np.diff(np.r_[first, which.size]) > 1))
        k = int(order[first[run] + 1])
        file.fail(
            f"entry ({row[k] + 1}, {col[k] + 1}) of block {block[k] + 1}, matrix {which[k] + 1}, comes "
            'twice; read_sdpa(path, duplicates="sum") or "last" takes it',
            file.line_of(start, 5 * k),
        )
    ends = np.r_[first[1:], which.size] - 1
    kept = order[ends]
    total = np.add.reduceat(val[order], first) if duplicates == "sum" else val[kept]
    return which[kept], block[kept], row[kept], col[kept], total


def _build(
    c: np.ndarray,
    sizes: np.ndarray,
    which: np.ndarray,
    block: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    val: np.ndarray,
) -> SDP:
    order = np.lexsort((which, col, row, block))
    which, block, row, col, val = (a[order] for a in (which, block, row, col, val))
    edges = np.searchsorted(block, np.arange(sizes.size + 1))
    lmis, G, h = [], [sp.csc_array((0, c.size))], [np.zeros(0)]
    for k, size in enumerate(sizes.tolist()):
        part = slice(edges[k], edges[k + 1])
        n = abs(size)
        if size > 0:
            entries = Triplets((n, n), row[part], col[part], which[part], val[part])
            lmis.append(lmi_from_entries(entries, c.size, name=f"block{k + 1}"))
        else:
            column = Triplets((n, 1), row[part], np.zeros_like(row[part]), which[part], val[part])
            C, d = column.linear_map(c.size)
            G.append(-C)
            h.append(d)
    return SDP(c, tuple(lmis), G=sp.vstack(G, "csc"), h=np.concatenate(h))


def write_sdpa(sdp: SDP, path: str | os.PathLike[str], comment: str = "") -> None:
    """Write an SDP as a sparse SDPA file: LMIs in order, then G y <= h as one diagonal block.

    Numbers are written so that they read back exactly. Raises InputError for what the format has not:
    equalities, second-order cones and quadratic objectives.
    """
    missing = [("equalities", sdp.b.size), ("second-order cones", len(sdp.socs)), ("H", sdp.H is not None)]
    found = [name for name, present in missing if present]
    if found:
        raise InputError(
            f"SDPA files hold no {' and no '.join(found)}; use write_cbf for equalities and cones, "
            "epigraph_form to turn H into a cone."
        )
    lmis = [lmi for lmi in sdp.lmis if lmi.size]
    sizes = [str(lmi.size) for lmi in lmis] + ([str(-sdp.h.size)] if sdp.h.size else [])
    lines = [f'"{line}' for line in comment.splitlines()]
    lines += [str(sdp.variables), str(len(sizes)), " ".join(sizes), " ".join(map(repr, sdp.c.tolist()))]
    for k, lmi in enumerate(lmis):
        lines += _entry_lines(k + 1, upper_entries(lmi))
    if sdp.h.size:
        lines += _entry_lines(len(sizes), _diagonal_entries(sdp))
    write_atomically(path, lines)


def _diagonal_entries(sdp: SDP) -> Triplets:
    coo = sdp.G.tocoo()
    rows = np.flatnonzero(sdp.h)
    var = np.r_[coo.col, np.full(rows.size, CONSTANT)]
    row = np.r_[coo.row, rows]
    return Triplets((sdp.h.size, sdp.h.size), row, row, var, np.r_[-coo.data, sdp.h[rows]]).canonical()


def _entry_lines(block: int, e: Triplets) -> list[str]:
    order = np.argsort(e.var, kind="stable")
    val = np.where(e.var == CONSTANT, -e.val, e.val)[order].tolist()
    columns = ((a[order] + 1).tolist() for a in (e.var, e.row, e.col))
    return [f"{k} {block} {i} {j} {v!r}" for k, i, j, v in zip(*columns, val, strict=True)]
