"""The convex restriction for shallow ReLU networks as SDPs.

With patterns and signs fixed, f(X) = A v is linear in the effective weights and (2 D_j - I) X v_j >= 0
keeps the patterns. Multiplying the Lipschitz LMI of the net (v_j, s_j) from both sides by
diag(I, T^-1, 1) makes it linear in (V, P, rho) together, P = T^-1 = diag(p) [derived]:

    [[rho I, V~', 0], [V~, 2P, P s], [0, s'P, 1]] >= 0                                          (*)
    <=>  s'P s < 2,  rho >= || 1/2 V~'P^-1 V~ + 1/4 (V~'s)(V~'s)' / (1 - s'P s/2) ||_2.

So with P free one SDP minimises over weights and multipliers together (and over the magnitudes of the
outer weights, which rescaling moves into P); with P fixed it is the restriction of "Convex training of
Lipschitz-regularized shallow neural networks", eq. (12). (*) is an arrow: head d + 1, n other rows.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..lmi import LMI, SDP, SOC
from ._shallow_model import ShallowModel

__all__ = [
    "lipschitz_block",
    "lipschitz_program",
    "loss_terms",
    "pattern_rows",
    "penalty_rho",
    "weight_decay_program",
]


def pattern_rows(model: ShallowModel) -> sp.csr_array:
    """G (rows, n(d+1)) with G vec(V) <= 0: each unit keeps its sign on each row of X.

    Rows of X that repeat are implied and left out. Rows are ordered unit by unit.
    """
    first, _ = model.distinct
    X, width = model.X[first], model.X.shape[1]
    signs = 1.0 - 2.0 * model.patterns[:, first]  # (n, N)
    values = signs[:, :, None] * X[None, :, :]
    columns = np.arange(model.units)[:, None, None] * width + np.arange(width)[None, None, :]
    starts = np.arange(signs.size + 1) * width
    G = sp.csr_array(
        (values.flatten(), np.broadcast_to(columns, values.shape).flatten(), starts),
        shape=(signs.size, model.units * width),
    )
    G.eliminate_zeros()
    return G


def loss_terms(model: ShallowModel) -> tuple[np.ndarray, np.ndarray, float]:
    """(H, c, offset) of the loss (1/N) ||A v - y||^2 = 1/2 v'H v + c'v + offset; a Gram matrix, no rows."""
    A, count = model.features(), model.y.size
    H = A.T @ A * (2.0 / count)
    return 0.5 * (H + H.T), -2.0 / count * (A.T @ model.y), float(model.y @ model.y) / count


def lipschitz_block(signs: np.ndarray, inputs: int, p: np.ndarray | None) -> LMI:
    """(*) over y = (vec V, rho), or (vec V, rho, p) where `p` is None; order inputs + n + 1."""
    n, d, width = signs.size, inputs, inputs + 1
    order, m = d + n + 1, n * width + 1 + (n if p is None else 0)
    unit, entry = np.divmod(np.arange(n * d), d)
    count = n * d + d + (n if p is None else 0)
    rows_p = [entry, np.arange(d)]
    rows_q, cols_q, vals_q = (
        [d + unit, np.arange(d)],
        [np.arange(n * d + d)],
        [np.full(n * d, 2.0), np.ones(d)],
    )
    cols_e, rows_e = [unit * width + entry, np.full(d, n * width)], [np.arange(n * d + d)]
    F0 = sp.lil_array((order, order))
    F0[order - 1, order - 1] = 1.0
    if p is None:  # term j is sym(e_j (2 e_j + 2 s_j e_last)')
        terms, here = n * d + d + np.arange(n), d + np.arange(n)
        rows_p.append(here)
        rows_q += [here, np.full(n, order - 1)]
        cols_q += [terms, terms]
        vals_q += [np.full(n, 2.0), 2.0 * signs]
        rows_e.append(terms)
        cols_e.append(n * width + 1 + np.arange(n))
    else:
        for j in range(n):
            F0[d + j, d + j] = 2.0 * p[j]
            F0[d + j, order - 1] = F0[order - 1, d + j] = signs[j] * p[j]
    P = sp.csc_array((np.ones(count), (np.concatenate(rows_p), np.arange(count))), shape=(order, count))
    Q = sp.csc_array(
        (np.concatenate(vals_q), (np.concatenate(rows_q), np.concatenate(cols_q))), shape=(order, count)
    )
    E = sp.csc_array((np.ones(count), (np.concatenate(rows_e), np.concatenate(cols_e))), shape=(count, m))
    return LMI(F0=sp.csc_array(F0), P=P, Q=Q, E=E, name="Lipschitz")


def lipschitz_program(
    model: ShallowModel, weight: float, p: np.ndarray | None = None, G: sp.csr_array | None = None
) -> tuple[SDP, float]:
    """min (1/N)||A v - y||^2 + weight rho over (vec V, rho[, p]), and the constant that the SDP leaves out.

    `p` fixes the multipliers' inverses; `G` are the pattern rows to impose (None: all of them).
    """
    H, c, offset = loss_terms(model)
    rows = pattern_rows(model) if G is None else G
    extra = 1 + (model.units if p is None else 0)
    linear = np.concatenate([c, [weight], np.zeros(extra - 1)])
    return SDP(
        linear,
        (lipschitz_block(model.signs, model.inputs, p),),
        G=_widen(rows, extra),
        h=np.zeros(rows.shape[0]),
        H=_padded(H, extra),
    ), offset


def weight_decay_program(
    model: ShallowModel, weight: float, G: sp.csr_array | None = None
) -> tuple[SDP, float]:
    """min (1/N)||A v - y||^2 + weight sum_j tau_j, ||v_j|| <= tau_j, over (vec V, tau); a cone program.

    weight ||v_j|| is the least of weight/2 (||u_j||^2 + a_j^2) over the rescalings of unit j.
    """
    H, c, offset = loss_terms(model)
    n, width = model.units, model.X.shape[1]
    rows = pattern_rows(model) if G is None else G
    m = n * width + n
    socs = []
    for j in range(n):
        columns = np.concatenate([[n * width + j], j * width + np.arange(width)])
        C = sp.csc_array((np.ones(width + 1), (np.arange(width + 1), columns)), shape=(width + 1, m))
        socs.append(SOC(C, np.zeros(width + 1), name=f"unit {j}"))
    linear = np.concatenate([c, np.full(n, weight)])
    G_wide, h = _widen(rows, n), np.zeros(rows.shape[0])
    return SDP(linear, G=G_wide, h=h, socs=tuple(socs), H=_padded(H, n)), offset


def penalty_rho(V: np.ndarray, signs: np.ndarray, p: np.ndarray) -> float:
    """The least rho that fulfils (*) for these V and p, infinite where s'P s >= 2; floating point."""
    slack = 1.0 - 0.5 * float(p.sum())
    weights = V[:, :-1]
    moving = weights.any(axis=1)
    if slack <= 0 or (p[moving] <= 0).any() or (p < 0).any():
        return np.inf
    inverse = np.where(moving, 1.0 / np.where(moving, p, 1.0), 0.0)
    total = 0.5 * (weights.T * inverse) @ weights
    through = weights.T @ signs
    total += 0.25 / slack * np.outer(through, through)
    return float(max(scipy.linalg.eigvalsh(total)[-1], 0.0)) if total.size else 0.0


def _widen(G: sp.csr_array, extra: int) -> sp.csc_array:
    return sp.csc_array(sp.hstack([G, sp.csr_array((G.shape[0], extra))]))


def _padded(H: np.ndarray, extra: int) -> sp.csc_array:
    return sp.csc_array(sp.block_diag([sp.csc_array(H), sp.csc_array((extra, extra))]))
