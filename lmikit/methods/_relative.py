"""Multipliers relative to the edge of the feasible set: an unconstrained problem for ascent methods.

Per hidden layer a shape S > 0 (a vector) and a scalar theta give

    d_k = (1 + e^theta) lambda_k S,    lambda_k = lambda_max(S^-1/2 r~ G_k r~ S^-1/2),  r~ = kappa m,

so that d_k > r G_k r, the condition of Lemma 1, holds for every theta and S: the recursion
cannot break down, and what was chosen for one layer keeps its meaning when an earlier layer
changes. In absolute multipliers plain L-BFGS jams on that edge. r~ = r, or slightly more where a
neuron is linear. Derivatives: lambda_k is linear in G_k along its eigenvector q, so the adjoint
of X_k^-1 gains one rank-one term per layer on top of that of `gradient` in `_recursion`.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from .._eigen import top_eigenpair
from ._recursion import EliminatedChain, Evaluation, advance, finish, first_gram

__all__ = ["RelativePoint", "evaluate_relative", "relative_gradient", "relative_point"]


@dataclasses.dataclass(frozen=True, eq=False)
class RelativePoint:
    """An evaluation with, per layer, theta, the shape S, lambda_k and p = S^-1/2 r~ q (q of norm 1)."""

    at: Evaluation
    theta: np.ndarray
    shapes: tuple[np.ndarray, ...]
    sizes: tuple[float, ...]
    edges: tuple[np.ndarray, ...]

    @property
    def objective(self) -> float:
        return math.log(self.at.rho)


def evaluate_relative(
    chain: EliminatedChain, theta: np.ndarray, shapes: Sequence[np.ndarray]
) -> RelativePoint | None:
    """The point of these parameters; None only where rounding or overflow spoils it."""
    gram, steps = first_gram(chain), []
    sizes, edges = [], []
    for k, (shape, t) in enumerate(zip(shapes, theta, strict=True), start=1):
        size, edge = _edge(chain, k, gram, shape)
        if not size > 0.0:
            return None
        result = advance(chain, k, gram, (1.0 + math.exp(t)) * size * shape)
        if result is None:
            return None
        sizes.append(size)
        edges.append(edge)
        steps.append(result[0])
        gram = result[1]
    at = finish(gram, steps)
    if at is None or not at.rho > 0.0:
        return None
    return RelativePoint(at, theta, tuple(shapes), tuple(sizes), tuple(edges))


def _edge(chain: EliminatedChain, k: int, gram: np.ndarray, shape: np.ndarray) -> tuple[float, np.ndarray]:
    """(lambda_k, S^-1/2 r~ q)."""
    scale = chain.kappa[k - 1] * chain.gain[k - 1] / np.sqrt(shape)
    matrix = scale[:, None] * gram * scale
    if not np.isfinite(matrix).all():
        return math.nan, scale
    value, vector = top_eigenpair(matrix)
    return value, scale * vector


def relative_point(chain: EliminatedChain, at: Evaluation, smallest: float) -> RelativePoint | None:
    """The parameters that reproduce the multipliers of `at`, theta not below `smallest`."""
    theta, shapes = [], []
    gram = first_gram(chain)
    for k, d in enumerate(at.d, start=1):
        shape = d / float(d.max())
        size, _ = _edge(chain, k, gram, shape)
        result = advance(chain, k, gram, d)
        if result is None or not size > 0.0:
            return None
        gram = result[1]
        excess = float(d.max()) / size - 1.0
        theta.append(max(smallest, math.log(excess) if excess > 0.0 else smallest))
        shapes.append(shape)
    return evaluate_relative(chain, np.array(theta), shapes)


def relative_gradient(
    chain: EliminatedChain, point: RelativePoint
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """(d log(rho)/d theta, one array per layer d log(rho)/d log(S))."""
    at = point.at
    a = (chain.weights[-1].T @ at.direction)[:, None]
    weight = np.array([1.0 / at.rho])
    d_theta = np.zeros(chain.hidden_layers)
    d_shape: list[np.ndarray] = []
    for k in range(chain.hidden_layers, 0, -1):
        b, z = at.steps[k - 1].solve(a, chain.radius[k - 1], chain.centre[k - 1])
        slope = ((a * a - b * b) @ weight) * at.d[k - 1]
        total = float(slope.sum())
        exp = math.exp(point.theta[k - 1])
        d_theta[k - 1] = total * exp / (1.0 + exp)
        edge = point.edges[k - 1]
        q = edge / (chain.kappa[k - 1] * chain.gain[k - 1]) * np.sqrt(point.shapes[k - 1])
        d_shape.append(slope - total * q * q)
        z = np.concatenate([z, edge[:, None]], axis=1)
        weight = np.append(weight, total / point.sizes[k - 1])
        a = chain.weights[k - 1].T @ z
    return d_theta, tuple(d_shape[::-1])
