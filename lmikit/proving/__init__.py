"""`prove`: solve an SDP, repair what the solver returned, and prove what can be proven of it."""

from ._prove import ProvenSDP, prove

__all__ = ["ProvenSDP", "prove"]
