"""What an ascent over vector-valued gates asks of a network: points of a dual, their values and images."""

import abc
import dataclasses
from typing import Any

import numpy as np

from .._arrays import ArrayModule

__all__ = ["AbstractGates", "GatePoint"]


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
