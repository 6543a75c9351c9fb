"""The LipSDP multipliers that layer norms imply, with one common scale minimised."""

import math
import time
from collections.abc import Sequence

import numpy as np

from .._arrays import blas_threads
from .._witness import Witness
from ..network import Network
from ._proposal import proposed_witness
from ._recursion import EliminatedChain, Evaluation, chain_of, evaluate, exact_shift, rescaled

__all__ = ["implied_multipliers"]

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_MARGIN = 1e-9  # keeps K of Lemma 1 positive where kappa = 1 and a norm is attained
_ROUNDS = 14
_FEW_ROUNDS = 4  # beyond _SMALL: each evaluation takes seconds, and the minimum is flat
_SMALL = 1024


def implied_multipliers(
    network: Network, taus: Sequence[float], *, time_limit: float | None = None
) -> Witness | None:
    """The witness with d_k = kappa_k e_k, e_k = m_k^2 tau_{k-1} e_{k-1}, e_0 = 1, times one common scale.

    tau_k >= |W_k|^2 for the network's weights. X_{k-1}^-1 <= e_{k-1} I gives G <= e_{k-1} tau_{k-1} I, so
    by Lemma 2 of `_recursion` the point is feasible and rho <= e_L tau_L = prod tau_k prod m_k^2. rho is
    minimised at the best common scale: the LMI is affine in (Lambda, 1/rho), so 1/rho is concave in
    it. None where the recursion leaves the range of float64.
    """
    with blas_threads(1 if max(network.dims) <= _SMALL else None), np.errstate(all="ignore"):
        chain, scaled_taus = _balanced(chain_of(network), taus)
        base, e = [], 1.0
        for k in range(chain.hidden_layers):
            m = float(chain.gain[k].max()) or 1.0
            e = e * m * m * scaled_taus[k]
            kappa = chain.kappa[k]
            base.append(np.maximum(kappa, kappa * kappa * (1.0 + _MARGIN)) * e)
        if not all(np.isfinite(d).all() and (d > 0.0).all() for d in base):
            return None
        deadline = math.inf if time_limit is None else time.monotonic() + time_limit
        found = _best_scale(chain, base, deadline)
    if found is None or not (math.isfinite(found.rho) and found.rho > 0.0):
        return None
    witness = proposed_witness(chain, found, "rs-lmi")
    return witness if all(np.isfinite(t).all() for t in witness.multipliers) else None


def _balanced(chain: EliminatedChain, taus: Sequence[float]) -> tuple[EliminatedChain, list[float]]:
    """Exact powers of two that bring every tau near 1, so that deep products stay in range."""
    here = [math.ldexp(t, -2 * p) for t, p in zip(taus, chain.layer_pow2, strict=True)]
    shifts = [exact_shift(w, math.frexp(t)[1] // 2) for w, t in zip(chain.weights, here, strict=True)]
    return rescaled(chain, shifts), [math.ldexp(t, -2 * s) for t, s in zip(here, shifts, strict=True)]


def _best_scale(chain: EliminatedChain, base: list[np.ndarray], deadline: float) -> Evaluation | None:
    """The evaluation of least rho over d = base / s: golden section in log s, outward from s = 1."""
    seen: dict[float, Evaluation | None] = {}

    def rho(log_scale: float) -> float:
        if log_scale not in seen:
            late = bool(seen) and time.monotonic() > deadline
            seen[log_scale] = None if late else evaluate(chain, [d * math.exp(-log_scale) for d in base])
        result = seen[log_scale]
        return math.inf if result is None else result.rho

    low, middle, high = -0.7, 0.0, 0.7
    while rho(low) < rho(middle) and low > -12.0:
        low, middle, high = low - 0.7, low, middle
    while rho(high) < rho(middle) and high < 12.0:
        low, middle, high = middle, high, high + 0.7
    widest = max(w.shape[0] for w in chain.weights)
    for _ in range(0 if not chain.hidden_layers else _ROUNDS if widest <= _SMALL else _FEW_ROUNDS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if rho(left) <= rho(right) else (left, high)
    feasible = [e for e in seen.values() if e is not None]
    return min(feasible, key=lambda e: e.rho) if feasible else None
