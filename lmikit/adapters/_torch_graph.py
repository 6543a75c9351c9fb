"""torch models with skips and concatenations, as a `Graph`, read from what `torch.fx` traces.

Operations in place are followed only where no other operation reads the tensor that they change,
under any of its names: whoever read it later would get the changed values.
"""

import operator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..graph import Graph, GraphBuilder, Value
from ._chain import normalisation, refusal
from ._torch import _arguments, _array, _kind, traced
from ._torch_activations import activation_functions, activation_modules

__all__ = ["graph_from_torch"]


def graph_from_torch(model: Any, input_dim: int, *, logits: bool = False) -> Graph:
    """The graph of a torch model of samples (batch, input_dim), in evaluation mode, to rounding.

    Read: Linear, the activations that lmikit names (modules, functions, methods), sums and differences of
    values, `torch.cat` of features, Flatten, Dropout, Identity, BatchNorm1d with running statistics, and any
    nesting of modules. `logits=True` leaves off a softmax at the very end. Raises InputError naming the
    layer for everything else, BackendMissing without torch.
    """
    torch, graph = traced(model)
    with torch.no_grad():
        return _GraphReader(torch, model, input_dim, logits).read(graph)


class _GraphReader:
    """Walks a traced graph; `values` holds what each node computes."""

    def __init__(self, torch: Any, model: Any, input_dim: int, logits: bool) -> None:
        self.torch, self.model, self.logits = torch, model, logits
        self.builder = GraphBuilder()
        self.input_dim = input_dim
        self.modules = activation_modules(torch)
        self.functions, self.methods = activation_functions(torch)
        self.values: dict[Any, Value] = {}
        self.shared: dict[Any, set[Any]] = {}  # the nodes that are the same tensor
        self.softmaxes: set[Any] = set()
        functional = torch.nn.functional
        self.sums = {operator.add, operator.iadd, torch.add}
        self.differences = {operator.sub, operator.isub, torch.sub}
        self.ends = {torch.softmax, functional.softmax, functional.log_softmax}

    def read(self, graph: Any) -> Graph:
        for node in graph.nodes:
            if node.op == "placeholder":
                if self.values:
                    raise InputError(f"the model has a second input {node.target!r}; expected one.")
                self._set(node, self.builder.input(self.input_dim))
            elif node.op == "output":
                return self.builder.output(self._value(node, node.args[0], "the output"))
            elif node.op != "get_attr":
                self._operation(node)
        raise InputError("the traced model has no output.")

    def _operation(self, node: Any) -> None:
        where = f"{node.name} ({node.target})"
        given = node.args[0] if node.args else node.kwargs.get("input")
        if given in self.softmaxes:
            raise refusal(where, "an operation after a softmax")
        if node.op == "call_module":
            self._module(node, where, self.model.get_submodule(node.target), given)
        elif node.op == "call_method":
            self._method(node, where, given)
        else:
            self._function(node, where, given)

    def _value(self, node: Any, given: Any, where: str) -> Value:
        if given not in self.values:
            raise refusal(where, f"an operation on {given!r}, which is no value of the network")
        return self.values[given]

    def _set(self, node: Any, value: Value, same: Any = None) -> None:
        """`same`: the node whose tensor this one is."""
        self.values[node] = value
        group = self.shared[same] if same is not None else set()
        group.add(node)
        self.shared[node] = group

    def _change(self, node: Any, given: Any, where: str) -> None:
        """An operation in place on the tensor of `given`."""
        group = self.shared[given]
        readers = {user for member in group for user in member.users} - group - {node}
        if readers:
            raise refusal(
                where, f"an operation in place on a tensor that {sorted(map(str, readers))} read too"
            )

    def _module(self, node: Any, where: str, module: Any, given: Any) -> None:
        nn, kind = self.torch.nn, type(module)
        value = self._value(node, given, where)
        if nn.utils.parametrize.is_parametrized(module):
            if module.training:
                raise refusal(where, "a parametrised layer in training mode", "call model.eval() first")
            kind = kind.__mro__[1]
        if kind is nn.Linear:
            bias = None if module.bias is None else _array(module.bias)
            self._set(node, self._affine(value, _array(module.weight), bias))
        elif kind in self.modules:
            self._activation(node, where, given, self.modules[kind](module, _array), module)
        elif kind is nn.BatchNorm1d:
            self._set(node, self._batch_norm(where, module, value))
        elif kind in (nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout):
            if module.training and module.p > 0.0:
                raise refusal(where, "a dropout in training mode", "call model.eval() first")
            self._set(node, value, given)
        elif kind is nn.Identity or (kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)):
            self._set(node, value, given)
        elif kind in (nn.Softmax, nn.LogSoftmax):
            self._softmax(node, where, given, module.dim)
        else:
            raise refusal(where, f"a {_kind(module)}")

    def _activation(self, node: Any, where: str, given: Any, function: Any, module: Any) -> None:
        in_place = bool(getattr(module, "inplace", False))
        if in_place:
            self._change(node, given, where)
        self._set(
            node,
            self.builder.apply(function, self._value(node, given, where)),
            given if in_place else None,
        )

    def _affine(self, value: Value, weight: Any, bias: Any) -> Value:
        result = weight @ value
        return result if bias is None else result + bias

    def _batch_norm(self, where: str, module: Any, value: Value) -> Value:
        if module.training or module.running_mean is None:
            raise refusal(
                where, "a BatchNorm1d that normalises by the batch at hand", "call model.eval() first"
            )
        gain, shift = (None if v is None else _array(v) for v in (module.weight, module.bias))
        mean, variance = _array(module.running_mean), _array(module.running_var)
        scale, offset = normalisation(gain, shift, mean, variance, module.eps)
        return sp.diags_array(np.asarray(scale, dtype=np.float64)) @ value + offset

    def _softmax(self, node: Any, where: str, given: Any, dim: Any) -> None:
        if dim not in (1, -1) or not self.logits:
            raise refusal(where, "a softmax", "pass logits=True to leave off one at the very end")
        self._set(node, self._value(node, given, where))
        self.softmaxes.add(node)

    def _method(self, node: Any, where: str, given: Any) -> None:
        name = str(node.target)
        if name in ("softmax", "log_softmax"):
            self._softmax(node, where, given, _arguments(node, ("dim", None))[0])
        elif name == "contiguous" or (name == "flatten" and self._keeps_samples(node)):
            self._set(node, self._value(node, given, where), given)
        elif name in ("add", "add_", "sub", "sub_") and not node.kwargs:
            self._sum(node, where, given, name.startswith("sub"), name.endswith("_"))
        elif name in self.methods:
            in_place = name.endswith("_")
            if in_place:
                self._change(node, given, where)
            value = self.builder.apply(self.methods[name](), self._value(node, given, where))
            self._set(node, value, given if in_place else None)
        else:
            raise refusal(where, "a method without a counterpart")

    def _function(self, node: Any, where: str, given: Any) -> None:
        functional, target = self.torch.nn.functional, node.target
        if target in self.sums | self.differences and not node.kwargs:
            in_place = target in (operator.iadd, operator.isub)
            self._sum(node, where, given, target in self.differences, in_place)
        elif target in (self.torch.cat, self.torch.concat, self.torch.concatenate):
            parts, dim = (*node.args, node.kwargs.get("dim", 0))[:2]
            if dim not in (1, -1) or not isinstance(parts, (list, tuple)):
                raise refusal(where, f"a concatenation along dimension {dim}; only features (1) can be")
            self._set(node, self.builder.concat(*(self._value(node, p, where) for p in parts)))
        elif target is functional.linear:
            weight, bias = _arguments(node, ("weight", None), ("bias", None))
            value = self._value(node, given, where)
            self._set(node, self._affine(value, self._parameter(where, weight), self._parameter(where, bias)))
        elif target is functional.dropout:
            p, training = _arguments(node, ("p", 0.5), ("training", True))
            if training and p > 0.0:
                raise refusal(where, "a dropout in training mode", "call model.eval() first")
            self._set(node, self._value(node, given, where), given)
        elif target is self.torch.flatten:
            if not self._keeps_samples(node):
                raise refusal(where, "a flattening of other dimensions than 1 to -1")
            self._set(node, self._value(node, given, where), given)
        elif target in self.ends:
            self._softmax(node, where, given, _arguments(node, ("dim", None))[0])
        elif target in self.functions:
            names, make = self.functions[target]
            values = _arguments(node, *names)
            in_place = any(n == "inplace" and v for (n, _), v in zip(names, values, strict=True))
            if in_place:
                self._change(node, given, where)
            function = make(*(self._parameter(where, v) for v in values))
            value = self.builder.apply(function, self._value(node, given, where))
            self._set(node, value, given if in_place else None)
        else:
            raise refusal(where, "a function without a counterpart")

    def _keeps_samples(self, node: Any) -> bool:
        return _arguments(node, ("start_dim", 0), ("end_dim", -1)) == [1, -1]

    def _sum(self, node: Any, where: str, given: Any, minus: bool, in_place: bool) -> None:
        if len(node.args) != 2 or any(
            a in self.softmaxes for a in node.args if isinstance(a, self.torch.fx.Node)
        ):
            raise refusal(where, "a sum of other things than two values")
        if in_place:
            self._change(node, given, where)
        left, right = (self._value(node, a, where) for a in node.args)
        self._set(node, left - right if minus else left + right, given if in_place else None)

    def _parameter(self, where: str, value: Any) -> Any:
        """The array of a get_attr node; numbers and None as they are."""
        if not isinstance(value, self.torch.fx.Node):
            return value
        if value.op != "get_attr":
            raise refusal(where, "an operation with a computed parameter")
        owner, _, name = str(value.target).rpartition(".")
        return _array(getattr(self.model.get_submodule(owner), name))
