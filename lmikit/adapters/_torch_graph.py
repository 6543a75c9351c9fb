"""torch models with skips and concatenations, as a `Graph`, read from what `torch.fx` traces.

Operations in place are followed only where no other operation reads the tensor that they change,
under any of its names: whoever read it later would get the changed values.
"""

import math
import operator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..graph import Graph, GraphBuilder, Value
from ..network import PReLU
from ._chain import normalisation, refusal
from ._torch import _arguments, _array, _kind, traced
from ._torch_activations import activation_functions, activation_modules
from ._torch_images import Image, image_module, pooled

__all__ = ["graph_from_torch"]


def graph_from_torch(model: Any, input_dim: int | tuple[int, ...], *, logits: bool = False) -> Graph:
    """The graph of a torch model of samples (batch, input_dim), in evaluation mode, to rounding.

    `input_dim`: the number of features, or the shape of a sample: (channels, height, width) of an image,
    (channels, length) of a signal. Read: Linear, the activations that lmikit names (modules, functions,
    methods), sums and differences of values, `torch.cat` of features or channels, flattening, Dropout,
    Identity, BatchNorm1d and BatchNorm2d with running statistics (folded in float64, which rounds), Conv1d,
    Conv2d, ConvTranspose2d with zero padding, AvgPool2d, AdaptiveAvgPool2d that divides, MaxPool2d (as
    `GraphBuilder.max_pool` writes it), the MaxMin of `lmikit.training.layers`, and any nesting of modules.
    `logits=True` leaves off a softmax at the very end. Raises InputError naming the layer for everything
    else, BackendMissing without torch.
    """
    torch, graph = traced(model)
    shape = (input_dim,) if isinstance(input_dim, int) else tuple(input_dim)
    if not shape or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise InputError(
            f"the shape of a sample is {input_dim!r}; expected positive integers, like (3, 32, 32)."
        )
    with torch.no_grad():
        return _GraphReader(torch, model, shape, logits).read(graph)


class _GraphReader:
    """Walks a traced graph; `values` holds what each node computes."""

    def __init__(self, torch: Any, model: Any, shape: tuple[int, ...], logits: bool) -> None:
        from ._torch_modules import MaxMin

        self.pairs = MaxMin
        self.torch, self.model, self.logits = torch, model, logits
        self.builder = GraphBuilder()
        self.input_shape = shape
        self.shapes: dict[Any, tuple[int, ...]] = {}  # of one sample
        self.batch: set[Any] = set()  # nodes that hold the number of samples, or a whole shape
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
                self._set(node, self.builder.input(math.prod(self.input_shape)), shape=self.input_shape)
            elif node.op == "output":
                return self.builder.output(self._value(node, node.args[0], "the output"))
            elif node.op != "get_attr":
                self._operation(node)
        raise InputError("the traced model has no output.")

    def _operation(self, node: Any) -> None:
        where = f"{node.name} ({node.target})"
        given = _first(node)
        if self._is_batch_size(node, given):
            self.batch.add(node)
            return
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

    def _set(self, node: Any, value: Value, same: Any = None, shape: tuple[int, ...] | None = None) -> None:
        """`same`: the node whose tensor this one is; `shape` None: that of the first value taken."""
        self.values[node] = value
        self.shapes[node] = self.shapes[_first(node)] if shape is None else shape
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
            self._affine(node, where, given, _array(module.weight), bias)
            return
        image = image_module(where, self.torch, module, kind, _array, Image(value, self.shapes[given]))
        if image is not None:
            self._set(node, image.value, shape=image.shape)
        elif kind is self.pairs:
            if len(self.shapes[given]) != 1 or value.size % 2:
                raise refusal(where, f"MaxMin on samples of shape {self.shapes[given]}; expected pairs")
            self._set(node, self.builder.maxmin(value))
        elif kind in self.modules:
            self._activation(node, where, given, self.modules[kind](module, _array), module)
        elif kind is nn.BatchNorm1d:
            self._set(node, self._batch_norm(where, module, value))
        elif kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout):
            if module.training and module.p > 0.0:
                raise refusal(where, "a dropout in training mode", "call model.eval() first")
            self._set(node, value, given)
        elif kind is nn.Identity:
            self._set(node, value, given)
        elif kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            self._set(node, value, given, (value.size,))
        elif kind in (nn.Softmax, nn.LogSoftmax):
            self._softmax(node, where, given, module.dim)
        else:
            raise refusal(where, f"a {_kind(module)}")

    def _activation(self, node: Any, where: str, given: Any, function: Any, module: Any) -> None:
        in_place = bool(getattr(module, "inplace", False))
        if in_place:
            self._change(node, given, where)
        self._apply(node, where, given, function, given if in_place else None)

    def _apply(self, node: Any, where: str, given: Any, function: Any, same: Any) -> None:
        shape = self.shapes.get(given, ())
        if isinstance(function, PReLU) and len(shape) > 1 and np.size(function.weight) == shape[0] > 1:
            function = PReLU(np.repeat(function.weight, math.prod(shape[1:])))  # one slope per channel
        self._set(node, self.builder.apply(function, self._value(node, given, where)), same)

    def _affine(self, node: Any, where: str, given: Any, weight: Any, bias: Any) -> None:
        if len(self.shapes[given]) != 1:
            raise refusal(where, f"a linear layer along one axis of samples of shape {self.shapes[given]}")
        result = weight @ self._value(node, given, where)
        self._set(node, result if bias is None else result + bias, shape=(result.size,))

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
        if dim not in (1, -1) or len(self.shapes.get(given, ())) != 1 or not self.logits:
            raise refusal(where, "a softmax", "pass logits=True to leave off one at the very end")
        self._set(node, self._value(node, given, where))
        self.softmaxes.add(node)

    def _method(self, node: Any, where: str, given: Any) -> None:
        name = str(node.target)
        if name in ("softmax", "log_softmax"):
            self._softmax(node, where, given, _arguments(node, ("dim", None))[0])
        elif name == "contiguous":
            self._set(node, self._value(node, given, where), given)
        elif (name == "flatten" and self._keeps_samples(node)) or name in ("view", "reshape"):
            self._flatten(node, where, given, node.args[1:] if name != "flatten" else None)
        elif name in ("add", "add_", "sub", "sub_") and not node.kwargs:
            self._sum(node, where, given, name.startswith("sub"), name.endswith("_"))
        elif name in self.methods:
            in_place = name.endswith("_")
            if in_place:
                self._change(node, given, where)
            self._apply(node, where, given, self.methods[name](), given if in_place else None)
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
            shapes = [self.shapes.get(p, ()) for p in parts]
            if len({s[1:] for s in shapes}) > 1 or (dim == -1 and len(shapes[0]) > 1):
                raise refusal(where, f"a concatenation of samples of shapes {shapes} along dimension {dim}")
            joined = self.builder.concat(*(self._value(node, p, where) for p in parts))
            self._set(node, joined, shape=(sum(s[0] for s in shapes), *shapes[0][1:]))
        elif target is functional.linear:
            weight, bias = _arguments(node, ("weight", None), ("bias", None))
            self._value(node, given, where)
            self._affine(node, where, given, self._parameter(where, weight), self._parameter(where, bias))
        elif target is functional.dropout:
            p, training = _arguments(node, ("p", 0.5), ("training", True))
            if training and p > 0.0:
                raise refusal(where, "a dropout in training mode", "call model.eval() first")
            self._set(node, self._value(node, given, where), given)
        elif target is self.torch.flatten:
            if not self._keeps_samples(node):
                raise refusal(where, "a flattening of other dimensions than 1 to -1")
            self._flatten(node, where, given, None)
        elif target is self.torch.reshape:
            self._flatten(node, where, given, node.args[1:] or (node.kwargs.get("shape"),))
        elif target in (functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d):
            self._pool(node, where, given)
        elif target in self.ends:
            self._softmax(node, where, given, _arguments(node, ("dim", None))[0])
        elif target in self.functions:
            names, make = self.functions[target]
            values = _arguments(node, *names)
            in_place = any(n == "inplace" and v for (n, _), v in zip(names, values, strict=True))
            if in_place:
                self._change(node, given, where)
            function = make(*(self._parameter(where, v) for v in values))
            self._apply(node, where, given, function, given if in_place else None)
        else:
            raise refusal(where, "a function without a counterpart")

    def _pool(self, node: Any, where: str, given: Any) -> None:
        functional = self.torch.nn.functional
        names = [("kernel_size", None), ("stride", None), ("padding", 0)]
        more: list[tuple[str, Any]]
        if node.target is functional.max_pool2d:
            kind, more = "max", [("dilation", 1), ("ceil_mode", False), ("return_indices", False)]
        elif node.target is functional.avg_pool2d:
            kind = "average"
            more = [("ceil_mode", False), ("count_include_pad", True), ("divisor_override", None)]
        else:
            kind, names, more = "adaptive", [("output_size", None)], []
        values = _arguments(node, *names, *more)
        options = dict(zip([name for name, _ in more], values[len(names) :], strict=True))
        image = Image(self._value(node, given, where), self.shapes[given])
        result = pooled(where, kind, image, *values[: len(names)], **options)
        self._set(node, result.value, shape=result.shape)

    def _is_batch_size(self, node: Any, given: Any) -> bool:
        """x.shape, x.size(), x.size(0), and entry 0 of those."""
        if node.op == "call_method":
            return node.target == "size" and given in self.values and node.args[1:] in ((), (0,))
        if node.target is getattr:
            return given in self.values and node.args[1:] == ("shape",)
        return node.target is operator.getitem and given in self.batch and node.args[1] == 0

    def _flatten(self, node: Any, where: str, given: Any, shape: Any) -> None:
        """A flattening, or a reshaping to (samples, features)."""
        value = self._value(node, given, where)
        if shape is not None:
            wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
            samples = len(wanted) == 2 and (wanted[0] in self.batch or wanted[0] == -1)
            if not samples or wanted[1] not in (-1, value.size) or wanted[0] == wanted[1]:
                raise refusal(where, f"a reshaping to {wanted}; only (samples, features) keeps samples apart")
        self._set(node, value, given, (value.size,))

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
        shapes = [self.shapes[a] for a in node.args]
        if shapes[0] != shapes[1]:
            raise refusal(where, f"a sum of samples of shapes {shapes[0]} and {shapes[1]}")
        self._set(node, left - right if minus else left + right, given if in_place else None)

    def _parameter(self, where: str, value: Any) -> Any:
        """The array of a get_attr node; numbers and None as they are."""
        if not isinstance(value, self.torch.fx.Node):
            return value
        if value.op != "get_attr":
            raise refusal(where, "an operation with a computed parameter")
        owner, _, name = str(value.target).rpartition(".")
        return _array(getattr(self.model.get_submodule(owner), name))


def _first(node: Any) -> Any:
    """What an operation takes first: a value, or a list of values."""
    given = node.args[0] if node.args else node.kwargs.get("input")
    return given[0] if isinstance(given, (list, tuple)) and given else given
