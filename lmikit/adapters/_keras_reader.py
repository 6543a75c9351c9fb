"""Sequential and functional Keras models from their configuration and arrays, as data."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import InputError
from ..graph import Graph
from ..network import Network
from ._built_steps import model_of_steps
from ._chain import refusal
from ._keras_call import Call
from ._keras_layers import KERAS_LAYERS, MERGING
from ._onnx_values import Tensor
from ._steps import Steps, size_of

__all__ = ["KerasReader"]

# The arrays of a layer in the order in which `.keras` numbers them, and the options that leave one out.
_ORDERS = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance", "count"),
    "PReLU": ("alpha",),
    "SeparableConv1D": ("kernel", "pointwise_kernel", "bias"),
    "SeparableConv2D": ("kernel", "pointwise_kernel", "bias"),
    "": ("kernel", "bias"),
}
_LEFT_OUT = {"gamma": "scale", "beta": "center", "bias": "use_bias"}
_OTHER_NAMES = {"depthwise_kernel": "kernel"}
_NAMES = {name for order in _ORDERS.values() for name in order} | {"seed_generator_state"}
_BUILT = ("Sequential", "Functional", "Model")
_ROOM = 2**24  # entries of everything computed, beside a multiple of what the arrays hold


def _own(arrays: Mapping[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    """The arrays of one layer by the last part of their names."""
    named = ((key.rpartition("/")[2].partition(":")[0], key) for key in arrays if key.startswith(folder))
    return {_OTHER_NAMES.get(name, name): arrays[key] for name, key in named}


class KerasReader:
    """Follows the layers of a configuration.

    `arrays` are by path: model_weights/LAYER/NAME, or `numbered` by class as `.keras` files have them;
    `keras` is the major version that wrote the model, 0 where nothing says.
    """

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray], *, numbered: bool, keras: int) -> None:
        self.name, self.arrays, self.numbered, self.keras = name, arrays, numbered, keras
        self.counts: dict[str, int] = {}

    def model(self, config: Mapping[str, Any], logits: bool) -> Network | Graph:
        """The network of a whole model."""
        if config.get("class_name") not in _BUILT or not _is_own(config, "models", "engine"):
            raise InputError(
                f"{self.name} holds a {str(config.get('class_name'))[:40]} model; expected a Sequential or "
                "functional one: rebuild it as such from its layers, or export it to ONNX."
            )
        held = config["config"]
        shape = self._input_shape(held, held["layers"] if isinstance(held, dict) else held)
        constants = sum(int(v.size) for v in self.arrays.values())
        if size_of(shape) > max(2**20, constants):
            raise InputError(f"{self.name} has inputs of shape {shape}; expected weights for them.")
        self.steps = Steps(size_of(shape), logits=logits, budget=_ROOM + 64 * constants)
        return model_of_steps(self.steps, self._walk(str(config["class_name"]), held, Tensor(0, shape)).step)

    def _walk(self, kind: str, held: Any, given: Tensor) -> Tensor:
        """The value of the last layer, or of the output of a functional model."""
        values: dict[str, Tensor] = {}
        last = given
        for layer in held["layers"] if isinstance(held, dict) else held:
            name = str(layer.get("name", layer["config"].get("name", layer["class_name"])))
            if kind == "Sequential":
                parents = [last]
            elif layer["class_name"] == "InputLayer":
                parents = [given]
            else:
                parents = [values[n] for n in _parents(name, layer, values)]
            if not parents:
                raise refusal(name, "a layer of no values")
            last = values[name] = self._layer(layer, parents)
        return last if kind == "Sequential" else values[_single_output(self.name, held)]

    def _layer(self, layer: Mapping[str, Any], given: list[Tensor]) -> Tensor:
        kind, options = str(layer["class_name"]), layer["config"]
        where = str(options.get("name", layer.get("name", kind)))
        if kind in _BUILT and _is_own(layer, "models", "engine") and len(given) == 1:
            return self._nested(where, kind, options, given[0])
        joined = kind in ("Add", "Subtract") and layer.get("module") == "keras.src.ops.numpy"  # x + y
        if not joined and not _is_own(layer, "layers"):
            raise refusal(where, f"a {str(layer.get('module'))[:60]}.{kind[:80]}, which is no layer of Keras")
        policy = options.get("dtype")
        if isinstance(policy, dict) and "Quantized" in str(policy.get("class_name")):
            raise refusal(where, f"a quantised Keras {kind}")
        if kind in MERGING:
            return MERGING[kind](Call(where, kind, options, {}, self.steps, self.keras), given)
        if kind not in KERAS_LAYERS:
            raise refusal(where, f"a Keras {kind[:80]}")
        if len(given) != 1:
            raise refusal(where, f"a Keras {kind} of {len(given)} values")
        arrays = self._parts(kind, options, True)
        return KERAS_LAYERS[kind](Call(where, kind, options, arrays, self.steps, self.keras), given[0])

    def _nested(self, where: str, kind: str, held: Any, value: Tensor) -> Tensor:
        """A model as a layer; its arrays stand below its own name."""
        if self.numbered:
            folder = self._folder(kind, True)
            inside = {k.removeprefix(folder): v for k, v in self.arrays.items() if k.startswith(folder)}
        else:
            folder = f"model_weights/{where}/"
            inside = {
                f"model_weights/{k.removeprefix(folder).removeprefix(where + '/')}": v
                for k, v in self.arrays.items()
                if k.startswith(folder)
            }
        reader = KerasReader(self.name, inside, numbered=self.numbered, keras=self.keras)
        reader.steps = self.steps
        return reader._walk(kind, held, value)

    def _input_shape(self, held: Any, layers: list[Any]) -> tuple[int, ...]:
        inputs = [layer for layer in layers if layer["class_name"] == "InputLayer"]
        if len(inputs) > 1:
            raise InputError(
                f"{self.name} holds a model with {len(inputs)} inputs; expected one, since a network here "
                "maps one vector: export it to ONNX, whose inputs are taken one after the other as one."
            )
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

    def _folder(self, kind: str, count: bool) -> str:
        """Where `.keras` keeps the next layer of a class."""
        snake = _snake(kind)
        number = self.counts.get(snake, 0)
        if count:
            self.counts[snake] = number + 1
        return f"layers/{snake}" + (f"_{number}/" if number else "/")

    def _parts(self, kind: str, options: Mapping[str, Any], count: bool) -> dict[str, np.ndarray]:
        """The layer's arrays by name: by its own name, or numbered by its class as `.keras` does."""
        where = str(options.get("name", kind))
        if not self.numbered:
            named = _own(self.arrays, f"model_weights/{where}/")
            if set(named) - _NAMES:
                raise refusal(where, f"a Keras {kind} with the arrays {', '.join(sorted(named))[:80]}")
            return named
        found = _own(self.arrays, self._folder(kind, count) + "vars/")
        order = [n for n in _ORDERS.get(kind, _ORDERS[""]) if options.get(_LEFT_OUT.get(n, ""), True)]
        if set(found) - {str(k) for k in range(len(order))}:
            raise refusal(where, f"a Keras {kind} with the arrays {', '.join(sorted(found))[:80]}")
        return {name: found[str(k)] for k, name in enumerate(order) if str(k) in found}


def _is_own(layer: Mapping[str, Any], *rooms: str) -> bool:
    """Whether a class is Keras's own: files before Keras 3 do not say, and mark registered ones alone."""
    if ">" in str(layer.get("registered_name") or ""):
        return False
    if "module" not in layer:
        return True
    parts = str(layer["module"]).split(".")
    inside = parts[1:] if parts[:1] in (["keras"], ["tf_keras"]) else None
    return inside is not None and (not inside or any(room in inside for room in rooms))


def _snake(kind: str) -> str:
    """As Keras names a class: 'BatchNormalization' is 'batch_normalization'."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _parents(name: str, layer: Mapping[str, Any], values: Mapping[str, Tensor]) -> list[str]:
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
