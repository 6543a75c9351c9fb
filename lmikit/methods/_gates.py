"""What an ascent over vector-valued gates asks of a network: points of a dual, their values and images."""

import abc
import dataclasses
from typing import Any

import numpy as np

from .._arrays import ArrayModule

__all__ = [
    "FRESH",
    "MIXED",
    "REGULAR",
    "RELATIVE_FLOOR",
    "ROUNDING",
    "SHORTEST",
    "TINY",
    "AbstractGates",
    "GatePoint",
]

# Of the ascents over single networks and over stacks of them:
MIXED = 8  # iterates that one step of Anderson's mixing combines
REGULAR = 1e-8  # of the trace of its small system
ROUNDING = 1e-12  # relative, by which a value may fall
SHORTEST = 1e-3  # of a plain step
FRESH = 0.03  # size of the entries of new columns
RELATIVE_FLOOR = 1e-6  # of what |u| and |g| would be without cancellation
TINY = 1e-290


@dataclasses.dataclass(frozen=True, eq=False)
class GatePoint:
    """Gates and input (unit rows, the input's as one), their value, and where the iteration goes."""

    x: Any
    value: float
    image: Any


class AbstractGates(abc.ABC):
    """Gates of a network, in one array (size, R), the rows of the input first; all are feasible."""

    am: ArrayModule
    size: int

    def random(self, rank: int, rng: np.random.Generator) -> Any:
        """Gates of no preference; the same generator gives the same ones on every device."""
        return self.unit(self.am.asarray(rng.standard_normal((self.size, rank))))

    @abc.abstractmethod
    def unit(self, x: Any) -> Any:
        """Gates of length 1, the rows of the input together."""

    @abc.abstractmethod
    def at(self, x: Any) -> GatePoint:
        """Value and image of the point x."""
