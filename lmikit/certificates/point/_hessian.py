"""M of a multiplier group with its radii: what a proof asks of it, for dense and for sparse maps.

Solves and products are floating point, nothing is proven with them; `proven` is the proof.
"""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from .._verified_cholesky import BlockTridiagonal, Verdict, verified_cholesky
from ._block_solve import BlockFactor

__all__ = ["AbstractFactor", "AbstractHessian", "DenseHessian", "times_block"]


class AbstractFactor(abc.ABC):
    """M^-1 in floating point."""

    @abc.abstractmethod
    def solve(self, rhs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Blocks (n_k, R) of the solution."""


class AbstractHessian(abc.ABC):
    """Half the Hessian of a Lagrangian, block tridiagonal in (x, w_1, ..., w_L)."""

    @abc.abstractmethod
    def mains(self) -> list[np.ndarray]:
        """The main diagonal by blocks."""

    @abc.abstractmethod
    def solver(self, less: float = 0.0) -> AbstractFactor:
        """A factor of M without that share of its diagonal; raises LinAlgError where it is not definite."""

    @abc.abstractmethod
    def times(self, point: Sequence[np.ndarray]) -> list[np.ndarray]:
        """M z by blocks (n_k, R)."""

    @abc.abstractmethod
    def proven(self, share: float) -> Verdict:
        """Whether M - diag(share M_ii) is proven positive definite for all matrices within the radii."""

    @abc.abstractmethod
    def matrix(self) -> sp.csr_array:
        """M without its radii."""


class _Blocks(AbstractFactor):
    def __init__(self, factor: BlockFactor) -> None:
        self.factor = factor

    def solve(self, rhs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.factor.solve(rhs)


@dataclasses.dataclass(frozen=True, eq=False)
class DenseHessian(AbstractHessian):
    """Dense couplings."""

    blocks: BlockTridiagonal

    def mains(self) -> list[np.ndarray]:
        return [block if block.ndim == 1 else np.diagonal(block) for block in self.blocks.diagonal]

    def solver(self, less: float = 0.0) -> AbstractFactor:
        diagonal = []
        for block in self.blocks.diagonal:
            own = block * (1.0 - less) if block.ndim == 1 else block.copy()
            if own.ndim == 2:
                own[np.diag_indices_from(own)] *= 1.0 - less
            diagonal.append(own)
        return _Blocks(BlockFactor(diagonal, self.blocks.lower))

    def times(self, point: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = [times_block(block, z) for block, z in zip(self.blocks.diagonal, point, strict=True)]
        for k, below in enumerate(self.blocks.lower):
            result[k + 1] += below @ point[k]
            result[k] += below.T @ point[k + 1]
        return result

    def proven(self, share: float) -> Verdict:
        radii = []
        for block, rad in zip(self.mains(), self.blocks.diagonal_rad, strict=True):
            assert rad is not None
            delta = share * block
            wider = rad.copy()
            if wider.ndim == 1:
                wider = np.nextafter(wider + delta, np.inf)
            else:
                index = np.arange(delta.size)
                wider[index, index] = np.nextafter(wider[index, index] + delta, np.inf)
            radii.append(wider)
        return verified_cholesky(dataclasses.replace(self.blocks, diagonal_rad=tuple(radii)))

    def matrix(self) -> sp.csr_array:
        own = [np.diag(block) if block.ndim == 1 else block for block in self.blocks.diagonal]
        grid: list[list[sp.csr_array | None]] = [[None] * len(own) for _ in own]
        for k, block in enumerate(own):
            grid[k][k] = sp.csr_array(block)
        for k, below in enumerate(self.blocks.lower):
            grid[k + 1][k], grid[k][k + 1] = sp.csr_array(below), sp.csr_array(below.T)
        return sp.csr_array(sp.block_array(grid))


def times_block(block: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A block of the diagonal, a vector or a matrix, times z (n, R)."""
    return np.asarray(block[:, None] * z if block.ndim == 1 else block @ z)
