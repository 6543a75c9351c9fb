"""Multipliers that are always feasible, by norms, and the largest eigenvalue that norms need. No proofs."""

import contextlib
import math

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from .._eigen import top_eigenvalue
from ._lifted import Chain

__all__ = ["always_feasible", "largest_eigenvalue", "largest_square"]

_DENSE = 1000  # rows up to which all eigenvalues cost little


def always_feasible(chain: Chain) -> tuple[np.ndarray, ...]:
    """The closed form by norms: feasible with rho = prod m_k^2 ||W_k||^2 up to 1e-9.

    g_L = ||W_L||^2, T_k = g_k diag(lambda_i), g_{k-1} = g_k M_k ||W_{k-1}||^2, with
    M_k = (1 + e_k) max_i m_i^2, m_i = max(|alpha_i|, |beta_i|) and
    lambda_i = M_k / (M_k - alpha_i beta_i). Then per neuron
    M v^2 - w^2 + 2 lambda (w - alpha v)(w - beta v) >= 0: its determinant in lambda is
    -lambda^2 (beta - alpha)^2 + 2 lambda (M - alpha beta) - M, with real roots because M >= m_i^2, and
    lambda_i is their harmonic mean. e_k > 0 keeps lambda finite where alpha is close to beta; a neuron with
    alpha = beta needs no multiplier at all, and gets the least.
    """
    squares = [largest_square(w) * (1.0 + 1e-10) for w in chain.weights]
    g = squares[-1]
    result: list[np.ndarray] = []
    for k in range(len(chain.slopes) - 1, -1, -1):
        alpha, beta = chain.slopes[k]
        largest = float(np.square(np.maximum(np.abs(alpha), np.abs(beta)).max()))
        product = np.where(alpha < beta, alpha * beta, 0.0)
        close = bool((product > (1.0 - 1e-4) * largest).any())
        bound = largest * (1.0 + (1e-5 if close else 1e-10))
        result.append(g * (1.0 + 1e-10) * (bound / (bound - product)))
        g *= bound * squares[k] * (1.0 + 1e-10)
    return tuple(reversed(result))


def largest_square(w: np.ndarray) -> float:
    """||W||^2."""
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    return largest_eigenvalue(gram)


def largest_eigenvalue(gram: np.ndarray) -> float:
    """lambda_max of a symmetric matrix, inf if not finite.

    Large ones by Lanczos, on 4096 rows 20 times faster.
    """
    n = gram.shape[0]
    if not np.isfinite(gram).all():
        return math.inf
    if n > _DENSE:
        start = np.random.default_rng(0).standard_normal(n)
        with contextlib.suppress(scipy.sparse.linalg.ArpackError):  # the dense method is left
            found = scipy.sparse.linalg.eigsh(
                gram, k=1, which="LA", tol=1e-9, v0=start, return_eigenvectors=False
            )
            return float(found[0])
    try:
        return top_eigenvalue(gram)
    except np.linalg.LinAlgError:
        return math.inf
