"""Block-tridiagonal matrices, their inverses and their completions, by block recursions.

Levels k = 0..l. A symmetric block-tridiagonal matrix holds `diag[k]` (n_k, n_k) and
`low[k]` (n_k, n_{k-1}) for k >= 1 (`low[0]` is None). An inverse of one is a `Markov`
matrix A: A_{k,j} = G_k A_{k-1,j} for j < k. The maximum determinant completion of a matrix
known on the block-tridiagonal pattern is Markov as well (Grone, Johnson, Sa, Wolkowicz,
Linear Algebra Appl. 58, 1984; Fukuda, Kojima, Murota, Nakata, SIAM J. Optim. 11, 2001).
"""

import dataclasses
from typing import Any

from ..._arrays import ArrayModule

__all__ = [
    "BlockTridiagonal",
    "Factor",
    "Markov",
    "complete",
    "factorise",
    "inner",
    "invert",
    "log_determinant",
    "sandwich",
]


@dataclasses.dataclass
class BlockTridiagonal:
    """Symmetric, by its diagonal and lower blocks."""

    diag: list[Any]
    low: list[Any]

    def plus(self, scale: float, other: "BlockTridiagonal") -> "BlockTridiagonal":
        """self + scale * other."""
        return BlockTridiagonal(
            [a + scale * b for a, b in zip(self.diag, other.diag, strict=True)],
            [None, *(a + scale * b for a, b in zip(self.low[1:], other.low[1:], strict=True))],
        )

    def times(self, scale: float) -> "BlockTridiagonal":
        """scale * self."""
        return BlockTridiagonal([scale * a for a in self.diag], [None, *(scale * a for a in self.low[1:])])


@dataclasses.dataclass
class Markov(BlockTridiagonal):
    """The pattern blocks of A with A_{k,k-1} = G_k A_{k-1,k-1}; `G[0]` is None."""

    G: list[Any]


@dataclasses.dataclass
class Factor:
    """Block factorisation of Z from the last level backwards.

    With S_l = Z_ll and S_{k-1} = Z_{k-1,k-1} - Z_{k,k-1}' S_k^-1 Z_{k,k-1}: `L[k]` is the
    Cholesky factor of S_k and `V[k]` = L_k^-1 Z_{k,k-1}.
    """

    L: list[Any]
    V: list[Any]


def inner(A: BlockTridiagonal, B: BlockTridiagonal) -> float:
    """<A, B>."""
    total = 0.0
    for a, b in zip(A.diag, B.diag, strict=True):
        total += float((a * b).sum())
    for a, b in zip(A.low[1:], B.low[1:], strict=True):
        total += 2.0 * float((a * b).sum())
    return total


def factorise(am: ArrayModule, Z: BlockTridiagonal) -> Factor | None:
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
            S = Z.diag[k - 1] - V[k].T @ V[k]
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
    diag: list[Any] = [am.inverse_from_cholesky(L) for L in factor.L]
    for k in range(1, levels):
        G[k] = -am.solve_triangular(factor.L[k], factor.V[k], transposed=True)
        low[k] = G[k] @ diag[k - 1]
        diag[k] = _symmetric(diag[k] + low[k] @ G[k].T)
    return Markov(diag, low, G)


def complete(am: ArrayModule, X: BlockTridiagonal) -> Markov | None:
    """The maximum determinant completion of X, or None where X has no positive definite one.

    G_k = X_{k,k-1} X_{k-1,k-1}^-1; it exists iff X_00 and all X_kk - G_k X_{k,k-1}' are PD.
    """
    levels = len(X.diag)
    G: list[Any] = [None] * levels
    conditional = X.diag[0]
    for k in range(levels):
        if k:
            L = am.cholesky(X.diag[k - 1])
            if L is None:
                return None
            half = am.solve_triangular(L, X.low[k].T)
            conditional = X.diag[k] - half.T @ half
            G[k] = am.solve_triangular(L, half, transposed=True).T
        if am.cholesky(conditional) is None:
            return None
    return Markov(X.diag, X.low, G)


def _symmetric(a: Any) -> Any:
    return 0.5 * (a + a.T)


def _forward(A: Markov, M: BlockTridiagonal, B: Markov) -> list[Any]:
    """T_i = sum over a, b <= i of A_ia M_ab B_bi."""
    T = [A.diag[0] @ M.diag[0] @ B.diag[0]]
    for i in range(1, len(A.diag)):
        at_i = A.diag[i] @ M.diag[i] + A.low[i] @ M.low[i].T
        below = A.diag[i] @ M.low[i]
        T.append(A.G[i] @ T[i - 1] @ B.G[i].T + at_i @ B.diag[i] + below @ B.low[i].T)
    return T


def _backward(A: Markov, M: BlockTridiagonal, B: Markov) -> list[Any]:
    """V_i = sum over a, b >= i of (G_a..G_{i+1})' M_ab (G_b..G_{i+1}), G of A and of B."""
    V = list(M.diag)
    for i in range(len(A.diag) - 2, -1, -1):
        right = M.low[i + 1] + V[i + 1] @ B.G[i + 1]
        V[i] = M.diag[i] + M.low[i + 1].T @ B.G[i + 1] + A.G[i + 1].T @ right
    return V


def sandwich(A: Markov, M: BlockTridiagonal, B: Markov) -> BlockTridiagonal:
    """sym(A M B) on the pattern, in O(sum n_k^3).

    A_ia M_ab B_bj splits into the pairs a, b <= i (forward sums T), a, b >= i (backward sums V)
    and, for j = i - 1, the two pairs between the levels.
    """
    T, V = _forward(A, M, B), _backward(A, M, B)
    diag, low = [], [None]
    for i in range(len(A.diag)):
        above = 0.0 if i == len(A.diag) - 1 else A.diag[i] @ (V[i] - M.diag[i]) @ B.diag[i]
        diag.append(_symmetric(T[i] + above))
        if i:
            down = M.low[i]
            right = V[i] @ B.low[i] + down @ B.diag[i - 1]
            lower = A.G[i] @ T[i - 1] + A.diag[i] @ right + A.low[i] @ (down.T @ B.low[i])
            left = A.low[i].T @ V[i] + A.diag[i - 1] @ down.T
            upper = T[i - 1] @ B.G[i].T + left @ B.diag[i] + (A.low[i].T @ down) @ B.low[i].T
            low.append(0.5 * (lower + upper.T))
    return BlockTridiagonal(diag, low)
