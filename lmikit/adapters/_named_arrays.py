"""`.mat` and `.npz` files whose entries are the tensors of layers by name, as a state dict's are."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ..graph import Graph
from ..maps import Convolution2d
from ..network import Network
from ..network._file_entries import load_entries
from ..network._npz import read_with_kernels
from ._named_tensors import network_of_tensors, of_part, respelled

__all__ = ["from_named_arrays"]

_FREE, _RATIO = 2**22, 2**16  # numbers of an image that a file may state without holding that many
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
    if kind == ".npz":
        saved = read_with_kernels(file, _convolution)
        if saved is not None and any(isinstance(w, Convolution2d) for w in saved.weights):
            network = Network.from_arrays(saved.weights, saved.biases, list(saved.activations or ()))
            return Network(saved.with_slopes(network.layers), network.input_dim)
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


def _convolution(kernel: np.ndarray, options: dict[str, Any], where: str) -> Convolution2d:
    names = ("input_shape", "stride", "padding", "dilation", "groups")
    if set(options) != set(names):
        raise InputError(f"{where} is described by {sorted(options)}; expected {', '.join(names)}.")
    found = Convolution2d(kernel, **options)
    if max(found.shape) > max(_FREE, _RATIO * kernel.size):
        raise InputError(f"{where} states images of {found.shape} numbers, out of proportion to its kernel.")
    return found


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
