"""Keras files without Keras: `.h5` and `.keras`, read with h5py as data; no code of the file runs.

Sequential models of dense layers are read from the configuration that the file holds; a file of weights
alone gives its layers in their order, and the activations come from the caller.
"""

import io
import json
import math
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError, OptionError
from .._files import FREE, RATIO, read_unpacked, reading
from ..network import (
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    Mish,
    Network,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from ._chain import Chain, activation_list, import_error_extra, refusal

__all__ = ["from_keras_file"]

_LARGEST_FILE = 2**32  # bytes
_PASSED = ("InputLayer", "Flatten", "Dropout", "Identity")
_ACTIVATIONS: dict[str, Activation] = {
    "linear": Identity(), "relu": ReLU(), "relu6": ReLU6(), "tanh": Tanh(), "sigmoid": Sigmoid(),
    "elu": ELU(), "selu": SELU(), "softplus": Softplus(), "softsign": Softsign(), "gelu": GELU(),
    "silu": SiLU(), "swish": SiLU(), "mish": Mish(),
}  # fmt: skip


def from_keras_file(path: str | os.PathLike[str], activation: Any = None, *, logits: bool = False) -> Network:
    """The network of a `.h5` or `.keras` file of Keras 2 or 3: a Sequential model of dense layers.

    Read as data, without Keras: Dense, Activation, ReLU, Flatten, Dropout, Identity. `activation` is for
    files of weights alone, which do not say theirs: one for all hidden layers or a list; the output is
    then linear. `logits=True` leaves off a softmax at the end.

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
            return _configured(file.name, json.loads(config), arrays, logits, numbered=True)
        attributes, arrays = _arrays(data)
        if "model_config" in attributes:
            config = attributes["model_config"]
            return _configured(file.name, json.loads(config), arrays, logits, numbered=False)
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
        attributes = {key: file.attrs[key] for key in ("model_config", "layer_names") if key in file.attrs}
        file.visititems(visit)
    return attributes, found


def _pair(where: str, arrays: dict[str, np.ndarray], folder: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(kernel, bias) among the arrays of one layer."""
    own = {name.rpartition("/")[2].partition(":")[0]: name for name in arrays if name.startswith(folder)}
    kernel = own.get("kernel", own.get("0"))
    bias = own.get("bias", own.get("1"))
    if kernel is None or set(own) - {"kernel", "bias", "0", "1"}:
        raise refusal(where, f"a layer with the arrays {', '.join(sorted(own))[:80] or 'none'}")
    if arrays[kernel].ndim != 2:
        raise refusal(where, f"a layer with a kernel of shape {arrays[kernel].shape}")
    return arrays[kernel], None if bias is None else arrays[bias]


def _configured(
    name: str, config: dict[str, Any], arrays: dict[str, np.ndarray], logits: bool, numbered: bool
) -> Network:
    if config.get("class_name") != "Sequential":
        raise InputError(
            f"{name} holds a {str(config.get('class_name'))[:40]} model; expected a Sequential one: load it "
            "with keras.saving.load_model and pass it to lmikit.adapters.from_keras."
        )
    held = config["config"]
    chain, dense, vectors = Chain(logits=logits), 0, True
    for layer in held["layers"] if isinstance(held, dict) else held:
        kind, options = layer["class_name"], layer["config"]
        where = str(options.get("name", kind))
        shape = options.get("batch_input_shape", options.get("batch_shape"))
        vectors = vectors if shape is None else len(shape) == 2
        if kind == "Flatten":
            if options.get("data_format") == "channels_first" and not vectors:
                raise refusal(where, "a Flatten with data_format='channels_first', which reorders its input")
            vectors = True
        if kind == "Dense":
            if not vectors:
                raise refusal(where, f"a Dense of inputs of shape {shape}", "flatten them first")
            plain = "layers/dense" + (f"_{dense}" if dense else "") + "/"
            kernel, bias = _pair(where, arrays, plain if numbered else f"model_weights/{where}/")
            chain.affine(where, kernel.T, bias)
            dense += 1
            _activate(chain, where, options.get("activation"))
        elif kind == "Activation":
            _activate(chain, where, options.get("activation"))
        elif kind == "ReLU" and not any(options.get(k) for k in ("max_value", "negative_slope", "threshold")):
            chain.activation(where, ReLU())
        elif kind not in _PASSED:
            raise refusal(where, f"a Keras {kind}")
    return chain.network()


def _activate(chain: Chain, where: str, name: Any) -> None:
    if name == "softmax":
        chain.softmax(where, "a softmax activation")
        return
    if name is not None and name not in _ACTIVATIONS:
        raise refusal(where, f"a layer with the activation {str(name)[:80]}")
    chain.activation(where, _ACTIVATIONS[name or "linear"])


def _weights_alone(
    name: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray], activation: Any
) -> Network:
    if "layer_names" not in attributes:
        raise InputError(f"{name} holds no layers of Keras; expected what save_weights writes.")
    if activation is None:
        raise OptionError(f"{name} holds weights alone; pass activation= (--activation).")
    layers = [n.decode() if isinstance(n, bytes) else str(n) for n in attributes["layer_names"]]
    layers = [layer for layer in layers if any(key.startswith(f"{layer}/") for key in arrays)]
    chain, phis = Chain(), activation_list(activation, len(layers) - 1)
    for k, layer in enumerate(layers):
        kernel, bias = _pair(layer, arrays, f"{layer}/")
        chain.affine(layer, kernel.T, bias)
        if k < len(phis):
            chain.activation(layer, phis[k])
    return chain.network()
