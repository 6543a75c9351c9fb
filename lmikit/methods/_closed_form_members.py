"""Diagonal matrices that dominate: the members of the Syed-Hu family, and which of them to take.

For a positive diagonal S and a symmetric A >= 0, lambda_max(S^-1/2 A S^-1/2) S >= A. The shapes below
are scaled in this way, so Gershgorin's row sums, which dominate by themselves, only gain.
`ahead` is an estimate of diag(J'J), J the rest of the network after this layer: what a unit of X^-1
costs in rho. Members that know it serve the output; the others only the layer itself.
"""

import math

import numpy as np

from ._recursion import EliminatedChain

__all__ = ["member_shapes", "refined_member", "scaled_members", "sensitivities"]

# (p, q): diag(A)^p / ahead^q. (0, 0) is ECLipsE-Fast's, q = 0 Syed and Hu's.
_POWERS = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.25), (0.75, 0.25), (1.0, 0.5))
_FLOOR = 1e-3  # no neuron's share is taken to be smaller than this part of the largest
_RANKING_STEPS = 3
_REFINING_STEPS = 8


def member_shapes(a: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """The members' shapes for A = m G m, one per row, shape (J, n): powers, then row sums.

    Row sums: S_i = sum_j |A_ij| q_j / q_i with q = 1 (Gershgorin, the shape of AOL: Prach and
    Lampert, ECCV 2022), q = |A| 1 (one step towards Perron's vector) and q = sqrt(ahead).
    """
    own = _logarithm(np.diagonal(a))
    cost = _logarithm(ahead)
    powers = np.array(_POWERS)
    shapes = np.exp(powers[:, :1] * own - powers[:, 1:] * cost)
    absolute = np.abs(a)
    rows = absolute.sum(axis=1)
    floor = max(_FLOOR * float(rows.max()), np.finfo(float).tiny)
    rows = np.maximum(rows, floor)
    weights = np.stack([rows, np.exp(0.5 * cost)])
    perron = np.maximum((weights @ absolute) / weights, floor)
    return np.concatenate([shapes, rows[None], perron])


def _logarithm(values: np.ndarray) -> np.ndarray:
    largest = float(values.max())
    if largest <= 0.0:
        return np.zeros(values.shape)
    return np.log(np.maximum(values / largest, _FLOOR))


def scaled_members(a: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, v): D_j = S_j lambda_max(S_j^-1/2 A S_j^-1/2), low by a few per cent, and the vectors reached.

    A few steps of block power iteration: enough to rank the members.
    """
    scale = 1.0 / np.sqrt(shapes.T)
    x = scale * np.sqrt(np.maximum(np.diagonal(a), 0.0))[:, None] + 1e-3 * scale
    norm = np.ones(shapes.shape[0])
    for _ in range(_RANKING_STEPS):
        x /= np.sqrt(np.einsum("ij,ij->j", x, x))
        x = scale * (a @ (scale * x))
        norm = np.sqrt(np.einsum("ij,ij->j", x, x))
        if not norm.all():
            return np.zeros(shapes.shape), x
    return shapes * norm[:, None], x


def refined_member(a: np.ndarray, shape: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """S lambda_max(S^-1/2 A S^-1/2), more steps from `vector`; still from below, within about 1 %.

    That is harmless: positive definiteness is tested where the member is used.
    """
    scale = 1.0 / np.sqrt(shape)
    scaled = scale[:, None] * a * scale
    x = vector
    for _ in range(_REFINING_STEPS):
        x = scaled @ (x / math.sqrt(x @ x))
    return np.asarray(shape * math.sqrt(x @ x))


def sensitivities(chain: EliminatedChain) -> list[np.ndarray]:
    """`ahead` per hidden layer: diag(J'J) with every product of different rows taken to cancel.

    c_L = diag(W_L'W_L), c_{k-1} = (W_{k-1} o W_{k-1})' (m_k^2 c_k), each scaled to maximum 1.
    """
    ahead = np.ones(chain.weights[-1].shape[0])
    result: list[np.ndarray] = []
    for k in range(chain.hidden_layers, 0, -1):
        ahead = np.square(chain.weights[k]).T @ ahead
        largest = float(ahead.max())
        ahead = ahead / largest if largest > 0.0 else np.ones(ahead.shape)
        result.append(ahead)
        ahead = ahead * np.square(chain.gain[k - 1])
    return result[::-1]
