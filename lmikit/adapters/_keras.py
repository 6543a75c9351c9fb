"""Keras 3: Sequential and functional models that are chains, any backend, in inference mode."""

from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..network import (
    ELU,
    GELU,
    Activation,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    Network,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from ._chain import ChainSteps, import_error_extra, normalisation, refusal

__all__ = ["from_keras"]


def from_keras(model: Any, *, logits: bool = False) -> Network:
    """The network that a Keras model is in inference (training=False), equal to rounding.

    Read: Dense on vectors, the activations that lmikit names (as an argument, as Activation, ReLU,
    LeakyReLU, PReLU or ELU layers), Flatten, Reshape to vectors, Dropout, BatchNormalization of
    vectors, Rescaling, Identity, nested models. `logits=True` leaves off a softmax at the very
    end. Kernels are transposed; scalings are folded in float64, which rounds.

    Raises InputError naming the layer for everything else, BackendMissing without keras.
    """
    try:
        import keras
    except ImportError as error:
        raise BackendMissing(import_error_extra("keras", "'lmikit[keras]'")) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"model is a {type(model).__name__}; expected a keras.Model.")
    chain = ChainSteps(logits=logits)
    reader = _KerasReader(keras, chain)
    reader.model("", model)
    return chain.network()


def _kind(layer: Any) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _functions(keras: Any) -> dict[Any, Activation]:
    functions = keras.activations
    return {
        functions.linear: Identity(),
        functions.relu: ReLU(),
        functions.relu6: Hardtanh(0.0, 6.0),
        functions.leaky_relu: LeakyReLU(0.2),
        functions.elu: ELU(),
        functions.softplus: Softplus(),
        functions.sigmoid: Sigmoid(),
        functions.tanh: Tanh(),
        functions.gelu: GELU(),
        functions.silu: SiLU(),
        functions.mish: Mish(),
        functions.hard_silu: Hardswish(),
        functions.hard_tanh: Hardtanh(),
    }


class _KerasReader:
    def __init__(self, keras: Any, chain: ChainSteps) -> None:
        self.keras, self.chain, self.functions = keras, chain, _functions(keras)

    def model(self, where: str, model: Any) -> None:
        if not _kind(model).startswith("keras.") or type(model).__name__ not in ("Sequential", "Functional"):
            raise refusal(where or model.name, f"a {_kind(model)} with a call method of its own")
        if not model.built:
            raise InputError(f"model {model.name!r} is not built; call it on data or give it an Input first.")
        if type(model) is not self.keras.Sequential:
            self._check_chain(model)
        for layer in model.layers:
            self._layer(f"{where}{layer.name}", layer)

    def _check_chain(self, model: Any) -> None:
        """Each layer takes exactly what the layer before it gave, and the last one is the output."""
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise InputError(f"model {model.name!r} has several inputs or outputs; expected one of each.")
        current = model.inputs[0]
        for operation in model.operations:
            if isinstance(operation, self.keras.layers.InputLayer):
                continue
            nodes = [n for n in operation._inbound_nodes if any(t is current for t in n.input_tensors)]
            if not isinstance(operation, self.keras.layers.Layer):
                raise refusal(operation.name, f"a {_kind(operation)}")
            if len(nodes) != 1 or len(nodes[0].input_tensors) != 1 or len(nodes[0].output_tensors) != 1:
                raise refusal(operation.name, f"a {_kind(operation)} not on a chain")
            current = nodes[0].output_tensors[0]
        if current is not model.outputs[0]:
            raise InputError(f"model {model.name!r} does not return the value of its last layer.")

    def _layer(self, where: str, layer: Any) -> None:
        layers, kind = self.keras.layers, type(layer)
        if isinstance(layer, self.keras.Model):
            self.model(f"{where}/", layer)
        elif kind is layers.Dense:
            self._dense(where, layer)
        elif kind is layers.Activation:
            self._function(where, layer.activation)
        elif kind in (layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU):
            self.chain.activation(where, self._activation_layer(where, layer))
        elif kind is layers.Softmax:
            self.chain.softmax(where, f"a {_kind(layer)}")
        elif kind in (layers.Flatten, layers.Reshape):
            self._flatten(where, layer)
        elif kind is layers.BatchNormalization:
            self._batch_norm(where, layer)
        elif kind is layers.Rescaling:
            self._vectors(where, layer)
            self.chain.flatten(where, int(self._input_shape(where, layer)[-1] or 0))
            self.chain.scaling(where, np.asarray(layer.scale), np.asarray(layer.offset))
        elif kind not in (layers.InputLayer, layers.Dropout, layers.Identity):
            raise refusal(where, f"a {_kind(layer)}")

    def _array(self, variable: Any) -> np.ndarray:
        return np.asarray(self.keras.ops.convert_to_numpy(variable))

    def _input_shape(self, where: str, layer: Any) -> tuple[int | None, ...]:
        try:
            return tuple(layer.input.shape)
        except (AttributeError, ValueError) as error:
            raise refusal(where, f"a {_kind(layer)} that is used in several places") from error

    def _vectors(self, where: str, layer: Any) -> None:
        shape = self._input_shape(where, layer)
        if len(shape) != 2:
            raise refusal(where, f"a {_kind(layer)} of inputs of shape {shape}", "flatten them first")

    def _dense(self, where: str, layer: Any) -> None:
        self._vectors(where, layer)
        if getattr(layer, "quantization_mode", None) is not None:
            raise refusal(where, f"a quantised {_kind(layer)}")
        bias = None if layer.bias is None else self._array(layer.bias)
        self.chain.affine(where, self._array(layer.kernel).T, bias)
        if layer.activation is not None:
            self._function(where, layer.activation)

    def _function(self, where: str, function: Any) -> None:
        if function is self.keras.activations.softmax:
            self.chain.softmax(where, "a softmax activation")
            return
        known = self.functions.get(function)
        if known is None:
            name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
            raise refusal(where, f"an activation {name}")
        self.chain.activation(where, known)

    def _activation_layer(self, where: str, layer: Any) -> Activation:
        layers, kind = self.keras.layers, type(layer)
        if kind is layers.LeakyReLU:
            return LeakyReLU(float(layer.negative_slope))
        if kind is layers.ELU:
            return ELU(float(layer.alpha))
        if kind is layers.PReLU:
            self._vectors(where, layer)
            return PReLU(self._array(layer.alpha).reshape(-1))
        slope, largest, threshold = float(layer.negative_slope), layer.max_value, float(layer.threshold)
        if threshold != 0.0 or (largest is not None and slope != 0.0):
            raise refusal(where, "a ReLU with a threshold, or with both a slope and a largest value")
        if largest is not None:
            return Hardtanh(0.0, float(largest))
        return LeakyReLU(slope) if slope else ReLU()

    def _flatten(self, where: str, layer: Any) -> None:
        shape = self._input_shape(where, layer)
        if len(layer.output.shape) != 2:
            raise refusal(where, f"a {_kind(layer)} to shape {layer.output.shape}; expected vectors")
        if getattr(layer, "data_format", None) == "channels_first" and len(shape) > 2:
            raise refusal(where, "a Flatten with data_format='channels_first', which reorders its input")
        self.chain.flatten(where, int(layer.output.shape[-1]))

    def _batch_norm(self, where: str, layer: Any) -> None:
        self._vectors(where, layer)
        gain, shift = (None if v is None else self._array(v) for v in (layer.gamma, layer.beta))
        mean, variance = self._array(layer.moving_mean), self._array(layer.moving_variance)
        self.chain.scaling(where, *normalisation(gain, shift, mean, variance, layer.epsilon))
