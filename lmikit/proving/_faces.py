"""Facial reduction of the dual side with integer bases (Borwein and Wolkowicz, 1981).

If every feasible X has X N = 0, then X = V S V' with V a basis of the complement of N, and no X is positive
definite: nothing can be proven until X is sought as V S V' with S positive definite. That such an X is
PSD needs no proof that N is right; a wrong N only makes the equations for S insoluble. N is read off
the X of largest rank, which interior-point methods find where the objective is zero, and is rounded to
rational numbers, so that V'F V is exact. Minimal faces without rational bases are out of reach.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..certificates.sdp._records import Drop
from ..lmi import LMI, SDP

__all__ = ["complement", "compose", "null_vectors", "on_faces", "without_offsets"]

_SMALL = 1e-4  # an eigenvalue below this, relative to the largest, may be zero
_JUMP = 1e2  # by which the next one must be larger
_DENOMINATOR = 12
_NEAR = 1e-3


def without_offsets(sdp: SDP) -> SDP:
    """F0, h, d and b zero: every dual feasible X is optimal, and a solver finds a central one."""
    return dataclasses.replace(
        sdp,
        lmis=tuple(dataclasses.replace(lmi, F0=sp.csc_array(lmi.F0.shape)) for lmi in sdp.lmis),
        h=np.zeros(sdp.h.size),
        b=np.zeros(sdp.b.size),
        socs=tuple(dataclasses.replace(soc, d=np.zeros(soc.d.size)) for soc in sdp.socs),
    )


def null_vectors(X: np.ndarray) -> np.ndarray:
    """Eigenvectors (n, k) of the eigenvalues of X that stand out as zero; k may be 0."""
    n = X.shape[0]
    if n == 0:
        return np.zeros((0, 0))
    values, vectors = scipy.linalg.eigh(X)
    top = max(float(values[-1]), 1e-300)
    level = np.maximum(values, 1e-16 * top)
    for k in range(n - 1, 0, -1):
        if level[k - 1] <= _SMALL * top and level[k] >= _JUMP * level[k - 1]:
            return np.asarray(vectors[:, :k])
    return np.zeros((n, 0))


def complement(null: np.ndarray) -> np.ndarray | None:
    """Integers (n, n - k) spanning the complement of the null vectors (n, k), or None where none are near."""
    n, k = null.shape
    _, _, order = scipy.linalg.qr(null.T, mode="economic", pivoting=True)
    pivots = np.sort(order[:k])
    try:
        reduced = null @ np.linalg.inv(null[pivots])
    except np.linalg.LinAlgError:
        return None
    rest = np.setdiff1d(np.arange(n), pivots)
    basis = np.zeros((n, rest.size), dtype=np.int64)
    for column, j in enumerate(rest.tolist()):
        near = [Fraction(float(v)).limit_denominator(_DENOMINATOR) for v in reduced[j]]
        if any(abs(float(a) - b) > _NEAR for a, b in zip(near, reduced[j].tolist(), strict=True)):
            return None
        scale = math.lcm(*(a.denominator for a in near))
        basis[j, column] = scale
        for p, a in zip(pivots.tolist(), near, strict=True):
            basis[p, column] = -int(a * scale)
    return basis


def compose(outer: np.ndarray | None, inner: np.ndarray) -> np.ndarray:
    """The face of a face."""
    return inner if outer is None else outer @ inner


def on_faces(sdp: SDP, faces: tuple[np.ndarray | None, ...], drop: Drop) -> SDP:
    """The SDP with V_k'F_k V_k in place of F_k, without the variables of dropped equations."""
    keep = np.ones(sdp.variables, dtype=bool)
    keep[list(drop)] = False
    lmis = []
    for lmi, face in zip(sdp.lmis, faces, strict=True):
        E = sp.csc_array(lmi.E[:, keep])
        if face is None:
            lmis.append(dataclasses.replace(lmi, E=E))
            continue
        V = sp.csc_array(face.T.astype(np.float64))
        F0 = sp.csc_array(V @ lmi.F0 @ V.T)
        lmis.append(LMI((F0 + F0.T) / 2, V @ lmi.P, V @ lmi.Q, E, name=lmi.name))
    return SDP(
        sdp.c[keep],
        tuple(lmis),
        G=sdp.G[:, keep],
        h=sdp.h,
        A=sdp.A[:, keep],
        b=sdp.b,
        socs=tuple(dataclasses.replace(soc, C=sp.csc_array(soc.C[:, keep])) for soc in sdp.socs),
        H=None if sdp.H is None else sdp.H[keep][:, keep],
    )
