"""Linear systems with exact float data, and what is closed around them: gains, other systems, networks."""

from ._feedback import Feedback
from ._network_loop import NetworkLoop
from ._state_space import System, as_system

__all__ = ["Feedback", "NetworkLoop", "System", "as_system"]
