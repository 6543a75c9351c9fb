"""What is proven about each activation: values, derivatives, kinks, curvature, turning points.

`profile_of(activation)` gives a `Profile`; everything else in this room is written in its terms.
Constants, with C = sup |phi''| off the kinks and the points where phi' turns:

tanh      phi'' = -2 t (1 - t**2): C = 4 / sqrt(27) < 0.7699, phi' rises to 0 and falls.
sigmoid   sigmoid(v) = (1 + tanh(v / 2)) / 2: C = 1 / sqrt(108) < 0.0963.
softplus  phi'' = beta s (1 - s) <= beta / 4; phi' rises.
silu      phi'' = s (1 - s) (2 - v tanh(v / 2)), s (1 - s) <= min(1/4, exp(-|v|)) and 0 <= v tanh(v / 2)
          <= |v|: at most 1/2, and at least -|v| exp(-|v|) > -0.37.
gelu      phi'' = (2 - v**2) pdf(v): at most 2 pdf(0) < 0.798, at least -v**2 pdf(v) >= -2 / (e sqrt(2 pi)).
gelu tanh and mish: C = 1 (both below 0.8), by an enclosure of phi'' on [-40, 40] in ball arithmetic (in the
          tests); beyond, phi'' is below exp(-30).
sin       C = 1. elu: |alpha| below 0. hardswish: 1 / 3 between its kinks. Others are piecewise linear.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .._errors import InputError
from ..network import (
    ELU,
    GELU,
    Abs,
    Activation,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Softplus,
    Tanh,
)
from ._elementary import cosine, decaying_exp, error_function, log_one_plus, sine
from ._enclosure import Enclosure
from ._profile import Profile, piecewise, smooth

__all__ = ["profile_of"]


def profile_of(activation: Activation) -> Profile:
    """The profile of an activation; raises InputError where nothing is proven about it."""
    maker = _MAKERS.get(type(activation))
    if maker is None:
        raise InputError(
            f"bounds on a region need a concrete activation; nothing is proven about the values of "
            f"{activation!r}. Use one of {', '.join(sorted(kind.name for kind in _MAKERS))}."
        )
    return maker(activation)


def _leaky(activation: Activation) -> Profile:
    assert isinstance(activation, (LeakyReLU, PReLU))
    slope = activation.negative_slope if isinstance(activation, LeakyReLU) else activation.weight
    return piecewise((0.0,), (slope, 1.0), (0.0, 0.0))


def _hardtanh(activation: Activation) -> Profile:
    assert isinstance(activation, Hardtanh)
    low, high = activation.min_val, activation.max_val
    return piecewise((low, high), (0.0, 1.0, 0.0), (low, 0.0, high))


def _hardswish(_: Activation) -> Profile:
    sixth = Enclosure.of(6.0).reciprocal()

    def value(v: np.ndarray) -> Enclosure:
        w = np.clip(v, -3.0, 3.0)
        inside = Enclosure.of(w) * (Enclosure.of(w) + 3.0) * sixth
        flat = Enclosure.where(v <= -3.0, Enclosure.of(np.zeros_like(v)), inside)
        return Enclosure.where(v >= 3.0, Enclosure.of(v), flat)

    def slope(v: np.ndarray, right: bool) -> Enclosure:
        w = np.clip(v, -3.0, 3.0)
        inside = (Enclosure.of(2.0 * w) + 3.0) * sixth
        low = (v < -3.0) if right else (v <= -3.0)
        high = (v >= 3.0) if right else (v > 3.0)
        flat = Enclosure.where(low, Enclosure.of(np.zeros_like(v)), inside)
        return Enclosure.where(high, Enclosure.of(np.ones_like(v)), flat)

    return Profile(value, lambda v: slope(v, True), lambda v: slope(v, False), (-3.0, 3.0), (), 0.34)


def _elu(activation: Activation) -> Profile:
    assert isinstance(activation, ELU)
    alpha = activation.alpha

    def value(v: np.ndarray) -> Enclosure:
        low = (decaying_exp(Enclosure.of(np.minimum(v, 0.0))) - 1.0) * alpha
        return Enclosure.where(v >= 0.0, Enclosure.of(v), low)

    def slope(v: np.ndarray, right: bool) -> Enclosure:
        low = decaying_exp(Enclosure.of(np.minimum(v, 0.0))) * alpha
        return Enclosure.where((v >= 0.0) if right else (v > 0.0), Enclosure.of(np.ones_like(v)), low)

    curvature = math.nextafter(abs(alpha), math.inf)
    return Profile(
        value, lambda v: slope(v, True), lambda v: slope(v, False), (0.0,), (), curvature, alpha >= 0.0
    )


def _decay(v: np.ndarray, factor: float = 1.0) -> Enclosure:
    """exp(-factor |v|)."""
    return decaying_exp(-(Enclosure.of(np.abs(v)) * factor).clipped(0.0, np.inf))


def _logistic(v: np.ndarray, factor: float = 1.0) -> Enclosure:
    e = _decay(v, factor)
    inverse = (e + 1.0).reciprocal()
    return Enclosure.where(v >= 0.0, inverse, e * inverse).clipped(0.0, 1.0)


def _logistic_slope(v: np.ndarray, factor: float = 1.0) -> Enclosure:
    """s (1 - s)."""
    e = _decay(v, factor)
    return (e * (e + 1.0).squared().reciprocal()).clipped(0.0, 0.25)


def _tanh_value(v: np.ndarray, size: Enclosure) -> Enclosure:
    """tanh(v) from an enclosure of |v|."""
    e = decaying_exp(-(size + size).clipped(0.0, np.inf))
    positive = ((1.0 - e) * (e + 1.0).reciprocal()).clipped(0.0, 1.0)
    return Enclosure.where(v >= 0.0, positive, -positive)


def _tanh(_: Activation) -> Profile:
    def value(v: np.ndarray) -> Enclosure:
        return _tanh_value(v, Enclosure.of(np.abs(v)))

    def slope(v: np.ndarray) -> Enclosure:
        e = _decay(v, 2.0)
        return (4.0 * e * (e + 1.0).squared().reciprocal()).clipped(0.0, 1.0)

    return smooth(value, slope, (0.0,), 0.7699, True)


def _softplus(activation: Activation) -> Profile:
    assert isinstance(activation, Softplus)
    beta = activation.beta

    def value(v: np.ndarray) -> Enclosure:
        rest = log_one_plus(_decay(v, beta)) * Enclosure.of(beta).reciprocal()
        return Enclosure.of(np.maximum(v, 0.0)) + rest

    return smooth(value, lambda v: _logistic(v, beta), (), 0.2501 * beta, True)


def _silu(_: Activation) -> Profile:
    def slope(v: np.ndarray) -> Enclosure:
        w = np.clip(v, -800.0, 800.0)  # beyond, v s (1 - s) is below 1e-300
        tail = Enclosure.between(-1e-300, 1e-300)
        return _logistic(v) + _logistic_slope(w) * w + tail

    turn = 2.3993572805154676
    return smooth(lambda v: _logistic(v) * v, slope, (-turn, turn), 0.5001)


def _gelu(activation: Activation) -> Profile:
    assert isinstance(activation, GELU)
    return _gelu_exact() if activation.approximate == "none" else _gelu_tanh()


_ROOT_HALF = Enclosure.between(0.7071067811865474, 0.7071067811865477)
_ROOT_TWO_PI = Enclosure.between(0.39894228040143265, 0.3989422804014328)  # 1 / sqrt(2 pi)


def _normal(v: np.ndarray) -> tuple[Enclosure, Enclosure]:
    """The standard normal distribution function and density."""
    w = np.clip(v, -40.0, 40.0)
    root = Enclosure.of(w) * _ROOT_HALF
    erf = Enclosure(error_function(root.lo).lo, error_function(root.hi).hi)
    density = decaying_exp(-(Enclosure.of(w).squared() * 0.5)) * _ROOT_TWO_PI
    cdf = ((erf + 1.0) * 0.5).clipped(0.0, 1.0)
    # |v| (1 - cdf(|v|)) <= density(v): far from 0 this is sharper than 1 - erf
    size = np.maximum(np.abs(w), 1.0)
    tail = density.hi / size * (1.0 + 1e-12)
    upper = np.where(w <= -1.0, np.minimum(cdf.hi, tail), cdf.hi)
    lower = np.where(w >= 1.0, np.maximum(cdf.lo, np.nextafter(1.0 - tail, 0.0)), cdf.lo)
    return Enclosure(lower, upper), density


def _gelu_exact() -> Profile:
    far = Enclosure.between(-1e-300, 1e-300)  # |v| > 40: 40 density(40) < 1e-345

    def value(v: np.ndarray) -> Enclosure:
        inner = Enclosure.of(np.clip(v, -40.0, 40.0)) * _normal(v)[0]
        outer = Enclosure.of(np.maximum(v, 0.0)) + far
        return Enclosure.where(np.abs(v) > 40.0, outer, inner)

    def slope(v: np.ndarray) -> Enclosure:
        cdf, density = _normal(v)
        inner = cdf + density * np.clip(v, -40.0, 40.0)
        outer = Enclosure.of(np.where(v > 0.0, 1.0, 0.0)) + far
        return Enclosure.where(np.abs(v) > 40.0, outer, inner)

    return smooth(value, slope, (-math.sqrt(2.0), math.sqrt(2.0)), 0.798)


# sqrt(2 / pi) = 0.79788456080286535588 and 0.044715, each with the float that programs use
_GELU_C = Enclosure.between(0.7978845608028653, 0.7978845608028655)
_GELU_A = Enclosure(np.nextafter(0.044715, 0.0), np.nextafter(0.044715, 1.0))


def _gelu_tanh() -> Profile:
    far = Enclosure.between(-1e-300, 1e-300)  # |v| > 40: tanh(u) is 1 to 1e-2000

    def parts(v: np.ndarray) -> tuple[Enclosure, Enclosure]:
        w = Enclosure.of(np.clip(v, -40.0, 40.0))
        size = (Enclosure.of(np.abs(w.lo)) * (w.squared() * _GELU_A + 1.0) * _GELU_C).clipped(0.0, np.inf)
        return w, size

    def half(v: np.ndarray, size: Enclosure) -> Enclosure:
        """(1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)): no cancellation."""
        e = decaying_exp(-(size + size))
        inverse = (e + 1.0).reciprocal()
        return Enclosure.where(v >= 0.0, inverse, e * inverse)

    def value(v: np.ndarray) -> Enclosure:
        w, size = parts(v)
        outer = Enclosure.of(np.maximum(v, 0.0)) + far
        return Enclosure.where(np.abs(v) > 40.0, outer, w * half(v, size))

    def slope(v: np.ndarray) -> Enclosure:
        w, size = parts(v)
        e = decaying_exp(-(size + size))
        bell = 2.0 * e * (e + 1.0).squared().reciprocal()  # (1 - tanh(u)**2) / 2
        inner = half(v, size) + w * bell * (w.squared() * _GELU_A * 3.0 + 1.0) * _GELU_C
        outer = Enclosure.of(np.where(v > 0.0, 1.0, 0.0)) + far
        return Enclosure.where(np.abs(v) > 40.0, outer, inner)

    turn = 1.4185040087908
    return smooth(value, slope, (-turn, turn), 1.0)


def _mish(_: Activation) -> Profile:
    far = Enclosure.between(-1e-300, 1e-300)

    def t(v: np.ndarray) -> tuple[Enclosure, Enclosure]:
        """tanh(log(1 + exp(v))) and 1 - its square: with E = exp(v), (E E + 2 E) / (E E + 2 E + 2)."""
        e = _decay(v)
        square = e * e
        over = (square + 2.0 * e + 2.0).reciprocal()  # v <= 0, E = e
        under = (2.0 * square + 2.0 * e + 1.0).reciprocal()  # v > 0, E = 1 / e
        value = Enclosure.where(v <= 0.0, (square + 2.0 * e) * over, (2.0 * e + 1.0) * under)
        small = (
            4.0 * (e + 1.0).squared() * over.squared()
        )  # (2 / (..))**2 plus the rest: 4 (1 + E)**2 / (..)**2
        large = 4.0 * square * (e + 1.0).squared() * under.squared()
        return value.clipped(0.0, 1.0), Enclosure.where(v <= 0.0, small, large).clipped(0.0, 1.0)

    def slope(v: np.ndarray) -> Enclosure:
        w = np.clip(v, -800.0, 800.0)
        value, rest = t(w)
        return value + rest * _logistic(w) * w + far

    return smooth(lambda v: t(v)[0] * v, slope, (-2.2563763963607931, 1.4905711794854285), 1.0)


def _sin(_: Activation) -> Profile:
    turns = tuple(math.pi * k for k in range(-8, 9))
    return dataclasses.replace(smooth(sine, cosine, turns, 1.0), turns_within=25.0)


_MAKERS: dict[type[Activation], Callable[[Activation], Profile]] = {
    Identity: lambda _: piecewise((), (1.0,), (0.0,)),
    ReLU: lambda _: piecewise((0.0,), (0.0, 1.0), (0.0, 0.0)),
    LeakyReLU: _leaky,
    PReLU: _leaky,
    Hardtanh: _hardtanh,
    Abs: lambda _: piecewise((0.0,), (-1.0, 1.0), (0.0, 0.0)),
    Hardswish: _hardswish,
    ELU: _elu,
    Tanh: _tanh,
    Sigmoid: lambda _: smooth(_logistic, _logistic_slope, (0.0,), 0.0963, True),
    Softplus: _softplus,
    SiLU: _silu,
    GELU: _gelu,
    Mish: _mish,
    Sin: _sin,
}
