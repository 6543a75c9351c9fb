"""`.mat` and `.npz` files whose entries are the tensors of layers by name, as a state dict's are."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Graph
from ..network import Network
from ..network._file_entries import load_entries
from ._named_tensors import network_of_tensors, of_part, respelled

__all__ = ["from_named_arrays"]

_UNNAMED = re.compile(r"arr_([0-9]{1,6})", re.ASCII)
_OURS = re.compile(r"W0(_data)?", re.ASCII)


def from_named_arrays(
    file: pathlib.Path,
    kind: str,
    activation: Any,
    *,
    order: Sequence[str] | None,
    part: str | None,
    input_shape: Sequence[int] | None,
) -> Network | Graph | None:
    """The network of entries NAME.weight, NAME_weight, W1 and b1, ...; None where they are others.

    A `.npz` from W0 on is lmikit's own layout, but for one with kernels K0, ... (out, in, height, width).
    """
    entries = {k: v for k, v in load_entries(file, kind).items() if not k.startswith("__")}
    kernels = any(re.fullmatch("K[0-9]{1,6}", key) for key in entries)
    if kind == ".npz" and not kernels and any(_OURS.fullmatch(key) for key in entries):
        return None
    arrays = {key: np.asarray(value) for key, value in entries.items()}
    if not arrays or any(a.dtype.kind not in "fiu" for a in arrays.values()):
        return None
    if all(_UNNAMED.fullmatch(key) for key in arrays):
        arrays = _numbered(arrays)
    if kind == ".mat":  # where a vector is a matrix of one row or column
        arrays = {k: _vector(v) if _is_bias(k) else v for k, v in arrays.items()}
    found = respelled(arrays)
    if part is not None:
        found = of_part(file.name, found, part)
    if not all(key.endswith((".weight", ".bias")) for key in found):
        return None
    return network_of_tensors(file.name, found, activation, order, input_shape)


def _is_bias(key: str) -> bool:
    return re.fullmatch(r"(?:.*[._])?(?:bias(?:es)?|b)[._]?[0-9]*", key, re.I | re.ASCII) is not None


def _vector(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def _numbered(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What numpy names arr_0, arr_1, ...: weights, each perhaps with its bias after it."""
    result: dict[str, np.ndarray] = {}
    layer = -1
    for key in sorted(arrays, key=lambda name: int(name.removeprefix("arr_"))):
        layer += arrays[key].ndim > 1
        result[f"{layer}.{'weight' if arrays[key].ndim > 1 else 'bias'}"] = arrays[key]
    return result if len(result) == len(arrays) else arrays
