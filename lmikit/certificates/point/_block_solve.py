"""Solves with a symmetric block-tridiagonal matrix in floating point; nothing is proven with them."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg

__all__ = ["BlockFactor"]


class BlockFactor:
    """Cholesky factor of a block-tridiagonal matrix; a first diagonal block may be a vector.

    `diagonal[k]` is (n_k, n_k) or (n_k,), `lower[k]` block (k + 1, k). Raises LinAlgError where the matrix
    is not positive definite in floating point.
    """

    def __init__(self, diagonal: Sequence[np.ndarray], lower: Sequence[np.ndarray]) -> None:
        self._factors: list[np.ndarray] = []
        self._panels: list[np.ndarray] = []
        for k, block in enumerate(diagonal):
            if k == 0 and block.ndim == 1:
                if not (block > 0.0).all():
                    raise np.linalg.LinAlgError("a diagonal entry is not positive")
                self._factors.append(np.sqrt(block))
                continue
            schur = np.diag(block) if block.ndim == 1 else block
            if k:
                panel = self._forward(k - 1, np.ascontiguousarray(lower[k - 1].T))
                self._panels.append(panel)
                schur = schur - panel.T @ panel
            self._factors.append(np.linalg.cholesky(schur))

    def _forward(self, k: int, rhs: np.ndarray) -> np.ndarray:
        factor = self._factors[k]
        if factor.ndim == 1:
            return rhs / factor[:, None]
        return np.asarray(scipy.linalg.solve_triangular(factor, rhs, lower=True, check_finite=False))

    def _backward(self, k: int, rhs: np.ndarray) -> np.ndarray:
        factor = self._factors[k]
        if factor.ndim == 1:
            return rhs / factor[:, None]
        return np.asarray(scipy.linalg.solve_triangular(factor, rhs, lower=True, trans=1, check_finite=False))

    def solve(self, rhs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The blocks (n_k, R) of the solution for blocks (n_k, R) of a right-hand side."""
        forward: list[np.ndarray] = []
        for k, block in enumerate(rhs):
            value = block if k == 0 else block - self._panels[k - 1].T @ forward[-1]
            forward.append(self._forward(k, value))
        result = [self._backward(len(rhs) - 1, forward[-1])]
        for k in range(len(rhs) - 2, -1, -1):
            result.insert(0, self._backward(k, forward[k] - self._panels[k] @ result[0]))
        return result
