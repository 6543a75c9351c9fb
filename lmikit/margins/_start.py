"""Where the ascent begins: multipliers of a Lipschitz bound, moved to the anchor by an exact identity.

With p0, q0 the values at the anchor (one of them is 0 for every neuron),

    T (p - p0)(q - q0) = T p q - (T sigma q0)(sigma p) - (T sigma p0)(sigma q),

so eta = T sigma q0 and nu = T sigma p0 turn any (rho, T) with rho |d|^2 + sum T dp dq >= (row . dy)^2-like
positivity into a feasible point: with the best scale, s = margin(x0) - eps L, L the bound they prove.

The norm product's multipliers: a demand A on |dw|^2 of a layer is met by A gain^2 on |dv|^2, for with
m = (left + right)/2, h = |right - left|/2 and theta = |m|/(|m| + h), gain = |m| + h and T = A / (1 - theta),

    dp dq = |dw - m dv|^2 - h^2 |dv|^2 >= (1 - theta)(|dw|^2 - gain^2 |dv|^2).

A maximum b + r, r = relu(a - b), meets it with T = 2 A and A on |da|^2 + |db|^2, since

    A (da^2 + db^2) + 2 A dr (dr - da + db) - A (db + dr)^2 = A (da - dr)^2.

Neurons without a nonlinearity have penalties instead (`_dual`), which outweigh whatever is asked of them.
"""

import numpy as np

from ._dual import MarginDual
from ._problem import AnchoredChain, PieceChain

__all__ = ["anchored", "product_multipliers", "scales_of", "start_for"]

_SLACK = 1.02


def product_multipliers(chain: PieceChain) -> tuple[list[np.ndarray], float]:
    """T per layer, all of the last one 1 for ReLU, and the rho with which they are feasible."""
    t: list[np.ndarray] = []
    demand = 0.5  # of |dw|^2 in the layer
    for k in range(chain.hidden - 1, -1, -1):
        left, right = chain.left[k], chain.right[k]
        m, h = np.abs(left + right) / 2.0, np.abs(right - left) / 2.0
        share = np.where(h > 0.0, h / np.maximum(m + h, 1e-300), 1.0)
        own = demand / np.maximum(share, 1e-12)
        own[chain.maxima(k)] = 2.0 * demand
        t.insert(0, own)
        demand *= _SLACK * (max(float((m + h).max()), 1e-12) * chain.norms[k]) ** 2
    return t, demand


def anchored(place: AnchoredChain, multipliers: list[np.ndarray], head: np.ndarray) -> np.ndarray:
    """(head | T | T sigma q0 | T sigma p0)."""
    t = np.concatenate(multipliers)
    above, below = place.rectified
    return np.concatenate([head, t, t * below, t * above])


def _head(dual: MarginDual, multipliers: list[np.ndarray], rho: float) -> np.ndarray:
    """mu and tau: rho on the ball; Gershgorin's row sums where only a box bounds d."""
    place = dual.place
    parts = [np.full(dual.balls, rho)]
    if place.low is not None:
        if place.eps is not None:
            parts.append(np.zeros(dual.boxes))
        else:
            chain = place.chain
            rows = chain.absolute_gram_rows
            unit = rho / (chain.norms[0] ** 2)
            parts.append(unit * np.maximum(rows, 1e-3 * float(rows.max())))
    return np.concatenate([*parts, np.ones(1 if dual.radius else 0)])


def start_for(
    dual: MarginDual, multipliers: list[np.ndarray], rho: float, row: np.ndarray, offset: float
) -> np.ndarray | None:
    """The anchored start with its best scale for row . f + offset; None where it is not feasible."""
    if dual.radius:
        y = anchored(dual.place, [t / rho for t in multipliers], _head(dual, multipliers, rho))
        y = dual.filled(y, objective=False)
        squares, factors = dual.squares_of_rows(y, row[None, :], np.array([offset]))
        if not np.isfinite(squares[0]):
            return None
        y[dual.head - 1] = factors[0]
        return y
    y = dual.filled(anchored(dual.place, multipliers, _head(dual, multipliers, rho)), objective=False)
    bounds, scales = dual.scaled_rows(y, row[None, :], np.array([offset]))
    if not (np.isfinite(bounds[0]) and scales[0] > 0.0):
        return None
    return np.asarray(y / scales[0])


def scales_of(dual: MarginDual, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales of the variables and their lower bounds, from a start."""
    head, t, _, _ = dual.parts(y)
    size = np.maximum(dual.place.sizes_of_values, 1e-12)
    heads = np.maximum(head, 1e-3 * float(head.max(initial=1e-12)))
    if dual.balls and dual.boxes:
        heads[1:] = head[0]
    if dual.radius and dual.boxes:
        heads[:-1] = 1.0
    scale = np.concatenate([heads, t, t * size, t * size])
    lower = np.zeros(y.size)
    lower[: dual.head] = 1e-7 * head
    lower[dual.head : dual.head + dual.neurons] = 1e-7 * t
    for first in (0, dual.neurons, 2 * dual.neurons):  # they are not searched for
        scale[dual.head + first + dual.linear] = 1.0
        lower[dual.head + first + dual.linear] = -np.inf
    return scale, lower
