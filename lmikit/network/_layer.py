"""`Layer`: one linear map, one bias, one activation, and the slope bounds per neuron."""

import copy
import dataclasses
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError
from ._activation_base import Activation
from ._maps import AbstractLinearMap

__all__ = ["Layer"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """x -> activation(W x + bias); `alpha`, `beta` are the slope bounds per output neuron.

    `alpha` and `beta` (out,) are what bounds rest on: the activation's own global ones or wider ones.
    Raises InputError for shapes that do not match, NaN, infinity, alpha > beta, and for slopes
    narrower than the activation's, which could hold on a part of the inputs only; a class of
    functions that is known by its slopes alone is the activation `Slopes(alpha, beta)`.
    """

    linear: AbstractLinearMap
    bias: np.ndarray
    activation: Activation
    alpha: np.ndarray
    beta: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.linear, AbstractLinearMap):
            raise InputError(
                f"layer: linear is a {type(self.linear).__name__}; expected a linear map such as DenseMap."
            )
        if not isinstance(self.activation, Activation):
            raise InputError(f"layer: activation is {self.activation!r}; expected an Activation.")
        for label in ("bias", "alpha", "beta"):
            object.__setattr__(
                self, label, _checked_vector(label, getattr(self, label), self.linear.shape[0])
            )
        if (self.alpha > self.beta).any():
            raise InputError("layer: alpha > beta for some neuron; expected alpha <= beta.")
        self._refuse_narrow_slopes()

    def _refuse_narrow_slopes(self) -> None:
        alpha, beta = self.activation.slopes_for(self.linear.shape[0], "layer")
        narrow = (self.alpha > alpha) | (self.beta < beta)
        if narrow.any():
            k = int(np.argmax(narrow))
            raise InputError(
                f"layer: neuron {k} has slopes [{self.alpha[k]:.6g}, {self.beta[k]:.6g}], narrower than "
                f"[{alpha[k]:.6g}, {beta[k]:.6g}] of its activation {self.activation.name}; a bound from "
                "them would not be global. To state a class of functions by its slopes pass "
                "activation=Slopes(alpha, beta)."
            )

    @classmethod
    def of(cls, linear: AbstractLinearMap, bias: np.ndarray, activation: Activation, where: str) -> "Layer":
        """A layer with the global slope bounds of its activation."""
        alpha, beta = activation.slopes_for(linear.shape[0], where)
        return cls(linear, bias, activation, alpha, beta)

    def with_map(self, linear: AbstractLinearMap) -> "Layer":
        """The same layer with another map of the same shape; slopes and bias were checked before."""
        if not isinstance(linear, AbstractLinearMap) or linear.shape != self.linear.shape:
            return dataclasses.replace(self, linear=linear)
        layer = copy.copy(self)
        object.__setattr__(layer, "linear", linear)
        return layer

    def preactivation(self, x: np.ndarray) -> np.ndarray:
        """W x + bias for x of shape (in, k)."""
        return self.linear.matvec(x) + self.bias[:, None]


def _checked_vector(label: str, values: Any, size: int) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != (size,):
        got = (
            f"shape {values.shape}, dtype {values.dtype}"
            if isinstance(values, np.ndarray)
            else type(values).__name__
        )
        raise InputError(f"layer: {label} is {got}; expected a float64 array of shape ({size},).")
    return floats(f"layer: {label}", values)
