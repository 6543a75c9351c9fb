"""Further activations, with slope bounds that hold in real arithmetic.

Each function is continuous and differentiable but for finitely many kinks, so its difference quotients
lie between the infimum and the supremum of its derivative. Bounds that are no floats are rounded outward.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import scipy.special

from .._errors import InputError
from ._activation_base import Activation, as_scalar

__all__ = [
    "CELU",
    "SELU",
    "Atan",
    "Cos",
    "Erf",
    "Hardsigmoid",
    "LogSigmoid",
    "ReLU6",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
]

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SLOPE = math.nextafter(_SELU_SCALE * _SELU_ALPHA, math.inf)  # the product has one rounding
_SIXTH = math.nextafter(1.0 / 6.0, math.inf)
_ERF_SLOPE = float.fromhex("0x1.20dd750429b6ep+0")  # 2 / sqrt(pi) = 1.128379167095512573896..., above it


@dataclasses.dataclass(frozen=True, eq=False)
class ReLU6(Activation):
    """phi(v) = min(max(v, 0), 6); slopes [0, 1]."""

    name: ClassVar[str] = "relu6"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.clip(v, 0.0, 6.0)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        kink = (v == 0.0) | (v == 6.0)
        return np.where(kink, np.nan, np.where((v > 0.0) & (v < 6.0), 1.0, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class SELU(Activation):
    """phi(v) = s v for v > 0, s a (exp(v) - 1) below, s = 1.0507.., a = 1.6732..; slopes [0, s a].

    The derivative is s above 0 and s a exp(v) below, which takes every value between 0 and s a > s.
    """

    name: ClassVar[str] = "selu"

    def bounds(self) -> tuple[float, float]:
        return 0.0, _SELU_SLOPE

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v > 0.0, _SELU_SCALE * v, _SELU_SCALE * _SELU_ALPHA * np.expm1(np.minimum(v, 0.0)))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        below = _SELU_SCALE * _SELU_ALPHA * np.exp(np.minimum(v, 0.0))
        return np.where(v == 0.0, np.nan, np.where(v > 0.0, _SELU_SCALE, below))


@dataclasses.dataclass(frozen=True, eq=False)
class CELU(Activation):
    """phi(v) = v for v > 0, alpha (exp(v / alpha) - 1) below, alpha > 0; phi' is in (0, 1]."""

    alpha: float = 1.0
    name: ClassVar[str] = "celu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", as_scalar("CELU: alpha", self.alpha))
        if not self.alpha > 0.0:
            raise InputError(f"CELU: alpha is {self.alpha}; expected a positive number.")

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(v > 0.0, v, self.alpha * np.expm1(np.minimum(v, 0.0) / self.alpha))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.exp(np.minimum(v, 0.0) / self.alpha)


@dataclasses.dataclass(frozen=True, eq=False)
class Softsign(Activation):
    """phi(v) = v / (1 + |v|); phi' = 1 / (1 + |v|)^2 in (0, 1]."""

    name: ClassVar[str] = "softsign"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v / (1.0 + np.abs(v)))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray((1.0 / (1.0 + np.abs(v))) ** 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Hardsigmoid(Activation):
    """phi(v) = min(max(v + 3, 0), 6) / 6; slopes [0, 1/6]."""

    name: ClassVar[str] = "hardsigmoid"

    def bounds(self) -> tuple[float, float]:
        return 0.0, _SIXTH

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(np.clip(v + 3.0, 0.0, 6.0) / 6.0)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.where(np.abs(v) == 3.0, np.nan, np.where(np.abs(v) < 3.0, 1.0 / 6.0, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class LogSigmoid(Activation):
    """phi(v) = -log(1 + exp(-v)); phi' = 1 / (1 + exp(v)) in (0, 1)."""

    name: ClassVar[str] = "logsigmoid"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(-np.logaddexp(0.0, -np.asarray(v)))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(scipy.special.expit(-np.asarray(v)))


@dataclasses.dataclass(frozen=True, eq=False)
class Softshrink(Activation):
    """phi(v) = v - lambd for v > lambd, v + lambd for v < -lambd, 0 between, lambd >= 0; slopes [0, 1]."""

    lambd: float = 0.5
    name: ClassVar[str] = "softshrink"

    def __post_init__(self) -> None:
        object.__setattr__(self, "lambd", as_scalar("Softshrink: lambd", self.lambd))
        if not self.lambd >= 0.0:
            raise InputError(f"Softshrink: lambd is {self.lambd}; expected zero or more.")

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v - np.clip(v, -self.lambd, self.lambd))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        size = np.abs(v)
        kink = np.nan if self.lambd > 0.0 else 1.0
        return np.where(size == self.lambd, kink, np.where(size > self.lambd, 1.0, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class Tanhshrink(Activation):
    """phi(v) = v - tanh(v); phi' = tanh(v)^2 in [0, 1)."""

    name: ClassVar[str] = "tanhshrink"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v - np.tanh(v))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(np.tanh(v) ** 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Cos(Activation):
    """phi(v) = cos(v); phi' = -sin(v) in [-1, 1]."""

    name: ClassVar[str] = "cos"

    def bounds(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.cos(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return -np.sin(v)


@dataclasses.dataclass(frozen=True, eq=False)
class Atan(Activation):
    """phi(v) = arctan(v); phi' = 1 / (1 + v^2) in (0, 1]."""

    name: ClassVar[str] = "atan"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.arctan(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(1.0 / (1.0 + np.square(v)))


@dataclasses.dataclass(frozen=True, eq=False)
class Erf(Activation):
    """phi(v) = erf(v); phi' = 2 exp(-v^2) / sqrt(pi) in (0, 2 / sqrt(pi)]."""

    name: ClassVar[str] = "erf"

    def bounds(self) -> tuple[float, float]:
        return 0.0, _ERF_SLOPE

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(scipy.special.erf(v))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(2.0 / math.sqrt(math.pi) * np.exp(-np.square(v)))
