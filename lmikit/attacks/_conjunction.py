"""Inputs of a box that satisfy several linear inequalities of the outputs at once, and their exact values."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .._errors import InputError
from ..certificates.point import Dyadic, slopes_of_pieces, weights_of
from ..network import Network
from ._margins import _descent

__all__ = ["attack_conjunction", "exact_outputs", "sensitivities"]


def attack_conjunction(
    network: Network,
    box: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    offsets: np.ndarray,
    *,
    steps: int,
    restarts: int,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Minimise max_r rows[r] . f(x) + offsets[r] over lower <= x <= upper: the point and its value.

    The first restart begins in the middle, the others at random; steps are along the sign of the
    gradient of the largest row. The value is computed in floating point. An attack: nothing is
    proven by it.
    """
    lower, upper = box
    width, rng = upper - lower, np.random.default_rng(seed)
    x = rng.uniform(lower, np.maximum(upper, lower), (restarts, lower.size))
    x[0] = lower + width / 2.0
    best, where = np.inf, x[0]
    for step in range(steps + 1):
        x = np.clip(x, lower, upper)
        values = network(x) @ rows.T + offsets
        largest = values.argmax(axis=1)
        worst = values[np.arange(restarts), largest]
        k = int(worst.argmin())
        if worst[k] < best:
            best, where = float(worst[k]), x[k].copy()
        if step == steps or best < 0.0:
            break
        _, gradient = _descent(network, x, rows[largest])
        x = x - (0.3 * (1.0 - step / steps) + 0.002) * width * np.sign(gradient)
    return where, best


def exact_outputs(network: Network, x: Sequence[Fraction]) -> list[Fraction]:
    """f(x) for rational x, exactly.

    Two-piece activations are positively homogeneous, so that D f(x) follows from the integers
    D x and the biases D b, D the common denominator. Raises InputError for other activations.
    """
    scale = math.lcm(*(value.denominator for value in x))
    numerators = np.array([int(value * scale) for value in x], dtype=object)
    value: Any = Dyadic(numerators[:, None], 0)
    for k, (layer, weight) in enumerate(zip(network.layers, weights_of(network), strict=True)):
        bias = Dyadic.exact(layer.bias).columns()
        v = value.image(weight) + Dyadic(bias.values * scale, bias.power)
        if k == network.hidden_layers:
            return [fraction / scale for fraction in v.fractions()]
        slopes = slopes_of_pieces(layer.activation, layer.linear.shape[0])
        if slopes is None:
            break
        positive = np.array([bool(entry >= 0) for entry in v.values[:, 0]])
        value = v * Dyadic.exact(np.where(positive, slopes[1], slopes[0])).columns()
    raise InputError(f"layer {k} has activation {layer.activation.name!r}; exact values need pieces.")


def sensitivities(network: Network, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """|d (rows[b] . f) / d x_i| at the points x (B, n_0), rows (B, m): an estimate, (B, n_0)."""
    _, gradient = _descent(network, x, rows)
    return np.asarray(np.abs(gradient))
