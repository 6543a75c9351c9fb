"""SDP solvers: `SDP` in, `Solution` out."""

from ._base import AbstractSolver

__all__ = ["AbstractSolver"]
