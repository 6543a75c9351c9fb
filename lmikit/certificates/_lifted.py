"""The lifted LMI of a chain, formed with a radius for every rounding, and the exact-zero rule.

With T_k = diag(t), S = diag(alpha + beta), Pi = diag(alpha beta) of hidden layer k (Fazlyab et al.,
NeurIPS 2019, diagonal multipliers; the output term Y'Y lifted by a Schur complement):

    diagonal blocks   rho I + 2 W_0'Pi_1 T_1 W_0,   2 T_k + 2 W_k'Pi_{k+1} T_{k+1} W_k,   2 T_L,   I
    lower blocks      -S_k T_k W_{k-1}  (k = 1..L),   -W_L.

It is positive semidefinite exactly if M(rho, T) of `lmikit.Witness` is. Without hidden layers the
blocks are rho I, I and -W_0, which says rho >= ||W_0||^2.

Rounding. alpha = 0, beta = 1: one product, |error| <= u |tw| + 2**-1075 <= 2u |fl(tw)| + 2**-1021, and 0
if the significands of t and w have at most 29 and 24 bits and no product underflows. In general
s = fl(alpha + beta), a = fl(s t), c = fl(a w): with eta's at most 2**-1075,
c - eta_3 - eta_2 w(1 + d_3) = (alpha + beta) t w (1 + d_1)(1 + d_2)(1 + d_3), hence
|error| <= 4u |c| + 2**-1073 |w| + 2**-1021. For q_i = fl(2 fl(alpha_i beta_i) t_i) the m-term inner
products W'qW carry at most m + 4 roundings, hence |error| <= (m + 8) u |W|'|q||W| + underflow, where
underflow of q (<= 2**-1074 (2t + 1)), of q w and of the products is below 2**-1070 m (1 + t)(1 + |w|)^2.
Adding the diagonal afterwards costs 2u of the result.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._verified_cholesky import BlockTridiagonal

__all__ = ["Chain", "Lifted", "coupling", "lift", "reduce_exact_zeros"]

_U = 2.0**-53
_TINY = 2.0**-1021

Slopes = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Weights and slopes after the exact-zero rule; `kept[k]` indexes the neurons of hidden layer k."""

    weights: tuple[np.ndarray, ...]
    slopes: tuple[Slopes, ...]
    kept: tuple[np.ndarray, ...]


def reduce_exact_zeros(weights: Sequence[np.ndarray], slopes: Sequence[Slopes]) -> Chain | None:
    """Drop neurons that carry no increment; None if the output is exactly independent of the input.

    The rule, iterated to a fixed point: hidden neuron i of layer k is dropped if row i of W_{k-1}
    is exactly zero, or column i of W_k is exactly zero, or alpha_i = beta_i = 0 (all among the
    neurons that are left). In the first and third case its increment is 0, in the second nothing
    depends on it, so the input-output map keeps its increments. If a hidden layer loses all its
    neurons, or a linear network's only matrix is zero, the output is constant.
    """
    hidden = len(weights) - 1
    keep = [~((alpha == 0.0) & (beta == 0.0)) for alpha, beta in slopes]
    support = [w != 0.0 for w in weights]
    changed = True
    while changed:
        changed = False
        for k in range(hidden):
            before = np.ones(weights[0].shape[1], dtype=bool) if k == 0 else keep[k - 1]
            after = np.ones(weights[-1].shape[0], dtype=bool) if k == hidden - 1 else keep[k + 1]
            alive = keep[k] & support[k][:, before].any(axis=1) & support[k + 1][after].any(axis=0)
            changed = changed or not np.array_equal(alive, keep[k])
            keep[k] = alive
    kept = tuple(np.flatnonzero(alive) for alive in keep)
    if not all(index.size for index in kept) or (not hidden and not support[0].any()):
        return None
    reduced = []
    for k, w in enumerate(weights):
        rows = kept[k] if k < hidden else np.arange(w.shape[0])
        cols = kept[k - 1] if k else np.arange(w.shape[1])
        whole = rows.size == w.shape[0] and cols.size == w.shape[1]
        reduced.append(w if whole else np.ascontiguousarray(w[np.ix_(rows, cols)]))
    sliced = tuple((alpha[i], beta[i]) for (alpha, beta), i in zip(slopes, kept, strict=True))
    return Chain(tuple(reduced), sliced, kept)


@dataclasses.dataclass(frozen=True)
class Lifted:
    """The lifted matrix without rho: `at(rho)` fills it in."""

    input_dim: int
    input_term: tuple[np.ndarray, np.ndarray] | None  # 2 W_0'Pi T W_0 and its radius
    diagonal: tuple[np.ndarray, ...]  # hidden and output blocks
    diagonal_rad: tuple[np.ndarray | None, ...]
    lower: tuple[np.ndarray, ...]
    lower_rad: tuple[np.ndarray | None, ...]

    def at(self, rho: float) -> BlockTridiagonal:
        """The lifted matrix with rho on the input block."""
        first, rad = _with_diagonal(self.input_term, np.full(self.input_dim, rho))
        return BlockTridiagonal(
            (first, *self.diagonal), self.lower, (rad, *self.diagonal_rad), self.lower_rad
        )


def lift(chain: Chain, multipliers: Sequence[np.ndarray]) -> Lifted:
    """The lifted LMI for multipliers t_k > 0, one array per hidden layer of the reduced chain."""
    diagonal: list[np.ndarray] = []
    diagonal_rad: list[np.ndarray | None] = []
    lower: list[np.ndarray] = []
    lower_rad: list[np.ndarray | None] = []
    terms = []
    with np.errstate(all="ignore"):
        for w, (alpha, beta), t in zip(chain.weights, chain.slopes, multipliers, strict=False):
            block, rad = coupling(w, alpha, beta, t)
            lower.append(block)
            lower_rad.append(rad)
            terms.append(_product_term(w, alpha, beta, t))
        for k, t in enumerate(multipliers):
            block, rad = _with_diagonal(terms[k + 1] if k + 1 < len(terms) else None, 2.0 * t)
            diagonal.append(block)
            diagonal_rad.append(rad)
        diagonal.append(np.ones(chain.weights[-1].shape[0]))
        lower.append(-chain.weights[-1])
    return Lifted(
        chain.weights[0].shape[1],
        terms[0] if terms else None,
        tuple(diagonal),
        (*diagonal_rad, None),
        tuple(lower),
        (*lower_rad, None),
    )


def coupling(
    w: np.ndarray, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """-S T W and its radius."""
    if (alpha == 0.0).all() and (beta == 1.0).all():
        block = -(t[:, None] * w)
        return block, None if _products_exact(t, w) else 2.0 * _U * np.abs(block) + _TINY
    a = (alpha + beta) * t
    block = -(a[:, None] * w)
    return block, 4.0 * _U * np.abs(block) + (2.0**-1073 * np.abs(w) + _TINY)


def _products_exact(t: np.ndarray, w: np.ndarray) -> bool:
    """Whether every t_i w_ij is a binary64 number: 29 + 24 bits, and no bit below 2**-1074."""
    if not _fits(t, 29):
        return False
    if not _fits(w, 24):
        return False
    smallest_t = np.frexp(t)[1].min(initial=0) - 29
    nonzero = w[w != 0.0]
    smallest_w = np.frexp(nonzero)[1].min(initial=0) - 24
    return bool(smallest_t + smallest_w >= -1074)


def _fits(values: np.ndarray, bits: int) -> bool:
    significand = np.ldexp(np.frexp(values)[0], bits)
    return bool((significand == np.rint(significand)).all())


def _product_term(
    w: np.ndarray, alpha: np.ndarray, beta: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """2 W'Pi T W and its radius, both symmetric; None where alpha beta = 0 exactly."""
    active = (alpha != 0.0) & (beta != 0.0)  # not alpha * beta, which may underflow
    if not active.any():
        return None
    w, t = w[active], t[active]
    q = 2.0 * (alpha[active] * beta[active]) * t
    value = w.T @ (q[:, None] * w)
    size = np.abs(w)
    m = float(w.shape[0])
    top = 1.0 + float(size.max())
    underflow = 2.0**-1070 * m * (1.0 + float(t.max())) * (top * top)  # top**2 would raise where it overflows
    rad = (m + 8.0) * _U * (size.T @ (np.abs(q)[:, None] * size)) + underflow
    value = np.tril(value) + np.tril(value, -1).T
    return value, np.maximum(rad, rad.T)


def _with_diagonal(
    term: tuple[np.ndarray, np.ndarray] | None, diagonal: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """diag(diagonal) + term with its radius; `diagonal` is exact."""
    if term is None:
        return diagonal, None
    value, rad = term[0].copy(), term[1].copy()
    index = np.arange(diagonal.size)
    value[index, index] += diagonal
    rad[index, index] += 2.0 * _U * np.abs(value[index, index])
    return value, rad
