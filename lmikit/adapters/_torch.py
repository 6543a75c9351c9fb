"""torch: modules and functional code, read from the graph that `torch.fx` traces.

The graph must be a chain: each operation takes what the one before gave. Modules are matched by
their exact class, since a subclass may compute something else; hooks and replaced `forward` methods
are refused for the same reason. Parametrised weights (spectral norm, weight norm, orthogonal) are
read as what the module computes with in evaluation mode.
"""

import operator
from collections.abc import Sequence
from typing import Any, overload

from .._errors import BackendMissing, InputError
from ..graph import Graph, is_chain
from ..network import Network
from ._chain import ChainSteps, import_error_extra, normalisation, refusal
from ._torch_activations import activation_functions, activation_modules

__all__ = ["from_torch"]


@overload
def from_torch(model: Any, *, logits: bool = False, input_shape: None = None) -> Network: ...


@overload
def from_torch(model: Any, *, logits: bool = False, input_shape: Sequence[int]) -> Network | Graph: ...


def from_torch(
    model: Any, *, logits: bool = False, input_shape: Sequence[int] | None = None
) -> Network | Graph:
    """The network of a torch model in evaluation mode, with the same outputs to rounding.

    Read: Linear, the activations that lmikit names (as modules, functions or methods), Flatten,
    view and reshape of each sample, Dropout, Identity, BatchNorm1d with running statistics,
    Sequential and any nesting of modules. `logits=True` leaves off a softmax at the very end.
    float16, bfloat16 and float32 weights are cast exactly; batch normalisation is folded into the
    weight beside it in float64, which rounds.

    `input_shape`, the shape of one sample such as (channels, height, width), is needed for convolutions and
    pooling; then everything is read that `graph_from_torch` reads, and the result is a `Graph` where the
    model is no chain (residual connections, max-pooling).

    Raises InputError naming the layer for everything else (attention, padding other than with zeros, a
    Dropout or BatchNorm in training mode), BackendMissing without torch.
    """
    if input_shape is not None:
        from ._torch_graph import graph_from_torch

        graph = graph_from_torch(model, tuple(input_shape), logits=logits)
        return graph.as_chain() if is_chain(graph) else graph
    torch, traced_graph = traced(model, ": pass an nn.Sequential of its layers")
    with torch.no_grad():
        return _TracedReader(torch, model, ChainSteps(logits=logits)).read(traced_graph)


def traced(model: Any, advice: str = "") -> tuple[Any, Any]:
    """(torch, what torch.fx traces of a module without hooks); raises InputError, BackendMissing."""
    try:
        import torch
        import torch.fx
    except ImportError as error:
        raise BackendMissing(import_error_extra("torch", "'lmikit[torch]'")) from error
    from ._torch_modules import Tracer

    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module.")
    for name, module in model.named_modules():
        _check_untouched(name or "(the model)", module)
    try:
        return torch, Tracer().trace(model)
    except Exception as error:  # code of the user's runs here, so anything may be raised
        reason = str(error).split("\n")[0]
        raise InputError(
            f"{_kind(model)} cannot be traced ({type(error).__name__}: {reason}); expected a forward pass "
            f"without decisions on values or shapes{advice}."
        ) from error


def _kind(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _check_untouched(name: str, module: Any) -> None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise refusal(
            name,
            f"{_kind(module)} with forward hooks, which may change what it computes",
            "remove them (for old-style norms: remove_spectral_norm or remove_weight_norm)",
        )
    if "forward" in vars(module):
        raise refusal(name, f"{_kind(module)} with a replaced forward method")


def _array(tensor: Any) -> Any:
    """A host array that holds the tensor exactly; numpy has no bfloat16, float32 holds it."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


class _TracedReader:
    """Walks a traced graph; `current` is the node whose value the next operation must take."""

    def __init__(self, torch: Any, model: Any, chain: ChainSteps) -> None:
        self.torch, self.model, self.chain = torch, model, chain
        self.modules = activation_modules(torch)
        self.functions, self.methods = activation_functions(torch)
        self.current: Any = None
        self.batch: set[Any] = set()  # nodes that hold the number of samples, or a whole shape

    def read(self, graph: Any) -> Network:
        for node in graph.nodes:
            getattr(self, f"_{node.op}")(node)
        return self.chain.network()

    def _placeholder(self, node: Any) -> None:
        if self.current is not None:
            raise InputError(f"the model has a second input {node.target!r}; expected one.")
        self.current = node

    def _get_attr(self, node: Any) -> None:
        """A parameter; the operation that takes it says what it is for."""

    def _output(self, node: Any) -> None:
        if node.args[0] is not self.current:
            raise InputError(
                f"the model returns {node.args[0]}; expected the value of its last layer {self.current}."
            )

    def _call_module(self, node: Any) -> None:
        module = self.model.get_submodule(node.target)
        self._advance(node, node.target)
        if not self._module(str(node.target), module):
            images = type(module).__name__.startswith(
                ("Conv", "AvgPool", "MaxPool", "BatchNorm2d", "Adaptive")
            )
            hint = "pass input_shape=(channels, height, width) to read images" if images else ""
            if type(module).__name__ == "MaxMin":
                hint = "pass input_shape=(features,) to read it as a graph"
            raise refusal(node.target, f"a {_kind(module)}", hint)

    def _call_function(self, node: Any) -> None:
        if self._is_batch_size(node):
            self.batch.add(node)
            return
        name = getattr(node.target, "__qualname__", str(node.target))
        where = f"{node.name} ({getattr(node.target, '__module__', None) or 'torch'}.{name})"
        self._advance(node, where)
        if not self._function(where, node):
            raise refusal(where, "a function without a counterpart")

    def _call_method(self, node: Any) -> None:
        if node.target == "size" and node.args[0] is self.current and node.args[1:] in ((), (0,)):
            self.batch.add(node)
            return
        where = f"{node.name} (Tensor.{node.target})"
        self._advance(node, where)
        if node.target in ("view", "reshape"):
            self._reshape(where, node)
        elif node.target == "flatten":
            self._flatten(where, *_arguments(node, ("start_dim", 0), ("end_dim", -1)))
        elif node.target in ("softmax", "log_softmax"):
            self._softmax(where, _arguments(node, ("dim", None))[0])
        elif node.target in self.methods:
            self.chain.activation(where, self.methods[node.target]())
        elif node.target != "contiguous":
            raise refusal(where, "a method without a counterpart")

    def _advance(self, node: Any, where: str) -> None:
        """Take the value of the operation before; refuse branches."""
        given = node.args[0] if node.args else node.kwargs.get("input")
        others = [n for n in node.all_input_nodes if n is not given and n not in self.batch]
        if given is not self.current or any(n.op != "get_attr" for n in others):
            raise refusal(where, "not on a chain: it takes something other than the layer before it")
        self.current = node

    def _module(self, where: str, module: Any) -> bool:
        nn, kind = self.torch.nn, type(module)
        if nn.utils.parametrize.is_parametrized(module):
            if module.training:
                raise refusal(where, "a parametrised layer in training mode", "call model.eval() first")
            kind = kind.__mro__[1]
        if kind is nn.Linear:
            bias = None if module.bias is None else _array(module.bias)
            self.chain.affine(where, _array(module.weight), bias)
        elif kind in self.modules:
            self.chain.activation(where, self.modules[kind](module, _array))
        elif kind is nn.Flatten:
            self._flatten(where, module.start_dim, module.end_dim)
        elif kind in (nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout):
            self._dropout(where, module.p, module.training)
        elif kind is nn.BatchNorm1d:
            self._batch_norm(where, module)
        elif kind in (nn.Softmax, nn.LogSoftmax):
            self._softmax(where, module.dim)
        else:
            return kind is nn.Identity
        return True

    def _function(self, where: str, node: Any) -> bool:
        functional, target = self.torch.nn.functional, node.target
        if target is functional.linear:
            weight, bias = _arguments(node, ("weight", None), ("bias", None))
            self.chain.affine(where, self._parameter(where, weight), self._parameter(where, bias))
        elif target is functional.dropout:
            self._dropout(where, *_arguments(node, ("p", 0.5), ("training", True)))
        elif target is self.torch.flatten:
            self._flatten(where, *_arguments(node, ("start_dim", 0), ("end_dim", -1)))
        elif target is self.torch.reshape:
            self._reshape(where, node)
        elif target in (functional.softmax, functional.log_softmax, self.torch.softmax):
            self._softmax(where, _arguments(node, ("dim", None))[0])
        elif target in self.functions:
            names, make = self.functions[target]
            values = _arguments(node, *names)
            self.chain.activation(where, make(*(self._parameter(where, v) for v in values)))
        else:
            return False
        return True

    def _parameter(self, where: str, value: Any) -> Any:
        """The array of a get_attr node; numbers and None as they are."""
        if not isinstance(value, self.torch.fx.Node):
            return value
        if value.op != "get_attr":
            raise refusal(where, "an operation with a computed parameter")
        owner, _, name = str(value.target).rpartition(".")
        return _array(getattr(self.model.get_submodule(owner), name))

    def _dropout(self, where: str, p: float, training: bool) -> None:
        if training and p > 0.0:
            raise refusal(where, "a dropout in training mode", "call model.eval() first")

    def _batch_norm(self, where: str, module: Any) -> None:
        if module.training or module.running_mean is None:
            raise refusal(
                where, "a BatchNorm1d that normalises by the batch at hand", "call model.eval() first"
            )
        gain, shift = (None if v is None else _array(v) for v in (module.weight, module.bias))
        mean, variance = _array(module.running_mean), _array(module.running_var)
        self.chain.scaling(where, *normalisation(gain, shift, mean, variance, module.eps))

    def _flatten(self, where: str, start: int, end: int) -> None:
        if (start, end) != (1, -1):
            raise refusal(where, f"a flattening of dimensions {start} to {end}; only 1 to -1 keeps samples")
        self.chain.flatten(where)

    def _softmax(self, where: str, dim: Any) -> None:
        if dim not in (1, -1):
            raise refusal(where, f"a softmax along dimension {dim}")
        self.chain.softmax(where, "a softmax")

    def _is_batch_size(self, node: Any) -> bool:
        if node.target is getattr:
            return node.args == (self.current, "shape")
        return node.target is operator.getitem and node.args[0] in self.batch and node.args[1] == 0

    def _reshape(self, where: str, node: Any) -> None:
        """(samples, d): the first entry is the number of samples or -1, one more entry follows."""
        shape = node.args[1:] or (node.kwargs.get("shape"),)
        shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
        per_sample = (shape[0] in self.batch or shape[0] == -1) if len(shape) == 2 else False
        if not per_sample or not isinstance(shape[1], int) or (shape[0] == -1 and shape[1] < 1):
            raise refusal(where, f"a reshaping to {shape}; only (samples, features) keeps samples apart")
        self.chain.flatten(where, shape[1] if shape[1] != -1 else None)


def _arguments(node: Any, *names: tuple[str, Any]) -> list[Any]:
    """The arguments after the first one, by position or name, with their defaults."""
    given = node.args[1:] if node.args else ()
    return [
        given[k] if k < len(given) else node.kwargs.get(name, default)
        for k, (name, default) in enumerate(names)
    ]
