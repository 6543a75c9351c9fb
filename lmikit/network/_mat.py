"""`.mat` files: a cell array `weights` of (out, in) matrices, and optionally `biases` and `activations`.

As LipSDP writes them; `W`, `b` and `act_fcns` or a struct of these are other spellings, and anything
else is refused by name. Matrices are (in, out) where only that chains.
"""

import itertools
import pathlib
from typing import Any

import numpy as np

from .._errors import InputError
from ._file_entries import NetworkFile, load_entries
from ._file_names import SPELLINGS, named_activations

__all__ = ["read_mat"]

_WEIGHTS, _BIASES = ("weights", "W", "Weights", "w"), ("biases", "b", "Biases")


def read_mat(file: pathlib.Path) -> NetworkFile:
    """The cell arrays of a `.mat` file (version 7 or earlier); raises InputError where there are none."""
    entries = {key: value for key, value in load_entries(file, ".mat").items() if not key.startswith("__")}
    entries = _of_struct(file.name, entries)
    scaling = [entries.pop(key, None) for key in _SCALING]
    found = {key: value for key, value in entries.items() if key in (*_WEIGHTS, *_BIASES, *SPELLINGS)}
    keys = [[key for key in group if key in found] for group in (_WEIGHTS, _BIASES, SPELLINGS)]
    if not keys[0]:
        held = ", ".join(sorted(entries)) or "nothing"
        raise InputError(
            f"{file.name} holds {held[:200]}; expected a cell array 'weights' of (out, in) matrices."
        )
    unknown = sorted(set(entries) - set(found))
    if unknown:
        raise InputError(
            f"{file.name} holds {', '.join(unknown)[:200]}, which is not known; expected weights, biases and "
            "activations: leave out what is no part of the network."
        )
    if any(len(group) > 1 for group in keys):
        raise InputError(f"{file.name} holds {', '.join(sorted(found))}; expected each under one name.")
    weights = _cells(file.name, keys[0][0], found[keys[0][0]])
    if not weights:
        raise InputError(f"{file.name}: the cell array 'weights' is empty; expected (out, in) matrices.")
    biases: tuple[Any, ...] = (None,) * len(weights)
    if keys[1]:
        biases = _cells(file.name, keys[1][0], found[keys[1][0]])
    if len(biases) == len(weights):
        weights = _oriented(weights, biases)
        if keys[2]:
            weights, biases = _with_output(weights, biases, found[keys[2][0]])
    weights, biases = _normalised(file.name, weights, biases, *scaling)
    activations = None
    if keys[2]:
        activations = named_activations(file.name, keys[2][0], found[keys[2][0]], len(weights))
    return NetworkFile(weights, biases, activations, (None,) * len(weights))


_COUNTS = (
    *("number_of_outputs", "number_of_layers", "number_of_inputs", "layer_sizes", "is_symmetric"),
    *("min_inputs", "max_inputs"),  # inputs are clipped to them, which no bound needs
)
_SCALING = ("means_for_scaling", "range_for_scaling")


def _normalised(
    name: str, weights: tuple[Any, ...], biases: tuple[Any, ...], mean: Any, scale: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(x - mean) / range before the first map and range y + mean after the last, as in `.nnet` files."""
    if mean is None and scale is None:
        return weights, biases
    first, last = (np.asarray(w, dtype=np.float64) for w in (weights[0], weights[-1]))
    inputs = first.shape[-1]
    means, ranges = (np.asarray([] if v is None else v, np.float64).ravel() for v in (mean, scale))
    good = means.size == ranges.size and means.size >= inputs and (ranges > 0.0).all()
    if not good or not np.isfinite(means).all() or any(w.ndim != 2 for w in (first, last)):
        raise InputError(
            f"{name}: {_SCALING[0]} and {_SCALING[1]} have {means.size} and {ranges.size} entries; expected "
            f"{inputs + 1} each, finite, and positive ranges: or leave both out."
        )
    offsets = [
        np.zeros(np.shape(w)[0]) if b is None else np.ravel(b) for w, b in zip(weights, biases, strict=True)
    ]
    scaled = [np.asarray(w) for w in weights]
    scaled[0] = first / ranges[:inputs]
    offsets[0] = offsets[0] - scaled[0] @ means[:inputs]
    if means.size > inputs:  # the last entry is that of the outputs
        scaled[-1] = scaled[-1] * ranges[-1]
        offsets[-1] = offsets[-1] * ranges[-1] + means[-1]
    return tuple(scaled), tuple(offsets)


def _of_struct(name: str, entries: dict[str, Any]) -> dict[str, Any]:
    """The fields of the one struct that a file holds, without the counts beside them."""
    struct = next(iter(entries.values()), None) if len(entries) == 1 else None
    if not isinstance(struct, np.ndarray) or struct.dtype.names is None:
        return {key: value for key, value in entries.items() if key not in _COUNTS}
    if struct.size != 1:
        raise InputError(f"{name} holds an array of {struct.size} structs; expected one.")
    fields = {key: struct.ravel()[0][key] for key in struct.dtype.names}
    return {key: value for key, value in fields.items() if key not in _COUNTS}


def _with_output(
    weights: tuple[Any, ...], biases: tuple[Any, ...], words: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An activation of the output gets the identity after it, exactly."""
    names = np.asarray(words).ravel()
    last = np.asarray(names[-1]).ravel() if names.size else names
    linear = not last.size or str(last[0]).strip().lower() in ("linear", "purelin", "identity", "none", "")
    if names.size != len(weights) or linear or np.asarray(weights[-1]).ndim != 2:
        return weights, biases
    return (*weights, np.eye(np.asarray(weights[-1]).shape[0])), (*biases, None)


def _oriented(weights: tuple[Any, ...], biases: tuple[Any, ...]) -> tuple[Any, ...]:
    """Transposed where (in, out) chains and (out, in) does not."""
    shapes = [np.asarray(w).shape for w in weights]
    if any(len(shape) != 2 for shape in shapes):
        return weights
    sizes = [None if b is None else np.asarray(b).size for b in biases]

    def chains(given: list[tuple[int, ...]]) -> bool:
        fits = all(a[0] == b[1] for a, b in itertools.pairwise(given))
        return fits and all(n is None or n == s[0] for n, s in zip(sizes, given, strict=True))

    turned = not chains(shapes) and chains([shape[::-1] for shape in shapes])
    return tuple(np.asarray(w).T for w in weights) if turned and len(sizes) == len(weights) else weights


def _cells(name: str, key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, np.ndarray) or value.dtype != object:
        raise InputError(f"{name}: {key!r} is not a cell array; expected one cell per layer.")
    if value.ndim == 3:  # scipy writes a list of equal shapes as one array of scalar cells
        try:
            return tuple(np.array([[cell.item() for cell in row] for row in layer]) for layer in value)
        except (AttributeError, ValueError) as error:
            raise InputError(f"{name}: {key!r} is not a cell array of matrices ({error}).") from error
    return tuple(value.ravel())
