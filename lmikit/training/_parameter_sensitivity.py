"""How much one example can move the gradient of a loss in the parameters, proven on a region of inputs.

THEOREM. With a_0 = x, v_k = W_k a_k + b_k, a_{k+1} = phi_k(v_k), outputs z = v_L, the gradients of l(z) are

    dl/dW_k = d_k a_k',  dl/db_k = d_k,  d_L = dl/dz,  d_k = D_k W_{k+1}' d_{k+1},  D_k = diag phi_k'(v_k),

so |dl/dW_k|_F = |d_k| |a_k| <= G m_k L_{k+1} A_k, where |dl/dz| <= G, |D_k| <= m_k, |a_k| <= A_k there, and
L_{k+1} is a Lipschitz bound of the layers from W_{k+1} on. A linear map with slopes D in [alpha, beta] is
among the functions that a certificate for these slopes covers, so L_{k+1} bounds every such Jacobian.
For a convolution K, dl/dK = d_k'U with U the patches of a_k, |U|_F <= sqrt(c) |a_k|, each pixel in at most c
of them, and the bias of a channel sums d_k over its pixels.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from .._proving import least_proven
from ..certificates.local import narrowed, with_slopes
from ..certificates.point import proven_intervals
from ..claims import AbstractRegion, Box
from ..intervals import LocalIntervals, local_intervals, norm_above
from ..maps import Convolution2d
from ..methods import AbstractMethod, LipSDP
from ..network import DenseMap, Identity, Layer, Network, SparseMap
from ..solvers import AbstractSolver
from ._losses import CrossEntropy, SquaredError

__all__ = ["ParameterSensitivity", "parameter_sensitivity"]


@dataclasses.dataclass(frozen=True)
class ParameterSensitivity:
    """|dl/dW_k|_F <= weights[k] and |dl/db_k| <= biases[k] for every input of the region; proven.

    l is the loss of one example, in real arithmetic at the network's float64 parameters. Where an activation
    has a kink its derivative may be any number between the one-sided ones. Made of
    |dl/dz| <= loss_gradient, |a_k| <= activations[k] and |d_k| <= loss_gradient * tails[k].
    """

    weights: tuple[float, ...]
    biases: tuple[float, ...]
    activations: tuple[float, ...]
    tails: tuple[float, ...]
    loss_gradient: float
    region: AbstractRegion
    digest: str

    @property
    def total(self) -> float:
        """|gradient of l in all parameters| <= total: the square root of the sum of squares, rounded up."""
        return _norm([*self.weights, *self.biases])


def parameter_sensitivity(
    network: Network,
    loss: CrossEntropy | SquaredError | float,
    region: AbstractRegion,
    *,
    targets: float | None = None,
    method: AbstractMethod | None = None,
    solver: AbstractSolver | None = None,
) -> ParameterSensitivity:
    """Prove bounds of each layer's gradient, |dl/dW_k|_F and |dl/db_k|, for every input of a region.

    `loss` of one example: CrossEntropy (|dl/dz| <= sqrt 2 at any temperature and margin), SquaredError with
    |y| <= `targets` (|dl/dz| = 2 |z - y|), or a number G with |dl/dz| <= G: sqrt 2 for the margin loss
    max_j (z_j - z_y + 1)_+, sqrt(2) t for the cross-entropy of t z that `MLP` has.
    `region`: a Ball, Box or BallAndBox. CROWN's enclosures of the preactivations there give
    ranges and slopes; `method` (None: LipSDP) proposes the Lipschitz bounds of the layers before and after
    each activation, which are proven. Weights of a convolution are its kernel, shared; its bias is one per
    channel.

    Raises InputError (types, a missing or negative `targets`, an activation without proven values, a linear
    map that is neither dense, sparse nor a convolution), SolveFailed, NotCertified. Not checked: that the
    data lie in the region, and what rounding adds to a gradient computed in floating point.
    """
    method = LipSDP() if method is None else method
    _check(network, region)
    if not isinstance(method, AbstractMethod):
        raise OptionError(f"method is {method!r}; expected an AbstractMethod such as LipSDP().")
    bounds = proven_intervals(network, region)
    known = with_slopes(network, narrowed(bounds))

    def lipschitz(layers: Sequence[Layer]) -> float:
        part = Network((*layers[:-1], _linear(layers[-1])), layers[0].linear.shape[1])
        return least_proven(part, method, solver=solver).bound

    count = len(network.layers)
    reach = _activations(network, known.layers, bounds, lipschitz)
    tails = [1.0] * count
    for k in range(count - 1):
        tails[k] = _up(_largest_slope(known.layers[k]), lipschitz(known.layers[k + 1 :]))
    gradient = _loss_gradient(loss, targets, reach[-1])
    into = [_up(gradient, tail) for tail in tails]
    shared = [_shared(layer.linear) for layer in network.layers]
    return ParameterSensitivity(
        tuple(_up(d, a, s) for d, a, (s, _) in zip(into, reach, shared, strict=False)),
        tuple(_up(d, s) for d, (_, s) in zip(into, shared, strict=True)),
        tuple(reach[:-1]),
        tuple(tails),
        gradient,
        region,
        network.digest,
    )


def _check(network: Any, region: Any) -> None:
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    if not isinstance(region, AbstractRegion):
        raise InputError(f"region is a {type(region).__name__}; expected a Ball, Box or BallAndBox.")
    for k, layer in enumerate(network.layers):
        if not isinstance(layer.linear, (DenseMap, SparseMap, Convolution2d)):
            raise InputError(
                f"layer {k} is a {type(layer.linear).__name__}, whose parameters are not known; expected a "
                "matrix, dense or sparse, or a Convolution2d."
            )


def _activations(
    network: Network, known: Sequence[Layer], bounds: LocalIntervals, lipschitz: Any
) -> list[float]:
    """|a_0|, ..., |a_L| and |z| on the region: from the enclosures, and from the anchor by Lipschitz bounds.

    |a(x)| <= |a(c)| + L |x - c| needs the anchor c in the region, for the slopes hold there only.
    """
    region, ends = bounds.region, [*bounds.ranges(), (bounds.lower[-1], bounds.upper[-1])]
    center = region.anchor
    radius = _radius(region, center)
    found = [min(_up_sum(_norm(center), radius), _box_norm(region))]
    direct = [_norm(np.maximum(np.abs(low), np.abs(high))) for low, high in ends]
    if not region.contains(center):
        return found + direct
    at = local_intervals(network, Box(center, center))
    starts = [*at.ranges(), (at.lower[-1], at.upper[-1])]
    for k, (low, high) in enumerate(starts):
        slope = 1.0 if k == len(starts) - 1 else _largest_slope(known[k])
        moved = _up(slope, lipschitz(known[: k + 1]), radius)
        start = _norm(np.maximum(np.abs(low), np.abs(high)))
        found.append(min(direct[k], _up_sum(start, moved)))
    return found


def _radius(region: AbstractRegion, center: np.ndarray) -> float:
    """|x - center| is at most this on the region."""
    ball, box = region.ball, region.box
    radius = math.inf if ball is None else ball.radius
    if box is None:
        return radius
    sides = np.nextafter(np.maximum(box.upper - center, center - box.lower), np.inf)
    return min(radius, _norm(np.maximum(sides, 0.0)))


def _box_norm(region: AbstractRegion) -> float:
    box = region.box
    return math.inf if box is None else _norm(np.maximum(np.abs(box.lower), np.abs(box.upper)))


def _loss_gradient(loss: Any, targets: float | None, outputs: float) -> float:
    if isinstance(loss, CrossEntropy):  # |p - e_y|^2 = (1 - p_y)^2 + sum_{j != y} p_j^2 <= 2 (1 - p_y)^2
        return math.nextafter(math.sqrt(2.0), math.inf)
    if isinstance(loss, SquaredError):
        if targets is None or not 0.0 <= targets < math.inf:
            raise InputError(
                f"targets is {targets!r}; expected the largest norm of a target, for SquaredError."
            )
        return 2.0 * _up_sum(outputs, float(targets))
    if isinstance(loss, (int, float)) and not isinstance(loss, bool) and 0.0 < loss < math.inf:
        return float(loss)
    raise InputError(
        f"loss is {loss!r}; expected CrossEntropy(), SquaredError() or the largest norm of its gradient in "
        "the outputs. Losses that see Lipschitz bounds move with the weights beyond the outputs: not covered."
    )


def _shared(linear: Any) -> tuple[float, float]:
    """What sharing multiplies |d_k| |a_k| and |d_k| by: 1 for matrices."""
    if not isinstance(linear, Convolution2d):
        return 1.0, 1.0
    taps, each = linear.kernel.shape[2:], linear.axes
    covers = [
        t if axis.dilation > 1 else -(-int(t) // axis.stride) for t, axis in zip(taps, each, strict=True)
    ]
    pixels = linear.output_shape[1] * linear.output_shape[2]
    return _up(math.sqrt(float(math.prod(covers)))), _up(math.sqrt(float(pixels)))


def _linear(layer: Layer) -> Layer:
    return Layer.of(layer.linear, layer.bias, Identity(), "the last layer")


def _largest_slope(layer: Layer) -> float:
    return float(max(np.abs(layer.alpha).max(), np.abs(layer.beta).max()))


def _norm(values: Any) -> float:
    return float(norm_above(np.asarray(values, dtype=np.float64)))


def _up(*factors: float) -> float:
    """The product of factors >= 0, each rounding upwards."""
    value = 1.0
    for factor in factors:
        value = 0.0 if value == 0.0 or factor == 0.0 else math.nextafter(value * factor, math.inf)
    return value


def _up_sum(a: float, b: float) -> float:
    return math.nextafter(a + b, math.inf)
