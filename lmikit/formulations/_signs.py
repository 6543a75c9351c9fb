"""Multipliers that must be nonnegative, and those whose sign the LMI settles by itself."""

import numpy as np
import scipy.sparse as sp

from ..network import Network

__all__ = ["nonnegative_rows", "undecided_signs"]


def nonnegative_rows(which: np.ndarray, variables: int) -> tuple[sp.csc_array, np.ndarray]:
    """(G, h) that say y_i >= 0 for the marked i; `which` (k,) booleans covers the first k variables."""
    marked = np.flatnonzero(which)
    rows = np.arange(marked.size)
    G = sp.csc_array((np.full(marked.size, -1.0), (rows, marked)), shape=(marked.size, variables))
    return G, np.zeros(marked.size)


def undecided_signs(network: Network, multipliers: str) -> np.ndarray:
    """Which Lambda, (N,) or (L,) booleans, the LMI itself does not force to be >= 0.

    The diagonal entry of neuron a reads Lambda_a + sum_b Lambda_b alpha_b beta_b W_ba^2 >= F |Y e_a|^2 >= 0
    over the neurons b of the next layer, so that (from the last layer backwards, at F >= 0) only an a
    with a successor of alpha_b beta_b > 0 can have Lambda_a < 0. One neuron decides for its layer.
    """
    undecided = []
    for k in range(1, network.hidden_layers + 1):
        layer = network.layers[k]
        positive = layer.alpha * layer.beta > 0
        if k < network.hidden_layers and positive.any():
            undecided.append(abs(layer.linear.to_sparse()).T @ positive.astype(np.float64) > 0)
        else:
            undecided.append(np.zeros(layer.linear.shape[1], dtype=bool))
    if multipliers == "layer":
        return np.array([bool(signs.all()) for signs in undecided], dtype=bool)
    return np.concatenate([np.zeros(0, dtype=bool), *undecided])
