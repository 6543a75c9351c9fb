"""`SpectralProduct`: the product of spectral norms and largest slopes."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from .._arrays import blas_threads
from .._progress import ProgressCallback
from .._witness import Witness
from ..network import Network, normalise
from ..solvers import AbstractSolver
from ._base import AbstractMethod
from ._recursion import top_eigenvalue

__all__ = ["SpectralProduct"]

# A floating-point proof needs room above sigma_max^2; this loosens L by 5e-10 per layer.
_SLACK = 1e-9
_SMALL_BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralProduct(AbstractMethod):
    """The product bound: rho = prod_k tau_k prod_k m_k^2, tau_k I - W_k'W_k >= 0.

    ||f(x) - f(x')|| <= sqrt(rho) ||x - x'||, m_k the largest |slope| of hidden layer k (composition of
    Lipschitz maps). Proven layer by layer, so it loosens by rounding only, and not with depth.
    """

    name: ClassVar[str] = "spectral-product"

    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A layerwise witness for `network`: tau_k slightly above sigma_max(W_k)^2; no solver is used."""
        scaled, pow2 = normalise(network)
        with blas_threads(1 if max(network.dims[1:]) <= _SMALL_BLOCK else None), np.errstate(under="ignore"):
            taus = [_squared_norm(w) * (1.0 + _SLACK) for w in scaled.weights]
        gains = [float(np.maximum(np.abs(a), np.abs(b)).max(initial=0.0)) for a, b in scaled.slopes]
        rho = math.prod(_with_gains(taus, gains))
        multipliers = tuple(np.array([tau]) for tau in taus)
        return Witness("layerwise", rho, multipliers, layer_pow2=pow2, produced_by=self.name)


def _with_gains(taus: list[float], gains: list[float]) -> list[float]:
    return [tau * gain * gain for tau, gain in zip(taus, [*gains, 1.0], strict=True)]


def _squared_norm(w: np.ndarray) -> float:
    """sigma_max(W)^2 from the smaller Gram matrix."""
    return top_eigenvalue(w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w)
