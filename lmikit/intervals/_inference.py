"""How far a floating-point forward pass can be from the real function, on a whole region.

MODEL. A layer is one sum of products per neuron, with or without those of weights that are 0. A format has
rounding unit u, smallest normal number m and largest number M. Every operation returns (exact)(1 + d) + h
with |d| <= u (1 + 2**-10), |h| <= m (this covers gradual underflow, flushing to zero, and a wider format of
at least 10 more bits whose results are rounded again), operands below m may be read as zero, sums run in any
order, with or without fused operations. Weights and biases are rounded to nearest in the format where they
are not in it, and so is the input: x may leave the region by that. Then, with e_k at least |computed - real|
after hidden layer k and X_k at least |real|,

    E = |W| e + (|dW| + m) (X + e) + g (|W| + |dW| + m) (X + e) + (1 + g) |db| + g |b| + (4 n + 4) m (1 + g),

g = K / (1 - K), K = (n + 2) u (1 + 2**-10), bounds the error of the next preactivation of n terms (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), as long as (1 + g) (sum of sizes) <= M:
then no partial sum overflows. ReLU, Identity, Abs, Hardtanh with limits in the format add nothing: they are
1-Lipschitz and exact. LeakyReLU and PReLU add the rounding of slope and product. A neuron whose
preactivation stays at or below 0 with its error gives exactly 0 after ReLU.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import floats
from .._errors import InputError, OptionError
from .._ieee import require_ieee
from ..claims import AbstractRegion
from ..network import Abs, Activation, Hardtanh, Identity, Layer, LeakyReLU, Network, PReLU, ReLU
from ._crown import affine_of
from ._domain import Domain
from ._intervals import LocalIntervals, local_intervals
from ._rounding import norm_above

__all__ = ["FORMATS", "FloatFormat", "rounding_bound"]

_UP = 1.0 + 2.0**-20  # these sums of nonnegative float64 numbers round by less
_TWICE = 1.0 + 2.0**-10  # a result rounded to a wider format, and again to this one


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """A binary format: `bits` of significand, exponents from `least` (smallest normal) to `largest`."""

    name: str
    bits: int
    least: int
    largest: int

    @property
    def unit(self) -> float:
        """u."""
        return math.ldexp(1.0, -self.bits)

    @property
    def tiny(self) -> float:
        """m, the smallest normal number."""
        return math.ldexp(1.0, self.least)

    @property
    def huge(self) -> float:
        """M, the largest number."""
        return math.ldexp(2.0 - math.ldexp(1.0, 1 - self.bits), self.largest)

    def change(self, values: np.ndarray) -> np.ndarray:
        """At least |rounded - given|: 0 for numbers of the format, infinite beyond its largest."""
        size = np.abs(values)
        mantissa, exponent = np.frexp(values)
        scaled = np.ldexp(mantissa, self.bits)
        exact = ((scaled == np.rint(scaled)) & (exponent - 1 >= self.least)) | (values == 0.0)
        inside = size <= self.huge
        return np.where(inside, np.where(exact, 0.0, self.unit * size + self.tiny), np.inf)


FORMATS = {
    f.name: f
    for f in (
        FloatFormat("float16", 11, -14, 15),
        FloatFormat("bfloat16", 8, -126, 127),
        FloatFormat("float32", 24, -126, 127),
        FloatFormat("float64", 53, -1022, 1023),
    )
}


def rounding_bound(
    network: Network,
    region: AbstractRegion,
    rows: Any,
    dtype: str = "float32",
    *,
    intervals: LocalIntervals | None = None,
) -> np.ndarray:
    """Per row the largest |rows . (f_dtype(x) - f(x))| over the region, (p,), proven from above.

    f is the function of the float64 weights in real arithmetic, f_dtype any forward pass in `dtype`
    ("float16", "bfloat16", "float32", "float64") as modelled at the top of the file; rows are applied
    to the computed outputs exactly, so that margin > bound says that these have the same order. Infinite
    where an overflow is not excluded, or where the sums are too long for the format. `intervals` are
    those of the network on the region, if at hand.

    Raises InputError (shapes; an activation other than Identity, ReLU, LeakyReLU, PReLU, Abs,
    Hardtanh, whose computed values have no agreed error), OptionError (an unknown dtype), NotCertified.
    """
    if dtype not in FORMATS:
        raise OptionError(f"dtype is {dtype!r}; expected one of {', '.join(FORMATS)}.")
    matrix = np.atleast_2d(floats("rows", rows))
    if matrix.ndim != 2 or matrix.shape[1] != network.output_dim or not np.isfinite(matrix).all():
        raise InputError(
            f"rows has shape {matrix.shape}; expected (p, {network.output_dim}), finite numbers."
        )
    if intervals is not None and (intervals.network is not network or intervals.region is not region):
        raise InputError("intervals are of another network or region; expected those of these two.")
    bounds = local_intervals(network, region) if intervals is None else intervals
    for layer in network.layers[:-1]:
        _check_activation(layer.activation)
    require_ieee()
    with np.errstate(all="ignore"):
        return _propagated(network, bounds, matrix, FORMATS[dtype])


def _check_activation(activation: Activation) -> None:
    if not isinstance(activation, (ReLU, Identity, Abs, LeakyReLU, PReLU, Hardtanh)):
        raise InputError(
            f"the computed values of {activation.name!r} have no agreed error; a float inference is bounded "
            "for relu, leaky_relu, prelu, abs, hardtanh and identity."
        )


def _propagated(network: Network, bounds: LocalIntervals, rows: np.ndarray, form: FloatFormat) -> np.ndarray:
    domain = Domain.of(bounds.region)
    size = domain.magnitude
    if not (size < form.huge).all():
        return np.full(len(rows), np.inf)
    error = np.zeros(0)
    for k, layer in enumerate(network.layers):
        error, reach = _after_map(layer, _Inputs(size, error, None if k else domain), form)
        if not (reach <= form.huge).all():
            return np.full(len(rows), np.inf)
        if k < network.hidden_layers:
            low, high = bounds.lower[k], bounds.upper[k]
            error = _after_activation(layer.activation, low, high, error, form)
            size = bounds.relaxations[k].magnitude
    result = (np.abs(rows) @ error) * _UP + 2.0**-1000
    return np.where(np.isfinite(result), result, np.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class _Inputs:
    """What goes into a map: bounds of |real| and of the error, or the region itself and its cast."""

    size: np.ndarray
    error: np.ndarray
    domain: Domain | None

    def through(self, a: Any, form: FloatFormat) -> tuple[np.ndarray, np.ndarray]:
        """At least a |x| and a |error| for a >= 0; on a ball a |x| <= a |c| + r ||a||, row by row."""
        real = a @ self.size
        if self.domain is None:
            return real * _UP, (a @ self.error) * _UP
        if np.isfinite(self.domain.radius):
            norms = norm_above(a.toarray() if sp.issparse(a) else a)
            ball = a @ np.abs(self.domain.center) + self.domain.radius * norms
            real = np.minimum(real, ball)
        return real * _UP, (form.unit * real + form.tiny * a.sum(axis=1)) * _UP


def _after_map(layer: Layer, inputs: _Inputs, form: FloatFormat) -> tuple[np.ndarray, np.ndarray]:
    """The error of W x + b, and a bound of every partial sum."""
    weights = affine_of(layer).matrix
    sparse = sp.issparse(weights)
    n = int(np.diff(weights.indptr).max()) if sparse else weights.shape[1]
    k = (n + 2) * form.unit * _TWICE
    if k >= 0.5:
        return np.full(layer.bias.size, np.inf), np.full(layer.bias.size, np.inf)
    g = k / (1.0 - k) * _UP
    size = abs(weights)
    moved: Any = form.change(weights.data if sparse else weights) + form.tiny
    if sparse:  # terms with a weight that is 0 are 0 in any arithmetic
        moved = sp.csr_array((moved, weights.indices, weights.indptr), shape=weights.shape)
    moved_bias = form.change(layer.bias) + form.tiny
    _, through = inputs.through(size, form)
    changed, changed_error = inputs.through(moved, form)
    all_sizes, all_errors = inputs.through(size + moved, form)
    through = through + changed + changed_error
    sums = all_sizes + all_errors + np.abs(layer.bias) + moved_bias
    found = (through + g * sums + moved_bias + (4.0 * n + 4.0) * form.tiny * (1.0 + g)) * _UP
    return found, (sums * (1.0 + g) + (4.0 * n + 4.0) * form.tiny) * _UP


def _after_activation(
    activation: Activation, low: np.ndarray, high: np.ndarray, error: np.ndarray, form: FloatFormat
) -> np.ndarray:
    if isinstance(activation, (ReLU, Identity, Abs)):
        dead = isinstance(activation, ReLU) & (high + error * _UP < 0.0)
        return np.where(dead, 0.0, error * _UP + form.tiny)
    if isinstance(activation, Hardtanh):
        limits = np.array([activation.min_val, activation.max_val])
        return error * _UP + form.tiny + float(form.change(limits).max())
    slope = activation.parameters()["negative_slope" if isinstance(activation, LeakyReLU) else "weight"]
    steep = np.broadcast_to(np.abs(np.asarray(slope, dtype=np.float64)), error.shape)
    below = np.maximum(-low, 0.0) + error  # the largest computed |v| on the left piece
    own = (
        (form.change(np.array(steep)) + form.tiny) * below
        + form.unit * 1.01 * (steep * below)
        + 3.0 * form.tiny
    )
    fits = (steep + form.change(np.array(steep))) * below * _UP <= form.huge  # the product does not overflow
    return np.where(fits, (np.maximum(steep, 1.0) * error + own) * _UP, np.inf)
