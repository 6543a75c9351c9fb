"""The solver-agnostic LMI layer; it has never heard of a network."""

from ._sdp import LMI, SDP, SOC
from ._solution import Dual, Solution, Status

__all__ = ["LMI", "SDP", "SOC", "Dual", "Solution", "Status"]
