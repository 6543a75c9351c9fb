"""`load_network`: a network from a file of any kind that lmikit reads, by its suffix."""

import os
import pathlib
from typing import Any

from ._errors import InputError
from .adapters import from_nnet, from_onnx, from_safetensors
from .network import Network

__all__ = ["load_network"]


def load_network(path: str | os.PathLike[str], activation: Any = "relu") -> Network:
    """The network in a `.npz`, `.mat`, `.onnx`, `.nnet` or `.safetensors` file.

    `activation` is used where the file does not name its activations: `.mat`, `.safetensors`
    and `.npz` not written by `Network.save`. Raises InputError for a missing file, an unknown
    suffix and whatever the reader refuses, BackendMissing where its package is missing.
    """
    file = pathlib.Path(path)
    readers = {
        ".npz": lambda: Network.from_file(file, activation),
        ".mat": lambda: Network.from_file(file, activation),
        ".onnx": lambda: from_onnx(file),
        ".nnet": lambda: from_nnet(file),
        ".safetensors": lambda: from_safetensors(file, activation),
    }
    if not file.is_file():
        raise InputError(f"{file} is not a file; expected a network: {', '.join(readers)}.")
    read = readers.get(file.suffix.lower())
    if read is None:
        raise InputError(f"{file.name} has suffix {file.suffix!r}; expected one of {', '.join(readers)}.")
    return read()
