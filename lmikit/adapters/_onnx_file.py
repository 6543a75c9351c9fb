"""ONNX files: one size-limited read of the model and of its external data, which stay in its folder."""

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from .._errors import InputError
from .._files import read_bytes, read_unpacked, reading

__all__ = ["read_model", "refuse_external"]

_LARGEST_FILE = 2**31  # bytes; protobuf has no larger message
_LARGEST_DATA = 2**32


def read_model(onnx: Any, path: str | os.PathLike[str]) -> Any:
    """The ModelProto of a file (or of a gzip file), with its external data within; raises InputError."""
    file = pathlib.Path(path)
    data = read_unpacked(file, _LARGEST_FILE, "ONNX file")
    with reading(file, "ONNX"):
        model = onnx.load_model_from_string(data)
        _take_in(onnx, model, file.parent)
    return model


def refuse_external(model: Any) -> None:
    """A model in memory has no folder: reading its data would depend on where the process runs."""
    for tensor in _tensors(model.graph):
        if tensor.data_location == tensor.EXTERNAL:
            raise InputError(
                f"the tensor {tensor.name[:80]!r} is kept outside the model; expected the path of the file "
                "beside it, or a model loaded with its external data."
            )


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in(onnx: Any, model: Any, folder: pathlib.Path) -> None:
    held: dict[str, bytes] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in held:
            held[location] = read_bytes(_inside(folder, location), _LARGEST_DATA, "file of tensors")
        size = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        start, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        if min(tensor.dims, default=0) < 0 or length != size or not 0 <= start <= len(held[location]) - size:
            raise InputError(
                f"the tensor {tensor.name[:80]!r} of shape {tuple(tensor.dims)[:8]} takes {size} bytes at "
                f"{start} of {location[:80]!r}, which holds {len(held[location])}; expected data filling it."
            )
        tensor.raw_data = held[location][start : start + size]
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]


def _inside(folder: pathlib.Path, location: str) -> pathlib.Path:
    """The file of external data; raises InputError where it lies outside the model's folder."""
    root = folder.resolve()
    try:
        place = (root / location).resolve()
        good = bool(location) and "\0" not in location and place.is_relative_to(root) and place != root
    except (OSError, ValueError):
        good = False
    if not good:
        raise InputError(
            f"the model keeps tensors in {location[:80]!r}; expected a file within the model's own folder."
        )
    return place
