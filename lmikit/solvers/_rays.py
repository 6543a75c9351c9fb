"""Rays as SDPs of their own, for solvers that say "infeasible" or "unbounded" and show nothing.

Each asks for the shortest ray in the sense of `_checks`, normalised to -1.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ..lmi import LMI, SDP, SOC, Dual
from ..lmi._svec import SvecOrder, smat, svec_pairs, svec_size, to_svec

__all__ = ["DualRayProblem", "dual_ray_problem", "primal_ray_problem"]


def primal_ray_problem(sdp: SDP) -> SDP:
    """minimise 1/2 |y|^2 s.t. F_k(y) - F0_k PSD, C_j y in the cone, G y <= 0, A y = 0, H y = 0, c'y = -1."""
    equal = [sdp.A, sp.csc_array(sdp.c[None, :])] + ([] if sdp.H is None else [sdp.H])
    b = np.zeros(sum(part.shape[0] for part in equal))
    b[sdp.b.size] = -1.0
    return SDP(
        c=np.zeros(sdp.variables),
        lmis=tuple(dataclasses.replace(lmi, F0=sp.csc_array(lmi.F0.shape)) for lmi in sdp.lmis),
        G=sdp.G,
        h=np.zeros(sdp.h.size),
        A=sp.vstack(equal, format="csc"),
        b=b,
        socs=tuple(dataclasses.replace(soc, d=np.zeros(soc.d.size)) for soc in sdp.socs),
        H=sp.eye_array(sdp.variables, format="csc"),
    )


class DualRayProblem(NamedTuple):
    """The SDP over w = (lower triangles of X_k, z, v, s_j), and the SDP it belongs to."""

    problem: SDP
    of: SDP

    def ray(self, w: np.ndarray) -> Dual:
        """The multipliers in w."""
        sizes = [svec_size(lmi.size) for lmi in self.of.lmis]
        sizes += [self.of.h.size, self.of.b.size, *(soc.d.size for soc in self.of.socs)]
        parts = np.split(w, np.cumsum(sizes)[:-1])
        blocks = len(self.of.lmis)
        X = tuple(smat(part, SvecOrder.TRIPLETS) for part in parts[:blocks])
        return Dual(X, parts[blocks], parts[blocks + 1], tuple(parts[blocks + 2 :]))


def dual_ray_problem(sdp: SDP) -> DualRayProblem:
    """minimise 1/2 |w|^2 over dual rays w of the SDP with offset -1."""
    gradients, offsets = [], []
    for lmi in sdp.lmis:
        F0, F = to_svec(lmi, SvecOrder.TRIPLETS)
        i, j = svec_pairs(lmi.size, SvecOrder.TRIPLETS)
        twice = np.where(i == j, 1.0, 2.0)  # <F, X> counts each off-diagonal entry twice
        gradients.append(-(F * twice[:, None]).T)
        offsets.append(F0 * twice)
    gradients += [sdp.G.T, sdp.A.T, *(-soc.C.T for soc in sdp.socs)]
    offset = np.concatenate([*offsets, sdp.h, sdp.b, *(soc.d for soc in sdp.socs)])
    size = offset.size
    lmis, start = [], 0
    for lmi in sdp.lmis:
        lmis.append(_matrix_variable(lmi.size, start, size))
        start += svec_size(lmi.size)
    G = sp.csc_array(
        (-np.ones(sdp.h.size), (np.arange(sdp.h.size), start + np.arange(sdp.h.size))), (sdp.h.size, size)
    )
    socs, start = [], start + sdp.h.size + sdp.b.size
    for soc in sdp.socs:
        k = soc.d.size
        socs.append(
            SOC(sp.csc_array((np.ones(k), (np.arange(k), start + np.arange(k))), (k, size)), np.zeros(k))
        )
        start += k
    A = sp.vstack([sp.hstack(gradients, format="csc"), sp.csc_array(offset[None, :])], format="csc")
    b = np.append(np.zeros(sdp.variables), -1.0)
    H = sp.eye_array(size, format="csc")
    return DualRayProblem(
        SDP(np.zeros(size), tuple(lmis), G, np.zeros(sdp.h.size), A, b, tuple(socs), H), sdp
    )


def _matrix_variable(n: int, start: int, size: int) -> LMI:
    """The matrix whose lower triangle by columns is w[start:], as an LMI in w (size,)."""
    i, j = svec_pairs(n, SvecOrder.TRIPLETS)
    each = np.arange(i.size)
    P = sp.csc_array((np.ones(i.size), (i, each)), (n, i.size))
    Q = sp.csc_array((np.ones(i.size), (j, each)), (n, i.size))
    E = sp.csc_array((np.where(i == j, 1.0, 2.0), (each, start + each)), (i.size, size))
    return LMI(sp.csc_array((n, n)), P, Q, E)
