"""Our `.npz`: W0, b0, W1, ..., exact both ways.

Sparse weights are stored as W0_data, W0_indices, W0_indptr, W0_shape. The entry `activations`
is a JSON text {"version": 1, "layers": [{"activation": name, "parameters": ..., "dtype": ...}]}
with one entry per linear map; slopes that are not the activation's own are in alpha0, beta0.
"""

import io
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_float64
from .._errors import InputError
from .._files import write_bytes
from ._activation_base import Activation
from ._activations import ACTIVATIONS
from ._arrays_in import as_linear_map
from ._file_entries import NetworkFile, load_entries
from ._layer import Layer
from ._maps import AbstractLinearMap, DenseMap, SparseMap

__all__ = ["read_npz", "write_npz"]

_STORED = {"F16": np.float16, "F32": np.float32, "BF16": np.float32, "F64": np.float64}


def read_npz(file: pathlib.Path) -> NetworkFile:
    """The network of a `.npz` file; raises InputError where it is not one."""
    entries = load_entries(file)
    kernels = sorted(key for key in entries if key[:1] == "K" and key[1:].isdigit())
    if kernels:
        raise InputError(
            f"{file.name} holds convolution kernels ({', '.join(kernels)}); expected fully connected "
            "weights W0, W1, ...: convolutional networks are not supported yet."
        )
    count = _count_weights(file.name, entries)
    weights = tuple(_weight(file.name, entries, k) for k in range(count))
    biases = tuple(entries.get(f"b{k}") for k in range(count))
    if "activations" not in entries:
        return NetworkFile(weights, biases, None, (None,) * count)
    described = _described_layers(file.name, entries["activations"], count)
    activations = tuple(_activation(file.name, item) for item in described[:-1])
    typed = tuple(
        _with_dtype(file.name, k, w, item) for k, (w, item) in enumerate(zip(weights, described, strict=True))
    )
    slopes = tuple(_slopes(file.name, entries, k) for k in range(count))
    return NetworkFile(typed, biases, activations, slopes)


def _count_weights(name: str, entries: dict[str, Any]) -> int:
    found = {
        int(key[1:].split("_")[0]) for key in entries if key[:1] == "W" and key[1:].split("_")[0].isdigit()
    }
    if not found:
        held = ", ".join(sorted(entries)[:6]) or "nothing"
        raise InputError(f"{name} holds {held}; expected weights W0, W1, ... of shape (out, in).")
    missing = [f"W{k}" for k in range(max(found)) if k not in found]
    if missing:
        raise InputError(
            f"{name} holds W{max(found)} but not {', '.join(missing)}; expected W0 to W{max(found)}."
        )
    stray = [key for key in entries if key[:1] == "b" and key[1:].isdigit() and int(key[1:]) not in found]
    if stray:
        raise InputError(f"{name} holds {', '.join(sorted(stray))} without its weight; expected one W per b.")
    return len(found)


def _weight(name: str, entries: dict[str, Any], k: int) -> Any:
    if f"W{k}" in entries:
        return entries[f"W{k}"]
    parts = [entries.get(f"W{k}_{part}") for part in ("data", "indices", "indptr", "shape")]
    data, indices, indptr, shape = parts
    if data is None or indices is None or indptr is None or shape is None:
        raise InputError(
            f"{name}: W{k} is incomplete; expected W{k}_data, W{k}_indices, W{k}_indptr and W{k}_shape."
        )
    try:
        values, source = as_float64(f"{name}: W{k}_data", data)
        matrix = sp.csr_array((values.copy(), indices, indptr), shape=tuple(int(n) for n in shape))
        matrix.check_format(full_check=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: W{k} is not a sparse matrix ({error}).") from error
    return SparseMap(matrix, source)


def _described_layers(name: str, entry: Any, count: int) -> list[dict[str, Any]]:
    try:
        content = json.loads(str(entry[()]))
        version, layers = content["version"], content["layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: the entry 'activations' is not the JSON text that save writes.") from error
    if version != 1:
        raise InputError(f"{name}: the entry 'activations' has version {version!r}; expected 1.")
    if (
        not isinstance(layers, list)
        or len(layers) != count
        or not all(isinstance(item, dict) for item in layers)
    ):
        raise InputError(f"{name}: the entry 'activations' does not describe {count} layers, one per weight.")
    return layers


def _activation(name: str, item: dict[str, Any]) -> Activation:
    kind, parameters = item.get("activation"), item.get("parameters", {})
    if not isinstance(kind, str) or kind not in ACTIVATIONS or not isinstance(parameters, dict):
        raise InputError(
            f"{name}: activation {kind!r} is unknown; expected one of {', '.join(sorted(ACTIVATIONS))}."
        )
    try:
        return ACTIVATIONS[kind](**parameters)
    except TypeError as error:
        raise InputError(
            f"{name}: activation {kind!r} has parameters {sorted(parameters)} ({error})."
        ) from error


def _with_dtype(name: str, k: int, weight: Any, item: dict[str, Any]) -> AbstractLinearMap:
    linear = as_linear_map(f"{name}: W{k}", weight)
    dtype = item.get("dtype")
    values = linear.matrix.data if isinstance(linear, SparseMap) else linear.to_dense()
    if (
        not isinstance(dtype, str)
        or dtype not in _STORED
        or not np.array_equal(_narrow(values, dtype), values)
    ):
        raise InputError(
            f"{name}: W{k} does not fit its stated dtype {dtype!r}; expected {', '.join(_STORED)}."
        )
    kind = SparseMap if isinstance(linear, SparseMap) else DenseMap
    return kind(linear.matrix, dtype)  # type: ignore[attr-defined]


def _narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in the numpy type that stores `dtype`; bfloat16 keeps the upper half of a float32."""
    with np.errstate(over="ignore", under="ignore"):
        result = np.ascontiguousarray(values, dtype=_STORED[dtype])
    if dtype == "BF16":
        result = (result.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return result


def _slopes(name: str, entries: dict[str, Any], k: int) -> tuple[np.ndarray, np.ndarray] | None:
    pair = [entries.get(f"{label}{k}") for label in ("alpha", "beta")]
    if pair[0] is None and pair[1] is None:
        return None
    if pair[0] is None or pair[1] is None:
        raise InputError(f"{name} holds one of alpha{k} and beta{k}; expected both or neither.")
    return as_float64(f"{name}: alpha{k}", pair[0])[0], as_float64(f"{name}: beta{k}", pair[1])[0]


def write_npz(path: str | os.PathLike[str], layers: Sequence[Layer]) -> None:
    """Write layers to `path` (a `.npz`), whole or not at all."""
    file = pathlib.Path(path)
    if file.suffix.lower() != ".npz":
        raise InputError(f"{file.name} has suffix {file.suffix!r}; expected .npz.")
    entries: dict[str, np.ndarray] = {}
    for k, layer in enumerate(layers):
        entries.update(_layer_entries(k, layer))
    content = {"version": 1, "layers": [_description(layer) for layer in layers]}
    entries["activations"] = np.array(json.dumps(content, allow_nan=False))
    stream = io.BytesIO()
    np.savez_compressed(stream, **entries)  # type: ignore[arg-type]
    write_bytes(file, stream.getvalue())


def _layer_entries(k: int, layer: Layer) -> dict[str, np.ndarray]:
    linear = layer.linear
    entries: dict[str, np.ndarray] = {f"b{k}": layer.bias}
    if isinstance(linear, SparseMap):
        matrix = linear.matrix
        entries[f"W{k}_data"] = _narrow(matrix.data, linear.source_dtype)
        entries |= {
            f"W{k}_indices": matrix.indices,
            f"W{k}_indptr": matrix.indptr,
            f"W{k}_shape": np.array(matrix.shape),
        }
    elif isinstance(linear, DenseMap):
        entries[f"W{k}"] = _narrow(linear.matrix, linear.source_dtype)
    else:
        raise InputError(f"layer {k} is a {type(linear).__name__}; save writes dense and sparse maps only.")
    alpha, beta = layer.activation.slopes_for(linear.shape[0], f"layer {k}")
    if not (np.array_equal(alpha, layer.alpha) and np.array_equal(beta, layer.beta)):
        entries |= {f"alpha{k}": layer.alpha, f"beta{k}": layer.beta}
    return entries


def _description(layer: Layer) -> dict[str, Any]:
    activation = layer.activation
    if ACTIVATIONS.get(activation.name) is not type(activation):
        raise InputError(f"activation {activation!r} is not one of lmikit's; save writes those only.")
    parameters = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in activation.parameters().items()
    }
    dtype = getattr(layer.linear, "source_dtype", "F64")
    return {"activation": activation.name, "parameters": parameters, "dtype": dtype}
