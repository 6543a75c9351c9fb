"""Equinox: `eqx.nn.MLP`, `eqx.nn.Sequential` and lists of layers, whose weights are (out, in)."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..network import Activation, Identity, Network, PReLU, resolve_activation
from ._chain import ChainSteps, import_error_extra, refusal
from ._jax_activations import function_name, jax_activation

__all__ = ["from_equinox"]


def from_equinox(model: Any, activation: Any = None) -> Network:
    """The network of an Equinox model acting on one vector, with the same outputs to rounding.

    Read: `eqx.nn.MLP`; `eqx.nn.Sequential` and plain lists of Linear, Lambda with a function of
    `jax.nn`, PReLU, Identity, Dropout in inference mode, and nested ones. `activation` states what
    the hidden activation of an MLP is where its function is not one of those.

    Raises InputError naming the layer for everything else, which `from_jax` reads by an example of an
    input; BackendMissing without equinox.
    """
    try:
        import equinox
        import jax
    except ImportError as error:
        raise BackendMissing(import_error_extra("equinox", "'lmikit[jax]'")) from error
    reader = _EquinoxReader(equinox, jax, None if activation is None else resolve_activation(activation))
    reader.layer("model", model)
    return reader.chain.network()


class _EquinoxReader:
    def __init__(self, equinox: Any, jax: Any, stated: Activation | None) -> None:
        self.nn, self.jax, self.stated = equinox.nn, jax, stated
        self.chain = ChainSteps()

    def layer(self, where: str, layer: Any) -> None:
        nn, kind = self.nn, type(layer)
        if kind is nn.MLP:
            self._mlp(where, layer)
        elif kind is nn.Sequential or isinstance(layer, (list, tuple)):
            layers: Sequence[Any] = layer.layers if kind is nn.Sequential else layer
            for k, part in enumerate(layers):
                self.layer(f"{where}[{k}]", part)
        elif kind is nn.Linear:
            self.chain.affine(where, layer.weight, None if layer.bias is None else np.ravel(layer.bias))
        elif kind is nn.Lambda and type(layer.fn) is nn.PReLU:
            self.layer(where, layer.fn)
        elif kind is nn.Lambda:
            self.chain.activation(where, self._function(where, layer.fn))
        elif kind is nn.PReLU:
            self.chain.activation(where, PReLU(np.ravel(layer.negative_slope)))
        elif kind is nn.Dropout:
            if not layer.inference and layer.p > 0:
                raise refusal(where, "a dropout in training mode", "use eqx.nn.inference_mode(model)")
        elif kind is not nn.Identity:
            if isinstance(layer, self.jax.Array):
                raise InputError(f"layer {where} is an array; expected a layer: use Network.from_arrays.")
            known = jax_activation(self.jax, layer)
            if known is None:
                raise refusal(
                    where, f"a {kind.__module__}.{kind.__qualname__}", "read it by from_jax(model, example)"
                )
            self.chain.activation(where, known)

    def _mlp(self, where: str, model: Any) -> None:
        """Linear layers with one activation between them, and one more at the end."""
        for k, layer in enumerate(model.layers[:-1]):
            self.layer(f"{where}.layers[{k}]", layer)
            self.chain.activation(f"{where}.activation", self._hidden(where, model.activation, k))
        self.layer(f"{where}.layers[{len(model.layers) - 1}]", model.layers[-1])
        default = inspect.signature(self.nn.MLP.__init__).parameters["final_activation"].default
        final = model.final_activation
        phi = Identity() if final is default else self._function(f"{where}.final_activation", final)
        self.chain.activation(f"{where}.final_activation", phi)

    def _hidden(self, where: str, activation: Any, k: int) -> Activation:
        if self.stated is not None:
            return self.stated
        if type(activation) is self.nn.PReLU:  # its slopes carry one more axis, the layers
            return PReLU(np.asarray(activation.negative_slope)[k])
        return self._function(f"{where}.activation", activation)

    def _function(self, where: str, function: Any) -> Activation:
        known = jax_activation(self.jax, function)
        if known is None:
            raise refusal(where, f"the function {function_name(function)}")
        return known
