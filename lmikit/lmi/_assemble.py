"""From an affine matrix expression to an `LMI` block; refuses what is not symmetric."""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._expression import Expression, Term
from ._sdp import LMI
from ._triplets import CONSTANT, Triplets, sorted_runs

__all__ = ["assemble_lmi"]

_ASYMMETRY = 1e-9  # relative to the largest coefficient; rounding of products stays far below


def assemble_lmi(
    expression: Expression, variables: int, name: str, margin: float, variable_name: Callable[[int], str]
) -> LMI:
    """The block expression - margin I PSD, entries as terms e_i e_j' and rank-one terms as they are.

    Raises InputError where the expression is not square or, beyond rounding, not symmetric.
    """
    n = expression.shape[0]
    if expression.shape != (n, n):
        raise InputError(f"LMI {name!r} has shape {expression.shape}; expected a square matrix.")
    entries, terms = expression.parts()
    kept, spilled = _symmetric_terms(terms)
    entries = Triplets.concatenate((n, n), [entries, *spilled])
    upper = _symmetric_entries(entries, name, variable_name)
    live = upper.var != CONSTANT
    P, Q, E = _entry_terms(upper, live, variables)
    F0 = _symmetric_constant(upper, ~live) - margin * sp.eye_array(n, format="csc")
    for term in kept:
        x, x0 = term.x.linear_map(variables)
        constant = (term.P * x0[None, :]) @ term.Q.T if x0.any() else sp.csc_array((n, n))
        F0 = F0 + (constant + constant.T) / 2
        P, Q, E = (sp.hstack([P, term.P], "csc"), sp.hstack([Q, term.Q], "csc"), sp.vstack([E, x], "csc"))
    return LMI(sp.csc_array(F0), P, Q, E, name=name)


def _key(matrix: sp.csc_array) -> tuple[tuple[int, ...], bytes, bytes, bytes]:
    return matrix.shape, matrix.indptr.tobytes(), matrix.indices.tobytes(), matrix.data.tobytes()


def _columns(term: Term, keep: np.ndarray) -> Term:
    position = np.cumsum(keep) - 1
    live = keep[term.x.row]
    x = Triplets(
        (int(keep.sum()), 1), position[term.x.row[live]], term.x.col[live], term.x.var[live], term.x.val[live]
    )
    return Term(sp.csc_array(term.P[:, keep]), sp.csc_array(term.Q[:, keep]), x)


def _symmetric_terms(terms: tuple[Term, ...]) -> tuple[list[Term], list[Triplets]]:
    """Terms whose sum is symmetric, one per pair (P, Q), (Q, P); the rest as entry records.

    Columns that name a single entry become records too, where equal entries merge.
    """
    spilled: list[Triplets] = []
    groups: dict[tuple, list[Term]] = {}
    for raw in terms:
        sizes = np.diff(raw.P.indptr), np.diff(raw.Q.indptr)
        single = (sizes[0] <= 1) & (sizes[1] <= 1)
        spilled.append(_columns(raw, single).expand())
        term = _columns(raw, ~single)
        if term.x.shape[0]:
            groups.setdefault((_key(term.P), _key(term.Q)), []).append(term)
    sums = {
        key: dataclasses.replace(
            group[0], x=Triplets.concatenate(group[0].x.shape, [t.x for t in group]).canonical()
        )
        for key, group in groups.items()
    }
    kept = []
    for key, term in sums.items():
        partner = sums.get(key[::-1])
        if key[0] == key[1]:
            kept.append(term)
        elif partner is None or not _same(term.x, partner.x):
            spilled.append(term.expand())
        elif key < key[::-1]:
            kept.append(dataclasses.replace(term, x=term.x.scale(2.0)))
    return kept, spilled


def _same(a: Triplets, b: Triplets) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("row", "col", "var", "val"))


def _symmetric_entries(entries: Triplets, name: str, variable_name: Callable[[int], str]) -> Triplets:
    """Upper triangle with weights of sym(e_i e_j'): M_ii on the diagonal, M_ij + M_ji above it."""
    low, high = np.minimum(entries.row, entries.col), np.maximum(entries.row, entries.col)
    order, starts = sorted_runs(low, high, entries.var)
    if not starts.size:
        return Triplets.concatenate(entries.shape, [])
    side = np.sign(entries.col - entries.row)
    total = np.add.reduceat(entries.val[order], starts)
    skew = np.add.reduceat((entries.val * side)[order], starts)
    scale = np.abs(entries.val).max()
    worst = int(np.argmax(np.abs(skew)))
    first = order[starts]
    if abs(skew[worst]) > _ASYMMETRY * scale:
        i, j, var = int(low[first[worst]]), int(high[first[worst]]), int(entries.var[first[worst]])
        where = "the constant part" if var == CONSTANT else f"the coefficient of {variable_name(var)}"
        raise InputError(
            f"LMI {name!r} is not symmetric: in {where}, entries ({i}, {j}) and ({j}, {i}) differ by "
            f"{abs(skew[worst]):.3g}; build both triangles, or pass sym(F) for (F + F')/2."
        )
    keep = total != 0
    first = first[keep]
    return Triplets(entries.shape, low[first], high[first], entries.var[first], total[keep])


def _entry_terms(
    upper: Triplets, live: np.ndarray, variables: int
) -> tuple[sp.csc_array, sp.csc_array, sp.csc_array]:
    row, col, var, val = (a[live] for a in (upper.row, upper.col, upper.var, upper.val))
    new = np.r_[True, (np.diff(row) != 0) | (np.diff(col) != 0)][: row.size]
    index, starts = np.cumsum(new) - 1, np.flatnonzero(new)
    r, n = starts.size, upper.shape[0]
    P, Q = (sp.csc_array((np.ones(r), side[starts], np.arange(r + 1)), shape=(n, r)) for side in (row, col))
    return P, Q, sp.csc_array((val, (index, var)), shape=(r, variables))


def _symmetric_constant(upper: Triplets, fixed: np.ndarray) -> sp.csc_array:
    row, col, val = upper.row[fixed], upper.col[fixed], upper.val[fixed] / 2
    half = sp.csc_array((val, (row, col)), shape=upper.shape)
    return sp.csc_array(half + half.T)
