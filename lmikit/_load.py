"""`load_network`: a network from a file of any kind that lmikit reads, by its suffix."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ._errors import InputError, OptionError
from .adapters import from_keras_file, from_nnet, from_onnx, from_safetensors, from_state_dict
from .graph import Graph
from .graph._file import holds_graph
from .network import Network

__all__ = ["load_network"]


_TORCH = (".pt", ".pth", ".zip")
_KERAS = (".h5", ".hdf5", ".keras")
_OF_KINDS = {
    "output": (".onnx",),
    "logits": (".onnx", *_KERAS),
    "order": (".safetensors", *_TORCH),
    "part": _TORCH,
}


def load_network(
    path: str | os.PathLike[str],
    activation: Any = None,
    *,
    output: str | None = None,
    logits: bool = False,
    order: Sequence[str] | None = None,
    part: str | None = None,
) -> Network | Graph:
    """The network in a `.npz`, `.mat`, `.onnx`, `.nnet`, `.safetensors`, `.h5`, `.keras`, `.pt` or `.zip`.

    A `Graph` where it is no chain, and for a `.npz` that `Graph.save` wrote. `activation` is used where
    the file does not name its activations: `.mat`, `.safetensors` and `.npz` that lmikit did not write
    (None: relu), and torch's files and Keras's weights alone, which need it. `output` (the value to stop
    at) and `logits` (leave off a softmax at the end) are for `.onnx`. `order` (the layers' names in the
    order of the forward pass) is for `.safetensors` and torch's files, `part` (a prefix, or 'actor' or
    'critic' of a stable-baselines3 archive) for the latter.

    Raises InputError for a missing file, an unknown suffix and whatever the reader refuses,
    OptionError for an option of another kind of file, BackendMissing where its package is missing.
    """
    file = pathlib.Path(path)
    plain = "relu" if activation is None else activation
    readers: dict[str, Callable[[], Network | Graph]] = {
        ".npz": lambda: Graph.from_file(file) if holds_graph(file) else Network.from_file(file, plain),
        ".mat": lambda: Network.from_file(file, plain),
        ".onnx": lambda: from_onnx(file, output=output, logits=logits),
        ".nnet": lambda: from_nnet(file),
        ".safetensors": lambda: from_safetensors(file, plain, order=order),
        **dict.fromkeys(_KERAS, lambda: from_keras_file(file, activation, logits=logits)),
        **dict.fromkeys(_TORCH, lambda: from_state_dict(file, activation, order=order, part=part)),
    }
    if not os.path.isfile(file):  # Path.is_file raises where a name is too long
        raise InputError(f"{str(file)[:200]} is not a file; expected a network: {', '.join(readers)}.")
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{file.name} has suffix {file.suffix!r}; expected one of {', '.join(readers)}.")
    for name, value in {"output": output, "logits": logits, "order": order, "part": part}.items():
        if value and suffix not in _OF_KINDS[name]:
            raise OptionError(
                f"{name} is for {', '.join(_OF_KINDS[name])} files; {file.name} is none, leave it out."
            )
    return readers[suffix]()
