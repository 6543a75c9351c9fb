"""The contract of a formulation: a theorem that turns a network into an SDP and back into a witness."""

import abc
from typing import ClassVar

from .._witness import Witness
from ..lmi import SDP, Solution

__all__ = ["AbstractFormulation"]


class AbstractFormulation(abc.ABC):
    """One theorem: its SDP, and the witness that a point of that SDP proposes.

    Law, tested for every registered formulation: at a feasible point, the witness's bound is at
    or above every sampled difference quotient, and the LMI holds along sampled increments.
    """

    theorem: ClassVar[str]  # paper, equation, assumptions

    @abc.abstractmethod
    def sdp(self) -> SDP:
        """The semidefinite program; compiled in time linear in its nonzeros."""

    @abc.abstractmethod
    def witness(self, solution: Solution) -> Witness:
        """The witness that `solution.y` proposes; raises SolveFailed where there is no usable point."""
