"""Linear systems with exact float data, and what is closed around them: gains, other systems, networks."""

from ._feedback import Feedback
from ._state_space import System, as_system

__all__ = ["Feedback", "System", "as_system"]
