"""Scaling of an SDP by powers of two, so that entries that the solver compares have like sizes.

With y = D y' (and C' = C D for each block) and one factor per constraint,

    e_k F_k(D y') PSD,   e_i (G D y' - h)_i <= 0,   e_j (C_j D y' + d_j) in the cone,   e_i (A D y' - b)_i = 0

is the same problem; with rows=True each LMI is scaled by a congruence, diag(d) F diag(d), instead of a
number. All factors are powers of two: no digit is lost, and points and multipliers go back exactly.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ..lmi import LMI, SDP, SOC, Dual

__all__ = ["Equilibration", "equilibrate", "scaled_problem"]

_ROUNDS = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Equilibration:
    """The scaled problem and its factors; `rows` has one array (D_k,) per LMI."""

    sdp: SDP
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


def equilibrate(sdp: SDP, *, rows: bool) -> Equilibration:
    """Alternate between variables and constraints until the largest entries of each are near 1."""
    m = sdp.variables
    terms = [_Terms.of(lmi) for lmi in sdp.lmis]
    G, A = abs(sp.csr_array(sdp.G)), abs(sp.csr_array(sdp.A))
    socs = [
        sp.csr_array(abs(soc.C).max(axis=0).reshape(1, m)) if soc.d.size else sp.csr_array((1, m))
        for soc in sdp.socs
    ]
    cones = sp.csr_array(sp.vstack([*socs, sp.csr_array((0, m))], format="csr"))
    y = np.ones(m)
    d = [np.ones(lmi.size) for lmi in sdp.lmis]
    g, a, e = np.ones(G.shape[0]), np.ones(A.shape[0]), np.ones(cones.shape[0])
    for _ in range(_ROUNDS if m else 0):
        for k, part in enumerate(terms):
            largest = part.rows(d[k], y)
            d[k] = d[k] * (_root(largest) if rows else _root(np.full(largest.size, largest.max(initial=0.0))))
        g, a, e = (
            factor * _root(_row_max(matrix, factor, y)) ** 2
            for matrix, factor in ((G, g), (A, a), (cones, e))
        )
        columns = [part.columns(d[k], y) for k, part in enumerate(terms)]
        columns += [_row_max(sp.csr_array(M.T), y, f) for M, f in ((G, g), (A, a), (cones, e))]
        y = y * _root(np.max(columns, axis=0))
    y, g, a, e = (_power(part) for part in (y, g, a, e))
    d = [_power(part) for part in d]
    return scaled_problem(sdp, y, tuple(d), g, a, e)


def scaled_problem(
    sdp: SDP,
    y: np.ndarray,
    d: tuple[np.ndarray, ...],
    g: np.ndarray,
    a: np.ndarray,
    e: np.ndarray,
) -> Equilibration:
    """The problem with these factors, all powers of two."""
    D = sp.diags_array(y)
    scaled = SDP(
        c=sdp.c * y,
        lmis=tuple(_scaled(lmi, factor, y) for lmi, factor in zip(sdp.lmis, d, strict=True)),
        G=sp.csc_array(sp.diags_array(g) @ sdp.G @ D) if g.size else sdp.G,
        h=sdp.h * g,
        A=sp.csc_array(sp.diags_array(a) @ sdp.A @ D) if a.size else sdp.A,
        b=sdp.b * a,
        socs=tuple(SOC(f * soc.C @ D, f * soc.d, soc.name) for f, soc in zip(e, sdp.socs, strict=True)),
        H=None if sdp.H is None else sp.csc_array(D @ sdp.H @ D),
    )
    return Equilibration(scaled, y, d, g, a, e)


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


def _scaled(lmi: LMI, d: np.ndarray, y: np.ndarray) -> LMI:
    D = sp.diags_array(d)
    return dataclasses.replace(
        lmi, F0=sp.csc_array(D @ lmi.F0 @ D), P=D @ lmi.P, Q=D @ lmi.Q, E=lmi.E @ sp.diags_array(y)
    )
