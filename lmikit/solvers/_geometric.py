"""Scaling by least squares of logarithms, for problems whose feasible points are very large or very small.

Equilibration brings the largest entries near 1. Where the data say themselves how large a feasible y is,
as x with [[x, 1], [1, 1e-12]] PSD, that is not enough: here log|e| + (the logarithms of its factors) is
minimised in the least squares sense over all entries e of F0, F_i, G, h, A and b at once, so that at the
scaled problem's solution everything is near 1, if anything can be.
"""

import dataclasses
import math

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from ..lmi import LMI, SDP
from ..lmi._svec import SvecOrder, svec_pairs, to_svec
from ._equilibrate import Equilibration, Factors, scaled_problem

__all__ = ["geometric"]

_MOST = 200_000  # entries
_WIDEST = 400.0  # binary logarithm of a factor


def geometric(sdp: SDP) -> Equilibration | None:
    """The problem scaled by powers of two; None where it is large, has cones, or nothing would change."""
    if sdp.variables == 0 or sdp.socs or sdp.H is not None:
        return None
    if sum(lmi.E.nnz + lmi.F0.nnz + lmi.size**2 for lmi in sdp.lmis) + sdp.G.nnz + sdp.A.nnz > _MOST:
        return None
    logs = _Logs(sdp)
    found = logs.solved()
    if found is None or np.abs(found).max(initial=0.0) < 1.0:
        return None
    factors = np.exp2(np.round(np.clip(found, -_WIDEST, _WIDEST)))
    y, *rest = np.split(factors, np.cumsum(logs.sizes)[:-1])
    scales = Factors(y, tuple(rest[:-2]), rest[-2], rest[-1], np.ones(0))
    scaled = scaled_problem(sdp, scales)
    largest = float(np.abs(scaled.c).max(initial=0.0))
    objective = 2.0 ** math.frexp(largest)[1] if largest > 0.0 else 1.0
    plain = dataclasses.replace(scaled, c=scaled.c / objective)
    return Equilibration(plain, dataclasses.replace(scales, objective=objective))


class _Logs:
    """Equations log2|entry| + sum of the logarithms of its factors = 0, one per entry.

    Unknowns: the variables, the rows of every LMI, the rows of G and of A.
    """

    def __init__(self, sdp: SDP) -> None:
        self.sizes = [sdp.variables, *(lmi.size for lmi in sdp.lmis), sdp.h.size, sdp.b.size]
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._columns: list[np.ndarray] = []  # (entries, 3) indices of unknowns, -1 for none
        self._values: list[np.ndarray] = []
        for k, lmi in enumerate(sdp.lmis):
            self._add_lmi(k + 1, lmi)
        for k, (matrix, vector) in enumerate(((sdp.G, sdp.h), (sdp.A, sdp.b)), start=len(sdp.lmis) + 1):
            coo = matrix.tocoo()
            self._add(coo.data, self._starts[k] + coo.row, coo.col, None)
            self._add(vector, self._starts[k] + np.arange(vector.size), None, None)

    def _add_lmi(self, k: int, lmi: LMI) -> None:
        F0, F = to_svec(lmi, SvecOrder.TRIPLETS)
        i, j = svec_pairs(lmi.size, SvecOrder.TRIPLETS)
        rows, columns = self._starts[k] + i, self._starts[k] + j
        self._add(np.asarray(F0).ravel(), rows, columns, None)
        coo = F.tocoo()
        self._add(coo.data, rows[coo.row], columns[coo.row], coo.col)

    def _add(self, values: np.ndarray, *factors: np.ndarray | None) -> None:
        used = values != 0.0
        none = np.full(values.size, -1)
        chosen = np.stack([none if f is None else f for f in factors], axis=1)
        self._columns.append(chosen[used])
        self._values.append(np.log2(np.abs(values[used])))

    def solved(self) -> np.ndarray | None:
        """Binary logarithms of the factors, of least norm among the best."""
        columns, values = np.concatenate(self._columns), np.concatenate(self._values)
        rows, which = np.nonzero(columns >= 0)
        entries = (np.ones(rows.size), (rows, columns[rows, which]))
        matrix = sp.csr_array(entries, shape=(values.size, int(self._starts[-1])))
        found = scipy.sparse.linalg.lsqr(matrix, -values, atol=1e-10, btol=1e-10, iter_lim=2000)[0]
        return found if np.isfinite(found).all() else None
