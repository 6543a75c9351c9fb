"""The checker's own bound of the rounding of a forward pass; with `rounding_bound` it shares the model only.

From the formats (`lmikit.intervals.FORMATS`) and the enclosures of the preactivations, per map with n
terms and a bias: the sum of the n + 1 computed products, each rounded at most n + 1 times, is off by
g (|W'||x'| + |b'|) + 4 n m (1 + g), where W', x', b' are the numbers that the machine multiplies. 4 n counts
what may vanish: n products, n sums and the two operands of each sum. W', x', b' are off the real
numbers by what casting, flushing and earlier layers did.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ..._ieee import require_ieee
from ...claims import PointClaim
from ...intervals import FORMATS, FloatFormat, local_intervals
from ...network import Abs, Activation, DenseMap, Hardtanh, Identity, Layer, LeakyReLU, Network, PReLU, ReLU

__all__ = ["checked_loss"]

_UP = 1.0 + 2.0**-24  # sums of at most 2**20 nonnegative float64 numbers round by less


def checked_loss(network: Network, claim: PointClaim) -> np.ndarray:
    """At least |rows . (computed f(x) - f(x))| on the region, (R,); 0 for "real", infinity for overflow.

    Raises InputError for others than Identity, ReLU, Abs, LeakyReLU, PReLU and Hardtanh, NotCertified.
    """
    count = len(claim.rows)
    if claim.semantics == "real":
        return np.zeros(count)
    form = FORMATS[claim.semantics]
    require_ieee()
    enclosed = local_intervals(network, claim.region)
    ball = claim.region.ball
    size = _sizes(claim)
    error = form.unit * size * _UP + form.tiny
    for k, layer in enumerate(network.layers):
        weights = abs(_matrix(layer))
        real, passed = weights @ size, weights @ error
        moved = _moved(weights, form)
        spoilt = moved @ (size + error)
        if k == 0 and ball is not None:
            # |x| <= |x0| + |x - x0| and Cauchy-Schwarz are sharper than entry by entry
            real = np.minimum(real, _on_ball(weights, ball.x0, ball.radius))
            passed = form.unit * real + form.tiny * weights.sum(axis=1)
            off = np.minimum(moved @ size, _on_ball(moved, ball.x0, ball.radius))
            spoilt = (1.0 + form.unit) * off + form.tiny * moved.sum(axis=1)
        error, reach = _mapped(layer, _terms(weights), form, real * _UP, passed * _UP, spoilt * _UP)
        if not ((reach <= form.huge).all() and (size <= form.huge).all()):
            return np.full(count, np.inf)
        if k < network.hidden_layers:
            low, high = enclosed.lower[k], enclosed.upper[k]
            size, error = _activated(layer.activation, low, high, error, form)
            if not (size + error <= form.huge).all():
                return np.full(count, np.inf)
    loss = (np.abs(claim.rows) @ error) * _UP + 2.0**-1000
    return np.where(np.isfinite(loss), loss, np.inf)


def _sizes(claim: PointClaim) -> np.ndarray:
    """Upper bounds of |x_i| on the region."""
    ball, box = claim.region.ball, claim.region.box
    low, high = np.full(claim.region.dim, -np.inf), np.full(claim.region.dim, np.inf)
    if box is not None:
        low, high = box.lower, box.upper
    if ball is not None:
        low = np.maximum(low, np.nextafter(ball.x0 - ball.radius, -np.inf))
        high = np.minimum(high, np.nextafter(ball.x0 + ball.radius, np.inf))
    return np.maximum(np.abs(low), np.abs(high))


def _on_ball(a: Any, x0: np.ndarray, radius: float) -> np.ndarray:
    """At least a |x| on the ball, a >= 0: a |x0| + radius ||a||; a row's norm is at most sqrt(n) max."""
    a = a.toarray() if sp.issparse(a) else a
    largest = a.max(axis=1, initial=0.0)
    safe = np.where(largest > 0.0, largest, 1.0)
    norm = largest * np.sqrt(((a / safe[:, None]) ** 2).sum(axis=1) + 2.0**-900)
    return np.asarray((a @ np.abs(x0) + radius * norm) * _UP + 2.0**-1000)


def _matrix(layer: Layer) -> Any:
    """W, an array or CSR."""
    return layer.linear.to_dense() if isinstance(layer.linear, DenseMap) else layer.linear.to_sparse()


def _moved(size: Any, form: FloatFormat) -> Any:
    """At least |W' - W| + m per entry that is not 0; a product with 0 is 0 in any arithmetic."""
    if not sp.issparse(size):
        return form.change(size) + form.tiny
    return sp.csr_array((form.change(size.data) + form.tiny, size.indices, size.indptr), shape=size.shape)


def _terms(size: Any) -> int:
    """The most terms of a row that are not 0."""
    return int(np.diff(size.indptr).max()) if sp.issparse(size) else int(size.shape[1])


def _mapped(
    layer: Layer, n: int, form: FloatFormat, real: np.ndarray, passed: np.ndarray, spoilt: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The error of the computed W x + b, and a bound of every partial sum."""
    k = (n + 2) * form.unit * (1.0 + 2.0**-10)  # every result may have been rounded to a wider format first
    if k >= 0.5:
        return np.full(layer.bias.size, np.inf), np.full(layer.bias.size, np.inf)
    g = k / (1.0 - k) * _UP
    bias = np.abs(layer.bias)
    bias_moved = form.change(layer.bias) + form.tiny
    machine = real + passed + spoilt + bias + bias_moved
    under = (4.0 * n + 2.0) * form.tiny * (1.0 + g)
    return (passed + spoilt + bias_moved + g * machine + under) * _UP, (machine * (1.0 + g) + under) * _UP


def _activated(
    activation: Activation, low: np.ndarray, high: np.ndarray, error: np.ndarray, form: FloatFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of |phi(v)| and of the error after the activation, flushing included."""
    top, bottom = np.maximum(high, 0.0), np.maximum(-low, 0.0)
    if isinstance(activation, ReLU):
        return top, np.where(high + error * _UP < 0.0, 0.0, error * _UP + form.tiny)
    if isinstance(activation, (Abs, Identity)):
        return np.maximum(top, bottom), error * _UP + form.tiny
    if isinstance(activation, Hardtanh):
        limits = np.array([activation.min_val, activation.max_val])
        inside = np.maximum(np.abs(np.clip(low, *limits)), np.abs(np.clip(high, *limits)))
        return inside, error * _UP + form.tiny + float(form.change(limits).max())
    if not isinstance(activation, (LeakyReLU, PReLU)):
        raise InputError(f"the computed values of {activation.name!r} have no agreed error.")
    name = "negative_slope" if isinstance(activation, LeakyReLU) else "weight"
    slope = np.abs(np.asarray(activation.parameters()[name], dtype=np.float64))
    slope = np.broadcast_to(slope, error.shape)
    left = bottom + error
    rounding = (form.change(np.array(slope)) + form.tiny) * left + form.unit * 1.01 * slope * left
    return (
        np.maximum(top, slope * bottom) * _UP,
        (np.maximum(slope, 1.0) * error + rounding + 3.0 * form.tiny) * _UP,
    )
