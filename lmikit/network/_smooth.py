"""Smooth activations: phi is differentiable, so alpha = inf phi' and beta = sup phi'.

Where these are not short decimals they are written as the nearest float64 on the outer side,
with the stationary point of phi' and more digits beside them. That no other point does worse
is argued in each docstring, and a test encloses phi'' on the whole line in ball arithmetic.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import scipy

from .._errors import InputError
from ._activation_base import Activation, as_scalar

__all__ = ["GELU", "Mish", "SiLU", "Sigmoid", "Sin", "Softplus", "Tanh"]

# Phi(s) + s phi(s) at s = sqrt(2): 1.1289041451851547863407444..., and 1 minus it at -s.
_GELU = (float.fromhex("-0x1.07fee57f1cd3cp-3"), float.fromhex("0x1.20ffdcafe39a8p+0"))
# At 1.4185040087908...: 1.1289930686587717659044705..., and 1 minus it. With sqrt(2/pi) and 0.044715
# rounded to float64, as programs have them, it is 1.12899306865877176143...: covered too.
_GELU_TANH = (float.fromhex("-0x1.082d849a669ebp-3"), float.fromhex("0x1.2105b0934cd3ep+0"))
# At s = 2.3993572805154676678..., s tanh(s/2) = 2: 1.0998393201288669169581849..., and 1 minus it.
_SILU = (float.fromhex("-0x1.98f11d6cef08cp-4"), float.fromhex("0x1.198f11d6cef09p+0"))
# At -2.2563763963607931200...: -0.1125261223894625564073279...; at 1.4905711794854284592...:
# 1.0884981612517278612282936...
_MISH = (float.fromhex("-0x1.cce830f9bc267p-4"), float.fromhex("0x1.16a7d0c455120p+0"))


def _sech2(v: np.ndarray) -> np.ndarray:
    """1 / cosh(v)**2 without overflow."""
    e = np.exp(-2.0 * np.abs(v))
    return 4.0 * e / (1.0 + e) ** 2


@dataclasses.dataclass(frozen=True, eq=False)
class Tanh(Activation):
    """phi(v) = tanh(v); phi' = 1 - tanh(v)**2 in (0, 1]."""

    name: ClassVar[str] = "tanh"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.tanh(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return _sech2(np.asarray(v))


@dataclasses.dataclass(frozen=True, eq=False)
class Sigmoid(Activation):
    """phi(v) = 1 / (1 + exp(-v)); phi' = phi (1 - phi) in (0, 1/4]."""

    name: ClassVar[str] = "sigmoid"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 0.25

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(scipy.special.expit(v))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return 0.25 * _sech2(0.5 * np.asarray(v))


@dataclasses.dataclass(frozen=True, eq=False)
class Softplus(Activation):
    """phi(v) = log(1 + exp(beta v)) / beta, beta > 0; phi' = sigmoid(beta v) in (0, 1).

    This is the function itself. torch replaces it by v where beta v > 20, which adds a jump
    of 2.1e-9 / beta there; no Lipschitz constant covers a jump.
    """

    beta: float = 1.0
    name: ClassVar[str] = "softplus"

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", as_scalar("Softplus: beta", self.beta))
        if self.beta <= 0.0:
            raise InputError(f"Softplus: beta is {self.beta}; expected beta > 0.")

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.logaddexp(0.0, self.beta * np.asarray(v)) / self.beta

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(scipy.special.expit(self.beta * np.asarray(v)))


@dataclasses.dataclass(frozen=True, eq=False)
class GELU(Activation):
    """phi(v) = v Phi(v) ("none"), or v (1 + tanh(sqrt(2/pi) (v + 0.044715 v**3))) / 2 ("tanh").

    phi(v) - phi(-v) = v, hence phi'(-v) = 1 - phi'(v) and the two extremes mirror each other.
    "none": phi'' = (2 - v**2) exp(-v**2/2) / sqrt(2 pi) vanishes at +-sqrt(2) only. "tanh": with
    u = c (v + a v**3), phi'' has the sign of 1 - c v tanh(u) (1 + 9 a**2 v**4 / (1 + 6 a v**2)),
    in which the second term is even and increasing for v > 0: one root on either side.
    """

    approximate: str = "none"
    name: ClassVar[str] = "gelu"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise InputError(f"GELU: approximate is {self.approximate!r}; expected 'none' or 'tanh'.")

    def bounds(self) -> tuple[float, float]:
        return _GELU if self.approximate == "none" else _GELU_TANH

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        v = np.asarray(v)
        if self.approximate == "none":
            return v * scipy.special.ndtr(v)
        return 0.5 * v * (1.0 + np.tanh(self._inner(v)))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        v = np.asarray(v)
        w = np.clip(v, -40.0, 40.0)  # beyond, every tail term is below the smallest float64
        if self.approximate == "none":
            return scipy.special.ndtr(v) + w * np.exp(-0.5 * w**2) / math.sqrt(2.0 * math.pi)
        slope = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * w**2)
        return 0.5 * (1.0 + np.tanh(self._inner(v))) + 0.5 * w * slope * _sech2(self._inner(w))

    @staticmethod
    def _inner(v: np.ndarray) -> np.ndarray:
        v = np.clip(v, -1e100, 1e100)  # tanh is saturated long before; the cube must not overflow
        return math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3)


@dataclasses.dataclass(frozen=True, eq=False)
class SiLU(Activation):
    """phi(v) = v sigmoid(v).

    phi(v) - phi(-v) = v, hence phi'(-v) = 1 - phi'(v); phi'' = s (1 - s) (2 - v tanh(v/2)) with
    s = sigmoid(v), and v tanh(v/2) is even and increasing for v > 0: one root on either side.
    """

    name: ClassVar[str] = "silu"

    def bounds(self) -> tuple[float, float]:
        return _SILU

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v * scipy.special.expit(v))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        s = scipy.special.expit(v)
        return np.asarray(s + 0.25 * np.clip(v, -1e3, 1e3) * _sech2(0.5 * np.asarray(v)))


@dataclasses.dataclass(frozen=True, eq=False)
class Mish(Activation):
    """phi(v) = v tanh(log(1 + exp(v))).

    phi'' has exactly two real roots, which the tests show by enclosing phi'' on [-40, 40]. Beyond,
    with t = tanh(log(1 + exp(v))): phi' = t + v (1 - t**2) sigmoid(v) is within (1 + |v|) exp(v)
    of 0 below -40 and within 4 v exp(-2 v) of 1 above 40.
    """

    name: ClassVar[str] = "mish"

    def bounds(self) -> tuple[float, float]:
        return _MISH

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(v) * np.tanh(np.logaddexp(0.0, v))

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        softplus = np.logaddexp(0.0, v)
        tail = np.clip(v, -1e3, 1e3) * _sech2(softplus) * scipy.special.expit(v)
        return np.asarray(np.tanh(softplus) + tail)


@dataclasses.dataclass(frozen=True, eq=False)
class Sin(Activation):
    """phi(v) = sin(v); phi' = cos(v) in [-1, 1]."""

    name: ClassVar[str] = "sin"

    def bounds(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __call__(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sin(v)

    def derivative(self, v: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.cos(v)
