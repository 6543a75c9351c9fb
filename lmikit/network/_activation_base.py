"""The contract of an activation, the slope class `Slopes`, and the validation of parameters.

For every a != b and every neuron: alpha <= (phi(a) - phi(b)) / (a - b) <= beta.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np

from .._convert import as_number, floats, sealed
from .._errors import InputError

__all__ = ["Activation", "Slopes", "as_parameter", "as_scalar"]


def as_scalar(name: str, value: Any) -> float:
    """A finite float that holds `value` exactly; raises InputError otherwise."""
    return as_number(name, value)


def as_parameter(name: str, value: Any) -> float | np.ndarray:
    """A float, or a read-only array with one entry per neuron; raises InputError otherwise."""
    array = floats(name, value)
    if array.ndim > 1 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; expected a number, or one per neuron.")
    return float(array.reshape(())) if array.size == 1 else array


def _restricted(value: float | np.ndarray, neurons: np.ndarray) -> float | np.ndarray:
    return value if isinstance(value, float) else value[neurons]


@dataclasses.dataclass(frozen=True, eq=False)
class Activation(abc.ABC):
    """A slope-restricted function applied per neuron.

    Law: every difference quotient of the function that `__call__` computes, taken in real
    arithmetic, lies in the slope bounds, with zero tolerance. The fields of a subclass are
    its parameters: numbers, strings, or arrays with one entry per neuron.
    """

    name: ClassVar[str]  # as torch.nn.functional spells it

    @abc.abstractmethod
    def bounds(self) -> tuple[Any, Any]:
        """(alpha, beta): scalars, or one per neuron."""

    @abc.abstractmethod
    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        """phi(v); neurons run along `axis`."""

    @abc.abstractmethod
    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        """phi'(v); NaN where phi is not differentiable."""

    def parameters(self) -> dict[str, Any]:
        """The fields by name: `type(self)(**self.parameters())` is the same function."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def restricted(self, neurons: np.ndarray) -> "Activation":
        """The same functions for the neurons with these indices only."""
        changed = {
            k: _restricted(v, neurons) for k, v in self.parameters().items() if isinstance(v, np.ndarray)
        }
        return dataclasses.replace(self, **changed) if changed else self

    def slopes_for(self, neurons: int, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Read-only (alpha, beta) of shape (neurons,); raises InputError naming `where`."""
        result = []
        for label, bound in zip(("alpha", "beta"), self.bounds(), strict=True):
            array = floats(f"{where}: {label}", bound)
            if array.ndim > 1 or (array.ndim == 1 and array.size not in (1, neurons)):
                raise InputError(
                    f"{where}: {label} has shape {array.shape}; expected a scalar or ({neurons},)."
                )
            result.append(sealed(np.broadcast_to(array, (neurons,))))
        if (result[0] > result[1]).any():
            raise InputError(f"{where}: alpha > beta for some neuron; expected alpha <= beta.")
        return result[0], result[1]

    def _along(self, parameter: float | np.ndarray, v: np.ndarray, axis: int) -> Any:
        """`parameter` shaped so that it broadcasts against v with neurons along `axis`."""
        if isinstance(parameter, float):
            return parameter
        if v.ndim == 0 or v.shape[axis] != parameter.size:
            raise InputError(
                f"{self.name} has {parameter.size} parameters, one per neuron, but v has shape {v.shape}; "
                f"expected {parameter.size} entries along axis {axis}."
            )
        shape = [1] * v.ndim
        shape[axis] = parameter.size
        return parameter.reshape(shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes(Activation):
    """Any function per neuron with slopes in [alpha, beta]; a class, so it has no forward pass.

    `alpha` and `beta` are numbers, or arrays with one entry per neuron; alpha <= beta.
    """

    alpha: Any
    beta: Any
    name: ClassVar[str] = "slopes"

    def __post_init__(self) -> None:
        for label in ("alpha", "beta"):
            object.__setattr__(self, label, as_parameter(f"Slopes: {label}", getattr(self, label)))
        sizes = {np.size(self.alpha), np.size(self.beta)} - {1}
        if len(sizes) > 1:
            raise InputError(
                f"Slopes: alpha has {np.size(self.alpha)} entries and beta {np.size(self.beta)}."
            )
        if np.any(np.greater(self.alpha, self.beta)):
            raise InputError("Slopes: alpha > beta for some neuron; expected alpha <= beta.")

    def bounds(self) -> tuple[Any, Any]:
        return self.alpha, self.beta

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        raise InputError("Slopes names a class of functions; a forward pass needs a concrete activation.")

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        raise InputError("Slopes names a class of functions; a derivative needs a concrete activation.")
