"""Our `.npz`: W0, b0, W1, ..., exact both ways.

Sparse weights are stored as W0_data, W0_indices, W0_indptr, W0_shape. The entry `activations`
is a JSON text {"version": 1, "layers": [{"activation": name, "parameters": ..., "dtype": ...}]}
with one entry per linear map; slopes that are not the activation's own are in alpha0, beta0.
"""

import io
import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
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
from ._file_names import SPELLINGS, named_activations
from ._layer import Layer
from ._maps import AbstractLinearMap, DenseMap, SparseMap

__all__ = ["activation_description", "read_npz", "read_with_kernels", "write_npz"]

_WEIGHT = re.compile(r"W(0|[1-9][0-9]{0,6})(_data|_indices|_indptr|_shape)?", re.ASCII)
_WIDEST = 2**20  # of a sparse weight, whatever it holds
_STORED = {"F16": np.float16, "F32": np.float32, "BF16": np.float32, "F64": np.float64}


def read_npz(file: pathlib.Path) -> NetworkFile:
    """The network of a `.npz` file; raises InputError where it is not one."""
    entries = load_entries(file, ".npz")
    if "graph" in entries:
        raise InputError(f"{file.name} holds a graph; read it with Graph.from_file or load_network.")
    kernels = sorted(key for key in entries if key[:1] == "K" and key[1:].isdigit())
    if kernels:
        raise InputError(
            f"{file.name} holds convolution kernels ({', '.join(kernels)[:100]}); expected fully connected "
            "weights W0, W1, ...: load_network reads it, with input_shape= and order=."
        )
    count = _count_weights(file.name, entries)
    _refuse_unknown(file.name, entries, count)
    weights = tuple(_weight(file.name, entries, k) for k in range(count))
    biases = tuple(entries.get(f"b{k}") for k in range(count))
    if "b" in entries:
        biases = (entries["b"],)
    slopes = tuple(_slopes(file.name, entries, k) for k in range(count))
    key = next((key for key in SPELLINGS if key in entries), None)
    if key is None:
        return NetworkFile(weights, biases, None, slopes)
    if not _is_description(entries[key]):
        return NetworkFile(weights, biases, named_activations(file.name, key, entries[key], count), slopes)
    described = _described_layers(file.name, entries[key], count)
    activations = tuple(_activation(file.name, item) for item in described[:-1])
    typed = tuple(
        _with_dtype(file.name, k, w, item) for k, (w, item) in enumerate(zip(weights, described, strict=True))
    )
    return NetworkFile(typed, biases, activations, slopes)


Make = Callable[[np.ndarray, dict[str, Any], str], AbstractLinearMap]


def read_with_kernels(file: pathlib.Path, make: Make) -> NetworkFile | None:
    """What `write_npz` wrote of a network with convolutions; None for other files.

    `make` builds a convolution of a kernel, its other arguments and what to call it.
    """
    entries = load_entries(file, ".npz")
    if "activations" not in entries or not _is_description(entries["activations"]):
        return None
    kernels = {k: v for k, v in entries.items() if k[:1] == "K" and k[1:].isdigit() and len(k) < 8}
    count = len(kernels) + sum(re.fullmatch("W[0-9]{1,7}(_data)?", key) is not None for key in entries)
    described = _described_layers(file.name, entries["activations"], count)
    rest = {key: value for key, value in entries.items() if key not in kernels}
    weights: list[Any] = []
    for k, item in enumerate(described):
        if f"K{k}" in kernels:
            weights.append(make(kernels[f"K{k}"], item.get("convolution", {}), f"{file.name}: K{k}"))
            rest[f"W{k}"] = None
        else:
            weights.append(_with_dtype(file.name, k, _weight(file.name, entries, k), item))
    _refuse_unknown(file.name, rest, count)
    return NetworkFile(
        tuple(weights),
        tuple(entries.get(f"b{k}") for k in range(count)),
        tuple(_activation(file.name, item) for item in described[:-1]),
        tuple(_slopes(file.name, entries, k) for k in range(count)),
    )


def _count_weights(name: str, entries: dict[str, Any]) -> int:
    found = {int(match.group(1)) for match in map(_WEIGHT.fullmatch, entries) if match}
    if not found:
        held = ", ".join(sorted(entries)[:6]) or "nothing"
        raise InputError(f"{name} holds {held[:200]}; expected weights W0, W1, ... of shape (out, in).")
    missing = next(k for k in range(len(found) + 1) if k not in found)
    if missing != len(found):
        raise InputError(
            f"{name} holds W{max(found)} but not W{missing}; expected W0 to W{max(found)}, all of them."
        )
    return len(found)


def _refuse_unknown(name: str, entries: dict[str, Any], count: int) -> None:
    """An entry that is not read could be a bias or an activation under another name."""
    per_layer = {f"{label}{k}" for k in range(count) for label in ("b", "alpha", "beta")}
    known = per_layer | set(SPELLINGS) | ({"b"} if count == 1 and "b0" not in entries else set())
    unknown = sorted(key for key in entries if key not in known and not _WEIGHT.fullmatch(key))
    stray = [key for key in unknown if key[:1] == "b" and key[1:].isdigit()]
    if stray:
        raise InputError(f"{name} holds {', '.join(stray)[:200]} without its weight; expected one W per b.")
    if unknown:
        raise InputError(
            f"{name} holds {', '.join(unknown)[:200]}, which is not known; expected W0, b0, W1, ..., alpha0, "
            "beta0, ... and activations: leave out what is no part of the network."
        )
    if sum(key in entries for key in SPELLINGS) > 1:
        raise InputError(f"{name} names its activations twice; expected one of {', '.join(SPELLINGS)}.")


def _is_description(entry: Any) -> bool:
    """Whether this is the JSON text that `write_npz` writes, or tries to be."""
    text = np.asarray(entry)
    return text.ndim == 0 and (text.dtype.kind != "U" or str(text[()]).lstrip()[:1] in "{[")


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
        rows, columns = (int(n) for n in shape)
        if max(rows, columns) > max(_WIDEST, 64 * values.size):
            raise ValueError(f"its shape ({rows}, {columns}) is out of proportion to {values.size} entries")
        matrix = sp.csr_array((values.copy(), indices, indptr), shape=(rows, columns))
        matrix.check_format(full_check=True)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{name}: W{k} is not a sparse matrix ({error}).") from error
    return SparseMap(matrix, source)


def _described_layers(name: str, entry: Any, count: int) -> list[dict[str, Any]]:
    try:
        content = json.loads(str(entry[()]))
        version, layers = content["version"], content["layers"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
        stored = linear.stored()
        if stored is None:
            raise InputError(
                f"layer {k} is a {type(linear).__name__}; save writes dense and sparse maps, convolutions, "
                "and lmikit.graph.chain_graph(network).save(path) all maps."
            )
        entries[f"K{k}"] = _narrow(stored[0], getattr(linear, "source_dtype", "F64"))
    alpha, beta = layer.activation.slopes_for(linear.shape[0], f"layer {k}")
    if not (np.array_equal(alpha, layer.alpha) and np.array_equal(beta, layer.beta)):
        entries |= {f"alpha{k}": layer.alpha, f"beta{k}": layer.beta}
    return entries


def _description(layer: Layer) -> dict[str, Any]:
    described = activation_description(layer.activation)
    dtype = getattr(layer.linear, "source_dtype", "F64")
    stored = layer.linear.stored()
    convolution = {} if stored is None else {"convolution": stored[1]}
    return {
        "activation": described["function"],
        "parameters": described["parameters"],
        "dtype": dtype,
        **convolution,
    }


def activation_description(activation: Activation) -> dict[str, Any]:
    """{"function": name, "parameters": ...} of one of lmikit's activations; raises InputError for others."""
    if ACTIVATIONS.get(activation.name) is not type(activation):
        raise InputError(f"activation {activation!r} is not one of lmikit's; save writes those only.")
    parameters = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in activation.parameters().items()
    }
    return {"function": activation.name, "parameters": parameters}
