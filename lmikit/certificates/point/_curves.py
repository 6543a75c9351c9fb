"""What is proven about a curved activation on a cell and at infinity: phi, phi', phi'', limits, range.

Values, slopes, kinks and turning points are those of `intervals.profile_of`; here are enclosures of phi''
over a cell [lo, hi] that has no kink inside, by interval arithmetic on

tanh      -2 t (1 - t**2), t = tanh v.            sigmoid  s (1 - s) (1 - 2 s).
softplus  beta s (1 - s), s = sigmoid(beta v).    silu     s (1 - s) (2 - v (2 s - 1)), s = sigmoid v.
gelu      (2 - v**2) pdf(v).                      elu      alpha exp(v) below 0, else 0.
gelu tanh with u = c (v + a v**3), S = 1 - tanh(u)**2, u' = c (1 + 3 a v**2):
          S u' + v S (3 c a v - tanh(u) u'**2).
mish      with t = tanh(log(1 + e**v)), s = sigmoid v, d = (1 - t**2) s: 2 d + v d (1 - s - 2 t s).
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from ..._errors import InputError
from ...intervals import Enclosure as Interval
from ...intervals import Profile, decaying_exp, profile_of
from ...network import (
    ELU,
    GELU,
    Activation,
    Hardswish,
    Hardtanh,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

__all__ = ["CURVED", "Curve", "curve_of", "curve_reach", "is_curved"]

Second = Callable[[np.ndarray, np.ndarray], Interval]


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A profile, phi'' over cells, the limits of phi' at -infinity and infinity, a finite range of phi.

    phi' is monotone on either side of [-reach, reach], where no kink and no turn lies outside.
    """

    profile: Profile
    second: Second
    limits: tuple[float, float]
    span: tuple[float, float] | None
    reach: float


def _over(function: Callable[[np.ndarray], Interval], lo: np.ndarray, hi: np.ndarray) -> Interval:
    """A nondecreasing function over [lo, hi]."""
    return Interval(function(lo).lo, function(hi).hi)


_TANH = profile_of(Tanh())
_SIGMOID = profile_of(Sigmoid())


def _tanh(lo: np.ndarray, hi: np.ndarray) -> Interval:
    t = _over(_TANH.value, lo, hi)
    return -2.0 * t * (1.0 - t.squared()).clipped(0.0, 1.0)


def _sigmoid(lo: np.ndarray, hi: np.ndarray) -> Interval:
    s = _over(_SIGMOID.value, lo, hi)
    return s * (1.0 - s) * (1.0 - 2.0 * s)


def _softplus(activation: Softplus) -> Second:
    profile = profile_of(activation)

    def second(lo: np.ndarray, hi: np.ndarray) -> Interval:
        s = _over(profile.right, lo, hi)
        return activation.beta * s * (1.0 - s)

    return second


def _silu(lo: np.ndarray, hi: np.ndarray) -> Interval:
    s, v = _over(_SIGMOID.value, lo, hi), Interval(lo, hi)
    return s * (1.0 - s) * (2.0 - v * (2.0 * s - 1.0))


def _gelu(lo: np.ndarray, hi: np.ndarray) -> Interval:
    square = Interval(lo, hi).squared()
    root = Interval.between(0.39894228040143265, 0.3989422804014328)  # 1 / sqrt(2 pi) = 0.398942280401432678
    return (2.0 - square) * decaying_exp(-(0.5 * square).clipped(0.0, np.inf)) * root


# sqrt(2 / pi) = 0.79788456080286535588 and 0.044715, each with the float that programs use
_C = Interval.between(0.7978845608028653, 0.7978845608028655)
_A = Interval(np.nextafter(0.044715, 0.0), np.nextafter(0.044715, 1.0))


def _gelu_tanh(lo: np.ndarray, hi: np.ndarray) -> Interval:
    v = Interval(lo, hi)
    square = v.squared()
    u = _C * v * (1.0 + _A * square)
    slope = _C * (1.0 + 3.0 * _A * square)
    t = _over(_TANH.value, u.lo, u.hi)
    inside = (u.lo <= 0.0) & (u.hi >= 0.0)
    least = np.where(inside, 0.0, np.minimum(np.abs(u.lo), np.abs(u.hi)))
    size = Interval(least, np.maximum(np.abs(u.lo), np.abs(u.hi)))
    e = decaying_exp(-(size + size).clipped(0.0, np.inf))
    bell = (4.0 * e * (e + 1.0).squared().reciprocal()).clipped(0.0, 1.0)
    return bell * slope + v * bell * (3.0 * _C * _A * v - t * slope.squared())


def _mish(lo: np.ndarray, hi: np.ndarray) -> Interval:
    soft = _over(profile_of(Softplus()).value, lo, hi)
    t, s, v = _over(_TANH.value, soft.lo, soft.hi), _over(_SIGMOID.value, lo, hi), Interval(lo, hi)
    d = (1.0 - t.squared()).clipped(0.0, 1.0) * s
    return 2.0 * d + v * d * (1.0 - s - 2.0 * t * s)


def _elu(activation: ELU) -> Second:
    def second(lo: np.ndarray, hi: np.ndarray) -> Interval:
        e = _over(lambda v: decaying_exp(Interval.of(np.minimum(v, 0.0))), lo, hi) * activation.alpha
        zero = Interval.of(np.zeros_like(lo))
        return Interval.where(lo >= 0.0, zero, Interval.where(hi <= 0.0, e, e.hull(zero)))

    return second


def _flat(lo: np.ndarray, hi: np.ndarray) -> Interval:
    return Interval.of(np.zeros_like(lo))


def _hardswish(lo: np.ndarray, hi: np.ndarray) -> Interval:
    outside = (hi <= -3.0) | (lo >= 3.0)
    third = Interval(np.full_like(lo, 0.33333333333333331), np.full_like(lo, 0.33333333333333337))
    inside = (lo >= -3.0) & (hi <= 3.0)
    zero = Interval.of(np.zeros_like(lo))
    return Interval.where(outside, zero, Interval.where(inside, third, third.hull(zero)))


def _parts(activation: Activation) -> tuple[Second, tuple[float, float], tuple[float, float] | None]:
    """phi'' over cells, limits of phi', range."""
    if isinstance(activation, Tanh):
        return _tanh, (0.0, 0.0), (-1.0, 1.0)
    if isinstance(activation, Sigmoid):
        return _sigmoid, (0.0, 0.0), (0.0, 1.0)
    if isinstance(activation, Hardtanh):
        return _flat, (0.0, 0.0), (activation.min_val, activation.max_val)
    second: Second
    if isinstance(activation, Softplus):
        second = _softplus(activation)
    elif isinstance(activation, GELU):
        second = _gelu if activation.approximate == "none" else _gelu_tanh
    elif isinstance(activation, ELU):
        second = _elu(activation)
    else:
        second = {SiLU: _silu, Mish: _mish, Hardswish: _hardswish}[type(activation)]
    return second, (0.0, 1.0), None


CURVED: tuple[type[Activation], ...] = (Tanh, Sigmoid, GELU, SiLU, Softplus, ELU, Mish, Hardtanh, Hardswish)


def is_curved(activation: Activation) -> bool:
    """Whether the terms of this room cover the activation."""
    return type(activation) in CURVED


def curve_reach(activation: Activation) -> float:
    """Beyond this distance from 0 and from the kinks phi' is at its limits for float64's purposes."""
    scale = 1.0 / activation.beta if isinstance(activation, Softplus) else 1.0
    ends = (activation.min_val, activation.max_val) if isinstance(activation, Hardtanh) else (0.0,)
    return max(abs(end) for end in ends) + 30.0 * scale


def curve_of(activation: Activation) -> Curve:
    """The facts about an activation; raises InputError where there are none."""
    if not is_curved(activation):
        names = ", ".join(sorted(kind.name for kind in CURVED))
        raise InputError(f"no terms are proven for {activation.name!r}; expected one of {names}.")
    return _built(type(activation), tuple(sorted(activation.parameters().items())))


@functools.lru_cache(maxsize=64)
def _built(kind: type[Activation], parameters: tuple[tuple[str, float | str], ...]) -> Curve:
    activation = kind(**dict(parameters))
    second, limits, span = _parts(activation)
    return Curve(profile_of(activation), second, limits, span, curve_reach(activation))
