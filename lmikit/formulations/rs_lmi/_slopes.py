"""From norms to the Lipschitz constant when slopes are not in [-1, 1]: two ways, and which is tighter.

Slopes of layer k in [alpha, beta] per neuron, c = (alpha + beta)/2, r = (beta - alpha)/2.

* Gain: L <= |W_L| prod_k m_k |W_{k-1}|, m_k = max over neurons of max(|alpha|, |beta|) = |c| + r.
* Loop transformation: w = C v + R w~ with slopes of w~ in [-1, 1], so with L_0 = |W_0| and
  L_k = |W_k C_k W_{k-1} ... C_1 W_0| + sum_{i=1..k} |W_k C_k ... W_i R_i| L_{i-1}, L <= L_L.

Where all neurons of a layer share their slopes, the second is never looser: submultiplicativity
bounds each term, and |c| + r = m adds them up to the first. With mixed slopes
max|c| + max r may exceed m, and either can win. ReLU has c = r = 1/2: the second wins strictly
unless all norms are attained along one chain of singular vectors. It needs
(L + 1)(L + 2)/2 norms instead of L + 1.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ...network import Network
from ...sketching import AbstractOperator, DiagonalOperator, ProductOperator

__all__ = ["gain_product", "loop_transformed_bound", "loop_transformed_norms", "slope_gains"]

_UP = 1.0 + 2.0**-50  # one outward rounding of a product and a sum


def slope_gains(network: Network) -> tuple[float, ...]:
    """m_k = max(|alpha|, |beta|) over the neurons of each hidden layer."""
    return tuple(float(max(np.abs(a).max(), np.abs(b).max())) for a, b in network.slopes)


def gain_product(norms: Sequence[float], gains: Sequence[float]) -> float:
    """|W_L| prod_k m_k |W_{k-1}|, rounded up; an upper bound where each of `norms` is one."""
    value = 1.0
    for factor in (*norms, *gains):
        value = value * factor * _UP
    return value


def loop_transformed_norms(network: Network) -> int:
    """How many norms `loop_transformed_bound` asks for: (L + 1)(L + 2)/2."""
    layers = len(network.layers)
    return layers * (layers + 1) // 2


def loop_transformed_bound(
    network: Network, operators: Sequence[AbstractOperator], norm: Callable[[AbstractOperator], float]
) -> float:
    """L_L of this module's second form, rounded up, with products of layers applied factor by factor.

    `norm` returns an upper bound on the norm of an operator; the result is an upper bound on L
    where every one of them is. Biases play no role.
    """
    am = operators[0].am
    bounds: list[float] = []
    for k in range(len(operators)):
        chain: list[AbstractOperator] = [operators[k]]
        value = 0.0
        for i in range(k, 0, -1):
            alpha, beta = network.slopes[i - 1]
            centre = 0.5 * (alpha + beta)
            radius = np.maximum(beta - centre, centre - alpha)
            radius = np.where(
                radius > 0.0, np.nextafter(radius, np.inf), 0.0
            )  # covers [alpha, beta] as rounded
            leap = ProductOperator([DiagonalOperator(radius, am, np.float64), *chain])
            value += norm(leap) * bounds[i - 1] * _UP
            chain = [operators[i - 1], DiagonalOperator(centre, am, np.float64), *chain]
        value = (value + norm(ProductOperator(chain))) * _UP
        bounds.append(value)
    return bounds[-1]
