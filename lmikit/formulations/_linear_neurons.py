"""Finite multipliers for linear neurons, whose exact multiplier is infinite.

A neuron with alpha = beta contributes 2 T_a (w_a - alpha_a v_a)^2, which forces w_a = alpha_a v_a as
T_a grows. Let Phi map (remaining coordinates, defects d = w_lin - alpha v_lin) to z; then

    Phi' M(rho, T_nonlinear) Phi = [[A, B], [B', C]],

A is the LMI after exact elimination, and any 2 T >= B' A^{-1} B - C in the defects makes the whole PSD
once A > 0, which a slightly larger rho and slightly larger multipliers buy.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..network import Network, linear_fractional

__all__ = ["finite_multipliers"]

_SLACK = 2.0**-24  # relative growth of rho; the multipliers grow as its inverse


def finite_multipliers(network: Network, rho: float, T: np.ndarray) -> tuple[float, np.ndarray]:
    """(rho, T) with rho larger by parts in 1e7 and every linear neuron's T finite and sufficient.

    T (N,) holds the nonlinear neurons' multipliers; its other entries are overwritten.
    """
    alpha = np.concatenate([a for a, _ in network.slopes])
    beta = np.concatenate([b for _, b in network.slopes])
    linear = np.flatnonzero(alpha == beta)
    form = linear_fractional(network)
    n0, neurons = network.input_dim, alpha.size
    V = sp.csr_array(sp.hstack([form.N_vx, form.N_vw]))
    Y = sp.csr_array(sp.hstack([form.N_yx, form.N_yw]))
    picks = sp.csr_array(sp.hstack([sp.csr_array((neurons, n0)), sp.eye_array(neurons)]))
    grown = rho * (1.0 + _SLACK)
    depth = len(network.slopes)
    layers = np.repeat(np.arange(depth), network.dims[1:-1])
    T = T * (1.0 + _SLACK * (depth - layers) / (depth + 1.0))  # strictly between those of rho and of |y|^2
    T[linear] = 0.0
    low, high = picks - sp.diags_array(alpha) @ V, picks - sp.diags_array(beta) @ V
    half = (low.T @ sp.diags_array(2.0 * T) @ high).toarray()
    M = 0.5 * (half + half.T) - (Y.T @ Y).toarray()
    M[np.arange(n0), np.arange(n0)] += grown

    kept = np.concatenate([np.arange(n0), n0 + np.setdiff1d(np.arange(neurons), linear)])
    basis = low.toarray()  # rows: defects of linear neurons; elsewhere the coordinate itself
    change = np.eye(n0 + neurons)
    change[n0 + linear] = basis[linear]
    Phi = scipy.linalg.solve_triangular(change, np.eye(n0 + neurons), lower=True, unit_diagonal=True)
    M = Phi.T @ M @ Phi
    defects = n0 + linear
    A, B, C = M[np.ix_(kept, kept)], M[np.ix_(kept, defects)], M[np.ix_(defects, defects)]
    values, vectors = np.linalg.eigh(A)
    values = np.maximum(values, np.finfo(float).eps * max(float(values[-1]), 0.0))
    needed = (vectors.T @ B).T @ ((vectors.T @ B) / values[:, None]) - C
    T[linear] = 0.5 * np.abs(needed).sum(axis=1) * (1.0 + _SLACK) + np.finfo(float).tiny
    return grown, T
