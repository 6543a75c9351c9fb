"""SDP solvers: `SDP` in, `Solution` out."""

from ._base import AbstractSolver
from ._clarabel import Clarabel
from ._scs import SCS

__all__ = ["SCS", "AbstractSolver", "Clarabel"]
