"""Maps as `OutputGain` multiplies them: sparse where that is worth it, their gram matrices in blocks."""

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import blas

__all__ = ["QuickMap"]

_SPARSE = 0.25  # share of nonzero entries up to which a map is multiplied as a sparse one
_SPARSE_COST = 250.0  # of a multiplication of sparse matrices, against one of dense ones
_CHUNK = 256  # rows of a block of A D A'


@dataclasses.dataclass(frozen=True, eq=False)
class QuickMap:
    """A map as products need it: sparse (CSR) where that is worth it, else an array."""

    matrix: Any
    transposed: Any

    @classmethod
    def of(cls, dense: np.ndarray) -> "QuickMap":
        if np.count_nonzero(dense) <= _SPARSE * dense.size:
            sparse = sp.csr_array(dense)
            return cls(sparse, sparse.T.tocsr())
        return cls(np.ascontiguousarray(dense), np.ascontiguousarray(dense.T))

    @property
    def T(self) -> "QuickMap":
        return QuickMap(self.transposed, self.matrix)

    @functools.cached_property
    def dense(self) -> np.ndarray:
        return np.asarray(self.matrix.toarray() if sp.issparse(self.matrix) else self.matrix)

    @functools.cached_property
    def squared(self) -> Any:
        """Entry by entry."""
        return self.matrix.power(2) if sp.issparse(self.matrix) else self.matrix**2

    @functools.cached_property
    def _blocks(self) -> "BlockGram | None":
        """How A D A' is formed block by block, where that is quicker than the other two ways."""
        if not sp.issparse(self.matrix):
            return None
        dense = 0.5 * self.matrix.shape[0] * float(np.prod(self.matrix.shape))
        if self._sparse_cost < dense:
            return None
        found = BlockGram.of(self.matrix)
        return found if found.cost < min(dense, self._sparse_cost) else None

    @functools.cached_property
    def _sparse_cost(self) -> float:
        """Of A D A' by sparse products, in multiplications of dense ones."""
        if not sp.issparse(self.matrix):
            return math.inf
        return _SPARSE_COST * float((np.diff(self.transposed.indptr).astype(float) ** 2).sum())

    def gram(self, weights: np.ndarray) -> np.ndarray:
        """The lower triangle of A diag(weights) A', weights >= 0."""
        if self._blocks is not None:
            return self._blocks.at(weights)
        root = np.sqrt(weights)
        if self._sparse_cost < 0.5 * self.matrix.shape[0] * float(np.prod(self.matrix.shape)):
            half = self.matrix @ sp.diags_array(root).tocsr()
            return np.asarray((half @ half.T).toarray())
        return np.asarray(blas.dsyrk(1.0, (self.dense * root).T, trans=1, lower=1))

    def times(self, weights: np.ndarray, other: "QuickMap") -> np.ndarray:
        """A diag(weights) B'."""
        if sp.issparse(self.matrix) and sp.issparse(other.matrix):
            return np.asarray((self.matrix @ sp.diags_array(weights).tocsr() @ other.transposed).toarray())
        return np.asarray((self.dense * weights) @ other.transposed)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockGram:
    """A diag(weights) A' by blocks of rows that read neighbouring columns, as those of a convolution do."""

    size: int
    blocks: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, matrix: sp.csr_array) -> "BlockGram":
        """Rows in the order of the mean of their columns, `_CHUNK` at a time."""
        counts = np.maximum(np.diff(matrix.indptr), 1)
        middle = np.add.reduceat(np.append(matrix.indices, 0.0), matrix.indptr[:-1]) / counts
        order = np.argsort(middle, kind="stable")
        parts = [order[k : k + _CHUNK] for k in range(0, order.size, _CHUNK)]
        rows = [matrix[p].tocsc() for p in parts]
        reads = [np.diff(r.indptr) > 0 for r in rows]
        blocks = []
        for i, j in itertools.combinations_with_replacement(range(len(parts)), 2):
            common = np.flatnonzero(reads[i] & reads[j])
            if common.size:
                left, right = rows[i][:, common].toarray(), rows[j][:, common].toarray()
                blocks.append((parts[i], parts[j], common, left, np.ascontiguousarray(right.T)))
        return cls(matrix.shape[0], tuple(blocks))

    @property
    def cost(self) -> float:
        """Multiplications."""
        return float(sum(left.size * right.shape[1] for _, _, _, left, right in self.blocks))

    def at(self, weights: np.ndarray) -> np.ndarray:
        """The full symmetric matrix."""
        result = np.zeros((self.size, self.size))
        for first, second, common, left, right in self.blocks:
            block = (left * weights[common]) @ right
            result[np.ix_(first, second)] = block
            result[np.ix_(second, first)] = block.T
        return result
