"""LipSDP's `.mat` files: a cell array `weights` of (out, in) matrices, and optionally `biases`."""

import pathlib
from typing import Any

import numpy as np

from .._errors import InputError
from ._file_entries import NetworkFile, load_entries

__all__ = ["read_mat"]


def read_mat(file: pathlib.Path) -> NetworkFile:
    """The cell arrays of a `.mat` file (version 7 or earlier); raises InputError where there are none."""
    entries = load_entries(file)
    if "weights" not in entries:
        held = ", ".join(sorted(k for k in entries if not k.startswith("__"))) or "nothing"
        raise InputError(f"{file.name} holds {held}; expected a cell array 'weights' of (out, in) matrices.")
    weights = _cells(file.name, "weights", entries["weights"])
    if not weights:
        raise InputError(f"{file.name}: the cell array 'weights' is empty; expected (out, in) matrices.")
    biases: tuple[Any, ...] = (None,) * len(weights)
    if "biases" in entries:
        biases = _cells(file.name, "biases", entries["biases"])
    return NetworkFile(weights, biases, None, (None,) * len(weights))


def _cells(name: str, key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, np.ndarray) or value.dtype != object:
        raise InputError(f"{name}: {key!r} is not a cell array; expected one cell per layer.")
    if value.ndim == 3:  # scipy writes a list of equal shapes as one array of scalar cells
        return tuple(np.array([[cell.item() for cell in row] for row in layer]) for layer in value)
    return tuple(value.ravel())
