"""Graphs as `.npz`: the entry `graph` is a JSON text, a0, a1, ... are its arrays in the order of use.

{"version": 1, "nodes": [...]}, nodes in order: {"node": "input", "size": n},
{"node": "affine", "parents": [...], "maps": [...]} (the arrays of its maps, then its bias) and
{"node": "apply", "parent": p, "function": name, "parameters": {...}}. Maps are
{"map": "dense" | "sparse", "dtype": ...} (an array; data, indices, indptr, shape),
{"map": "select", "size": n} (indices), {"map": "transposed" | "stack" | "sum" | "product", "parts": [...]},
{"map": "convolution", "dtype", "input": [c, h, w], "stride", "padding", "dilation", "groups"} (the kernel).
"""

import io
import json
import os
import pathlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_float64
from .._errors import InputError
from .._files import read_unpacked, write_bytes
from ..maps import Convolution2d
from ..network import AbstractLinearMap, Activation, DenseMap, SelectMap, SparseMap, TransposedMap
from ..network._compound_maps import ProductMap, StackMap, SumMap
from ..network._file_entries import LARGEST_FILE, load_entries
from ..network._npz import _STORED, _activation, _narrow, activation_description
from ..nonlinear import AbstractGroups, MaxMinPairs, Reflect, SortGroups
from ._nodes import Affine, Apply, Input, Node

if TYPE_CHECKING:
    from ._graph import Graph

__all__ = ["holds_graph", "read_graph_nodes", "write_graph"]

_VERSION = 1
_GROUPS: dict[str, type[AbstractGroups]] = {g.name: g for g in (SortGroups, Reflect, MaxMinPairs)}
_LONGEST, _DEEPEST = 2**24, 32  # characters of the text; maps inside maps
_FREE, _RATIO = 2**22, 64  # channels that a file may state without holding arrays for them


def holds_graph(file: pathlib.Path) -> bool:
    """Whether a `.npz` holds a graph rather than the layers of a chain."""
    try:
        with zipfile.ZipFile(io.BytesIO(read_unpacked(file, LARGEST_FILE))) as archive:
            return "graph.npy" in archive.namelist()
    except Exception:  # whatever is broken, the reader of chains says so
        return False


def write_graph(path: str | os.PathLike[str], graph: "Graph") -> None:
    """Write a graph to `path` (a `.npz`), whole or not at all; raises InputError."""
    file = pathlib.Path(path)
    if file.suffix.lower() != ".npz":
        raise InputError(f"{file.name} has suffix {file.suffix!r}; expected .npz.")
    arrays: list[np.ndarray] = []
    nodes = [_node_out(node, arrays) for node in graph.nodes]
    text = json.dumps({"version": _VERSION, "nodes": nodes}, allow_nan=False)
    entries = {"graph": np.array(text), **{f"a{k}": a for k, a in enumerate(arrays)}}
    stream = io.BytesIO()
    np.savez_compressed(stream, **entries)  # type: ignore[arg-type]
    write_bytes(file, stream.getvalue())


def _node_out(node: Node, arrays: list[np.ndarray]) -> dict[str, Any]:
    if isinstance(node, Affine):
        assert node.bias is not None
        maps = [_map_out(m, arrays) for m in node.maps]
        arrays.append(node.bias)
        return {"node": "affine", "parents": list(node.parents), "maps": maps}
    if isinstance(node, Input):
        return {"node": "input", "size": node.size}
    function = node.function
    if isinstance(function, Activation):
        described = activation_description(function)
    elif _GROUPS.get(function.name) is type(function):
        described = {"function": function.name, "parameters": function.parameters()}
    else:
        raise InputError(f"nonlinearity {function!r} is not one of lmikit's; save writes those only.")
    return {"node": "apply", "parent": node.parent, **described}


def _map_out(linear: AbstractLinearMap, arrays: list[np.ndarray]) -> dict[str, Any]:
    if isinstance(linear, DenseMap):
        arrays.append(_narrow(linear.matrix, linear.source_dtype))
        return {"map": "dense", "dtype": linear.source_dtype}
    if isinstance(linear, SparseMap):
        m = linear.matrix
        arrays += [_narrow(m.data, linear.source_dtype), m.indices, m.indptr, np.array(m.shape)]
        return {"map": "sparse", "dtype": linear.source_dtype}
    if isinstance(linear, SelectMap):
        arrays.append(linear.indices)
        return {"map": "select", "size": linear.size}
    if isinstance(linear, Convolution2d):
        dtype = "F32" if linear.source_dtype == "BF16" else linear.source_dtype  # which it is read as
        arrays.append(_narrow(linear.kernel, dtype))
        numbers = {name: getattr(linear, name) for name in ("stride", "padding", "dilation", "groups")}
        return {
            "map": "convolution",
            "dtype": dtype,
            "input": list(linear.input_shape),
            **numbers,
        }
    kinds = {"transposed": TransposedMap, "stack": StackMap, "sum": SumMap, "product": ProductMap}
    for name, kind in kinds.items():
        if isinstance(linear, kind):
            return {"map": name, "parts": [_map_out(part, arrays) for part in linear.parts()]}
    raise InputError(f"a node holds a {type(linear).__name__}, which save does not write yet.")


def read_graph_nodes(path: str | os.PathLike[str]) -> tuple[Node, ...]:
    """The nodes of a file that `write_graph` wrote; raises InputError for anything else."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file; expected a .npz that Graph.save wrote.")
    entries = load_entries(file, ".npz")
    text = np.asarray(entries.pop("graph", 0))
    if text.ndim or text.dtype.kind != "U":
        raise InputError(f"{file.name} holds no graph; expected the entry 'graph' that Graph.save writes.")
    if len(str(text)) > _LONGEST:
        raise InputError(f"{file.name}: the entry 'graph' has more than {_LONGEST} characters.")
    try:
        data = json.loads(str(text), object_pairs_hook=_unique, parse_constant=_refused)
        return _GraphFileReader(entries).nodes(data)
    except InputError as error:
        raise InputError(f"{file.name} is no graph: {error}") from error
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        reason = str(error).split("\n")[0][:200]
        raise InputError(f"{file.name}: the entry 'graph' cannot be read ({reason}).") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _refused(text: str) -> None:
    raise ValueError(f"the number {text} is not finite")


class _GraphFileReader:
    """Takes the arrays one after the other, each once, and counts the channels that are stated."""

    def __init__(self, entries: dict[str, Any]) -> None:
        self._entries = entries
        self._next = 0
        self._left = max(_FREE, _RATIO * sum(int(np.size(a)) for a in entries.values()))

    def nodes(self, data: Any) -> tuple[Node, ...]:
        version, nodes = _fields(data, "the graph", "version nodes")
        if version != _VERSION or isinstance(version, bool):
            raise InputError(f"its version is {version!r}; expected {_VERSION}.")
        if not isinstance(nodes, list):
            raise InputError("nodes is no list.")
        found: list[Node] = []
        for k, item in enumerate(nodes):
            found.append(self._node(item, f"nodes[{k}]", found))
        if self._next != len(self._entries):
            raise InputError(f"it holds {len(self._entries)} arrays; its text uses a0 to a{self._next - 1}.")
        return tuple(found)

    def _node(self, item: Any, name: str, before: list[Node]) -> Node:
        kind = item.get("node") if isinstance(item, dict) else None
        if kind == "input":
            _, size = _fields(item, name, "node size")
            return Input(self._spent(size, name))
        if kind == "affine":
            _, parents, maps = _fields(item, name, "node parents maps")
            if not isinstance(parents, list) or not isinstance(maps, list):
                raise InputError(f"{name}: parents or maps is no list.")
            indices = tuple(_index(p, name, len(before)) for p in parents)
            linear = tuple(self._map(m, f"{name}.maps[{j}]", 0) for j, m in enumerate(maps))
            bias, _ = self._floats(f"{name}: its bias", 1)
            return Affine(linear, indices, bias)
        if kind != "apply":
            raise InputError(f"{name} is a node {kind!r}; expected input, affine or apply.")
        _, parent, function, parameters = _fields(item, name, "node parent function parameters")
        parent = _index(parent, name, len(before))
        size = self._spent(before[parent].size, name)
        if isinstance(function, str) and function in _GROUPS and isinstance(parameters, dict):
            return Apply(_GROUPS[function](**parameters), parent, size)
        return Apply(_activation(name, {"activation": function, "parameters": parameters}), parent, size)

    def _map(self, item: Any, name: str, depth: int) -> AbstractLinearMap:
        kind = item.get("map") if isinstance(item, dict) else None
        if kind == "dense":
            _, dtype = _fields(item, name, "map dtype")
            values, _ = self._floats(name, 2)
            return DenseMap(values, _fitting(name, values, dtype))
        if kind == "sparse":
            _, dtype = _fields(item, name, "map dtype")
            return self._sparse(name, dtype)
        if kind == "select":
            _, size = _fields(item, name, "map size")
            indices = self._integers(name)
            return SelectMap(indices, self._spent(size, name))
        if kind == "convolution":
            return self._convolution(item, name)
        _, parts = _fields(item, name, "map parts")
        if depth >= _DEEPEST or not isinstance(parts, list):
            raise InputError(f"{name}: parts is no list, or inside more than {_DEEPEST} maps.")
        maps = tuple(self._map(part, f"{name}.parts[{j}]", depth + 1) for j, part in enumerate(parts))
        return _compound(kind, maps, name)

    def _sparse(self, name: str, dtype: Any) -> SparseMap:
        values, _ = self._floats(name, 1)
        indices, pointers, shape = (self._integers(name) for _ in range(3))
        if shape.size != 2:
            raise InputError(f"{name}: its shape has {shape.size} entries; expected 2.")
        rows, columns = (self._spent(int(n), name) for n in shape)
        matrix = sp.csr_array((values.copy(), indices, pointers), shape=(rows, columns))
        matrix.check_format(full_check=True)
        return SparseMap(matrix, _fitting(name, values, dtype))

    def _convolution(self, item: Any, name: str) -> Convolution2d:
        _, dtype, shape, *numbers = _fields(item, name, "map dtype input stride padding dilation groups")
        kernel, _ = self._floats(name, 4)
        fitting = _fitting(name, kernel, dtype)
        found = Convolution2d(_narrow(kernel, fitting), shape, *numbers)
        for size in found.shape:
            self._spent(size, name)
        if found.source_dtype != fitting:
            raise InputError(f"{name} has a kernel of {found.source_dtype}; its text says {fitting}.")
        return found

    def _array(self, name: str) -> Any:
        key = f"a{self._next}"
        if key not in self._entries:
            raise InputError(f"{name}: the array {key} is missing.")
        self._next += 1
        return self._entries[key]

    def _floats(self, name: str, ndim: int) -> tuple[np.ndarray, str]:
        values, source = as_float64(name, self._array(name))
        if values.ndim != ndim:
            raise InputError(f"{name} has {values.ndim} dimensions; expected {ndim}.")
        return values, source

    def _integers(self, name: str) -> np.ndarray:
        array = np.asarray(self._array(name))
        if array.ndim != 1 or array.dtype.kind != "i":
            raise InputError(f"{name} has indices of {array.dtype}, {array.ndim}-D; expected 1-D integers.")
        return array

    def _spent(self, size: Any, name: str) -> int:
        """`size`, after it is clear that this many channels are in proportion to the file."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"{name} has size {size!r}; expected an integer, at least 1.")
        self._left -= size
        if self._left < 0:
            raise InputError(f"{name} states {size} channels, out of proportion to what the file holds.")
        return size


def _compound(kind: Any, maps: tuple[AbstractLinearMap, ...], name: str) -> AbstractLinearMap:
    if kind == "stack":
        return StackMap(maps)
    if kind == "sum":
        return SumMap(maps)
    if kind == "transposed" and len(maps) == 1:
        return TransposedMap(maps[0])
    if kind == "product" and len(maps) == 2:
        return ProductMap(*maps)
    raise InputError(f"{name} is a map {kind!r} of {len(maps)} parts, which is not known.")


def _fitting(name: str, values: np.ndarray, dtype: Any) -> str:
    if (
        not isinstance(dtype, str)
        or dtype not in _STORED
        or not np.array_equal(_narrow(values, dtype), values)
    ):
        raise InputError(f"{name} does not fit its dtype {dtype!r}; expected one of {', '.join(_STORED)}.")
    return str(dtype)


def _index(data: Any, name: str, below: int) -> int:
    if isinstance(data, bool) or not isinstance(data, int) or not 0 <= data < below:
        raise InputError(f"{name} has the parent {data!r}; expected the index of an earlier node.")
    return data


def _fields(data: Any, name: str, names: str) -> list[Any]:
    if not isinstance(data, dict) or set(data) != set(names.split()):
        raise InputError(f"{name} is not an object of {', '.join(names.split())}.")
    return [data[key] for key in names.split()]
