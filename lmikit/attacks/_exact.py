"""Values of a network at one point, exact or bounded above: what refutes a claim beyond rounding."""

from fractions import Fraction
from typing import Any

import numpy as np

from .._errors import InputError
from ..certificates.point import Dyadic, slopes_of_pieces, weights_of
from ..claims import Box
from ..intervals import crown_margin
from ..network import Network

__all__ = ["exact_values", "upper_values"]


def exact_values(network: Network, x: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> list[Fraction]:
    """rows[r] . f(x) + offsets[r] exactly, for float64 x (n_0,), rows (R, m), offsets (R,).

    Raises InputError for activations that are not of two linear pieces (their values are not rational).
    """
    value: Any = Dyadic.exact(np.asarray(x, dtype=np.float64)[:, None])
    for k, (layer, weight) in enumerate(zip(network.layers, weights_of(network), strict=True)):
        v = value.image(weight) + Dyadic.exact(layer.bias).columns()
        if k == network.hidden_layers:
            outputs = v
            break
        slopes = slopes_of_pieces(layer.activation, layer.linear.shape[0])
        if slopes is None:
            raise InputError(f"layer {k} has activation {layer.activation.name!r}; exact values need pieces.")
        positive = np.array([bool(entry >= 0) for entry in v.values[:, 0]])
        value = v * Dyadic.exact(np.where(positive, slopes[1], slopes[0])).columns()
    result = outputs.image(np.asarray(rows, dtype=np.float64)) + Dyadic.exact(offsets).columns()
    return result.fractions()


def upper_values(network: Network, x: np.ndarray, rows: np.ndarray) -> list[Fraction]:
    """Proven upper bounds of rows[r] . f(x) at one float64 point: exact, or by outward-rounded intervals.

    The latter for activations whose values are not rational, at the box that is the point alone.
    """
    if all(slopes_of_pieces(a.activation, a.linear.shape[0]) is not None for a in network.layers[:-1]):
        return exact_values(network, x, rows, np.zeros(len(rows)))
    point = np.asarray(x, dtype=np.float64)
    lower = crown_margin(network, Box(point, point), -np.asarray(rows, dtype=np.float64))
    return [Fraction(-float(value)) for value in lower]
