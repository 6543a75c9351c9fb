"""A sketch of the global LipSDP matrix: a relaxation, so its optimum estimates that of LipSDP from below."""

import numpy as np
import scipy.sparse as sp

from ..._arrays import array_module
from ..._errors import SolveFailed
from ...lmi import LMI, SDP, Solution
from ...network import Network
from ...sketching import AbstractSketch, DiagonalOperator, Estimate, Gaussian
from ._layers import layer_operator

__all__ = ["sketched_lipsdp", "sketched_lipsdp_estimate"]


def sketched_lipsdp(network: Network, m: int, sketch: AbstractSketch | None = None, *, seed: int = 0) -> SDP:
    """min rho s.t. S'M(rho, T)S >= 0, T >= 0: y = (rho, t_1, ..., t_N), S (n_0 + N, m).

    M(rho, T) = rho E_0'E_0 - Y'Y + sum_a 2 t_a sym(p_a q_a') as in `Witness`, with
    p_a = e_a - alpha_a w_a and q_a = e_a - beta_a w_a. Every feasible (rho, T) of LipSDP is feasible
    here, so the optimum is at or below LipSDP's and says nothing about the network from above.
    With m = n_0 + N and independent columns the two are equal. Only products of the layers with S
    are formed.
    """
    sizes = network.dims[:-1]
    total, hidden = sum(sizes), sum(sizes[1:])
    drawn = (sketch or Gaussian()).draw(
        DiagonalOperator(np.ones(total), array_module(), np.float64), m, seed=seed
    )
    parts = np.split(np.asarray(drawn.matrix), np.cumsum(sizes)[:-1])
    images = [layer_operator(layer.linear).matmat(z) for layer, z in zip(network.layers, parts, strict=True)]
    left = [z - a[:, None] * v for z, v, (a, _) in zip(parts[1:], images, network.slopes, strict=False)]
    right = [z - b[:, None] * v for z, v, (_, b) in zip(parts[1:], images, network.slopes, strict=False)]
    # S_0'S_0 = R'R has rank min(n_0, m): that many terms carry rho.
    r = np.asarray(np.linalg.qr(parts[0], mode="r"))
    P = sp.csc_array(np.concatenate([r, *left]).T)
    Q = sp.csc_array(np.concatenate([r, *right]).T)
    inputs = r.shape[0]
    coefficient = np.concatenate([np.ones(inputs), np.full(hidden, 2.0)])
    variable = np.concatenate([np.zeros(inputs, dtype=int), np.arange(1, hidden + 1)])
    E = sp.csc_array(
        (coefficient, (np.arange(inputs + hidden), variable)), shape=(inputs + hidden, hidden + 1)
    )
    output = images[-1].T @ images[-1]
    lmi = LMI(sp.csc_array(-0.5 * (output + output.T)), P, Q, E, name="sketched LipSDP")
    c = np.zeros(hidden + 1)
    c[0] = 1.0
    return SDP(c, (lmi,), G=-sp.eye_array(hidden + 1, format="csc"), h=np.zeros(hidden + 1))


def sketched_lipsdp_estimate(solution: Solution, seed: int = 0) -> Estimate:
    """sqrt(optimum) of `sketched_lipsdp` from the solver's dual bound (unproven): below LipSDP's L.

    Raises SolveFailed where the solver returned no dual bound.
    """
    if not np.isfinite(solution.bound_on_optimum):
        raise SolveFailed(
            f"the solver ended with {solution.status.name} and no dual bound: {solution.status.value}."
        )
    value = float(np.sqrt(max(solution.bound_on_optimum, 0.0)))
    return Estimate(value, "LipSDP bound", "sketched LipSDP", seed, 0)
