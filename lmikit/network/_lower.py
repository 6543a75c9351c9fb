"""A lower bound of the Lipschitz constant: the largest Jacobian norm that was found."""

import dataclasses
import time

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError, OptionError
from ._activation_base import Slopes
from ._jacobians import BatchPoint, ascent_direction, evaluate
from ._network import Network

__all__ = ["LowerBound", "lower_bound"]

_WIDTHS = (0.03, 0.1, 0.3, 1.0)  # of the smoothed curvature, against the preactivations' spread
_MARGIN = 1e-11  # distance from a kink, against the layer's largest preactivation
_LARGEST_SOLVED = 1_000_000  # entries of W_0 up to which W_0 x + b = 0 is solved for a starting point
_RENEW = 8  # steps between replacements of the worst points


@dataclasses.dataclass(frozen=True, eq=False)
class LowerBound:
    """`value` = ||J(point) direction||_2 <= L, the true Lipschitz constant, up to rounding.

    It is no bound from above. `point` (n_0,) is a point of differentiability and `direction`
    (n_0,) a unit vector. `evaluations` counts the Jacobians that were tried.
    """

    value: float
    point: np.ndarray
    direction: np.ndarray
    evaluations: int
    seconds: float


def lower_bound(
    network: Network, *, starts: int = 128, steps: int = 80, seed: int = 0, time_limit: float | None = None
) -> LowerBound:
    """max_x ||J(x)||_2 over the points that an ascent from `starts` random points visits.

    L = sup ||J(x)|| over the points of differentiability (Rademacher), so every such value is
    a lower bound of L, up to rounding; nothing bounds the distance to L. Points within rounding
    of a kink are rejected, and the value found is compared with difference quotients of
    the network itself. Equal arguments give equal results unless `time_limit` (seconds) cuts
    the ascent short. Raises InputError for slope classes, which have no forward pass.
    """
    _check(network, starts, steps)
    begin = time.perf_counter()
    rng = np.random.default_rng(seed)
    if all((alpha == beta).all() for alpha, beta in network.slopes):
        starts, steps = 1, 0
    with blas_threads(1), np.errstate(all="ignore"):
        best = evaluate(network, *_starting_points(network, starts, rng))
        score, evaluations = _score(network, best), starts
        step = np.full(starts, 0.3)
        for k in range(steps):
            if time_limit is not None and time.perf_counter() - begin > time_limit:
                break
            trial = _trial(network, best, step, rng)
            trial_score = _score(network, trial)
            better = trial_score > score
            _take(best, trial, better)
            score = np.where(better, trial_score, score)
            step = np.where(better, np.minimum(1.6 * step, 3.0), np.maximum(0.7 * step, 1e-4))
            evaluations += starts
            if k % _RENEW == _RENEW - 1:
                _renew(best, score, step, rng)
        value, point, direction = _confirmed(network, best, score)
    return LowerBound(value, point, direction, evaluations, time.perf_counter() - begin)


def _check(network: Network, starts: int, steps: int) -> None:
    if starts < 1 or steps < 0:
        raise OptionError(f"starts is {starts} and steps {steps}; expected starts >= 1 and steps >= 0.")
    for k, layer in enumerate(network.layers):
        if isinstance(layer.activation, Slopes):
            raise InputError(
                f"layer {k} is a slope class, which has no forward pass; a lower bound needs a concrete "
                "activation (see vertex_maximum for the worst case over a class)."
            )


def _starting_points(
    network: Network, starts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(x, v): Gaussians at several scales, unit boxes, and a point where first preactivations vanish."""
    n = network.input_dim
    first = network.layers[0]
    row_norms = np.sqrt(np.asarray(first.linear.to_sparse().power(2).sum(axis=1))).ravel()
    offsets = np.abs(first.bias[row_norms > 0.0]) / row_norms[row_norms > 0.0]
    scale = float(np.median(offsets)) if offsets.any() else 1.0
    scale = scale if scale > 0.0 else 1.0
    x = rng.standard_normal((n, starts)) * 10.0 ** rng.uniform(-1.0, 1.0, starts)
    x[:, 1::3] *= scale
    x[:, 2::6] = rng.uniform(0.0, 1.0, x[:, 2::6].shape)
    x[:, 5::6] = rng.uniform(-1.0, 1.0, x[:, 5::6].shape)
    if n * row_norms.size <= _LARGEST_SOLVED:
        x[:, 0] = -np.linalg.lstsq(first.linear.to_dense(), first.bias, rcond=None)[0]
    return x, rng.standard_normal((n, starts)) / np.sqrt(n)


def _score(network: Network, at: BatchPoint) -> np.ndarray:
    """The norms, 0 where a neuron is within rounding of a kink."""
    valid = np.isfinite(at.norms)
    for k, (pre, slope) in enumerate(zip(at.preactivations, at.derivatives, strict=True)):
        margin = _MARGIN * np.abs(pre).max(axis=0) + np.finfo(float).tiny
        for side in (margin, -margin):
            change = np.abs(network.layers[k].activation.derivative(pre + side, axis=0) - slope)
            steady = change < 1e-6
            valid &= (steady | ~at.moving[k] if at.moving else steady).all(axis=0)
    return np.where(valid, at.norms, 0.0)


def _trial(network: Network, best: BatchPoint, step: np.ndarray, rng: np.random.Generator) -> BatchPoint:
    """Points a step away: along the smoothed gradient, mixed with a random direction."""
    batch = best.x.shape[1]
    gradient = ascent_direction(network, best, rng.choice(_WIDTHS, batch))
    noise = rng.standard_normal(best.x.shape)
    noise /= np.linalg.norm(noise, axis=0)
    share = rng.choice((0.0, 0.3, 1.0), batch, p=(0.5, 0.3, 0.2))
    size = np.maximum(np.linalg.norm(best.x, axis=0), 1e-3)
    return evaluate(network, best.x + step * size * (gradient + share * noise), best.v)


def _take(best: BatchPoint, trial: BatchPoint, better: np.ndarray) -> None:
    for name in ("x", "u", "v"):
        getattr(best, name)[:, better] = getattr(trial, name)[:, better]
    best.norms[better] = trial.norms[better]
    for name in ("preactivations", "derivatives"):
        for old, new in zip(getattr(best, name), getattr(trial, name), strict=True):
            old[:, better] = new[:, better]


def _renew(best: BatchPoint, score: np.ndarray, step: np.ndarray, rng: np.random.Generator) -> None:
    """Replace the worst quarter of the points by the best quarter, with fresh steps."""
    order = np.argsort(score, kind="stable")
    count = order.size // 4
    worst, good = order[:count], order[order.size - count :]
    for values in (best.x, best.u, best.v, *best.preactivations, *best.derivatives):
        values[:, worst] = values[:, good]
    best.norms[worst] = best.norms[good]
    score[worst] = score[good]
    step[worst] = 10.0 ** rng.uniform(-2.0, 0.0, count)


def _confirmed(network: Network, best: BatchPoint, score: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The best point whose Jacobian norm difference quotients do not contradict."""
    for k in np.argsort(-score, kind="stable"):
        x, v, value = best.x[:, k], best.v[:, k], float(score[k])
        if value == 0.0 or _agrees(network, x, v, value):
            return value, np.array(x), np.array(v)
    return 0.0, np.array(best.x[:, 0]), np.array(best.v[:, 0])


def _agrees(network: Network, x: np.ndarray, v: np.ndarray, value: float) -> bool:
    """Whether some ||f(x + hv) - f(x - hv)|| / 2h is above 0.99 value, or all drown in rounding."""
    widths = np.maximum(np.linalg.norm(x), 1e-3) * 10.0 ** -np.arange(1.0, 9.0)
    steps = widths[:, None] * v
    above, below = network(x + steps), network(x - steps)
    quotients = np.linalg.norm(above - below, axis=1) / (2.0 * widths)
    noise = 1e-13 * network.output_dim * np.abs(above).max() / widths
    return bool((quotients >= 0.99 * value).any() or (noise[-4:] > 0.01 * value).any())
