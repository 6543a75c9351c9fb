"""Block-tridiagonal matrices, their inverses and their completions, by block recursions.

Levels k = 0..l. A symmetric block-tridiagonal matrix holds `diag[k]` (n_k, n_k) and
`low[k]` (n_k, n_{k-1}) for k >= 1 (`low[0]` is None). An inverse of one is a `Markov`
matrix A: A_{k,j} = G_k A_{k-1,j} for j < k. The maximum determinant completion of a matrix
known on the block-tridiagonal pattern is Markov as well (Grone, Johnson, Sa, Wolkowicz,
Linear Algebra Appl. 58, 1984; Fukuda, Kojima, Murota, Nakata, SIAM J. Optim. 11, 2001).
"""

import abc
import dataclasses
from typing import Any

from ..._arrays import ArrayModule

__all__ = [
    "AbstractLevelBlocks",
    "Factor",
    "LevelBlocks",
    "Markov",
    "completable",
    "complete",
    "factorise",
    "inner",
    "invert",
    "log_determinant",
    "mirrored",
    "symmetric",
]


@dataclasses.dataclass
class AbstractLevelBlocks(abc.ABC):
    """A symmetric matrix by its diagonal and lower blocks."""

    diag: list[Any]
    low: list[Any]

    def plus(self, scale: float, other: "AbstractLevelBlocks") -> "LevelBlocks":
        """self + scale * other."""
        return LevelBlocks(
            [_plus(a, scale, b) for a, b in zip(self.diag, other.diag, strict=True)],
            [None, *(_plus(a, scale, b) for a, b in zip(self.low[1:], other.low[1:], strict=True))],
        )

    def times(self, scale: float) -> "LevelBlocks":
        """scale * self."""
        return LevelBlocks([scale * a for a in self.diag], [None, *(scale * a for a in self.low[1:])])


@dataclasses.dataclass
class LevelBlocks(AbstractLevelBlocks):
    """These blocks and nothing else: zero outside, or not known there."""


@dataclasses.dataclass
class Markov(AbstractLevelBlocks):
    """The pattern blocks of A with A_{k,k-1} = G_k A_{k-1,k-1} and `C[k]` = A_kk - G_k A_{k-1,k}.

    `G[0]` is None and `C[0]` is A_00.
    """

    G: list[Any]
    C: list[Any]


@dataclasses.dataclass
class Factor:
    """Block factorisation of Z from the last level backwards.

    With S_l = Z_ll and S_{k-1} = Z_{k-1,k-1} - Z_{k,k-1}' S_k^-1 Z_{k,k-1}: `L[k]` is the
    Cholesky factor of S_k and `V[k]` = L_k^-1 Z_{k,k-1}.
    """

    L: list[Any]
    V: list[Any]


def _plus(a: Any, scale: float, b: Any) -> Any:
    """a + scale * b, without a copy of b where it is a sum or a difference."""
    if scale == 1.0:
        return a + b
    return a - b if scale == -1.0 else a + scale * b


def inner(A: AbstractLevelBlocks, B: AbstractLevelBlocks) -> float:
    """<A, B>."""
    total = 0.0
    for a, b in zip(A.diag, B.diag, strict=True):
        total += float((a * b).sum())
    for a, b in zip(A.low[1:], B.low[1:], strict=True):
        total += 2.0 * float((a * b).sum())
    return total


def factorise(am: ArrayModule, Z: AbstractLevelBlocks) -> Factor | None:
    """The factor of Z, or None where Z is not positive definite."""
    levels = len(Z.diag)
    L: list[Any] = [None] * levels
    V: list[Any] = [None] * levels
    S = Z.diag[-1]
    for k in range(levels - 1, -1, -1):
        L[k] = am.cholesky(S)
        if L[k] is None:
            return None
        if k:
            V[k] = am.solve_triangular(L[k], Z.low[k])
            S = am.less_gram(Z.diag[k - 1], V[k])
    return Factor(L, V)


def log_determinant(am: ArrayModule, factor: Factor) -> float:
    """log det Z."""
    xp = am.xp
    return 2.0 * float(sum(xp.log(xp.diagonal(L)).sum() for L in factor.L))


def invert(am: ArrayModule, factor: Factor) -> Markov:
    """Z^-1 in Markov form: G_k = -S_k^-1 Z_{k,k-1}, R_kk = S_k^-1 + G_k R_{k-1,k-1} G_k'."""
    levels = len(factor.L)
    G: list[Any] = [None] * levels
    low: list[Any] = [None] * levels
    C: list[Any] = [am.inverse_from_cholesky(L) for L in factor.L]
    diag = list(C)
    for k in range(1, levels):
        G[k] = -am.solve_triangular(factor.L[k], factor.V[k], transposed=True)
        low[k] = am.product(G[k], diag[k - 1])
        diag[k] = symmetric(C[k] + am.product(low[k], G[k].T))
    return Markov(diag, low, G, C)


def completable(am: ArrayModule, X: LevelBlocks) -> bool:
    """Whether `complete` would succeed, without the work that only the completion needs."""
    return _conditionals(am, X) is not None


def complete(am: ArrayModule, X: LevelBlocks) -> Markov | None:
    """The maximum determinant completion of X, or None where X has no positive definite one.

    G_k = X_{k,k-1} X_{k-1,k-1}^-1; it exists iff X_00 and all X_kk - G_k X_{k,k-1}' are PD.
    """
    found = _conditionals(am, X)
    if found is None:
        return None
    G: list[Any] = [None]
    C: list[Any] = [X.diag[0]]
    for L, half, lower in found:
        G.append(am.solve_triangular(L, half, transposed=True).T)
        C.append(mirrored(am, lower))
    return Markov(X.diag, X.low, G, C)


def _conditionals(am: ArrayModule, X: LevelBlocks) -> list[tuple[Any, Any, Any]] | None:
    """For k >= 1: the factor L of X_{k-1,k-1}, L^-1 X_{k-1,k}, and the lower triangle of C_k; or None."""
    found: list[tuple[Any, Any, Any]] = []
    for k, low in enumerate(X.low[1:], start=1):
        L = am.cholesky(X.diag[k - 1])
        if L is None:
            return None
        half = am.solve_triangular(L, low.T)
        found.append((L, half, am.less_gram(X.diag[k], half)))
        if am.cholesky(found[-1][2]) is None:
            return None
    return found if found or am.cholesky(X.diag[0]) is not None else None


def mirrored(am: ArrayModule, lower: Any) -> Any:
    """The symmetric matrix with this lower triangle."""
    return am.xp.tril(lower) + am.xp.tril(lower, -1).T


def symmetric(a: Any) -> Any:
    """Its symmetric part."""
    return 0.5 * (a + a.T)
