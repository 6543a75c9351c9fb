"""Activations with proven global slope bounds, rounded outward; named as torch names them.

For every a != b: alpha <= (phi(a) - phi(b)) / (a - b) <= beta.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.special

from .._errors import InputError

__all__ = ["ACTIVATIONS", "Activation", "Identity", "LeakyReLU", "ReLU", "Slopes", "Tanh", "resolve_activation"]


@dataclasses.dataclass(frozen=True, eq=False)
class Activation(abc.ABC):
    """A slope-restricted function applied per neuron.

    Law: every difference quotient of `__call__` lies in the slope bounds, zero tolerance.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def bounds(self) -> tuple[Any, Any]:
        """(alpha, beta): scalars, or one per neuron."""

    @abc.abstractmethod
    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        """phi(v); neurons run along `axis`."""

    @abc.abstractmethod
    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        """phi'(v); NaN where phi is not differentiable."""

    def slopes_for(self, neurons: int, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Read-only (alpha, beta) of shape (neurons,); raises InputError naming `where`."""
        result = []
        for label, bound in zip(("alpha", "beta"), self.bounds(), strict=True):
            array = np.asarray(bound, dtype=np.float64)
            if array.ndim > 1 or (array.ndim == 1 and array.size not in (1, neurons)):
                raise InputError(f"{where}: {label} has shape {array.shape}; expected a scalar or ({neurons},).")
            full = np.array(np.broadcast_to(array, (neurons,)))
            if not np.isfinite(full).all():
                raise InputError(f"{where}: {label} holds NaN or infinity; expected finite slopes.")
            full.setflags(write=False)
            result.append(full)
        if (result[0] > result[1]).any():
            raise InputError(f"{where}: alpha > beta for some neuron; expected alpha <= beta.")
        return result[0], result[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Identity(Activation):
    name: ClassVar[str] = "identity"

    def bounds(self) -> tuple[float, float]:
        return 1.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.ones_like(v)


@dataclasses.dataclass(frozen=True, eq=False)
class ReLU(Activation):
    name: ClassVar[str] = "relu"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.maximum(v, 0.0)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v == 0.0, np.nan, (v > 0.0).astype(np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class LeakyReLU(Activation):
    negative_slope: float = 0.01
    name: ClassVar[str] = "leaky_relu"

    def bounds(self) -> tuple[float, float]:
        return min(self.negative_slope, 1.0), max(self.negative_slope, 1.0)

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v >= 0.0, v, self.negative_slope * v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v == 0.0, np.nan, np.where(v > 0.0, 1.0, self.negative_slope))


@dataclasses.dataclass(frozen=True, eq=False)
class Tanh(Activation):
    name: ClassVar[str] = "tanh"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.tanh(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return 1.0 / np.cosh(np.clip(v, -350.0, 350.0)) ** 2


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes(Activation):
    """Any function per neuron with slopes in [alpha, beta]; a class, so it has no forward pass."""

    alpha: Any
    beta: Any
    name: ClassVar[str] = "slopes"

    def bounds(self) -> tuple[Any, Any]:
        return self.alpha, self.beta

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        raise InputError("Slopes names a class of functions; a forward pass needs a concrete activation.")

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        raise InputError("Slopes names a class of functions; a derivative needs a concrete activation.")


ACTIVATIONS: dict[str, type[Activation]] = {a.name: a for a in (Identity, ReLU, LeakyReLU, Tanh)}


def resolve_activation(value: Any) -> Activation:
    """An `Activation` from an instance or a lower-case name; anything else is an InputError."""
    if isinstance(value, Activation):
        return value
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]()
    raise InputError(
        f"activation is {value!r}; expected one of {', '.join(sorted(ACTIVATIONS))}, or Slopes(alpha, beta). "
        "An unknown activation has no known slope bounds."
    )
