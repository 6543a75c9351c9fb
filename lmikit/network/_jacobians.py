"""Jacobian norms at a batch of points, with what their ascent needs. Columns are points.

At x, J = W_L D_L ... D_1 W_0 with D_k = diag(phi_k'(v_k)). For unit u, v and phi'' in place of phi',

    d (u'J v) = sum_k (a_k * phi_k''(v_k) * z_k)' d v_k,   z_k = W_{k-1} D_{k-1} ... W_0 v,
    a_k = W_k' D_{k+1} ... W_L' u,

which is the gradient of the largest singular value where it is simple (the first-order change of
u and v does not contribute). phi'' is a central difference of width h: with h as large as the
spread of the preactivations it also points the way across the kinks of piecewise linear nets.
"""

import dataclasses

import numpy as np

from ._network import Network

__all__ = ["BatchPoint", "ascent_direction", "evaluate"]

_DIRECT = 32  # up to so many rows or columns the Jacobians are formed
_POWER_STEPS = 8


@dataclasses.dataclass
class BatchPoint:
    """Points x (n_0, B): preactivations and derivatives per hidden layer (n_k, B), and J's top pair.

    `norms` (B,) is ||J v|| for the unit vectors v (n_0, B), hence never above ||J||; NaN where a
    neuron that moves with x sits on a kink (its derivative is then set to 0). `moving` says
    per hidden layer which neurons move with x; empty means all. u (m, B) is J v / ||J v||.
    """

    x: np.ndarray
    preactivations: list[np.ndarray]
    derivatives: list[np.ndarray]
    moving: list[np.ndarray]
    norms: np.ndarray
    u: np.ndarray
    v: np.ndarray


def evaluate(network: Network, x: np.ndarray, v: np.ndarray) -> BatchPoint:
    """Forward pass and leading singular pair at x (n_0, B); v (n_0, B) starts the power iteration."""
    preactivations, slopes = [], []
    value = x
    for layer in network.layers[:-1]:
        pre = layer.preactivation(value)
        preactivations.append(pre)
        slopes.append(layer.activation.derivative(pre, axis=0))
        value = layer.activation(pre, axis=0)
    kinks = [np.isnan(slope) for slope in slopes]
    moving = _moving(network, slopes) if any(kink.any() for kink in kinks) else []
    smooth = np.isfinite(x).all(axis=0)
    for kink, moves in zip(kinks, moving, strict=False):
        smooth &= ~(kink & moves).any(axis=0)
    derivatives = [np.nan_to_num(slope) for slope in slopes]
    v = _top_right(network, derivatives, v)
    image = forward(network, derivatives, v)
    norms = np.where(smooth, np.linalg.norm(image, axis=0), np.nan)
    return BatchPoint(x, preactivations, derivatives, moving, norms, _unit(image), v)


def _moving(network: Network, slopes: list[np.ndarray]) -> list[np.ndarray]:
    """Which neurons move with x near x: some input of theirs does, with a slope that is not 0.

    A neuron that does not has a constant preactivation, so a kink there does no harm. This is
    exact: neurons count as moving unless every product on every path to them is 0.
    """
    result, alive = [], np.ones((network.input_dim, slopes[0].shape[1]))
    for layer, slope in zip(network.layers, slopes, strict=False):
        moves = (layer.linear.to_sparse() != 0).astype(float) @ alive > 0.0
        result.append(moves)
        alive = (moves & (slope != 0.0)).astype(float)
    return result


def _top_right(network: Network, derivatives: list[np.ndarray], v: np.ndarray) -> np.ndarray:
    """Leading right singular vectors (n_0, B); power iteration from v where J is large."""
    batch = v.shape[1]
    if network.output_dim <= min(_DIRECT, network.input_dim):
        return _top_right_by_rows(network, derivatives, batch)
    if network.input_dim <= _DIRECT:
        return _top_right_by_columns(network, derivatives, batch)
    for _ in range(_POWER_STEPS):
        v = _unit(backward(network, derivatives, forward(network, derivatives, v)))
    return v


def forward(network: Network, derivatives: list[np.ndarray], v: np.ndarray) -> np.ndarray:
    """J v, columnwise."""
    for layer, slope in zip(network.layers[:-1], derivatives, strict=True):
        v = slope * layer.linear.matvec(v)
    return network.layers[-1].linear.matvec(v)


def backward(network: Network, derivatives: list[np.ndarray], u: np.ndarray) -> np.ndarray:
    """J'u, columnwise."""
    for layer, slope in zip(reversed(network.layers[1:]), reversed(derivatives), strict=True):
        u = slope * layer.linear.rmatvec(u)
    return network.layers[0].linear.rmatvec(u)


def ascent_direction(network: Network, at: BatchPoint, width: np.ndarray) -> np.ndarray:
    """Unit directions (n_0, B) in which u'J v grows; h = width (B,) times the spread of v_k."""
    tangents, z = [], at.v
    for layer, slope in zip(network.layers[:-1], at.derivatives, strict=True):
        z = layer.linear.matvec(z)
        tangents.append(z)
        z = slope * z
    adjoint, gradient = at.u, np.zeros_like(at.u)
    for k in range(network.hidden_layers, 0, -1):
        linear, layer = network.layers[k].linear, network.layers[k - 1]
        adjoint, gradient = linear.rmatvec(adjoint), linear.rmatvec(gradient)
        pre, slope = at.preactivations[k - 1], at.derivatives[k - 1]
        h = width * np.sqrt((pre**2).mean(axis=0)) + np.finfo(float).tiny
        above, below = (layer.activation.derivative(pre + s * h, axis=0) for s in (1.0, -1.0))
        curvature = np.nan_to_num((above - below) / (2.0 * h))
        gradient = slope * gradient + curvature * adjoint * tangents[k - 1]
        adjoint = slope * adjoint
    return _unit(network.layers[0].linear.rmatvec(gradient))


def _top_right_by_rows(network: Network, derivatives: list[np.ndarray], batch: int) -> np.ndarray:
    m = network.output_dim
    rows = network.layers[-1].linear.rmatvec(np.eye(m))  # (n_L, m)
    rows = np.repeat(rows[:, None, :], batch, axis=1)
    for layer, slope in zip(reversed(network.layers[:-1]), reversed(derivatives), strict=True):
        flat = (slope[:, :, None] * rows).reshape(slope.shape[0], -1)
        rows = layer.linear.rmatvec(flat).reshape(-1, batch, m)
    jacobians = np.moveaxis(rows, 1, 0)  # (B, n_0, m), transposed Jacobians
    return _unit(_combine(jacobians, _top_eigenvector(jacobians)))


def _top_right_by_columns(network: Network, derivatives: list[np.ndarray], batch: int) -> np.ndarray:
    n = network.input_dim
    columns = np.repeat(np.eye(n)[:, None, :], batch, axis=1)
    for k, layer in enumerate(network.layers):
        columns = layer.linear.matvec(columns.reshape(columns.shape[0], -1)).reshape(-1, batch, n)
        if k < len(derivatives):
            columns = derivatives[k][:, :, None] * columns
    return _top_eigenvector(np.moveaxis(columns, 1, 0)).T


def _top_eigenvector(matrices: np.ndarray) -> np.ndarray:
    """Leading right singular vectors (B, r) of matrices (B, s, r)."""
    gram = np.nan_to_num(np.swapaxes(matrices, 1, 2) @ matrices)
    return np.asarray(np.linalg.eigh(gram)[1][:, :, -1])


def _combine(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.nan_to_num(np.einsum("bsr,br->sb", matrices, vectors)))


def _unit(columns: np.ndarray) -> np.ndarray:
    """Columns over their norms, without overflow or underflow; zero columns stay zero."""
    largest = np.abs(columns).max(axis=0)
    scaled = columns / np.where(largest > 0.0, largest, 1.0)
    norms = np.linalg.norm(scaled, axis=0)
    return np.asarray(scaled / np.where(norms > 0.0, norms, 1.0))
