"""CBF files (Conic Benchmark Format, versions 1 to 3): the part that is an SDP with second-order cones.

    minimise  sum_j <F0_j, X_j> + a0'x + b0   subject to   sum_j <F_ij, X_j> + a_i'x + b_i in CON cones,
    sum_j x_j H_kj + D_k PSD,   x in VAR cones,   X_j PSD.

Read: y is x, then the lower triangle of each X_j by rows. MAX negates the objective; a constant b0 is
the coefficient of one more variable that an equality fixes to 1. Cones F, L+, L-, L= and Q; anything
else (integers, rotated, exponential and power cones, CHANGE) is refused by name. Source: H. A. Friberg,
"The Conic Benchmark Format", technical reference, sections "File format" and "Keywords".
"""

import os

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from .._files import reading
from ._cbf_read import Sections, read_sections
from ._entries import lmi_from_entries, upper_entries
from ._sdp import LMI, SDP, SOC
from ._text import write_atomically
from ._triplets import CONSTANT, Triplets

__all__ = ["read_cbf", "write_cbf"]


def read_cbf(path: str | os.PathLike[str]) -> SDP:
    """An SDP from a CBF file: PSDVAR blocks first and PSDCON blocks next as LMIs, rows in file order.

    Raises InputError, with the line, where the file is malformed or leaves the part described above.
    """
    with reading(path, "a CBF file"):
        return _built(read_sections(path))


def _built(data: Sections) -> SDP:
    scalars = data.variables
    sizes = [n * (n + 1) // 2 for n in data.psd_variables]
    starts = scalars + np.cumsum([0, *sizes])
    fixed = 1 if data.constant else 0
    m = int(starts[-1]) + fixed
    c = np.zeros(m)
    c[data.objective[0]] = data.objective[1]
    c += _matrix_rows(data.psd_objective, starts, (1, m)).toarray()[0]
    c[m - fixed :] = data.constant
    lmis = [_variable_block(n, int(starts[k]), m, f"X{k}") for k, n in enumerate(data.psd_variables)]
    lmis += [_constraint_block(data, k, m) for k in range(len(data.psd_constraints))]
    row, col, val = data.A
    rows = sp.csc_array((val, (row, col)), shape=(data.constraints, m))
    rows = sp.csc_array(rows + _matrix_rows(data.F, starts, (data.constraints, m)))
    unit = sp.eye_array(scalars, m, format="csc")
    pieces = [
        *_split(data.constraint_cones, rows, data.b),
        *_split(data.variable_cones, unit, np.zeros(scalars)),
    ]
    if fixed:
        last = sp.csc_array(([1.0], ([0], [m - 1])), shape=(1, m))
        pieces.append(("L=", last, np.array([-1.0])))
    sign = -1.0 if data.maximise else 1.0
    return _collect(sign * c, lmis, pieces)


def _variable_block(n: int, start: int, m: int, name: str) -> LMI:
    """X PSD for the variables that hold its lower triangle by rows."""
    high, low = np.tril_indices(n)
    order = np.lexsort((high, low))
    entries = Triplets(
        (n, n), low[order], high[order], (start + np.arange(low.size))[order], np.ones(low.size)
    )
    return lmi_from_entries(entries, m, name=name)


def _constraint_block(data: Sections, k: int, m: int) -> LMI:
    n = data.psd_constraints[k]
    parts = []
    for (block, var, i, j), val in (data.H, data.D):
        mine = block == k
        low, high = np.minimum(i, j)[mine], np.maximum(i, j)[mine]
        parts.append(Triplets((n, n), low, high, var[mine], val[mine]))
    return lmi_from_entries(Triplets.concatenate((n, n), parts).canonical(), m, name=f"psd{k}")


def _matrix_rows(
    records: tuple[np.ndarray, np.ndarray], starts: np.ndarray, shape: tuple[int, int]
) -> sp.csc_array:
    """Rows <F_i, X> over the stored triangles: entries off the diagonal count twice."""
    (row, block, i, j), val = records
    high, low = np.maximum(i, j), np.minimum(i, j)
    column = starts[block] + high * (high + 1) // 2 + low
    return sp.csc_array((np.where(i == j, val, 2.0 * val), (row, column)), shape=shape)


_Piece = tuple[str, sp.csc_array, np.ndarray]


def _split(cones: list[tuple[str, int]], rows: sp.csc_array, shift: np.ndarray) -> list[_Piece]:
    """(cone, C, d) for consecutive rows; free ones are left out."""
    pieces, start, by_row = [], 0, rows.tocsr()
    for cone, size in cones:
        part = slice(start, start + size)
        start += size
        if cone != "F" and size:
            pieces.append((cone, by_row[part].tocsc(), shift[part]))
    return pieces


def _collect(c: np.ndarray, lmis: list[LMI], pieces: list[_Piece]) -> SDP:
    m = c.size
    inequalities = [(C, -d) if cone == "L-" else (-C, d) for cone, C, d in pieces if cone in ("L+", "L-")]
    equalities = [(C, -d) for cone, C, d in pieces if cone == "L="]
    socs = tuple(SOC(C, d) for cone, C, d in pieces if cone == "Q")
    (G, h), (A, b) = (
        (
            sp.vstack([sp.csc_array((0, m)), *(C for C, _ in part)], "csc"),
            np.concatenate([[], *(d for _, d in part)]),
        )
        for part in (inequalities, equalities)
    )
    return SDP(c, tuple(lmis), G=G, h=h, A=A, b=b, socs=socs)


def write_cbf(sdp: SDP, path: str | os.PathLike[str], comment: str = "") -> None:
    """Write an SDP as CBF version 1: free variables, G y - h in L-, A y - b in L=, cones Q, PSDCON blocks.

    Numbers are written so that they read back exactly. Raises InputError for a quadratic objective.
    """
    if sdp.H is not None:
        raise InputError("CBF files hold no quadratic objective; pass epigraph_form(sdp).")
    cones = [(name, size) for name, size in (("L-", sdp.h.size), ("L=", sdp.b.size)) if size]
    cones += [("Q", soc.d.size) for soc in sdp.socs]
    m = sdp.variables
    lines = [f"# {line}" for line in comment.splitlines()] + ["VER", "1", "", "OBJSENSE", "MIN", ""]
    lines += ["VAR", f"{m} 1", f"F {m}", ""]
    lmis = [lmi for lmi in sdp.lmis if lmi.size]
    if lmis:
        lines += ["PSDCON", str(len(lmis)), *(str(lmi.size) for lmi in lmis), ""]
    if cones:
        lines += [
            "CON",
            f"{sum(k for _, k in cones)} {len(cones)}",
            *(f"{name} {k}" for name, k in cones),
            "",
        ]
    lines += _section("OBJACOORD", [np.flatnonzero(sdp.c)], sdp.c[sdp.c != 0])
    rows = sp.vstack([sdp.G, sdp.A, *(soc.C for soc in sdp.socs)], "csr").tocoo()
    shift = np.concatenate([-sdp.h, -sdp.b, *(soc.d for soc in sdp.socs)])
    lines += _section("ACOORD", [rows.row, rows.col], rows.data)
    lines += _section("BCOORD", [np.flatnonzero(shift)], shift[shift != 0])
    entries = [upper_entries(lmi) for lmi in lmis]
    for name, constant in (("HCOORD", False), ("DCOORD", True)):
        keeps = [(e.var == CONSTANT) == constant for e in entries]
        block = np.repeat(np.arange(len(lmis)), [int(k.sum()) for k in keeps])
        columns = [
            np.concatenate(
                [np.zeros(0, np.int32), *(getattr(e, f)[k] for e, k in zip(entries, keeps, strict=True))]
            )
            for f in ("var", "col", "row")
        ]
        val = np.concatenate([np.zeros(0), *(e.val[k] for e, k in zip(entries, keeps, strict=True))])
        lines += _section(name, [block, *(columns[1:] if constant else columns)], val)
    write_atomically(path, lines)


def _section(name: str, indices: list[np.ndarray], values: np.ndarray) -> list[str]:
    if not values.size:
        return []
    columns = [index.tolist() for index in indices]
    rows = zip(*columns, values.tolist(), strict=True)
    return [name, str(values.size), *(" ".join(map(repr, row)) for row in rows), ""]
