"""safetensors: named tensors without a program; the layer order and activations come from the caller."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from .._files import read_unpacked, reading
from ..graph import Graph
from ..network import Network
from ._chain import import_error_extra
from ._named_tensors import network_of_tensors, of_part

__all__ = ["from_safetensors"]

_LARGEST_FILE = 2**32  # bytes
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def from_safetensors(
    path: str | os.PathLike[str],
    activation: Any,
    *,
    order: Sequence[str] | None = None,
    part: str | None = None,
    input_shape: Sequence[int] | None = None,
) -> Network | Graph:
    """The network of a `.safetensors` file with tensors NAME.weight (out, in) and NAME.bias.

    `activation` is an `Activation`, a name, or a list with one per hidden layer: the file does not
    say. `order` lists the NAMEs in the order of the forward pass; None is accepted where they differ in
    one number only (ascending, not checked), or where only one order of the shapes chains.
    `part` takes the tensors of one prefix of names. Convolutions as in `from_state_dict`.
    float16, bfloat16 and float32 are cast exactly.

    Raises InputError for tensors that no layer uses, by name; BackendMissing without safetensors.
    """
    with reading(path, "a safetensors file"):
        file = pathlib.Path(path)
        tensors = _tensors(file)
        if part is not None:
            tensors = of_part(file.name, tensors, part)
        return network_of_tensors(file.name, tensors, activation, order, input_shape)


def _tensors(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import deserialize
    except ImportError as error:
        raise BackendMissing(import_error_extra("safetensors", "'lmikit[safetensors]'")) from error
    try:
        entries = deserialize(read_unpacked(file, _LARGEST_FILE, "safetensors file"))
    except InputError:
        raise
    except Exception as error:  # SafetensorError and whatever a broken header raises
        raise InputError(f"{file.name} cannot be read as safetensors ({error}); it is broken.") from error
    return {name: _array(file.name, name, entry) for name, entry in entries}


def _array(file: str, name: str, entry: dict[str, Any]) -> np.ndarray:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if dtype == "BF16":  # the upper half of a float32
        bits = np.frombuffer(entry["data"], dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if dtype not in _DTYPES:
        raise InputError(f"{file}: {name} has dtype {dtype}; expected F64, F32, F16 or BF16.")
    return np.frombuffer(entry["data"], dtype=_DTYPES[dtype]).reshape(shape)
