"""SDP solvers: `SDP` in, `Solution` out."""

from ._available import SolverInfo, available
from ._base import AbstractSolver
from ._choose import choose
from ._clarabel import Clarabel
from ._cvxpy import CVXPY
from ._mosek import MOSEK
from ._scs import SCS
from .dense import Dense
from .low_rank import LowRank

__all__ = [
    "CVXPY",
    "MOSEK",
    "SCS",
    "AbstractSolver",
    "Clarabel",
    "Dense",
    "LowRank",
    "SolverInfo",
    "available",
    "choose",
]
