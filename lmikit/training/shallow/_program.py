"""The convex restriction for shallow ReLU networks as SDPs.

With patterns and directions fixed, f(X) is linear in the effective weights and (2 D_j - I) X v_j >= 0
keeps the patterns. Multiplying the Lipschitz LMI of the net (v_j, s_j) from both sides by
diag(I, T^-1, I) makes it linear in (V, P, rho) together; P = T^-1 = diag(p), s_j the rows of S [derived]:

    [[rho I, V~', 0], [V~, 2P, P S], [0, S'P, I_m]] >= 0                                        (*)
    <=>  K = I - S'P S / 2 > 0,  rho >= || 1/2 V~'P^-1 V~ + 1/4 V~'S K^-1 S'V~ ||_2.

So with P free one SDP minimises over weights and multipliers together (and over the magnitudes of the
outer weights, which rescaling moves into P); with P fixed and one output it is the restriction of "Convex
training of Lipschitz-regularized shallow neural networks", eq. (12). (*) is an arrow: heads of d and m rows.
"""

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ...lmi import LMI, SDP, SOC
from ._model import ShallowModel

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
    """(H, c, offset) of a quadratic loss 1/2 v'H v + c'v + offset, v = vec V; a Gram matrix, no rows."""
    value, gradient, H = model.fit.curved(np.zeros(model.V.size))
    return H, gradient, value


def lipschitz_block(S: np.ndarray, inputs: int, p: np.ndarray | None) -> LMI:
    """(*) over y = (vec V, rho), or (vec V, rho, p) where `p` is None; order inputs + n + m."""
    (n, outputs), d, width = S.shape, inputs, inputs + 1
    order, m = d + n + outputs, n * width + 1 + (n if p is None else 0)
    units, last = d + np.arange(n), d + n + np.arange(outputs)
    unit, entry = np.divmod(np.arange(n * d), d)
    top = np.arange(d)
    # terms sym(p_t q_t'): 2 v_jk for (k, j), rho for the head's diagonal, then the multipliers
    rows_p, rows_e = [entry, top], [np.arange(n * d + d)]
    rows_q, cols_q, vals_q = [d + unit, top], [np.arange(n * d + d)], [np.full(n * d, 2.0), np.ones(d)]
    cols_e = [unit * width + entry, np.full(d, n * width)]
    F0 = sp.lil_array((order, order))
    F0[last, last] = 1.0
    if p is None:  # term j is sym(e_j (2 e_j + 2 s_j)')
        terms = n * d + d + np.arange(n)
        rows_p.append(units)
        rows_q += [units, np.tile(last, n)]
        cols_q += [terms, np.repeat(terms, outputs)]
        vals_q += [np.full(n, 2.0), 2.0 * S.ravel()]
        rows_e.append(terms)
        cols_e.append(n * width + 1 + np.arange(n))
    else:
        F0[units, units] = 2.0 * p
        F0[np.ix_(units, last)] = p[:, None] * S
        F0[np.ix_(last, units)] = (p[:, None] * S).T
    count = n * d + d + (n if p is None else 0)
    P = sp.csc_array((np.ones(count), (np.concatenate(rows_p), np.arange(count))), shape=(order, count))
    Q = sp.csc_array(
        (np.concatenate(vals_q), (np.concatenate(rows_q), np.concatenate(cols_q))), shape=(order, count)
    )
    E = sp.csc_array((np.ones(count), (np.concatenate(rows_e), np.concatenate(cols_e))), shape=(count, m))
    return LMI(F0=sp.csc_array(F0), P=P, Q=Q, E=E, name="Lipschitz")


def lipschitz_program(
    model: ShallowModel, weight: float, p: np.ndarray | None = None, G: sp.csr_array | None = None
) -> tuple[SDP, float]:
    """min loss(v) + weight rho over (vec V, rho[, p]), and the constant that the SDP leaves out.

    `p` fixes the multipliers' inverses; `G` are the pattern rows to impose (None: all of them).
    """
    H, c, offset = loss_terms(model)
    rows = pattern_rows(model) if G is None else G
    extra = 1 + (model.units if p is None else 0)
    linear = np.concatenate([c, [weight], np.zeros(extra - 1)])
    return SDP(
        linear,
        (lipschitz_block(model.S, model.inputs, p),),
        G=_widen(rows, extra),
        h=np.zeros(rows.shape[0]),
        H=_padded(H, extra),
    ), offset


def weight_decay_program(
    model: ShallowModel, weight: float, G: sp.csr_array | None = None
) -> tuple[SDP, float]:
    """min loss(v) + weight sum_j tau_j, ||v_j|| <= tau_j, over (vec V, tau); a cone program.

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


def penalty_rho(V: np.ndarray, S: np.ndarray, p: np.ndarray) -> float:
    """The least rho that fulfils (*) for these V and p, infinite where K is not definite; floating point."""
    weights = V[:, :-1]
    moving = weights.any(axis=1)
    if (p[moving] <= 0).any() or (p < 0).any():
        return np.inf
    try:
        factor = scipy.linalg.cho_factor(np.eye(S.shape[1]) - 0.5 * (S.T * p) @ S)
    except scipy.linalg.LinAlgError:
        return np.inf
    inverse = np.where(moving, 1.0 / np.where(moving, p, 1.0), 0.0)
    through = S.T @ weights
    total = 0.5 * (weights.T * inverse) @ weights
    total += 0.25 * through.T @ scipy.linalg.cho_solve(factor, through)
    return float(max(scipy.linalg.eigvalsh(total)[-1], 0.0)) if total.size else 0.0


def _widen(G: sp.csr_array, extra: int) -> sp.csc_array:
    return sp.csc_array(sp.hstack([G, sp.csr_array((G.shape[0], extra))]))


def _padded(H: np.ndarray, extra: int) -> sp.csc_array:
    return sp.csc_array(sp.block_diag([sp.csc_array(H), sp.csc_array((extra, extra))]))
