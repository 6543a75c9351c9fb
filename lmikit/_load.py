"""`load_network`: a network from a file of any kind that lmikit reads; its content says which."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ._errors import InputError, OptionError
from ._file_kinds import KINDS, kind_of
from ._files import read_unpacked
from .adapters import from_keras_file, from_nnet, from_onnx, from_safetensors, from_state_dict
from .adapters._named_arrays import from_named_arrays
from .graph import Graph
from .graph._file import holds_graph
from .network import Network, resolve_activation

__all__ = ["load_network"]

_LARGEST_FILE = 2**32  # bytes
_OF_KINDS = {
    "output": ("onnx",),
    "input": ("onnx",),
    "logits": ("onnx", "keras"),
    **dict.fromkeys(("order", "part", "input_shape"), ("safetensors", "torch", "mat", "npz")),
}


def load_network(
    path: str | os.PathLike[str],
    activation: Any = None,
    *,
    output: str | None = None,
    input: str | Sequence[str] | None = None,
    logits: bool = False,
    order: Sequence[str] | None = None,
    part: str | None = None,
    input_shape: Sequence[int] | None = None,
) -> Network | Graph:
    """The network in a `.npz`, `.mat`, `.onnx`, `.nnet`, `.safetensors`, `.h5`, `.keras`, `.pt` or `.zip`.

    The content decides which it is, the suffix only where the content does not say; `.gz` is read through.
    A `Graph` where it is no chain, and for a `.npz` that `Graph.save` wrote. `activation` is used where the
    file does not name its activations: `.mat`, `.safetensors` and `.npz` that lmikit did not write (None:
    relu), and torch's files and Keras's weights alone, which need it. `output` (the value to stop at),
    `input` (the inputs meant, or values to begin at) and `logits` (leave off a softmax at the end) are for
    `.onnx`. `order` (the layers' names in the order of the forward pass) and `part` (a prefix of names, or
    'actor' or 'critic' of an agent) are for `.safetensors`, torch's files and `.mat` and `.npz` of such
    tensors, and so is `input_shape`, which convolutions need there (`from_state_dict` says how an order
    states strides, paddings and pooling).

    Raises InputError for a missing file, one of no known kind and whatever the reader refuses,
    OptionError for an option of another kind of file, BackendMissing where its package is missing.
    """
    file = pathlib.Path(path)
    if os.path.isdir(file):
        raise InputError(
            f"{str(file)[:200]} is a folder; expected a network file. A folder of TensorFlow (SavedModel) is "
            "converted where TensorFlow is: python -m tf2onnx.convert --saved-model FOLDER --output net.onnx."
        )
    if not os.path.isfile(file):  # Path.is_file raises where a name is too long
        raise InputError(f"{str(file)[:200]} is not a file; expected a network: {', '.join(KINDS)}.")
    kind = kind_of(file.name, read_unpacked(file, _LARGEST_FILE, "network file"))
    named: dict[str, Any] = {"order": order, "part": part, "input_shape": input_shape}
    options = {"output": output, "input": input, "logits": logits, **named}
    for name, value in options.items():
        if value and kind not in _OF_KINDS[name]:
            suffixes = ", ".join(s for s, k in KINDS.items() if k in _OF_KINDS[name])
            raise OptionError(f"{name} is for {suffixes} files; {file.name} is none, leave it out.")
    if isinstance(activation, str):
        resolve_activation(activation)  # a wrong name is an error where the file states its own, too
    plain = "relu" if activation is None else activation
    readers: dict[str, Callable[[], Network | Graph]] = {
        "npz": lambda: Graph.from_file(file) if holds_graph(file) else _of_arrays(file, ".npz", plain, named),
        "mat": lambda: _of_arrays(file, ".mat", plain, named),
        "onnx": lambda: from_onnx(file, output=output, input=input, logits=logits),
        "nnet": lambda: from_nnet(file),
        "safetensors": lambda: from_safetensors(file, plain, **named),
        "keras": lambda: from_keras_file(file, activation, logits=logits),
        "torch": lambda: from_state_dict(file, activation, **named),
    }
    return readers[kind]()


def _of_arrays(file: pathlib.Path, kind: str, activation: Any, named: dict[str, Any]) -> Network | Graph:
    """Arrays by the names of layers, else one of the layouts of `Network.from_file`."""
    found = from_named_arrays(file, kind, activation, **named)
    if found is not None:
        return found
    for name, value in named.items():
        if value:
            raise OptionError(f"{name} is for files of named tensors; {file.name} is none, leave it out.")
    return Network.from_file(file, activation)
