"""X and R = Z^-1 as the two sides of products sym(X M R), in double or in single precision.

Single precision takes half the time. Where it is not enough shows at once: the residual of the Newton
equations is known from the product that a direction needs anyway.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arrays import ArrayModule
from ._chain import AbstractLevelBlocks, LevelBlocks, Markov, complete
from ._compile import Compiled, LevelLMI
from ._sandwich import Products, Structured, crossings, sandwich

__all__ = ["Pair", "Precision", "converted", "towards_one"]


@dataclasses.dataclass
class Precision:
    """In which precision directions are computed; it changes to double once and for all."""

    single: bool


@dataclasses.dataclass
class Pair:
    """The sides `left` and `right` of each LMI: X times `scale[0]` and R times `scale[1]`, powers of two."""

    problem: Compiled
    chains: Sequence[LevelLMI]
    left: list[Products]
    right: list[Products]
    scale: tuple[float, float]
    dtype: Any
    recent: list[tuple[AbstractLevelBlocks, Structured, list[Any]] | None]  # of each LMI, see `_prepared`

    @staticmethod
    def of(
        problem: Compiled, X: list[Markov], R: list[Markov], gains: list[list[Any]], single: bool
    ) -> "Pair":
        """`gains`: of R, see `Products`."""
        am, chains = problem.am, problem.chains
        scale: tuple[float, float] = (1.0, 1.0)
        dtype: Any = np.dtype(np.float64)
        if single:
            chains, dtype = [chain.single for chain in chains], np.dtype(np.float32)
            scale = (towards_one(am, X), towards_one(am, R))
            X, R = ([_cast(a, dtype, s) for a in A] for A, s in zip((X, R), scale, strict=True))
            gains = [[_array(g, dtype) for g in of] for of in gains]
        left = [Products.left(am, x, chain.across) for x, chain in zip(X, chains, strict=True)]
        right = [Products.right(am, r, chain.across, g) for r, chain, g in zip(R, chains, gains, strict=True)]
        return Pair(problem, chains, left, right, scale, dtype, [None] * len(left))

    @property
    def single(self) -> bool:
        return bool(self.dtype == np.float32)

    def products(self, blocks: Sequence[AbstractLevelBlocks]) -> list[LevelBlocks]:
        """sym(X M R) for M of each LMI, in double precision."""
        return [self._product(k, self.left[k], M) for k, M in enumerate(blocks)]

    def products_at(
        self, step: Sequence[AbstractLevelBlocks], length: float, blocks: Sequence[AbstractLevelBlocks]
    ) -> list[LevelBlocks] | None:
        """The same with X + length * step completed in place of X; None where it has no completion."""
        found = []
        for k, (x, dx, M) in enumerate(zip(self.left, step, blocks, strict=True)):
            if self.single:
                dx = converted(dx, self.dtype, self.scale[0])
            moved = complete(self.problem.am, x.A.plus(length, dx))
            if moved is None:
                return None
            found.append(self._product(k, Products.left(self.problem.am, moved, self.chains[k].across), M))
        return found

    def _product(self, k: int, left: Products, M: AbstractLevelBlocks) -> LevelBlocks:
        prepared, crossed = self._prepared(k, M)
        K = sandwich(self.problem.am, left, prepared, self.right[k], crossed)
        if not self.single:
            return K
        return converted(K, np.dtype(np.float64), 1.0 / (self.scale[0] * self.scale[1]))

    def _prepared(self, k: int, M: AbstractLevelBlocks) -> tuple[Structured, list[Any]]:
        """M in this precision and its `crossings`: a direction's serve its correction as well."""
        last = self.recent[k]
        if last is None or last[0] is not M:
            structured = Structured.of(self.problem.am, M)
            if self.single:
                structured = _structured(structured, self.dtype)
            last = M, structured, crossings(self.problem.am, structured, self.right[k])
            self.recent[k] = last
        return last[1:]


def towards_one(am: ArrayModule, A: Sequence[AbstractLevelBlocks]) -> float:
    """The power of two that brings the largest entry of the diagonal blocks near 1."""
    largest = max(float(am.xp.abs(block).max()) for a in A for block in a.diag if block.size)
    return math.ldexp(1.0, -math.frexp(largest)[1]) if 0.0 < largest < math.inf else 1.0


def _array(a: Any, dtype: Any, scale: float = 1.0) -> Any:
    """scale * a, which does not overflow on the way."""
    if a is None:
        return None
    a = a if a.dtype == np.float64 else a.astype(np.float64)
    return (a if scale == 1.0 else scale * a).astype(dtype, copy=False)


def converted(A: AbstractLevelBlocks, dtype: Any, scale: float) -> LevelBlocks:
    """scale * A in another precision."""
    return LevelBlocks([_array(a, dtype, scale) for a in A.diag], [_array(a, dtype, scale) for a in A.low])


def _cast(A: Markov, dtype: Any, scale: float) -> Markov:
    blocks, C = converted(A, dtype, scale), [_array(a, dtype, scale) for a in A.C]
    return Markov(blocks.diag, blocks.low, [_array(a, dtype) for a in A.G], C)


def _structured(M: Structured, dtype: Any) -> Structured:
    def cast(arrays: list[Any]) -> list[Any]:
        return [_array(a, dtype) for a in arrays]

    thin = [None if pair is None else tuple(cast(list(pair))) for pair in M.thin]
    return Structured(cast(M.diag), cast(M.low), cast(M.scales), cast(M.bare), thin)
