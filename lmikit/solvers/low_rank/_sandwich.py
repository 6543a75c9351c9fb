"""sym(A M B) on the pattern for Markov matrices A and B: where most of the method's work is.

M is block tridiagonal, and its blocks below the diagonal are diag(w_k) U_k with U_k the same in every M that
an LMI's variables give: products of U_k with A and B are formed once and serve all M.
"""

import dataclasses
from typing import Any

from ..._arrays import ArrayModule
from ..._errors import SolveFailed
from ._chain import AbstractLevelBlocks, LevelBlocks, Markov, symmetric

__all__ = ["Products", "Structured", "crossings", "diagonal_of", "gains_of_inverse", "sandwich"]

_RIDGES = (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7)  # relative to the diagonal


@dataclasses.dataclass
class Structured(AbstractLevelBlocks):
    """M_{k,k-1} = diag(`scales[k]`) U_k and M_kk = diag(`bare[k]`) + (p q' + q p')/2 with (p, q) = `thin[k]`.

    None where a block is not so (`thin`: no such term).
    """

    scales: list[Any]
    bare: list[Any]
    thin: list[Any]

    @staticmethod
    def of(am: ArrayModule, M: AbstractLevelBlocks) -> "Structured":
        """Of any M: what is diagonal is seen, and nothing is known of the rest."""
        if isinstance(M, Structured):
            return M
        nothing = [None] * len(M.diag)
        return Structured(M.diag, M.low, nothing, [diagonal_of(am, block) for block in M.diag], nothing)


def diagonal_of(am: ArrayModule, M: Any) -> Any | None:
    """The diagonal of M where nothing else is in it."""
    diagonal = am.xp.diagonal(M)
    return diagonal if int(am.xp.count_nonzero(M)) == int(am.xp.count_nonzero(diagonal)) else None


@dataclasses.dataclass
class Products:
    """A Markov matrix A with `inner[k]` = U_k A_{k-1,k-1}, `across[k]` = U_k A_{k-1,k}; None without U_k.

    `gains[k]` is A_kk^-1 A_{k,k-1} for the levels between the first and the last. The left factor of a
    sandwich needs `inner` only.
    """

    A: Markov
    inner: list[Any]
    across: list[Any]
    gains: list[Any]

    @staticmethod
    def left(am: ArrayModule, A: Markov, U: list[Any]) -> "Products":
        inner = [None if u is None else am.product(u, A.diag[k - 1]) for k, u in enumerate(U)]
        nothing = [None] * len(U)
        return Products(A, inner, nothing, nothing)

    @staticmethod
    def right(am: ArrayModule, A: Markov, U: list[Any], gains: list[Any]) -> "Products":
        inner = Products.left(am, A, U).inner
        across = [None if u is None else am.product(u, A.low[k].T) for k, u in enumerate(U)]
        return Products(A, inner, across, gains)


def gains_of_inverse(am: ArrayModule, Z: LevelBlocks) -> list[Any]:
    """R_kk^-1 R_{k,k-1} = -Z_{k,k-1} S_{k-1}^-1 for R = Z^-1, S_k the Schur complement of the levels before.

    None at the first level and the last, where nothing needs it. Raises SolveFailed.
    """
    S, gains = Z.diag[0], [None] * len(Z.diag)
    for k in range(1, len(Z.diag) - 1):
        L = _cholesky(am, S)
        half = am.solve_triangular(L, Z.low[k].T)
        gains[k] = -am.solve_triangular(L, half, transposed=True).T
        S = am.less_gram(Z.diag[k], half)
    return gains


def _cholesky(am: ArrayModule, S: Any) -> Any:
    """Of S, with a ridge where rounding has made it indefinite: Z itself is positive definite."""
    diagonal, index = am.xp.diagonal(S), am.xp.arange(S.shape[0])
    for ridge in _RIDGES:
        shifted = S
        if ridge:
            shifted = S.copy()
            shifted[index, index] = (1.0 + ridge) * diagonal
        L = am.cholesky(shifted)
        if L is not None:
            return L
    raise SolveFailed("a Schur complement of the slack is not positive definite in floating point.")


def _times_diagonal(am: ArrayModule, M: Structured, k: int, B: Any) -> Any:
    """M_kk B."""
    if M.bare[k] is None:
        return am.product(M.diag[k], B)
    result = M.bare[k][:, None] * B
    if M.thin[k] is not None:
        p, q = M.thin[k]
        result += am.product(0.5 * p, am.product(q.T, B)) + am.product(0.5 * q, am.product(p.T, B))
    return result


def _times_low(am: ArrayModule, M: Structured, k: int, known: Any, B: Any) -> Any:
    """M_{k,k-1} B, with `known` = U_k B."""
    if M.scales[k] is None or known is None:
        return am.product(M.low[k], B)
    return M.scales[k][:, None] * known


def crossings(am: ArrayModule, M: AbstractLevelBlocks, right: Products) -> list[Any]:
    """M_ij' B_ij, j = i - 1, in which the left factor of a sandwich does not stand."""
    return [None, *(am.product(low.T, B) for low, B in zip(M.low[1:], right.A.low[1:], strict=True))]


def _backward(
    am: ArrayModule, left: Products, M: Structured, right: Products, MB: list[Any], crossed: list[Any]
) -> tuple[list[Any], list[Any]]:
    """(V_i - M_ii) B_ii and U_i B_jj, j = i - 1, of `sandwich`; `MB` is M_ii B_ii."""
    A, B = left.A, right.A
    last = len(MB) - 1
    beyond, ahead = [None] * (last + 1), [None] * (last + 1)
    VB = MB[last]
    for i in range(last, 0, -1):
        VB_low = _times_diagonal(am, M, i, B.low[i]) if i == last else am.product(VB, right.gains[i])
        ahead[i] = _times_low(am, M, i, right.inner[i], B.diag[i - 1]) + VB_low
        beyond[i - 1] = crossed[i] + am.product(A.G[i].T, ahead[i])
        VB = MB[i - 1] + beyond[i - 1]
    return beyond, ahead


def sandwich(
    am: ArrayModule,
    left: Products,
    blocks: AbstractLevelBlocks,
    right: Products,
    crossed: list[Any] | None = None,
) -> LevelBlocks:
    """sym(A M B) on the pattern, in O(sum n_k^3): 11 products per level, 10 with `crossings`.

    Y = A M B is a sum of A_ia M_ab B_bj over a, b that splits at the levels below i and those from i on.
    With T_i the part a, b <= i of Y_ii, V_i = sum over a, b >= i of (G_a..G_{i+1})' M_ab (G_b..G_{i+1}), G
    of A on the left and of B on the right, U_i = M_ij + V_i G_i, and j = i - 1,

        Y_ji = S_1 + A_ji S_2,         S_1 = T_j G_i' + A_jj M_ji B_ii,
        Y_ii = G_i S_1 + A_ii S_2,     S_2 = M_ij B_ji + V_i B_ii,
        Y_ij = G_i Y_jj + C_i U_i B_jj.

    V_i and U_i are needed times B only: V_i B_ij = V_i B_ii (B_ii^-1 B_ij), U_i B_jj = M_ij B_jj + V_i B_ij.
    T is carried on and not Y: A_ii (V_i - M_ii) B_ii cancels, and from level to level its rounding grows.
    """
    product, A, B = am.product, left.A, right.A
    M = Structured.of(am, blocks)
    last = len(M.diag) - 1
    MB = [_times_diagonal(am, M, k, B.diag[k]) for k in range(last + 1)]
    beyond, ahead = _backward(am, left, M, right, MB, crossed or crossings(am, M, right))
    T = product(A.diag[0], MB[0])
    Y = T if last == 0 else T + product(A.diag[0], beyond[0])
    diag, low = [symmetric(Y)], [None]
    for i in range(1, last + 1):
        own = _times_low(am, M, i, right.across[i], B.low[i].T) + MB[i]
        above = _times_low(am, M, i, left.inner[i], A.diag[i - 1]).T
        S1 = product(T, B.G[i].T) + product(above, B.diag[i])
        upper = S1 + product(A.low[i].T, own if i == last else own + beyond[i])
        lower = product(A.G[i], Y) + product(A.C[i], ahead[i])
        T = product(A.G[i], S1) + product(A.diag[i], own)
        Y = T if i == last else T + product(A.diag[i], beyond[i])
        diag.append(symmetric(Y))
        low.append(0.5 * (lower + upper.T))
    return LevelBlocks(diag, low)
