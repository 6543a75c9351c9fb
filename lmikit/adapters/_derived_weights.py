"""Weights that torch computes from stored tensors: weight and spectral normalisation, in float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError

__all__ = ["with_derived_weights"]

# Endings of the stored tensors, old style and parametrised.
_WEIGHT_NORM = (("weight_g", "weight_v"), ("original0", "original1"))
_SPECTRAL = (("weight_orig", "weight_u", "weight_v"), ("original", "0._u", "0._v"))
_PARAMETRISED = "parametrizations.weight."


def with_derived_weights(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors with NAME.weight in the place of what it is computed from.

    Weight normalisation: row i is g_i v_i / ||v_i||_2 (Salimans, Kingma 2016, eq. 2). Spectral
    normalisation: W / (u' W v) with the stored u and v (Miyato et al. 2018, algorithm 1).
    """
    result = dict(tensors)
    for key in tensors:
        for k, (g, v) in enumerate(_WEIGHT_NORM):
            names = _names(key, (g, v), _PARAMETRISED if k else "")
            if names and all(name in result for name in names):
                result[_weight(key)] = _normed(key, *(result.pop(name) for name in names))
        for k, parts in enumerate(_SPECTRAL):
            names = _names(key, parts, _PARAMETRISED if k else "")
            if names and all(name in result for name in names):
                result[_weight(key)] = _spectral(key, *(result.pop(name) for name in names))
    return result


def _weight(key: str) -> str:
    stem = key.rpartition(".")[0].removesuffix(_PARAMETRISED[:-1]).removesuffix(".")
    return f"{stem}.weight".lstrip(".")


def _names(key: str, endings: tuple[str, ...], folder: str) -> list[str]:
    """The tensors of one weight where `key` is the first of them."""
    first = folder + endings[0]
    if key != first and not key.endswith("." + first):
        return []
    stem = key.removesuffix(first)
    return [stem + folder + ending for ending in endings]


def _matrix(key: str, weight: Any) -> np.ndarray:
    return floats(key, weight).reshape(weight.shape[0], -1)


def _normed(key: str, size: Any, direction: Any) -> np.ndarray:
    rows = _matrix(key, direction)
    length = np.linalg.norm(rows, axis=1)
    if np.shape(size)[:1] != rows.shape[:1] or np.size(size) != rows.shape[0] or not (length > 0.0).all():
        raise InputError(f"{key} has shape {np.shape(size)}; expected one length per row of nonzero rows.")
    return (floats(key, size).reshape(-1, 1) * rows / length[:, None]).reshape(direction.shape)


def _spectral(key: str, weight: Any, left: Any, right: Any) -> np.ndarray:
    rows = _matrix(key, weight)
    if np.shape(left) != rows.shape[:1] or np.shape(right) != rows.shape[1:]:
        raise InputError(f"{key} has shape {weight.shape}, which its vectors u and v do not fit.")
    sigma = float(floats(key, left) @ rows @ floats(key, right))
    if not sigma > 0.0:
        raise InputError(f"{key} has the norm {sigma} by its vectors u and v; expected one above 0.")
    return (rows / sigma).reshape(weight.shape)
