"""Keras 3: Sequential and functional models, any backend, in inference mode."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..graph import Graph
from ..network import Network
from ._chain import import_error_extra, refusal
from ._keras_reader import KerasReader

__all__ = ["from_keras"]


def from_keras(model: Any, *, logits: bool = False) -> Network | Graph:
    """The network that a Keras model is in inference (training=False), equal to rounding.

    A `Network` where the model is a chain, a `Graph` where values meet, and with max-pooling. Read: Dense;
    Conv1D and 2D, their transposes, depthwise and separable ones; max-, average and global pooling,
    zero padding, cropping, upsampling to the nearest pixel; the activations that lmikit names, as arguments
    or layers; BatchNormalization, Normalization, Rescaling; Flatten, Reshape, Permute, Dropout and noise;
    Add, Subtract, Average, Maximum, Minimum, Concatenate, `x + y` and `x - y`; models inside. Images are
    (height, width, channels) in row order, as Keras flattens them. `logits=True` leaves off a softmax at the
    very end. Kernels are transposed; scalings are folded in float64, which rounds.

    Raises InputError naming the layer for everything else, BackendMissing without keras.
    """
    try:
        import keras
    except ImportError as error:
        raise BackendMissing(import_error_extra("keras", "'lmikit[keras]'")) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"model is a {type(model).__name__}; expected a keras.Model.")
    if not model.built:
        raise InputError(f"model {model.name!r} is not built; call it on data or give it an Input first.")
    arrays = dict(_arrays(keras, "model_weights", model))
    reader = KerasReader(f"model {model.name!r}", arrays, numbered=False, keras=3)
    return reader.model(json.loads(model.to_json()), logits)


def _arrays(keras: Any, folder: str, model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The variables by path; refused is a model or layer of a class that is not Keras's own."""
    _refuse_other_classes(model)
    for layer in model.layers:
        here = f"{folder}/{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _arrays(keras, here, layer)
            continue
        _refuse_other_classes(layer)
        _refuse_other_activations(keras, layer)
        for variable in layer.variables:
            yield f"{here}/{variable.name}", np.asarray(keras.ops.convert_to_numpy(variable))


def _refuse_other_classes(layer: Any) -> None:
    kind = type(layer)
    if not kind.__module__.startswith("keras."):
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise refusal(layer.name, f"a {name} with a call method of its own")


def _refuse_other_activations(keras: Any, layer: Any) -> None:
    """A configuration has a function by its name alone, which may be that of one of Keras's own."""
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None)
    if function is None or isinstance(function, keras.layers.Layer):
        return
    if name is None or getattr(keras.activations, name, None) is not function:
        raise refusal(layer.name, f"the activation {str(name or function)[:80]}, which is not Keras's own")
