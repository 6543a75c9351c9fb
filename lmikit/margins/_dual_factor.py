"""The Hessian of the margin's dual, factored block by block (`_dual` says what it is)."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

from ..certificates.point import ArrowFactor, coupled_rows, diagonal_gram, gram_is_diagonal, plan_of
from ._problem import AnchoredChain

__all__ = ["KEEP", "LESS", "Coefficients", "DualFactor", "sparse_factor"]

# The search works with M less this share of its diagonal, so that every point it calls feasible has
# room for the roundings of a proof; at the optimum M itself is almost singular.
LESS = 2.0**-30
KEEP = 1.0 - LESS


class DualFactor:
    """M factored block by block; `solve` is M^-1 on blocks (d, w_1, ..., w_L) of right-hand sides."""

    def __init__(self, place: AnchoredChain, p: np.ndarray, coefficients: "Coefficients") -> None:
        self.place, self.p, self.c = place, p * KEEP, coefficients
        chain = place.chain
        self.first: np.ndarray | None = None
        self.factors: list[np.ndarray] = []
        self.panels: list[np.ndarray] = []
        self.coupling = [
            0.5 * b[:, None] * w for b, w in zip(coefficients.b[1:], chain.weights[1:-1], strict=True)
        ]
        self.ok = self._first_blocks() and self._other_blocks()

    def _first_blocks(self) -> bool:
        """The blocks of d and w_1."""
        chain, c = self.place.chain, self.c
        w0, b = chain.weights[0], c.b[0]
        if not (self.p > 0.0).all():
            return False
        if c.a[0].any():
            self.first = _cholesky(
                w0.T @ (c.a[0][:, None] * w0) + np.diag(np.broadcast_to(self.p, w0.shape[1:]))
            )
            if self.first is None:
                return False
            z, _ = dtrtrs(self.first, 0.5 * (b[:, None] * w0).T, lower=1)
            schur = -(z.T @ z)
        elif self.p.size == 1:
            schur = (-0.25 / self.p[0]) * (b[:, None] * chain.gram * b)
        else:
            z = (0.5 / np.sqrt(self.p)) * (b[:, None] * w0)
            schur = -(z @ z.T)
        return self._add(0, schur)

    def _add(self, k: int, schur: np.ndarray) -> bool:
        """Factor the block of w_{k+1}: its own terms plus `schur`, overwritten."""
        c, weights = self.c, self.place.chain.weights
        if k + 1 < len(c.a) and c.a[k + 1].any():
            schur += weights[k + 1].T @ (c.a[k + 1][:, None] * weights[k + 1])
        schur[np.diag_indices_from(schur)] += c.c[k] * KEEP
        factor = _cholesky(schur)
        if factor is None:
            return False
        self.factors.append(factor)
        return True

    def _other_blocks(self) -> bool:
        for k, coupling in enumerate(self.coupling):
            panel, _ = dtrtrs(self.factors[k], coupling.T, lower=1)
            self.panels.append(panel)
            if not self._add(k + 1, -(panel.T @ panel)):
                return False
        return True

    def _solve_first(self, rhs: np.ndarray) -> np.ndarray:
        if self.first is None:
            return rhs / (self.p if rhs.ndim == 1 or self.p.size == 1 else self.p[:, None])
        return np.asarray(dpotrs(self.first, rhs, lower=1)[0])

    def solve(self, rhs: list[np.ndarray]) -> list[np.ndarray]:
        """Blocks (n_k,) or (n_k, R)."""
        w0, b = self.place.chain.weights[0], self.c.b[0]
        down = b if rhs[0].ndim == 1 else b[:, None]
        head = self._solve_first(rhs[0]) if rhs[0].any() else None
        rest = [rhs[1] if head is None else rhs[1] - 0.5 * down * (w0 @ head)]
        for k, coupling in enumerate(self.coupling):
            rest.append(rhs[k + 2] - coupling @ dpotrs(self.factors[k], rest[k], lower=1)[0])
        z = [dpotrs(self.factors[-1], rest[-1], lower=1)[0]]
        for k in range(len(self.factors) - 2, -1, -1):
            z.insert(0, dpotrs(self.factors[k], rest[k] - self.coupling[k].T @ z[0], lower=1)[0])
        z.insert(0, self._solve_first(rhs[0] - 0.5 * (w0.T @ (down * z[0]))))
        return z


def _cholesky(a: np.ndarray) -> np.ndarray | None:
    factor, info = dpotrf(a, lower=1, clean=1, overwrite_a=1)
    return factor if info == 0 else None


def sparse_factor(place: AnchoredChain, p: np.ndarray, c: "Coefficients") -> ArrowFactor:
    """M's factor where the first maps are sparse, with the room of `KEEP`."""
    chain = place.chain
    sizes = (chain.network.input_dim, *chain.sizes)
    diagonal: list[Any] = []
    lower: list[np.ndarray] = []
    for k, own in enumerate([np.broadcast_to(p, sizes[:1]), *c.c]):
        block: Any = own * KEEP
        if k < chain.hidden:
            w = chain.weights[k]
            if gram_is_diagonal(w, c.a[k]):
                block = block + diagonal_gram(w, c.a[k])
            elif c.a[k].any():
                gram = w.T @ (sp.diags_array(c.a[k]) @ w)
                block = gram + (sp.diags_array(block) if sp.issparse(w) else np.diag(block))
            half = 0.5 * c.b[k]
            lower.append(coupled_rows(half, w) * w.data if sp.issparse(w) else half[:, None] * w)
        diagonal.append(block)
    square = tuple(not gram_is_diagonal(w, a) for w, a in zip(chain.weights[:-1], c.a, strict=True))
    return ArrowFactor(plan_of(chain.network, square), diagonal, lower)


@dataclasses.dataclass(frozen=True, eq=False)
class Coefficients:
    """Per layer the sums of multiplier times term: a v^2 + b v w + c w^2 + lin_v v + lin_w w."""

    a: list[np.ndarray]
    b: list[np.ndarray]
    c: list[np.ndarray]
    lin_v: list[np.ndarray]
    lin_w: list[np.ndarray]
