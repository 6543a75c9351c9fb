"""Rows of LMIs whose diagonal is zero for every y, and variables that one equality fixes.

F_ii(y) = 0 for all y means that row i of F(y) must vanish: F_ij(y) = 0 are equalities, and the row
goes. Without this the dual has no solution (X_ii grows without end), and interior points fail. The
multipliers come back: X_ij from those of the equalities, and X_ii, which meets no data, as large as
X PSD asks.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..lmi import LMI, SDP, Dual
from ..lmi._svec import SvecOrder, svec_index, svec_pairs, to_svec

__all__ = ["Presolved", "presolve"]

_ROUNDS = 10
_DENSE = 200_000  # numbers of P up to which dense arithmetic is the faster


@dataclasses.dataclass(frozen=True, eq=False)
class Presolved:
    """The smaller problem, and how its points and multipliers are those of `of`."""

    of: SDP
    sdp: SDP
    kept: np.ndarray  # variables
    values: np.ndarray  # (m,) of the fixed ones
    rows: tuple[np.ndarray, ...]  # kept rows per LMI
    entries: tuple[tuple[int, int, int], ...]  # LMI, i, j of each equality F_ij = 0, after those of `of`
    equal: np.ndarray  # kept equalities, positions in those of `of` followed by `entries`
    fixing: tuple[tuple[int, int], ...]  # equality and variable, in the order in which they were fixed
    A: sp.csr_array  # all equalities, in the variables of `of`

    def point(self, y: np.ndarray) -> np.ndarray:
        """y of the problem as given."""
        result = self.values.copy()
        result[self.kept] = y
        return result

    def dual(self, y: np.ndarray | None, dual: Dual) -> Dual:
        """The multipliers of the problem as given; y is None for those of a ray."""
        v = np.zeros(self.A.shape[0])
        v[self.equal] = dual.v
        X = []
        for lmi, rows, part in zip(self.of.lmis, self.rows, dual.X, strict=True):
            X.append(np.zeros((lmi.size, lmi.size)))
            X[-1][np.ix_(rows, rows)] = part
        # the fixed variables: their equality pays for what the other terms leave, last fixed first
        base = dataclasses.replace(dual, X=tuple(X), v=np.zeros(self.of.b.size))
        rest = -sum(
            (lmi.adjoint(x) for lmi, x in zip(self.of.lmis, X, strict=True)), np.zeros(self.A.shape[1])
        )
        rest = rest + self.of.G.T @ dual.z
        rest = rest - sum(
            (soc.C.T @ s for soc, s in zip(self.of.socs, dual.s, strict=True)), np.zeros(rest.size)
        )
        if y is not None:
            rest = rest + self.of.c + (0.0 if self.of.H is None else self.of.H @ y)
        columns = self.A.tocsc()
        for row, variable in reversed(self.fixing):
            v[row] = 0.0
            column = columns[:, [variable]].toarray().ravel()
            v[row] = -(rest[variable] + float(column @ v)) / column[row]
        own = self.of.b.size
        for (k, i, j), value in zip(self.entries, v[own:], strict=True):
            if i != j:
                X[k][i, j] = X[k][j, i] = -0.5 * value
        for k, rows in enumerate(self.rows):
            before = X[k].diagonal().copy()
            _complete(X[k], rows)
            added = np.diag(X[k].diagonal() - before)
            rest = rest - self.of.lmis[k].adjoint(added)
        # a new diagonal entry may meet variables that an equality of the problem fixes
        for row, variable in reversed(self.fixing):
            if row < own:
                v[row] = 0.0
                column = columns[:, [variable]].toarray().ravel()
                v[row] = -(rest[variable] + float(column @ v)) / column[row]
        return dataclasses.replace(base, X=tuple(X), v=v[:own])


def _complete(X: np.ndarray, rows: np.ndarray) -> None:
    """The diagonal of the rows that were removed, so that X is PSD: B'X_r^-1 B and what is between them."""
    gone = np.setdiff1d(np.arange(X.shape[0]), rows)
    if not gone.size:
        return
    B = X[np.ix_(rows, gone)]
    values, vectors = (
        scipy.linalg.eigh(X[np.ix_(rows, rows)]) if rows.size else (np.zeros(0), np.zeros((0, 0)))
    )
    floor = 1e-14 * float(np.abs(values).max(initial=0.0))
    half = vectors.T @ B / np.sqrt(np.maximum(values, floor or 1.0))[:, None]
    need = np.linalg.norm(half, axis=0) ** 2 + np.abs(X[np.ix_(gone, gone)]).sum(axis=0)
    cross = half.T @ half
    X[gone, gone] = need + np.abs(cross - np.diag(cross.diagonal())).sum(axis=1)


def presolve(sdp: SDP) -> Presolved | None:
    """The smaller problem, or None where no row of an LMI has a zero diagonal."""
    m = sdp.variables
    fixed = np.zeros(m, dtype=bool)
    values = np.zeros(m)
    rows = [np.arange(lmi.size) for lmi in sdp.lmis]
    A, b = sp.csr_array(sdp.A), np.array(sdp.b)
    dropped = np.zeros(b.size, dtype=bool)
    entries: list[tuple[int, int, int]] = []
    fixing: list[tuple[int, int]] = []
    for _ in range(_ROUNDS):
        found = _fix(A, b, fixed, values, dropped, fixing)
        if found is None:
            return None  # an equality that cannot hold: the solver says it with a ray
        new = [_zero_rows(lmi, r, fixed, values) for lmi, r in zip(sdp.lmis, rows, strict=True)]
        if not any(zero.size for zero in new):
            break
        for k, zero in enumerate(new):
            if zero.size:
                more, constants, which = _equalities(sdp.lmis[k], rows[k], zero)
                entries += [(k, int(i), int(j)) for i, j in which]
                A, b = sp.csr_array(sp.vstack([A, more], format="csr")), np.r_[b, constants]
                dropped = np.r_[dropped, np.zeros(constants.size, dtype=bool)]
                rows[k] = np.setdiff1d(rows[k], zero)
    if not entries:
        return None
    return _reduced(sdp, fixed, values, rows, entries, A, b, dropped, fixing)


def _fix(
    A: sp.csr_array,
    b: np.ndarray,
    fixed: np.ndarray,
    values: np.ndarray,
    dropped: np.ndarray,
    fixing: list[tuple[int, int]],
) -> bool | None:
    """Fix the variables of equalities with one free variable; None where an equality cannot hold."""
    again = True
    while again:
        again = False
        for r in np.flatnonzero(~dropped):
            span = slice(A.indptr[r], A.indptr[r + 1])
            index, data = A.indices[span], A.data[span]
            live = (data != 0) & ~fixed[index]
            count = int(live.sum())
            if count > 1:
                continue
            known = float(data[fixed[index]] @ values[index[fixed[index]]])
            if count == 0:
                size = abs(b[r]) + float(np.abs(data) @ np.abs(values[index]))
                if abs(b[r] - known) > 1e-12 * size:
                    return None
                dropped[r] = True
                continue
            i = int(index[live][0])
            values[i] = (b[r] - known) / float(data[live][0])
            fixed[i] = dropped[r] = again = True
            fixing.append((int(r), i))
    return True


def _zero_rows(lmi: LMI, rows: np.ndarray, fixed: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows among `rows` whose diagonal entry is zero for every value of the free variables."""
    if not rows.size:
        return rows
    if not fixed.any() and (lmi.F0.diagonal()[rows] != 0).all():
        return rows[:0]
    if lmi.has_entries:
        free, constant = _entry_diagonal(lmi, fixed, values)
        return rows[(free[rows] == 0) & (constant[rows] == 0)]
    if lmi.P.shape[0] * lmi.P.shape[1] <= _DENSE:
        dense = (lmi.P.toarray() * lmi.Q.toarray()) @ lmi.E
        free, constant = np.abs(dense) @ ~fixed, lmi.F0.diagonal() + dense @ np.where(fixed, values, 0.0)
        return rows[(free[rows] == 0) & (constant[rows] == 0)]
    linear = sp.csr_array(lmi.P.multiply(lmi.Q)) @ lmi.E
    free = np.asarray(abs(linear)[:, np.flatnonzero(~fixed)].sum(axis=1)).ravel()
    constant = lmi.F0.diagonal() + linear @ np.where(fixed, values, 0.0)
    return rows[(free[rows] == 0) & (constant[rows] == 0)]


def _entry_diagonal(lmi: LMI, fixed: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What free variables add up to on the diagonal, in size, and the constant there; for terms e_i e_j'."""
    E, weight = lmi.E, np.where(lmi.P.indices == lmi.Q.indices, lmi.P.data * lmi.Q.data, 0.0)
    column = np.repeat(np.arange(E.shape[1]), np.diff(E.indptr))
    row, value = lmi.P.indices[E.indices], weight[E.indices] * E.data
    free = np.bincount(row, np.where(fixed[column], 0.0, np.abs(value)), minlength=lmi.size)
    known = np.bincount(row, np.where(fixed[column], value * values[column], 0.0), minlength=lmi.size)
    return free, lmi.F0.diagonal() + known


def _equalities(
    lmi: LMI, rows: np.ndarray, zero: np.ndarray
) -> tuple[sp.csr_array, np.ndarray, list[tuple[int, int]]]:
    """A', b' and (i, j) with F_ij(y) = 0 for i in `zero`, j in `rows`."""
    F0, F = to_svec(lmi, SvecOrder.TRIPLETS)
    F = sp.csr_array(F)
    i, j = svec_pairs(lmi.size, SvecOrder.TRIPLETS)
    in_zero, in_rows = np.zeros(lmi.size, dtype=bool), np.zeros(lmi.size, dtype=bool)
    in_zero[zero], in_rows[rows] = True, True
    live = (np.diff(F.indptr) > 0) | (F0 != 0)
    pick = np.flatnonzero((in_zero[i] | in_zero[j]) & in_rows[i] & in_rows[j] & (i != j) & live)
    assert np.array_equal(svec_index(i[pick], j[pick], lmi.size, SvecOrder.TRIPLETS), pick)
    return F[pick], -F0[pick], list(zip(i[pick], j[pick], strict=True))


def _reduced(
    sdp: SDP,
    fixed: np.ndarray,
    values: np.ndarray,
    rows: list[np.ndarray],
    entries: list[tuple[int, int, int]],
    A: sp.csr_array,
    b: np.ndarray,
    dropped: np.ndarray,
    fixing: list[tuple[int, int]],
) -> Presolved:
    free, known = np.flatnonzero(~fixed), np.where(fixed, values, 0.0)
    lmis = []
    for lmi, keep in zip(sdp.lmis, rows, strict=True):
        P, Q = sp.csr_array(lmi.P)[keep], sp.csr_array(lmi.Q)[keep]
        F0 = sp.csr_array(lmi.evaluate(known))[keep].tocsc()[:, keep]
        lmis.append(LMI(F0, P, Q, lmi.E[:, free], lmi.name, lmi.partition if keep.size == lmi.size else None))
    equal = np.flatnonzero(~dropped)
    H = sdp.H
    smaller = SDP(
        c=(sdp.c + (0.0 if H is None else H @ known))[free],
        lmis=tuple(lmis),
        G=sdp.G[:, free],
        h=sdp.h - sdp.G @ known,
        A=A[equal][:, free],
        b=(b - A @ known)[equal],
        socs=tuple(dataclasses.replace(soc, C=soc.C[:, free], d=soc.d + soc.C @ known) for soc in sdp.socs),
        H=None if H is None else sp.csc_array(H[free][:, free]),
    )
    return Presolved(sdp, smaller, free, known, tuple(rows), tuple(entries), equal, tuple(fixing), A)
