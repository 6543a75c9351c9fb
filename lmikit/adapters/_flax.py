"""Flax: parameter trees of `flax.linen`, and `flax.nnx` modules; kernels are (in, out)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..network import Activation, Network, resolve_activation
from ._chain import ChainSteps, activation_list, import_error_extra, refusal
from ._jax_activations import function_name, jax_activation

__all__ = ["from_flax"]


def from_flax(model: Any, activation: Any = None, *, order: Sequence[str] | None = None) -> Network:
    """The network of a Flax parameter tree (linen) or of an `nnx.Sequential`.

    A tree {"params": {"Dense_0": {"kernel", "bias"}, ...}} says nothing of activations or of the
    order in which layers are applied (linen numbers them as they are constructed, which may
    differ): `activation` is required (an instance, a name, or one per hidden layer), and for more
    than one layer `order`, a list of paths such as "encoder/Dense_0". Neither can be checked. For
    an `nnx.Sequential` of Linear, functions of `jax.nn` and Dropout that is off both come from it.

    Raises InputError naming every parameter that is not a Dense layer's (`from_jax` reads such models by
    an example of an input), BackendMissing without flax where `model` is an nnx module.
    """
    if isinstance(model, Mapping):
        return _from_tree(model, activation, order)
    try:
        import jax
        from flax import nnx
    except ImportError as error:
        raise BackendMissing(import_error_extra("flax", "'lmikit[jax]'")) from error
    if not isinstance(model, nnx.Sequential):
        raise InputError(
            f"model is a {type(model).__module__}.{type(model).__qualname__}; expected a parameter tree (a "
            "mapping) or an nnx.Sequential: read any other module by from_jax(model, example)."
        )
    if activation is not None or order is not None:
        raise InputError("an nnx.Sequential holds its activations and order; drop activation and order.")
    chain = ChainSteps()
    _read_sequential(chain, "layers", model, nnx, jax)
    return chain.network()


def _from_tree(tree: Mapping[str, Any], activation: Any, order: Sequence[str] | None) -> Network:
    if activation is None:
        raise InputError("a parameter tree does not say its activations; pass activation.")
    groups = _dense_layers(tree["params"] if set(tree) == {"params"} else tree, "")
    if not groups:
        raise InputError("the tree has no parameters; expected Dense layers with 'kernel' and 'bias'.")
    if order is None and len(groups) > 1:
        raise InputError(
            f"the layers are {sorted(groups)}, whose order in the forward pass is not known; pass order."
        )
    paths = list(groups) if order is None else list(order)
    if sorted(paths) != sorted(groups):
        raise InputError(f"order is {paths}; expected each of {sorted(groups)} once.")
    phis: list[Activation | None] = [*activation_list(activation, len(paths) - 1), None]
    chain = ChainSteps()
    for path, phi in zip(paths, phis, strict=True):
        chain.affine(path, np.asarray(groups[path]["kernel"]).T, groups[path].get("bias"))
        if phi is not None:
            chain.activation(path, resolve_activation(phi))
    return chain.network()


def _dense_layers(tree: Mapping[Any, Any], path: str) -> dict[str, dict[str, Any]]:
    """{path: {"kernel", "bias"}}; raises for every leaf that belongs to something else."""
    if "kernel" in tree and set(tree) <= {"kernel", "bias"} and np.ndim(tree["kernel"]) == 2:
        return {path: dict(tree)}
    found: dict[str, dict[str, Any]] = {}
    for key, value in tree.items():
        here = f"{path}/{key}" if path else str(key)
        if not isinstance(value, Mapping):
            what = f"a parameter of shape {np.shape(value)} that is not a Dense layer's"
            raise refusal(here, what, "read it by from_jax(lambda x: model.apply(variables, x), example)")
        found |= _dense_layers(value, here)
    return found


def _read_sequential(chain: ChainSteps, where: str, model: Any, nnx: Any, jax: Any) -> None:
    for k, layer in enumerate(model.layers):
        here, kind = f"{where}[{k}]", type(layer)
        if kind is nnx.Sequential:
            _read_sequential(chain, f"{here}.layers", layer, nnx, jax)
        elif kind is nnx.Linear:
            if layer.dot_general is not jax.lax.dot_general:
                raise refusal(here, "a linear layer with a product of its own (dot_general)")
            bias = None if layer.bias is None else np.asarray(layer.bias[...])
            chain.affine(here, np.asarray(layer.kernel[...]).T, bias)
        elif kind is nnx.Dropout:
            if not layer.deterministic and layer.rate > 0:
                raise refusal(here, "a dropout in training mode", "call model.eval() first")
        else:
            known = jax_activation(jax, layer)
            if known is None:
                name = function_name(layer) if not isinstance(layer, nnx.Module) else ""
                what = f"a {name or f'{kind.__module__}.{kind.__qualname__}'}"
                raise refusal(here, what, "read it by from_jax(model, example)")
            chain.activation(here, known)
