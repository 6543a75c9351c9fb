"""Activations with kinks, with exact slope bounds.

Each is continuous and continuously differentiable between finitely many kinks, so by the mean
value theorem on each piece its difference quotients lie in the convex hull of its derivatives.
All bounds here are exact in float64, or are parameters given in float64.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from .._errors import InputError
from ._activation_base import Activation, as_parameter, as_scalar

__all__ = ["ELU", "Abs", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "PReLU", "ReLU"]


@dataclasses.dataclass(frozen=True, eq=False)
class Identity(Activation):
    """phi(v) = v; slope 1."""

    name: ClassVar[str] = "identity"

    def bounds(self) -> tuple[float, float]:
        return 1.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.ones_like(v, dtype=np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class ReLU(Activation):
    """phi(v) = max(v, 0); slopes [0, 1]."""

    name: ClassVar[str] = "relu"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.maximum(v, 0.0)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v == 0.0, np.nan, np.where(v > 0.0, 1.0, 0.0))


def _leaky(v: np.ndarray, slope: Any) -> np.ndarray:
    return np.where(v >= 0.0, v, slope * v)


def _leaky_derivative(v: np.ndarray, slope: Any) -> np.ndarray:
    kink = np.where(np.equal(slope, 1.0), 1.0, np.nan)
    return np.where(v == 0.0, kink, np.where(v > 0.0, 1.0, slope))


@dataclasses.dataclass(frozen=True, eq=False)
class LeakyReLU(Activation):
    """phi(v) = v for v >= 0, negative_slope * v below; slopes between negative_slope and 1."""

    negative_slope: float = 0.01
    name: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "negative_slope", as_scalar("LeakyReLU: negative_slope", self.negative_slope)
        )

    def bounds(self) -> tuple[float, float]:
        return min(self.negative_slope, 1.0), max(self.negative_slope, 1.0)

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return _leaky(v, self.negative_slope)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return _leaky_derivative(v, self.negative_slope)


@dataclasses.dataclass(frozen=True, eq=False)
class PReLU(Activation):
    """LeakyReLU with a learned `weight`, a number or one per neuron; it has no default."""

    weight: Any
    name: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_parameter("PReLU: weight", self.weight))

    def bounds(self) -> tuple[Any, Any]:
        return np.minimum(self.weight, 1.0), np.maximum(self.weight, 1.0)

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return _leaky(v, self._along(self.weight, v, axis))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return _leaky_derivative(v, self._along(self.weight, v, axis))


@dataclasses.dataclass(frozen=True, eq=False)
class ELU(Activation):
    """phi(v) = v for v > 0, alpha (exp(v) - 1) below, any finite alpha.

    Derivatives are 1 and alpha exp(v) for v < 0, which takes every value between 0 and alpha:
    slopes [min(0, alpha), max(1, alpha)].
    """

    alpha: float = 1.0
    name: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", as_scalar("ELU: alpha", self.alpha))

    def bounds(self) -> tuple[float, float]:
        return min(0.0, self.alpha), max(1.0, self.alpha)

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v > 0.0, v, self.alpha * np.expm1(np.minimum(v, 0.0)))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        below = self.alpha * np.exp(np.minimum(v, 0.0))
        kink = 1.0 if self.alpha == 1.0 else np.nan
        return np.where(v == 0.0, kink, np.where(v > 0.0, 1.0, below))


@dataclasses.dataclass(frozen=True, eq=False)
class Hardtanh(Activation):
    """phi(v) = v clipped to [min_val, max_val], min_val < max_val; slopes [0, 1]."""

    min_val: float = -1.0
    max_val: float = 1.0
    name: ClassVar[str] = "hardtanh"

    def __post_init__(self) -> None:
        for label in ("min_val", "max_val"):
            object.__setattr__(self, label, as_scalar(f"Hardtanh: {label}", getattr(self, label)))
        if not self.min_val < self.max_val:
            raise InputError(
                f"Hardtanh: min_val is {self.min_val} and max_val {self.max_val}; expected min_val < max_val."
            )

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.clip(v, self.min_val, self.max_val)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        kink = (v == self.min_val) | (v == self.max_val)
        inside = (v > self.min_val) & (v < self.max_val)
        return np.where(kink, np.nan, np.where(inside, 1.0, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class Abs(Activation):
    """phi(v) = |v|; slopes [-1, 1]."""

    name: ClassVar[str] = "abs"

    def bounds(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.abs(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v == 0.0, np.nan, np.sign(v))


@dataclasses.dataclass(frozen=True, eq=False)
class Hardswish(Activation):
    """phi(v) = v min(max(v + 3, 0), 6) / 6.

    The derivative is 0 below -3, 1 above 3 and (2 v + 3) / 6 between, which runs from -1/2 to
    3/2: slopes [-1/2, 3/2], each approached at a kink.
    """

    name: ClassVar[str] = "hardswish"

    def bounds(self) -> tuple[float, float]:
        return -0.5, 1.5

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        inside = v * np.clip(v + 3.0, 0.0, 6.0) / 6.0
        return np.where(v >= 3.0, v, inside)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        inside = (2.0 * np.clip(v, -3.0, 3.0) + 3.0) / 6.0
        return np.where(np.abs(v) == 3.0, np.nan, np.where(v > 3.0, 1.0, np.where(v < -3.0, 0.0, inside)))
