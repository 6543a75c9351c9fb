"""The worst Jacobian norm over all slopes: what no bound from slope bounds alone can go below."""

import numpy as np

from .._errors import InputError
from ._network import Network

__all__ = ["vertex_maximum"]

_MOST_NEURONS = 20
_CHUNK = 4096


def vertex_maximum(network: Network) -> float:
    """max ||W_L D_L ... D_1 W_0||_2 over all D_k = diag(d), d_i in {alpha_i, beta_i}, by enumeration.

    The norm is convex in each slope, so this is the maximum over the whole box of slopes, up to
    rounding. It is at or above the Lipschitz constant of every network with these slopes, and at
    or below every bound of LipSDP's kind. Raises InputError for more than 20 nonlinear neurons.
    """
    alpha = np.concatenate([a for a, _ in network.slopes]) if network.slopes else np.zeros(0)
    beta = np.concatenate([b for _, b in network.slopes]) if network.slopes else np.zeros(0)
    free = np.flatnonzero(alpha != beta)
    if free.size > _MOST_NEURONS:
        raise InputError(
            f"the network has {free.size} nonlinear neurons; expected at most {_MOST_NEURONS}, since all "
            "2**n slope vectors are tried."
        )
    largest = 0.0
    for begin in range(0, 2**free.size, _CHUNK):
        codes = np.arange(begin, min(begin + _CHUNK, 2**free.size))
        slopes = np.tile(alpha, (codes.size, 1))
        high = (codes[:, None] >> np.arange(free.size)) & 1
        slopes[:, free] = np.where(high == 1, beta[free], alpha[free])
        largest = max(largest, _largest_norm(network, slopes))
    return largest


def _largest_norm(network: Network, slopes: np.ndarray) -> float:
    """max ||J|| over slope vectors (K, N)."""
    jacobians = np.broadcast_to(np.eye(network.input_dim), (slopes.shape[0],) + (network.input_dim,) * 2)
    start = 0
    for k, weight in enumerate(network.weights):
        jacobians = weight @ jacobians
        if k < network.hidden_layers:
            size = weight.shape[0]
            jacobians = slopes[:, start : start + size, None] * jacobians
            start += size
    return float(np.linalg.norm(jacobians, ord=2, axis=(1, 2)).max())
