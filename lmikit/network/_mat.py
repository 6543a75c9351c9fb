"""`.mat` files: a cell array `weights` of (out, in) matrices, and optionally `biases` and `activations`.

As LipSDP writes them; `W`, `b` and `act_fcns` are other spellings, and anything else is refused by name.
"""

import pathlib
from typing import Any

import numpy as np

from .._errors import InputError
from ._file_entries import NetworkFile, load_entries
from ._file_names import SPELLINGS, named_activations

__all__ = ["read_mat"]

_WEIGHTS, _BIASES = ("weights", "W"), ("biases", "b")


def read_mat(file: pathlib.Path) -> NetworkFile:
    """The cell arrays of a `.mat` file (version 7 or earlier); raises InputError where there are none."""
    entries = {key: value for key, value in load_entries(file).items() if not key.startswith("__")}
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
    activations = None
    if keys[2]:
        activations = named_activations(file.name, keys[2][0], found[keys[2][0]], len(weights))
    return NetworkFile(weights, biases, activations, (None,) * len(weights))


def _cells(name: str, key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, np.ndarray) or value.dtype != object:
        raise InputError(f"{name}: {key!r} is not a cell array; expected one cell per layer.")
    if value.ndim == 3:  # scipy writes a list of equal shapes as one array of scalar cells
        try:
            return tuple(np.array([[cell.item() for cell in row] for row in layer]) for layer in value)
        except (AttributeError, ValueError) as error:
            raise InputError(f"{name}: {key!r} is not a cell array of matrices ({error}).") from error
    return tuple(value.ravel())
