"""Scaling of an SDP by powers of two, so that entries that the solver compares have like sizes.

With y = D y' (and C' = C D for each block) and one factor per constraint,

    e_k F_k(D y') PSD,   e_i (G D y' - h)_i <= 0,   e_j (C_j D y' + d_j) in the cone,   e_i (A D y' - b)_i = 0

is the same problem; `equilibrate` scales each LMI by a congruence, diag(d) F diag(d), instead of a
number. All factors are powers of two: no digit is lost, and points and multipliers go back exactly.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..lmi import LMI, SDP, SOC, Dual

__all__ = [
    "Equilibration",
    "Factors",
    "block_factors",
    "equilibrate",
    "scaled_lmi",
    "scaled_problem",
    "times",
]

_ROUNDS = 12
_DENSE = 100_000  # numbers of a table up to which it is dense


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """Powers of two for the variables and the constraints; `rows` has one array (D_k,) per LMI."""

    y: np.ndarray
    rows: tuple[np.ndarray, ...]
    G: np.ndarray
    A: np.ndarray
    socs: np.ndarray
    objective: float = 1.0  # the scaled objective is the given one divided by this

    def point(self, y: np.ndarray) -> np.ndarray:
        """y of the problem as given."""
        return self.y * y

    def scaled(self, y: np.ndarray) -> np.ndarray:
        """y of the scaled problem."""
        return y / self.y

    def dual(self, dual: Dual) -> Dual:
        """The multipliers of the problem as given."""
        t = self.objective
        X = tuple(t * X * d * d[:, None] for X, d in zip(dual.X, self.rows, strict=True))
        s = tuple(t * e * part for e, part in zip(self.socs, dual.s, strict=True))
        return dataclasses.replace(dual, X=X, z=t * self.G * dual.z, v=t * self.A * dual.v, s=s)


@dataclasses.dataclass(frozen=True, eq=False)
class Equilibration:
    """The scaled problem and its factors."""

    sdp: SDP
    factors: Factors


def equilibrate(sdp: SDP) -> Equilibration:
    """Alternate between variables and constraints until the largest entries of each are near 1."""
    m = sdp.variables
    others = _others(sdp)
    y, e, turned = np.ones(m), np.ones(others.shape[0]), sp.csr_array(others.T)
    terms, d = [_Terms.of(lmi) for lmi in sdp.lmis], [np.ones(lmi.size) for lmi in sdp.lmis]
    for _ in range(_ROUNDS if m else 0):
        for k, part in enumerate(terms):
            d[k] = d[k] * _root(part.rows(d[k], y))
        e = e * _root(_row_max(others, e, y)) ** 2
        columns = [part.columns(d[k], y) for k, part in enumerate(terms)]
        y = y * _root(np.max([*columns, _row_max(turned, y, e)], axis=0))
    factors = _factors(sdp, y, d, e)
    return Equilibration(scaled_problem(sdp, factors), factors)


def block_factors(sdp: SDP) -> Factors:
    """The same with one factor for each LMI: its largest entry per variable is all that matters."""
    m, others = sdp.variables, _others(sdp)
    largest = [_largest_entries(lmi) for lmi in sdp.lmis]
    rows = np.array(largest) if largest else np.zeros((0, m))
    if (rows.shape[0] + others.shape[0]) * m <= _DENSE:
        f, y = _balanced(np.concatenate([rows, others.toarray()]))
    else:
        table = sp.csr_array(rows)
        table = sp.csr_array(sp.vstack([table, others], format="csr")) if others.shape[0] else table
        f, y, turned = np.ones(table.shape[0]), np.ones(m), sp.csr_array(table.T)
        for _ in range(_ROUNDS if m else 0):
            f = f * _root(_row_max(table, f, y)) ** 2
            y = y * _root(_row_max(turned, y, f))
    d = [np.full(lmi.size, np.sqrt(factor)) for lmi, factor in zip(sdp.lmis, f, strict=False)]
    return _factors(sdp, y, d, f[len(d) :])


def _balanced(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the rows and of the columns, of a small table of absolute values."""
    f, y = np.ones(table.shape[0]), np.ones(table.shape[1])
    for _ in range(_ROUNDS if y.size else 0):
        f = f * _root((table * y).max(axis=1) * f) ** 2
        y = y * _root((table * f[:, None]).max(axis=0, initial=0.0) * y)
    return f, y


def _others(sdp: SDP) -> sp.csr_array:
    """Absolute values of G and A, and of the largest entries per variable of each cone."""
    m = sdp.variables
    lines = [abs(sp.csr_array(sdp.G)), abs(sp.csr_array(sdp.A))]
    lines += [
        sp.csr_array(abs(soc.C).max(axis=0).reshape(1, m)) if soc.d.size else sp.csr_array((1, m))
        for soc in sdp.socs
    ]
    used = [part for part in lines if part.shape[0]] or [sp.csr_array((0, m))]
    return used[0] if len(used) == 1 else sp.csr_array(sp.vstack(used, format="csr"))


def _factors(sdp: SDP, y: np.ndarray, d: list[np.ndarray], e: np.ndarray) -> Factors:
    g, a, cones = np.split(_power(e), np.cumsum([sdp.h.size, sdp.b.size]))
    return Factors(_power(y), tuple(_power(part) for part in d), g, a, cones)


def _largest_entries(lmi: LMI) -> np.ndarray:
    """About the largest entry of |F_i| for each i."""
    p, q = (_column_max(side.indptr, np.abs(side.data)) for side in (lmi.P, lmi.Q))
    return _column_max(lmi.E.indptr, np.abs(lmi.E.data) * (p * q)[lmi.E.indices])


def _column_max(indptr: np.ndarray, data: np.ndarray) -> np.ndarray:
    result = np.zeros(indptr.size - 1)
    filled = np.flatnonzero(np.diff(indptr))
    if filled.size:
        result[filled] = np.maximum.reduceat(data, indptr[:-1][filled])
    return result


def scaled_problem(sdp: SDP, f: Factors) -> SDP:
    """The problem with these factors."""
    y = f.y
    D = sp.diags_array(y)
    return SDP(
        c=sdp.c * y,
        lmis=tuple(scaled_lmi(lmi, factor, y) for lmi, factor in zip(sdp.lmis, f.rows, strict=True)),
        G=times(sdp.G, f.G, y) if f.G.size else sdp.G,
        h=sdp.h * f.G,
        A=times(sdp.A, f.A, y) if f.A.size else sdp.A,
        b=sdp.b * f.A,
        socs=tuple(SOC(e * soc.C @ D, e * soc.d, soc.name) for e, soc in zip(f.socs, sdp.socs, strict=True)),
        H=None if sdp.H is None else times(sdp.H, y, y),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Terms:
    """Absolute values of the terms of one LMI."""

    P: sp.csr_array
    Q: sp.csr_array
    E: sp.csr_array

    @classmethod
    def of(cls, lmi: LMI) -> "_Terms":
        return cls(*(abs(sp.csr_array(part)) for part in (lmi.P, lmi.Q, lmi.E)))

    def rows(self, d: np.ndarray, y: np.ndarray) -> np.ndarray:
        """About the largest |d_r F_i[r, :] d y_i| over i and the columns, for each row r."""
        weight = _row_max(self.E, np.ones(self.E.shape[0]), y)
        p, q = (_row_max(sp.csr_array(side.T), np.ones(side.shape[1]), d) for side in (self.P, self.Q))
        return np.maximum(_row_max(self.P, d, weight * q), _row_max(self.Q, d, weight * p))

    def columns(self, d: np.ndarray, y: np.ndarray) -> np.ndarray:
        """About the largest |y_i d F_i d| for each variable i."""
        p, q = (_row_max(sp.csr_array(side.T), np.ones(side.shape[1]), d) for side in (self.P, self.Q))
        return _row_max(sp.csr_array(self.E.T), y, p * q)


def _row_max(matrix: sp.csr_array, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The largest entry in each row of diag(left) matrix diag(right), 0 for an empty one."""
    result = np.zeros(matrix.shape[0])
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if filled.size:
        values = matrix.data * right[matrix.indices]
        result[filled] = np.maximum.reduceat(values, matrix.indptr[:-1][filled])
    return result * left


def _root(values: np.ndarray) -> np.ndarray:
    """1 / sqrt(values), 1 where there is nothing to scale."""
    safe = np.where((values > 0) & np.isfinite(values), values, 1.0)
    return np.asarray(1.0 / np.sqrt(safe))


def _power(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp2(np.round(np.log2(values))))


def scaled_lmi(lmi: LMI, d: np.ndarray, y: np.ndarray) -> LMI:
    """diag(d) F(diag(y) y') diag(d)."""
    return dataclasses.replace(
        lmi,
        F0=times(lmi.F0, d, d),
        P=times(lmi.P, d, np.ones(lmi.P.shape[1])),
        Q=times(lmi.Q, d, np.ones(lmi.Q.shape[1])),
        E=times(lmi.E, np.ones(lmi.E.shape[0]), y),
    )


def times(matrix: Any, left: np.ndarray, right: np.ndarray) -> Any:
    """diag(left) M diag(right) of a matrix stored by columns or by rows; exact for powers of two."""
    major, minor = (right, left) if matrix.format == "csc" else (left, right)
    data = matrix.data * minor[matrix.indices] * np.repeat(major, np.diff(matrix.indptr))
    return type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape)
