"""The problem with room on both sides: what an interior-point method finds there is interior here."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from ..certificates.sdp._data import Cone
from ..lmi import LMI, SDP, SOC

__all__ = ["Margins", "with_bounds", "with_margins"]


@dataclasses.dataclass(frozen=True, eq=False)
class Margins:
    """Sizes of the parts of a point (blocks, rows >= 0, cones) along the cone's identity."""

    identity: np.ndarray  # of the layout: I of each block, ones, (1, 0, ..., 0) of each cone, 0
    primal: np.ndarray
    dual: np.ndarray

    @classmethod
    def of(cls, cone: Cone, y: np.ndarray, x: np.ndarray) -> "Margins":
        """Scaled by the entries of each part before cancellation, so that a part that vanishes counts."""
        shape = cone.layout
        identity = shape.pack([np.eye(n) for n in shape.psd], [np.ones(shape.linear)])
        cones = [np.eye(n)[0] if n else np.zeros(0) for n in shape.soc]
        identity = np.concatenate([identity, *cones, np.zeros(shape.zero)])
        mass = np.abs(cone.f) + abs(cone.T).T @ np.abs(y)
        top = float(np.abs(x[identity > 0]).max(initial=0.0)) or 1.0
        primal, dual = np.zeros(shape.total), np.zeros(shape.total)
        for part in shape.slices[:-1]:
            if part.stop > part.start:
                primal[part] = max(float(mass[part].max()), 1e-8)
                own = float(np.abs(x[part] * identity[part]).max())
                dual[part] = max(own, 1e-2 * top)
        return cls(identity, primal * identity, dual * identity)


def with_bounds(sdp: SDP, bounds: np.ndarray) -> SDP:
    """The problem with |y_i| <= bounds_i as its last inequalities."""
    eye = sp.eye_array(sdp.variables, format="csc")
    G = sp.csc_array(sp.vstack([sdp.G, eye, -eye]))
    return dataclasses.replace(sdp, G=G, h=np.concatenate([sdp.h, bounds, bounds]))


def with_margins(sdp: SDP, cone: Cone, primal: np.ndarray, dual: np.ndarray) -> SDP:
    """s - primal in K, and x - dual in the dual cone: f - primal in place of f, c - T dual in place of c."""
    shape = cone.layout
    lmis = []
    for lmi, part, n in zip(sdp.lmis, shape.psd_slices(), shape.psd, strict=True):
        size = float(np.abs(primal[part]).max(initial=0.0))
        F0 = sp.csc_array(lmi.F0 - size * sp.eye_array(n, format="csc"))
        lmis.append(LMI(F0, lmi.P, lmi.Q, lmi.E, name=lmi.name, partition=lmi.partition))
    socs = [
        SOC(soc.C, soc.d - primal[part], name=soc.name)
        for soc, part in zip(sdp.socs, shape.soc_slices(), strict=True)
    ]
    c = cone.c - cone.T @ (cone.weight * dual)
    return dataclasses.replace(
        sdp, c=c, lmis=tuple(lmis), h=sdp.h - primal[shape.linear_slice], socs=tuple(socs)
    )
