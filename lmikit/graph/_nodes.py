"""The nodes of a graph. Parents are indices of earlier nodes; arrays of values have shape (size, k)."""

import dataclasses
import numbers
from typing import Any

import numpy as np

from .._convert import floats, sealed
from .._errors import InputError
from ..network import AbstractLinearMap, Activation
from ..nonlinear import AbstractGroups

__all__ = ["Affine", "Apply", "Input", "Node"]


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
    """The input of the network, x (size,)."""

    size: int

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, numbers.Integral) or self.size < 1:
            raise InputError(f"the input has size {self.size!r}; expected an integer, at least 1.")
        object.__setattr__(self, "size", int(self.size))

    @property
    def parents(self) -> tuple[int, ...]:
        return ()


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """sum_k maps[k] value(parents[k]) + bias; `bias` (size,), None for zeros.

    The entries of each map must be floats (`to_sparse` works); sums and products of maps are
    several terms and several nodes. `GraphBuilder` takes them apart.
    """

    maps: tuple[AbstractLinearMap, ...]
    parents: tuple[int, ...]
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", tuple(self.maps))
        object.__setattr__(self, "parents", tuple(int(p) for p in self.parents))
        if not self.maps or len(self.maps) != len(self.parents):
            raise InputError(
                f"an affine node has {len(self.maps)} maps and {len(self.parents)} parents; expected as many "
                "of each, at least one."
            )
        if not all(isinstance(m, AbstractLinearMap) for m in self.maps):
            raise InputError("an affine node holds something that is no linear map such as DenseMap.")
        if any(m.shape[0] != self.size for m in self.maps):
            rows = [m.shape[0] for m in self.maps]
            raise InputError(f"the maps of an affine node have {rows} rows; expected equal numbers.")
        bias = np.zeros(self.size) if self.bias is None else _vector(self.bias, self.size)
        bias.setflags(write=False)
        object.__setattr__(self, "bias", bias)

    @property
    def size(self) -> int:
        return int(self.maps[0].shape[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Apply:
    """function(value(parent)): an `Activation` per channel, or a nonlinearity on groups of channels."""

    function: Activation | AbstractGroups
    parent: int
    size: int
    alpha: np.ndarray = dataclasses.field(init=False, repr=False)  # (0,) for groups
    beta: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parent", int(self.parent))
        if isinstance(self.function, AbstractGroups):
            self.function.groups(self.size, self.function.name)
            alpha = beta = np.zeros(0)
        elif isinstance(self.function, Activation):
            alpha, beta = self.function.slopes_for(self.size, self.function.name)
        else:
            raise InputError(f"a node applies {self.function!r}; expected an Activation or a nonlinearity.")
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "beta", beta)

    @property
    def parents(self) -> tuple[int, ...]:
        return (self.parent,)

    @property
    def grouped(self) -> bool:
        """Whether the function acts on groups of channels."""
        return isinstance(self.function, AbstractGroups)

    @property
    def multipliers(self) -> int:
        """How many multipliers a proof has for this node."""
        if isinstance(self.function, AbstractGroups):
            return self.size // self.function.group_size * self.function.multipliers_per_group
        return self.size

    def value(self, v: np.ndarray) -> np.ndarray:
        """phi(v), v (size, k)."""
        return self.function(v) if isinstance(self.function, AbstractGroups) else self.function(v, axis=0)


Node = Input | Affine | Apply


def _vector(values: Any, size: int) -> np.ndarray:
    array = sealed(floats("a bias", values).reshape(-1))
    if array.shape != (size,):
        raise InputError(f"a bias has shape {np.shape(values)}; expected {size} numbers.")
    return array
