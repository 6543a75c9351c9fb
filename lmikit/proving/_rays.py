"""The problem whose solutions are rays inside the cones, where a solver found one near the boundary."""

import numpy as np
import scipy.sparse as sp

from ..lmi import LMI, SDP, SOC

__all__ = ["interior_ray"]


def interior_ray(sdp: SDP) -> SDP:
    """maximise t <= 1 over (y, t): F_k(y) - F0_k - t I PSD, G y + t <= 0, A y = 0, H y = 0, c'y = -1."""
    m = sdp.variables
    lmis = []
    for lmi in sdp.lmis:
        n, eye = lmi.size, sp.eye_array(lmi.size, format="csc")
        last = sp.csc_array((-np.ones(n), (np.arange(n), np.full(n, m))), shape=(n, m + 1))
        E = sp.vstack([sp.hstack([lmi.E, sp.csc_array((lmi.E.shape[0], 1))]), last], "csc")
        lmis.append(
            LMI(sp.csc_array((n, n)), sp.hstack([lmi.P, eye], "csc"), sp.hstack([lmi.Q, eye], "csc"), E)
        )
    top = sp.csc_array((np.ones(1), ([0], [m])), shape=(1, m + 1))
    G = sp.vstack([sp.hstack([sdp.G, np.ones((sdp.h.size, 1))]), top], "csc")
    equal = [sdp.A] + ([] if sdp.H is None else [sdp.H]) + [sp.csc_array(sdp.c[None, :])]
    A = sp.vstack(equal, "csc")
    A = sp.hstack([A, sp.csc_array((A.shape[0], 1))], "csc")
    b = np.zeros(A.shape[0])
    b[-1] = -1.0
    socs = []
    for soc in sdp.socs:
        last = sp.csc_array(-np.eye(soc.d.size)[:, :1]) if soc.d.size else sp.csc_array((0, 1))
        socs.append(SOC(sp.hstack([soc.C, last], "csc"), np.zeros(soc.d.size)))
    c = np.append(np.zeros(m), -1.0)
    return SDP(c, tuple(lmis), G=G, h=np.append(np.zeros(sdp.h.size), 1.0), A=A, b=b, socs=tuple(socs))
