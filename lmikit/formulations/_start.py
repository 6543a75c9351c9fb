"""A witness that always exists, and exact rescaling of witnesses and layers by powers of two."""

import dataclasses
import math

import numpy as np

from .._errors import InexactScaling
from .._witness import Witness
from ..network import Network

__all__ = ["balancing_powers", "norm_product_witness", "scale_witness", "unbalanced", "uniform_witness"]

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


def balancing_powers(witness: Witness, network: Network) -> tuple[int, ...]:
    """p per linear map such that the network 2**-p_k W_k has rho and the typical T near 1.

    Interior-point and first-order methods stop by absolute tolerances: a deep network whose F is
    1e-20 needs this before it is handed to one. Linear neurons, whose T is arbitrarily large, do
    not count.
    """
    levels = [witness.rho]
    for t, (alpha, beta) in zip(witness.multipliers, network.slopes, strict=True):
        counted = t[(alpha < beta) & (t > 0.0)]
        levels.append(float(np.median(counted)) if counted.size else 0.0)
    sums = [round(math.log2(level) / 2.0) if 0.0 < level < math.inf else 0 for level in levels]
    return tuple(here - after for here, after in zip(sums, [*sums[1:], 0], strict=True))


def scale_witness(witness: Witness, powers: tuple[int, ...]) -> Witness:
    """The same claim for the network with weights 2**-powers[k] * W_k (exact unless it under- or overflows).

    rho is divided by 4**sum(powers), T of layer k by 4**sum(powers[k:]), as |dx|^2 and the squares of
    that layer's signals scale.
    """
    after = np.cumsum(powers[::-1])[::-1]  # after[k] = powers[k] + ... + powers[L]
    lowest = witness.optimum_at_least
    return Witness(
        witness.kind,
        _ldexp(witness.rho, -2 * int(after[0])),
        tuple(np.ldexp(t, -2 * int(p)) for t, p in zip(witness.multipliers, after[1:], strict=True)),
        layer_pow2=witness.layer_pow2,
        produced_by=witness.produced_by,
        optimum_at_least=None if lowest is None else _ldexp(lowest, -int(after[0])),
    )


def _ldexp(value: float, power: int) -> float:
    """value * 2**power; raises InexactScaling where that overflows."""
    try:
        return math.ldexp(value, power)
    except OverflowError as error:
        raise InexactScaling(
            f"a witness scaled by 2**{power} leaves the range of float64; rescale the layers."
        ) from error


def unbalanced(witness: Witness, powers: tuple[np.ndarray, ...]) -> Witness:
    """The claim for the network from which `balanced_neurons` made that of `witness`: T_i 4**-p_i (exact)."""
    multipliers = tuple(np.ldexp(t, -2 * p) for t, p in zip(witness.multipliers, powers, strict=True))
    return dataclasses.replace(witness, multipliers=multipliers)
