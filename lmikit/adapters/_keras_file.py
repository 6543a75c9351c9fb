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
from ._built_steps import model_of_steps
from ._chain import ChainSteps, activation_list, import_error_extra, natural_key, refusal
from ._keras_layers import KERAS_LAYERS, Call, LayerValue
from ._named_tensors import network_of_tensors
from ._steps import Steps, size_of

__all__ = ["from_keras_file"]

_LARGEST_FILE = 2**32  # bytes
_ROOM = 2**24  # entries of everything computed from the file, beside a multiple of what it holds
_BUILT = ("Sequential", "Functional", "Model")
# The arrays of a layer in the order in which `.keras` numbers them, and the options that leave one out.
_ORDERS = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance", "count"),
    "PReLU": ("alpha",),
    "": ("kernel", "bias"),
}
_LEFT_OUT = {"gamma": "scale", "beta": "center", "bias": "use_bias"}
_OTHER_NAMES = {"depthwise_kernel": "kernel"}


def from_keras_file(
    path: str | os.PathLike[str], activation: Any = None, *, logits: bool = False
) -> Network | Graph:
    """The network of a `.h5` or `.keras` file of Keras 2 or 3: a Sequential or functional model.

    Read as data, without Keras: Dense, Conv2D, DepthwiseConv2D, pooling of images, BatchNormalization
    (folded in float64, which rounds), ZeroPadding2D, Rescaling, Normalization, activations, Flatten,
    Reshape, Dropout, Add, Subtract and Concatenate, the same of signals (Conv1D, ...), a Sequential inside.
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
            return _KerasFileReader(file.name, arrays, numbered=True).model(json.loads(config), logits)
        attributes, arrays = _arrays(data)
        if "model_config" in attributes:
            config = attributes["model_config"]
            return _KerasFileReader(file.name, arrays, numbered=False).model(json.loads(config), logits)
        return _weights_alone(file.name, attributes, arrays, activation)


def _arrays(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(attributes of the root, arrays by path); links out of the file are not followed."""
    try:
        import h5py
    except ImportError as error:
        raise BackendMissing(import_error_extra("h5py", "h5py")) from error
    found: dict[str, np.ndarray] = {}
    left = [max(FREE, RATIO * len(data))]

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        left[0] -= math.prod(item.shape) * item.dtype.itemsize
        if left[0] < 0 or item.external or item.is_virtual or item.dtype.kind not in "fiu":
            raise InputError(f"{name[:80]} is no array of numbers within the file; expected weights.")
        found[name] = np.asarray(item[()])

    with h5py.File(io.BytesIO(data), "r") as file:
        roots = [file, *(file[key] for key in ("model_weights",) if key in file)]
        attributes = {
            key: root.attrs[key]
            for root in roots
            for key in ("model_config", "layer_names")
            if key in root.attrs
        }
        file.visititems(visit)
    return attributes, found


def _own(arrays: Mapping[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    """The arrays of one layer by the last part of their names."""
    named = ((key.rpartition("/")[2].partition(":")[0], key) for key in arrays if key.startswith(folder))
    return {_OTHER_NAMES.get(name, name): arrays[key] for name, key in named}


class _KerasFileReader:
    """Follows the layers of a configuration; `values` holds the results by the layers' names."""

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray], numbered: bool) -> None:
        self.name, self.arrays, self.numbered = name, arrays, numbered
        self.counts: dict[str, int] = {}

    def model(self, config: Mapping[str, Any], logits: bool) -> Network | Graph:
        if config.get("class_name") not in _BUILT:
            raise InputError(
                f"{self.name} holds a {str(config.get('class_name'))[:40]} model; expected a Sequential "
                "or functional one: load it with keras.saving.load_model and pass it to adapters.from_keras."
            )
        held = config["config"]
        layers = held["layers"] if isinstance(held, dict) else held
        shape = self._input_shape(held, layers)
        constants = sum(int(v.size) for v in self.arrays.values())
        if size_of(shape) > max(2**20, constants):
            raise InputError(f"{self.name} has inputs of shape {shape}; expected weights for them.")
        self.steps = Steps(size_of(shape), logits=logits, budget=_ROOM + 64 * constants)
        values: dict[str, LayerValue] = {}
        last = LayerValue(0, shape)
        sequential = config["class_name"] == "Sequential"
        for layer in layers:
            name = str(layer.get("name", layer["config"].get("name", layer["class_name"])))
            given = [last] if sequential else [values[n] for n in _parents(name, layer, values)]
            if not given and layer["class_name"] != "InputLayer":
                raise refusal(name, "a layer of no values")
            last = values[name] = self._layer(layer, given or [LayerValue(0, shape)])
        if not sequential:
            last = values[_single_output(self.name, held)]
        return model_of_steps(self.steps, last.step)

    def _input_shape(self, held: Any, layers: list[Any]) -> tuple[int, ...]:
        inputs = [layer for layer in layers if layer["class_name"] == "InputLayer"]
        if len(inputs) > 1:
            raise InputError(f"{self.name} holds a model with {len(inputs)} inputs; expected one.")
        for layer in [*inputs, *layers[:1]]:
            options = layer["config"]
            shape = options.get("batch_input_shape", options.get("batch_shape"))
            if shape is not None and len(shape) > 1 and all(isinstance(n, int) and n > 0 for n in shape[1:]):
                return tuple(shape[1:])
        first = next((layer for layer in layers if layer["class_name"] == "Dense"), None)
        build = held.get("build_input_shape") if isinstance(held, dict) else None
        if build is not None and all(isinstance(n, int) and n > 0 for n in build[1:]):
            return tuple(build[1:])
        if first is None:
            raise InputError(f"{self.name} does not state the shape of its input; expected fixed sizes.")
        return (int(self._parts("Dense", first["config"], False)["kernel"].shape[0]),)

    def _layer(self, layer: Mapping[str, Any], given: list[LayerValue]) -> LayerValue:
        kind, options = str(layer["class_name"]), layer["config"]
        where = str(options.get("name", kind))
        if kind in ("Add", "Subtract", "Concatenate"):
            return self._joined(where, kind, options, given)
        if kind == "Sequential" and len(given) == 1:
            return self._nested(where, options, given[0])
        if kind not in KERAS_LAYERS:
            raise refusal(where, f"a Keras {kind[:80]}")
        if len(given) != 1:
            raise refusal(where, f"a Keras {kind} of {len(given)} values")
        call = Call(where, kind, options, self._parts(kind, options, True), self.steps)
        return KERAS_LAYERS[kind](call, given[0])

    def _nested(self, where: str, options: Mapping[str, Any], value: LayerValue) -> LayerValue:
        """A Sequential as a layer; its arrays stand below its own name."""
        if self.numbered:
            folder = self._folder("Sequential", True)
            inside = {k.removeprefix(folder): v for k, v in self.arrays.items() if k.startswith(folder)}
        else:
            folder = f"model_weights/{where}/"
            inside = {
                f"model_weights/{k.removeprefix(folder).removeprefix(where + '/')}": v
                for k, v in self.arrays.items()
                if k.startswith(folder)
            }
        reader = _KerasFileReader(self.name, inside, self.numbered)
        reader.steps = self.steps
        for layer in options["layers"]:
            value = reader._layer(layer, [value])
        return value

    def _folder(self, kind: str, count: bool) -> str:
        """Where `.keras` keeps the next layer of a class."""
        snake = _snake(kind)
        number = self.counts.get(snake, 0)
        if count:
            self.counts[snake] = number + 1
        return f"layers/{snake}" + (f"_{number}/" if number else "/")

    def _joined(
        self, where: str, kind: str, options: Mapping[str, Any], given: list[LayerValue]
    ) -> LayerValue:
        shapes = {v.shape for v in given}
        if len(shapes) == 1 and (kind == "Add" or (kind == "Subtract" and len(given) == 2)):
            signs = [1] * len(given) if kind == "Add" else [1, -1]
            return LayerValue(self.steps.sum(where, [v.step for v in given], signs), given[0].shape)
        if kind == "Concatenate" and all(len(v.shape) == 1 for v in given) and options.get("axis") in (-1, 1):
            which = np.repeat(np.arange(len(given)), [v.shape[0] for v in given])
            index = np.concatenate([np.arange(v.shape[0]) for v in given])
            step = self.steps.gather(where, [v.step for v in given], which, index, np.zeros(index.size))
            return LayerValue(step, (int(index.size),))
        raise refusal(where, f"a Keras {kind} of samples of shapes {sorted(shapes)}")

    def _parts(self, kind: str, options: Mapping[str, Any], count: bool) -> dict[str, np.ndarray]:
        """The layer's arrays by name: by its own name, or numbered by its class as `.keras` does."""
        where = str(options.get("name", kind))
        if not self.numbered:
            return _own(self.arrays, f"model_weights/{where}/")
        found = _own(self.arrays, self._folder(kind, count) + "vars/")
        order = [n for n in _ORDERS.get(kind, _ORDERS[""]) if options.get(_LEFT_OUT.get(n, ""), True)]
        if set(found) - {str(k) for k in range(len(order))}:
            raise refusal(where, f"a Keras {kind} with the arrays {', '.join(sorted(found))[:80]}")
        return {name: found[str(k)] for k, name in enumerate(order) if str(k) in found}


def _snake(kind: str) -> str:
    """As Keras names a class: 'BatchNormalization' is 'batch_normalization'."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _parents(name: str, layer: Mapping[str, Any], values: Mapping[str, LayerValue]) -> list[str]:
    """The layers whose values one takes: Keras 2's nested lists, or Keras 3's tensors."""
    nodes = layer.get("inbound_nodes", [])
    if len(nodes) > 1:
        raise refusal(name, "a layer that is used in several places")
    found: list[str] = []
    _histories(nodes, found, 0)
    if any(parent not in values for parent in found):
        raise refusal(name, f"a layer of {', '.join(found)[:80]}, which do not come before it")
    return found


def _histories(part: Any, found: list[str], depth: int) -> None:
    if depth > 12:
        raise InputError("a layer's inputs are nested too deep.")
    if isinstance(part, dict):
        history = part.get("keras_history")
        if isinstance(history, list) and history:
            found.append(str(history[0]))
            return
        for value in part.values():
            _histories(value, found, depth + 1)
    elif isinstance(part, list):
        if len(part) in (3, 4) and isinstance(part[0], str) and isinstance(part[1], int):
            found.append(part[0])
            return
        for value in part:
            _histories(value, found, depth + 1)


def _single_output(name: str, held: Mapping[str, Any]) -> str:
    outputs = held.get("output_layers", [])
    if len(outputs) == 1 and isinstance(outputs[0], list):
        outputs = outputs[0]
    if not outputs or not isinstance(outputs[0], str):
        raise InputError(f"{name} holds a model with {len(outputs)} outputs; expected one.")
    return str(outputs[0])


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
