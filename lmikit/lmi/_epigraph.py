"""A quadratic objective as a second-order cone, for solvers that take linear objectives only."""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._errors import InputError
from ._sdp import SDP, SOC

__all__ = ["epigraph_form", "square_root"]


def epigraph_form(sdp: SDP) -> SDP:
    """The SDP with variables (y, t) and objective c'y + t, where 1/2 y'H y <= t; without H, the SDP.

    With H = R'R:  |R y|^2 <= 2 t  if and only if  (t + 1/2, t - 1/2, R y) is in the second-order cone.
    Raises InputError if H is not PSD.
    """
    if sdp.H is None:
        return sdp
    R = square_root(sdp.H)
    m, rank = sdp.variables, R.shape[0]
    t = sp.csc_array(np.ones((2, 1)))
    C = sp.block_array([[None, t], [R, None]], format="csc") if rank else sp.hstack([sp.csc_array((2, m)), t])
    cone = SOC(C, np.concatenate([[0.5, -0.5], np.zeros(rank)]), name="epigraph of y'Hy/2")
    return SDP(
        c=np.append(sdp.c, 1.0),
        lmis=tuple(dataclasses.replace(lmi, E=_widen(lmi.E)) for lmi in sdp.lmis),
        G=_widen(sdp.G),
        h=sdp.h,
        A=_widen(sdp.A),
        b=sdp.b,
        socs=(*(dataclasses.replace(soc, C=_widen(soc.C)) for soc in sdp.socs), cone),
    )


def _widen(matrix: sp.csc_array) -> sp.csc_array:
    return sp.csc_array(sp.hstack([matrix, sp.csc_array((matrix.shape[0], 1))], format="csc"))


def square_root(H: sp.csc_array) -> sp.csc_array:
    """R (rank, m) with R'R = H up to rounding; diagonal H stays sparse."""
    diagonal = H.diagonal()
    if (H - sp.diags_array(diagonal)).count_nonzero() == 0:
        values, vectors = diagonal, sp.eye_array(diagonal.size, format="csc")
    else:
        values, dense = scipy.linalg.eigh(H.toarray())
        vectors = sp.csc_array(dense)
    scale = float(np.abs(values).max(initial=0.0))
    if values.min(initial=0.0) < -1e-10 * scale:
        raise InputError(f"H has the eigenvalue {values.min():.3g}; expected H PSD (a convex objective).")
    keep = np.flatnonzero(values > 1e-14 * scale)
    return sp.csc_array((vectors[:, keep] * np.sqrt(values[keep])[None, :]).T)
