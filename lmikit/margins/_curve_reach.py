"""Beside an anchor: what scales its multipliers, and inputs of the region where a row is small."""

import numpy as np

from ..certificates.point import slopes_of_pieces
from ..claims import AbstractRegion
from ..network import Network
from ._curve_model import CurveAnchor, forward
from ._curve_newton import CurveProblem

__all__ = ["descended", "into", "pixels", "spans"]

_DESCENT = 30


def spans(anchor: CurveAnchor, layer: int) -> np.ndarray:
    """|right - left| slope of every neuron of a layer of pieces."""
    slopes = slopes_of_pieces(anchor.chain.network.layers[layer].activation, anchor.chain.slopes.sizes[layer])
    assert slopes is not None, "the terms are of pieces"
    return np.asarray(np.abs(slopes[1] - slopes[0]))


def pixels(anchor: CurveAnchor, rho: float) -> np.ndarray:
    """tau: little beside a ball; Gershgorin's row sums where only the box bounds d."""
    if anchor.region.ball is not None:
        return np.full(anchor.pixels, 1e-3 * rho)
    chain = anchor.chain.slopes
    rows = chain.absolute_gram_rows
    return np.asarray(rho / chain.norms[0] ** 2 * np.maximum(rows, 1e-3 * float(rows.max())))


def into(region: AbstractRegion, x: np.ndarray, reach: float) -> np.ndarray:
    """x moved into the box and, on the way to the anchor, within `reach` of it."""
    if region.box is not None:
        x = np.clip(x, region.box.lower, region.box.upper)
    away = x - region.anchor
    length = float(np.linalg.norm(away))
    return np.asarray(region.anchor + away * min(1.0, reach / max(length, 1e-300)))


def descended(anchor: CurveAnchor, problem: CurveProblem, x: np.ndarray, reach: float) -> np.ndarray:
    """An input of the region near x where the row is small: projected normalised gradient steps."""
    network = anchor.chain.network
    last = anchor.chain.slopes.weights[-1]
    row = problem.row[problem.row.size - last.shape[1] :]
    box = anchor.region.box
    size = reach if np.isfinite(reach) or box is None else float(np.linalg.norm(box.upper - box.lower)) / 2.0
    best, least = x, np.inf
    x = into(anchor.region, x, reach)
    for k in range(_DESCENT):
        value, gradient = _row_gradient(network, row, x)
        if value < least:
            best, least = x, value
        length = float(np.linalg.norm(gradient))
        if length == 0.0:
            break
        x = into(anchor.region, x - 0.3 * size * (1.0 - k / _DESCENT) ** 2 * gradient / length, reach)
    return best


def _row_gradient(network: Network, row: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    """row . w_L, up to a constant the margin, and its gradient."""
    values, images = forward(network, x)
    gradient = row
    for layer, w, v in zip(network.layers[-2::-1], network.weights[-2::-1], values[::-1], strict=True):
        gradient = w.T @ (np.nan_to_num(layer.activation.derivative(v)) * gradient)
    return float(row @ images[-1]), gradient
