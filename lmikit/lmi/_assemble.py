"""From an affine matrix expression to an `LMI` block; refuses what is not symmetric."""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._entries import entry_terms, symmetric_part
from ._expression import Expression
from ._sdp import LMI
from ._term import Term
from ._triplets import CONSTANT, Columns, Triplets

__all__ = ["assemble_lmi"]

_ASYMMETRY = 1e-9  # of a pair of entries, relative to what was added up in them
_CANCELLED = 1e-12  # the same relative to all coefficients of one variable: products may cancel in a pair


def assemble_lmi(
    expression: Expression,
    first_monomial: int,
    variables: int,
    name: str,
    margin: float,
    variable_name: Callable[[int], str],
) -> LMI:
    """The block expression - margin I PSD, entries as terms e_i e_j' and rank-one terms as they are.

    Monomials with parameters become the variables from `first_monomial` on, of `variables` in all.

    Raises InputError where the expression is not square or, beyond rounding, not symmetric.
    """
    n = expression.shape[0]
    if expression.shape != (n, n):
        raise InputError(f"LMI {name!r} has shape {expression.shape}; expected a square matrix.")
    entries, terms = expression.parts()
    terms = tuple(dataclasses.replace(t, x=t.x.with_columns(first_monomial)) for t in terms)
    kept, spilled = _symmetric_terms(terms)
    entries = Triplets.concatenate((n, n), [entries.with_columns(first_monomial), *spilled])
    F0, P, Q, E = entry_terms(_symmetric_entries(entries, name, variable_name), variables)
    if margin:
        F0 = F0 - margin * sp.eye_array(n, format="csc")
    maps = [term.x.linear_map(variables) for term in kept]
    for term, (_, x0) in zip(kept, maps, strict=True):
        if x0.any():
            constant = (term.P.scipy() * x0[None, :]) @ term.Q.scipy().T
            F0 = F0 + (constant + constant.T) / 2
    if kept:
        P = sp.hstack([P, *(t.P.scipy() for t in kept)], "csc")
        Q = sp.hstack([Q, *(t.Q.scipy() for t in kept)], "csc")
        E = sp.vstack([E, *(x for x, _ in maps)], "csc")
    return LMI(F0, P, Q, E, name=name)


def _key(matrix: Columns) -> tuple[tuple[int, ...], bytes, bytes, bytes]:
    return matrix.shape, matrix.indptr.tobytes(), matrix.indices.tobytes(), matrix.data.tobytes()


def _columns(term: Term, keep: np.ndarray) -> Term:
    position = np.cumsum(keep) - 1
    live = keep[term.x.row]
    x = Triplets(
        (int(keep.sum()), 1), position[term.x.row[live]], term.x.col[live], term.x.var[live], term.x.val[live]
    )
    return Term(term.P.select(keep), term.Q.select(keep), x)


def _symmetric_terms(terms: tuple[Term, ...]) -> tuple[list[Term], list[Triplets]]:
    """Terms whose sum is symmetric, one per pair (P, Q), (Q, P); the rest as entry records.

    Columns that name a single entry become records too, where equal entries merge.
    """
    spilled: list[Triplets] = []
    groups: dict[tuple, list[Term]] = {}
    for raw in terms:
        sizes = np.diff(raw.P.indptr), np.diff(raw.Q.indptr)
        single = (sizes[0] <= 1) & (sizes[1] <= 1)
        if single.any():
            spilled.append((raw if single.all() else _columns(raw, single)).expand())
        if not single.all():
            term = _columns(raw, ~single) if single.any() else raw
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
    upper, skew = symmetric_part(entries)
    if not skew.any():
        return upper
    sizes = np.abs(entries.val)
    pair = symmetric_part(dataclasses.replace(entries, val=sizes))[0].val
    largest = np.zeros(int(entries.var.max()) - CONSTANT + 1)  # of each variable, the constant part first
    np.maximum.at(largest, entries.var - CONSTANT, sizes)
    allowed = np.maximum(_ASYMMETRY * pair, _CANCELLED * largest[upper.var - CONSTANT])
    excess = np.abs(skew) - allowed
    worst = int(np.argmax(excess))
    if excess[worst] > 0.0:
        i, j, var = int(upper.row[worst]), int(upper.col[worst]), int(upper.var[worst])
        where = "the constant part" if var == CONSTANT else f"the coefficient of {variable_name(var)}"
        raise InputError(
            f"LMI {name!r} is not symmetric: in {where}, entries ({i}, {j}) and ({j}, {i}) differ by "
            f"{abs(skew[worst]):.3g}; build both triangles, or pass sym(F) for (F + F')/2."
        )
    return upper
