"""Witnesses that always exist."""

import numpy as np

from .._witness import Witness
from ..network import Network

__all__ = ["norm_product_witness", "uniform_witness"]

_WIDER = 2.0**-20  # relative widening of the gain of a linear neuron, to keep its multiplier finite


def norm_product_witness(network: Network) -> Witness:
    """Multipliers that show the product of spectral norms and slope gains, at any slopes.

    Per neuron m = max(|alpha|, |beta|) and lam = beta/(beta - alpha) if |beta| >= |alpha|, else
    alpha/(alpha - beta): then m^2 v^2 - w^2 + lam (w - alpha v)(w - beta v) is a square. With
    g_L = |W_L|^2, T_k = g_k diag(lam), g_{k-1} = g_k m_k^2 |W_{k-1}|^2 and rho = g_0, M(rho, T) >= 0.
    Norms are computed in floating point, nothing is proven here.
    """
    norms = [float(np.linalg.norm(W, 2)) for W in network.weights]
    g = norms[-1] ** 2
    multipliers = []
    for k in range(network.hidden_layers - 1, -1, -1):
        alpha, beta = network.slopes[k]
        width = beta - alpha
        top = np.where(np.abs(beta) >= np.abs(alpha), beta, -alpha)
        lam = np.where(width > 0.0, top / np.where(width > 0.0, width, 1.0), 1.0 + 1.0 / _WIDER)
        gain = float(
            np.max(np.maximum(np.abs(alpha), np.abs(beta)) * np.where(width > 0.0, 1.0, 1.0 + _WIDER))
        )
        multipliers.append(g * lam)
        g *= gain**2 * norms[k] ** 2
    return Witness("lipsdp", g, tuple(reversed(multipliers)), produced_by="norm product")


def uniform_witness(network: Network) -> Witness:
    """One multiplier per layer that is feasible at any slopes, looser than `norm_product_witness`.

    With M_k = max(alpha^2 + beta^2) over the layer, M v^2 - w^2 + 2 (w - alpha v)(w - beta v) is PSD: its
    determinant is M - alpha^2 - beta^2. T_k = g_k I, g_L = |W_L|^2, g_{k-1} = g_k M_k |W_{k-1}|^2, rho = g_0.
    """
    norms = [float(np.linalg.norm(W, 2)) for W in network.weights]
    g = norms[-1] ** 2
    multipliers = []
    for k in range(network.hidden_layers - 1, -1, -1):
        alpha, beta = network.slopes[k]
        multipliers.append(np.full(alpha.size, g))
        g *= float((alpha**2 + beta**2).max()) * norms[k] ** 2
    return Witness("lipsdp", g, tuple(reversed(multipliers)), produced_by="norm product")
