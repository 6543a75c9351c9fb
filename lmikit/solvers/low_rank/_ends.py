"""One point for LMIs M(y) - t e e' that differ in e only: where t may go is one solve per e."""

import dataclasses
from typing import Any

import numpy as np

from ..._arrays import ArrayModule
from ...lmi import SDP
from ._start import levelwise

__all__ = ["SharedPoint"]

_INSIDE = 0.5  # of the way of t to the boundary


@dataclasses.dataclass
class SharedPoint:
    """y with M(y) positive definite and t = 0, and the factor of M(y)."""

    am: ArrayModule
    y: np.ndarray
    factor: Any

    @staticmethod
    def of(am: ArrayModule, sdp: SDP) -> "SharedPoint | None":
        """Level by level; None where that finds no point."""
        found = levelwise(am, sdp)
        if found is None:
            return None
        y = np.append(found[:-1], 0.0)
        factor = am.cholesky(sdp.lmis[0].evaluate(y).toarray())
        return None if factor is None else SharedPoint(am, y, factor)

    def start(self, end: np.ndarray) -> np.ndarray:
        """The point with t half of 1 / (e'M^-1 e)."""
        half = self.am.solve_triangular(self.factor, end[:, None])
        return np.append(self.y[:-1], _INSIDE / max(float((half**2).sum()), np.finfo(float).tiny))
