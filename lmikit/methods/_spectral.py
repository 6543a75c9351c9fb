"""`SpectralProduct`: the product of spectral norms and largest slopes."""

import contextlib
import dataclasses
import math
from typing import ClassVar

import numpy as np
import scipy.sparse.linalg

from .._arrays import blas_threads
from .._eigen import top_eigenvalue
from .._errors import InputError
from .._progress import ProgressCallback
from .._witness import Witness
from ..graph import Graph, GraphWitness
from ..graph._witness import as_norm
from ..network import AbstractLinearMap, Network, is_wide, perron_weights
from ..reductions import LayerPowers, prepare
from ..solvers import AbstractSolver
from ._base import AbstractMethod
from ._graph import norm_product
from ._recursion import exact_shift

__all__ = ["SpectralProduct", "one_norm"]

# A floating-point proof needs room above sigma_max^2; this loosens L by 5e-10 per layer.
_SLACK = 1e-9
_ROUGH = 1e-6  # the same where the proof finds the least square anyway
_SMALL_BLOCK = 1024
_DENSE = 1000  # rows


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
        with blas_threads(1 if max(network.dims[1:]) <= _SMALL_BLOCK else None), np.errstate(under="ignore"):
            prepared = prepare(network, [LayerPowers], thorough=False)
            norms = [_squared_norm(layer.linear) for layer in prepared.network.layers]
        gains = [float(np.maximum(np.abs(a), np.abs(b)).max(initial=0.0)) for a, b in network.slopes]
        rho = math.prod(tau * gain * gain for (tau, _), gain in zip(norms, [*gains, 1.0], strict=True))
        taus, powers = (tuple(x) for x in zip(*norms, strict=True))
        arrays = tuple(np.array([tau]) for tau in taus)
        return prepared.undo(Witness("layerwise", rho * (1.0 + _SLACK), arrays, powers, self.name))

    def propose_graph(
        self,
        graph: Graph,
        *,
        norm: tuple[float, float] = (2.0, 2.0),
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> GraphWitness:
        """Sums of norms over parents, products along paths; l2 only. No solver is used."""
        if as_norm(norm) != (2.0, 2.0):
            raise InputError(f"{self.label} bounds l2 gains only; LipSDP() takes the norms {norm}.")
        return norm_product(graph)


def one_norm(network: Network) -> Witness:
    """The witness of LipSDP for a network of one linear map: rho above the squared norm, no multipliers.

    Of large maps the norm is found without their Gram matrix, which the proof forms anyway.
    """
    (layer,) = network.layers
    tau, pow2 = _squared_norm(layer.linear, implicit=True)
    return Witness("lipsdp", tau, (), layer_pow2=(pow2,))


def _squared_norm(linear: AbstractLinearMap, implicit: bool = False) -> tuple[float, int]:
    """(tau, p): tau above the squared norm of 2**-p W, near 1, so that products over layers stay in range.

    A layer that is too large for a Gram matrix gets the largest weighted row sum of |W|'|W|.
    """
    if is_wide(linear):
        tau = perron_weights(abs(linear.to_sparse()))[1] * (1.0 + _SLACK)
        return tau, 0
    w = linear.to_dense()
    if implicit and min(w.shape) > _DENSE:
        tau = _top_square(w) * (1.0 + _ROUGH)
    else:
        tau = _top(w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w) * (1.0 + _SLACK)
    shift = exact_shift(w, math.frexp(tau)[1] // 2) if tau > 0.0 else 0
    return math.ldexp(tau, -2 * shift), shift


def _top_square(w: np.ndarray) -> float:
    """||W||^2 by Lanczos on W'W, to about 1e-6."""
    operator = scipy.sparse.linalg.LinearOperator(
        (w.shape[0], w.shape[0]), matvec=lambda x: w @ (x @ w), dtype=np.float64
    )
    start = np.random.default_rng(0).standard_normal(w.shape[0])
    with contextlib.suppress(scipy.sparse.linalg.ArpackError):
        found = scipy.sparse.linalg.eigsh(
            operator, k=1, which="LA", tol=_ROUGH, v0=start, return_eigenvectors=False
        )
        return float(found[0])
    return _top(w @ w.T)


def _top(gram: np.ndarray) -> float:
    """lambda_max; by Lanczos where a dense reduction takes seconds."""
    n = gram.shape[0]
    if n > _DENSE and np.isfinite(gram).all():
        start = np.random.default_rng(0).standard_normal(n)
        with contextlib.suppress(scipy.sparse.linalg.ArpackError):  # the dense method is left
            found = scipy.sparse.linalg.eigsh(
                gram, k=1, which="LA", tol=0.1 * _SLACK, v0=start, return_eigenvectors=False
            )
            return float(found[0])
    return top_eigenvalue(gram)
