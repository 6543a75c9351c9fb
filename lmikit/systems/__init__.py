"""Linear systems with exact float data, and what is closed around them: gains, other systems, networks."""

from ._feedback import Feedback
from ._network_loop import NetworkLoop
from ._state_set import StateSet
from ._state_space import System, as_system
from ._uncertain import Delay, NormBlock, RepeatedGain, Sector, SlopeRestricted, UncertainLoop

__all__ = [
    "Delay",
    "Feedback",
    "NetworkLoop",
    "NormBlock",
    "RepeatedGain",
    "Sector",
    "SlopeRestricted",
    "StateSet",
    "System",
    "UncertainLoop",
    "as_system",
]
