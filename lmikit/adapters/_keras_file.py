"""Keras files without Keras: `.h5` and `.keras`, read with h5py as data; no code of the file runs.

Sequential and functional models are read from the configuration that the file holds; a file of weights
alone gives its layers in their order, and the activations come from the caller.
"""

import io
import json
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError, OptionError
from .._files import FREE, RATIO, read_unpacked, reading
from ..graph import Graph
from ..network import Network
from ._chain import ChainSteps, activation_list, import_error_extra, natural_key, refusal
from ._keras_reader import KerasReader
from ._named_tensors import network_of_tensors

__all__ = ["from_keras_file"]

_LARGEST_FILE = 2**32  # bytes
_HEAP = b"GCOL\x01\0\0\0"


def from_keras_file(
    path: str | os.PathLike[str], activation: Any = None, *, logits: bool = False
) -> Network | Graph:
    """The network of a `.h5` or `.keras` file of Keras 2 or 3: a Sequential or functional model.

    Read as data, without Keras: what `from_keras` reads.
    A `Graph` where values meet, and with max-pooling. Images are (height, width, channels) in row order, as
    Keras flattens them. `activation` is for files of weights alone, which do not say theirs:
    one for all hidden layers or a list; the output is then linear. `logits=True` leaves off a softmax at
    the end.

    Raises InputError naming the layer for everything else, BackendMissing without h5py.
    """
    file = pathlib.Path(path)
    data = read_unpacked(file, _LARGEST_FILE, "Keras file")
    with reading(file, "a Keras file"):
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(member.file_size for member in archive.infolist()) > max(FREE, RATIO * len(data)):
                    raise InputError(f"{file.name} unpacks to more than a file of its length may hold.")
                config, arrays = archive.read("config.json"), _arrays(archive.read("model.weights.h5"))[1]
                told = (
                    json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
                )
            version = _major(told.get("keras_version", "3"))
            return KerasReader(file.name, arrays, numbered=True, keras=version).model(
                json.loads(config), logits
            )
        attributes, arrays = _arrays(data)
        if "model_config" in attributes:
            config, version = (
                json.loads(attributes["model_config"]),
                _major(attributes.get("keras_version", "")),
            )
            return KerasReader(file.name, arrays, numbered=False, keras=version).model(config, logits)
        return _weights_alone(file.name, attributes, arrays, activation)


def _refuse_broken_heaps(data: bytes) -> None:
    """Texts of any length stand in global heaps, and HDF5's library can walk a broken one without end.

    A heap is "GCOL", version 1, its size, and objects of 16 bytes of head (index, count, size) and data in
    multiples of 8; index 0 is the free space, whose size counts its head (HDF5 File Format, III.E).
    """
    place = data.find(_HEAP)
    while place >= 0:
        end = place + int.from_bytes(data[place + 8 : place + 16], "little")
        here = place + 16
        while here + 16 <= end <= len(data):
            size = int.from_bytes(data[here + 8 : here + 16], "little")
            if not int.from_bytes(data[here : here + 2], "little"):
                here += size if size >= 16 else len(data)
                break
            here += 16 + -(-size // 8) * 8
        if not here <= end <= len(data):
            raise InputError(f"the file has a broken heap of texts at byte {place}; expected HDF5.")
        place = data.find(_HEAP, place + 8)


def _major(version: Any) -> int:
    """3 of '3.4.1'; 0 where nothing says."""
    text = version.decode() if isinstance(version, bytes) else str(version)
    first = text.partition(".")[0]
    return int(first) if first.isdigit() else 0


def _arrays(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(attributes of the root, arrays by path); links out of the file are not followed."""
    try:
        import h5py
    except ImportError as error:
        raise BackendMissing(import_error_extra("h5py", "h5py")) from error
    _refuse_broken_heaps(data)
    found: dict[str, np.ndarray] = {}
    left = [max(FREE, RATIO * len(data))]

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        left[0] -= math.prod(item.shape) * item.dtype.itemsize
        if left[0] < 0 or item.external or item.is_virtual or item.dtype.kind not in "fiu":
            raise InputError(f"{name[:80]} is no array of numbers within the file; expected weights.")
        found[name] = np.asarray(item[()])

    # an image in memory: over a Python file h5py waits for bytes beyond the end, where an address is broken
    with h5py.File(h5py.h5f.open_file_image(data), "r") as file:
        roots = [file, *(file[key] for key in ("model_weights",) if key in file)]
        attributes = {
            key: root.attrs[key]
            for root in roots
            for key in ("model_config", "layer_names", "keras_version")
            if key in root.attrs
        }
        file.visititems(visit)
    return attributes, found


_KERNEL = re.compile(r"(?:.*_)?(kernel|W|weights?)|0", re.ASCII)
_BIAS = re.compile(r"(?:.*_)?(bias|b|biases)|1", re.ASCII)


def _weights_alone(
    name: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray], activation: Any
) -> Network | Graph:
    """Dense layers in the order that the file states, else by the numbers in their names."""
    if activation is None:
        raise OptionError(f"{name} holds weights alone; pass activation= (--activation).")
    if arrays and not any("/" in key for key in arrays):  # W0, b0, ... or fc1_weight, ... at the root
        return network_of_tensors(name, arrays, activation, None)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        folder, _, last = key.rpartition("/")
        layer, last = folder.removesuffix("/vars"), last.partition(":")[0]
        kind = "kernel" if _KERNEL.fullmatch(last) else "bias" if _BIAS.fullmatch(last) else last
        layers.setdefault(layer, {})[kind] = array
    for layer, parts in layers.items():
        if "kernel" not in parts or set(parts) - {"kernel", "bias"}:
            raise refusal(layer, f"a layer with the arrays {', '.join(sorted(parts))[:80]}")
        if parts["kernel"].ndim != 2:
            raise refusal(layer, f"a layer with a kernel of shape {parts['kernel'].shape}")
    order = sorted(layers, key=lambda layer: (_place(attributes, layer), natural_key(layer)))
    if not order:
        raise InputError(f"{name} holds no layers of Keras; expected what save_weights writes.")
    chain, phis = ChainSteps(), activation_list(activation, len(order) - 1)
    for k, layer in enumerate(order):
        chain.affine(layer, layers[layer]["kernel"].T, layers[layer].get("bias"))
        if k < len(phis):
            chain.activation(layer, phis[k])
    return chain.network()


def _place(attributes: Mapping[str, Any], layer: str) -> int:
    """The place of a layer in the list that Keras 2 writes; 0 where there is none."""
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in attributes.get("layer_names", ())]
    parts = layer.split("/")
    return next((k for k, known in enumerate(names) if known in parts), 0)
