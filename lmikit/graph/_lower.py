"""A lower bound of a graph's Lipschitz constant: the largest Jacobian norm that was found."""

import time

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError, OptionError
from ..network import LowerBound, Slopes
from ..nonlinear import AbstractGroups
from ._graph import Graph
from ._nodes import Apply

__all__ = ["graph_lower_bound"]

_POWER_STEPS = 6
_MARGIN = 1e-11  # distance from a kink, against the node's largest value
_MANY = 8  # points whose largest value says a neuron's scale
_STILL = 1e-15  # of the largest tangent of a node: what moves less is as good as constant


def graph_lower_bound(
    graph: Graph, *, starts: int = 64, steps: int = 60, seed: int = 0, time_limit: float | None = None
) -> LowerBound:
    """max_x ||J(x)||_2 over points that a random search visits; a lower bound of L up to rounding.

    Points within rounding of a kink are rejected, and the point found is compared with difference
    quotients. `time_limit` in seconds. Raises InputError for slope classes, which have no forward pass.
    """
    if min(starts, steps + 1) < 1:
        raise OptionError(f"starts is {starts} and steps {steps}; expected at least 1 and 0.")
    for node in graph.nodes:
        if isinstance(node, Apply) and isinstance(node.function, Slopes):
            raise InputError("Slopes is a class of functions; a lower bound needs a concrete activation.")
    begin = time.perf_counter()
    rng = np.random.default_rng(seed)
    n = graph.input_dim
    x = rng.standard_normal((n, starts)) * 10.0 ** rng.uniform(-1.5, 1.5, starts)
    x[:, ::4] = rng.uniform(-1.0, 1.0, x[:, ::4].shape)
    v = rng.standard_normal((n, starts)) / np.sqrt(n)
    radius = np.full(starts, 0.5)
    with blas_threads(1), np.errstate(all="ignore"):
        norms, v = _norms(graph, x, v)
        evaluations = starts
        for _ in range(steps):
            if time_limit is not None and time.perf_counter() - begin > time_limit:
                break
            noise = rng.standard_normal(x.shape)
            size = np.maximum(np.linalg.norm(x, axis=0), 1e-3) / np.sqrt(n)
            trial = x + radius * size * noise
            found, w = _norms(graph, trial, v)
            evaluations += starts
            better = found > norms
            x[:, better], v[:, better], norms[better] = trial[:, better], w[:, better], found[better]
            radius = np.where(better, np.minimum(1.3 * radius, 2.0), 0.8 * radius)
            _renew(x, v, norms, radius, rng)
        value, point, direction = _confirmed(graph, x, v, norms)
    return LowerBound(value, point, direction, evaluations, time.perf_counter() - begin)


def _norms(graph: Graph, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """||J v|| for unit v near the leading right singular vectors; 0 at points near a kink."""
    values = graph.values(x)
    for _ in range(_POWER_STEPS):
        v = _unit(graph.vjp(values, graph.jvp(values, v)))
    moved = graph.tangents(values, v)
    norms = np.linalg.norm(moved[-1], axis=0)
    valid = np.isfinite(norms)
    for node in graph.nodes:
        if not isinstance(node, Apply):
            continue
        pre = values[node.parent]
        margin = _MARGIN * np.abs(pre).max(axis=0) + np.finfo(float).tiny
        if isinstance(node.function, AbstractGroups):
            valid &= node.function.distance_to_kinks(pre) > margin
            continue
        if pre.shape[1] >= _MANY:  # a neuron of tiny weights has a scale of its own
            margin = np.minimum(
                margin, _MARGIN * np.abs(pre).max(axis=1, keepdims=True) + np.finfo(float).tiny
            )
        here = node.function.derivative(pre, axis=0)
        tangent = np.abs(moved[node.parent])
        still = tangent <= _STILL * tangent.max(axis=0)  # a dead neuron may stay at its kink
        for side in (margin, -margin):
            steady = np.abs(node.function.derivative(pre + side, axis=0) - here) < 1e-6
            valid &= (steady | still).all(axis=0)
    return np.where(valid, norms, 0.0), np.where(np.isfinite(v), v, 0.0)


def _renew(
    x: np.ndarray, v: np.ndarray, norms: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> None:
    """The worst eighth of the points are replaced by the best, with fresh steps."""
    order = np.argsort(norms, kind="stable")
    count = order.size // 8
    if not count:
        return
    worst, good = order[:count], order[-count:]
    x[:, worst], v[:, worst], norms[worst] = x[:, good], v[:, good], norms[good]
    radius[worst] = 10.0 ** rng.uniform(-2.0, 0.0, count)


def _confirmed(
    graph: Graph, x: np.ndarray, v: np.ndarray, norms: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The best point whose Jacobian norm difference quotients do not contradict."""
    for k in np.argsort(-norms, kind="stable"):
        point, direction, value = x[:, k], v[:, k], float(norms[k])
        widths = np.maximum(np.linalg.norm(point), 1e-3) * 10.0 ** -np.arange(1.0, 9.0)
        step = widths[:, None] * direction
        above, below = graph(point + step), graph(point - step)
        quotients = np.linalg.norm(above - below, axis=1) / (2.0 * widths)
        noise = 1e-13 * graph.output_dim * np.abs(above).max() / widths
        if value == 0.0 or (quotients >= 0.99 * value).any() or (noise[-4:] > 0.01 * value).any():
            return value, np.array(point), np.array(direction)
    return 0.0, np.array(x[:, 0]), np.array(v[:, 0])


def _unit(columns: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(norms > 0.0, norms, 1.0))
