"""Where the ascent begins: multipliers of a Lipschitz bound, moved to the anchor by an exact identity.

With p0, q0 the values at the anchor (one of them is 0 for every neuron),

    T (p - p0)(q - q0) = T p q - (T sigma q0)(sigma p) - (T sigma p0)(sigma q),

so eta = T sigma q0 and nu = T sigma p0 turn any (rho, T) with rho |d|^2 + sum T dp dq >= (row . dy)^2-like
positivity into a feasible point: with the best scale, s = margin(x0) - eps L, L the bound they prove.

The norm product's multipliers: with m = (left + right)/2, h = |right - left|/2 and theta = |m|/(|m| + h),
dp dq = |dw - m dv|^2 - h^2 |dv|^2 >= (1 - theta)(|dw|^2 - gain^2 |dv|^2), gain = |m| + h, so that
(1 - theta_k) T_k >= (1 - theta_{k+1}) T_{k+1} gain_{k+1}^2 |W_k|^2 makes the chain positive definite.
"""

import numpy as np

from ._dual import MarginDual
from ._problem import AnchoredChain, PieceChain

__all__ = ["anchored", "product_multipliers", "scales_of", "start_for"]

_SLACK = 1.02


def product_multipliers(chain: PieceChain) -> tuple[list[np.ndarray], float]:
    """T per layer with T_L = 1, and the rho with which they are feasible."""
    share = []
    for left, right in zip(chain.left, chain.right, strict=True):
        m, h = float(np.abs(left + right).max()) / 2.0, float(np.abs(right - left).max()) / 2.0
        share.append((h / (m + h) if m + h > 0.0 else 1.0, max(m + h, 1e-12)))
    t = [1.0] * chain.hidden
    for k in range(chain.hidden - 1, 0, -1):
        (own, _), (after, gain) = share[k - 1], share[k]
        t[k - 1] = _SLACK * after * t[k] * (gain * chain.norms[k]) ** 2 / max(own, 1e-12)
    first, gain = share[0]
    rho = _SLACK * first * t[0] * (gain * chain.norms[0]) ** 2
    return [np.full(n, value) for n, value in zip(chain.sizes, t, strict=True)], rho


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
        squares, factors = dual.squares_of_rows(y, row[None, :], np.array([offset]))
        if not np.isfinite(squares[0]):
            return None
        y[dual.head - 1] = factors[0]
        return y
    y = anchored(dual.place, multipliers, _head(dual, multipliers, rho))
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
    return scale, lower
