"""ONNX: a graph that is a chain of the operators below, with constant parameters.

Shapes are followed per sample (without the first dimension, the samples), so that flattening keeps
samples apart and a matrix product acts on one vector per sample.
"""

import collections
import math
import os
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import BackendMissing, InputError
from .._files import reading
from ..network import Network
from ._chain import Chain, import_error_extra, normalisation, refusal
from ._onnx_activations import ACTIVATIONS

__all__ = ["from_onnx"]

_DOMAINS = ("", "ai.onnx")
_WIDEST = 2**20  # input features, whatever the constants are
_OLDEST_OPSET = 7  # before it, dropout and batch normalisation trained by default


def from_onnx(model: Any, *, output: str | None = None, logits: bool = False) -> Network:
    """The network of an ONNX model (a path or a ModelProto), with the same outputs to rounding.

    Read: Gemm, MatMul, Add, Sub, Mul and Div with constants, BatchNormalization in inference mode,
    Relu, LeakyRelu, PRelu, Elu, Sigmoid, Tanh, Softplus, Gelu, Mish, HardSwish, Abs, Sin,
    Clip, Flatten, Reshape, Cast to float or double, Identity, Dropout without training, Constant.
    Inputs of any shape (samples, ...) are flattened in row order. `output` names the value to stop
    at (None: the graph's only output); `logits=True` leaves off a Softmax at the very end. Scalings
    are folded in float64, which rounds.

    Raises InputError naming the node for everything else, BackendMissing without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendMissing(import_error_extra("onnx", "'lmikit[onnx]'")) from error
    if isinstance(model, (str, os.PathLike)):
        try:
            model = onnx.load(os.fspath(model))
        except Exception as error:  # protobuf and file errors of many kinds
            reason = str(error).split("\n")[0]
            raise InputError(f"{os.fspath(model)} cannot be read as ONNX ({reason}).") from error
    if not isinstance(model, onnx.ModelProto):
        raise InputError(f"model is a {type(model).__name__}; expected a path or an onnx.ModelProto.")
    _refuse_model(model)
    for opset in model.opset_import:
        if opset.domain in _DOMAINS and opset.version < _OLDEST_OPSET:
            raise InputError(
                f"the model has opset {opset.version}; expected {_OLDEST_OPSET} or later: convert it with "
                "onnx.version_converter."
            )
    with reading("the model", "ONNX"):
        return _Reader(onnx, model.graph, Chain(logits=logits), output).read()


def _refuse_model(model: Any) -> None:
    """What would let the same file mean two things."""
    if not any(opset.domain in _DOMAINS for opset in model.opset_import):
        raise InputError("the model names no opset of ONNX; expected one.")
    if any(function.domain in _DOMAINS for function in model.functions):
        raise InputError("the model redefines operators of ONNX by functions of its own; expected none.")
    graph = model.graph
    if graph.sparse_initializer:
        raise InputError("the model has sparse initializers; expected dense ones.")
    names = [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in node.output if name]
    given = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    counts = collections.Counter([*names, *given])
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(
            f"the model gives the value {twice[0][:80]!r} twice; expected each initializer, input and output "
            "of a node under a name of its own."
        )


class _Reader:
    """`current` is the name of the value that the next node must take, `shape` its shape per sample."""

    def __init__(self, onnx: Any, graph: Any, chain: Chain, output: str | None) -> None:
        self.onnx, self.graph, self.chain = onnx, graph, chain
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self.current, self.samples, self.shape = self._input()
        self._refuse_widths()
        self.output = self._output(output)

    def _input(self) -> tuple[str, int | None, tuple[int, ...]]:
        inputs = [value for value in self.graph.input if value.name not in self.constants]
        if len(inputs) != 1:
            raise InputError(
                f"the graph has inputs {[v.name for v in inputs]}; expected exactly one that is no parameter."
            )
        dims = inputs[0].type.tensor_type.shape.dim
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in dims]
        if len(sizes) < 2 or min(sizes[1:]) < 1:
            raise InputError(
                f"input {inputs[0].name} has shape {sizes} (0: unknown); expected (samples, ...) with every "
                "size after the first known."
            )
        return inputs[0].name, sizes[0] or None, tuple(sizes[1:])

    def _refuse_widths(self) -> None:
        """Features that no weight of the file could take are not worth the memory."""
        held = sum(value.size for value in self.constants.values())
        if math.prod(self.shape) > max(_WIDEST, held):
            raise InputError(
                f"the model has {math.prod(self.shape)} input features, but only {held} constants; expected "
                "at least a weight for each."
            )

    def _output(self, wanted: str | None) -> str:
        names = [value.name for value in self.graph.output]
        if wanted is None and len(names) != 1:
            raise InputError(f"the graph has outputs {names}; expected one: pass output=name.")
        return names[0] if wanted is None else wanted

    def read(self) -> Network:
        for node in self._needed():
            if not self._is_constant(node):
                self._advance(node)
        if self.current != self.output:
            raise InputError(
                f"no chain of nodes leads to {self.output!r}; the chain ends at {self.current!r}."
            )
        return self.chain.network()

    def _needed(self) -> list[Any]:
        """The nodes that the output depends on, in order."""
        wanted, result = {self.output}, []
        for node in reversed(self.graph.node):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                result.append(node)
        return result[::-1]

    def _where(self, node: Any) -> str:
        return str(node.name) or f"giving {node.output[0]!r}"

    def _kind(self, node: Any) -> str:
        domain = f"{node.domain}." if node.domain not in _DOMAINS else ""
        return f"an ONNX {domain}{node.op_type}"

    def _is_constant(self, node: Any) -> bool:
        """Constant nodes, and Identity and Transpose of constants."""
        if node.domain not in _DOMAINS:
            return False
        attributes = self._attributes(node)
        if node.op_type == "Constant":
            known = ("value", "value_float", "value_floats", "value_int", "value_ints")
            found = [attributes[k] for k in known if k in attributes]
            if len(found) != 1:
                raise refusal(self._where(node), "an ONNX Constant that is not a tensor of numbers")
            if "value" in attributes:
                found[0] = self.onnx.numpy_helper.to_array(found[0])
            self.constants[node.output[0]] = np.asarray(found[0])
        elif node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]
        elif node.op_type == "Transpose" and node.input[0] in self.constants:
            value = self.constants[node.input[0]]
            self.constants[node.output[0]] = np.transpose(value, attributes.get("perm"))
        else:
            return False
        return True

    def _attributes(self, node: Any) -> dict[str, Any]:
        return {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}

    def _advance(self, node: Any) -> None:
        where = self._where(node)
        values = [name for name in node.input if name and name not in self.constants]
        if values != [self.current]:
            raise refusal(
                where, f"{self._kind(node)} of {values}", f"expected it to take {self.current!r} only"
            )
        read = _OPERATORS.get(node.op_type) if node.domain in _DOMAINS else None
        attributes = self._attributes(node)
        if node.domain in _DOMAINS and node.op_type in ACTIVATIONS:
            constants = [self.constants.get(name) for name in node.input[1:]]
            activation = ACTIVATIONS[node.op_type](where, attributes, constants)
            self.chain.activation(where, activation)
        elif read is None:
            raise refusal(where, self._kind(node))
        else:
            read(self, where, node, attributes)
        self.current = node.output[0]

    def _constant(self, where: str, node: Any, index: int) -> np.ndarray:
        value = self.constants.get(node.input[index]) if index < len(node.input) else None
        if value is None or node.input[0] in self.constants:
            raise refusal(where, f"{self._kind(node)} whose operands are not (value, constant)")
        return value

    def _vector_only(self, where: str, node: Any) -> None:
        if len(self.shape) != 1:
            raise refusal(where, f"{self._kind(node)} of samples of shape {self.shape}", "flatten them first")

    def _gemm(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        self._vector_only(where, node)
        if attributes.get("transA", 0):
            raise refusal(where, "an ONNX Gemm that transposes its input")
        weight = self._constant(where, node, 1)
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = self._constant(where, node, 2) if len(node.input) > 2 and node.input[2] else None
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if alpha != 1.0:
            weight = alpha * floats(f"layer {where}", weight)
        if bias is not None:
            bias = beta * self._per_feature(where, node, bias, (weight.shape[0],))
        self._affine(where, weight, bias)

    def _matmul(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        self._vector_only(where, node)
        weight = self._constant(where, node, 1)
        if weight.ndim != 2:
            raise refusal(where, f"an ONNX MatMul with a constant of shape {weight.shape}")
        self._affine(where, weight.T, None)

    def _affine(self, where: str, weight: np.ndarray, bias: np.ndarray | None) -> None:
        self.chain.affine(where, weight, bias)
        self.shape = (int(weight.shape[0]),)

    def _per_feature(self, where: str, node: Any, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A constant operand as one float64 per feature; it must not differ between samples."""
        full = (1, *shape)
        try:
            if value.ndim > len(full):
                raise ValueError
            return floats(f"layer {where}", np.broadcast_to(value, full)).reshape(-1)
        except InputError:
            raise
        except ValueError as error:
            raise refusal(
                where,
                f"{self._kind(node)} with a constant of shape {value.shape} for samples of shape {shape}",
            ) from error

    def _elementwise(self, where: str, node: Any) -> tuple[np.ndarray, bool]:
        """(the constant operand per feature, whether it comes first)."""
        first = node.input[0] in self.constants
        value = self._per_feature(where, node, self.constants[node.input[0 if first else 1]], self.shape)
        return value, first

    def _add(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        self.chain.scaling(where, np.ones(math.prod(self.shape)), self._elementwise(where, node)[0])

    def _sub(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        value, first = self._elementwise(where, node)
        scale = np.ones(math.prod(self.shape))
        self.chain.scaling(where, -scale if first else scale, value if first else -value)

    def _mul(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        value, _ = self._elementwise(where, node)
        self.chain.scaling(where, value, np.zeros_like(value))

    def _div(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        value, first = self._elementwise(where, node)
        if first or (value == 0.0).any():
            raise refusal(where, "an ONNX Div that is not a division by nonzero constants")
        self.chain.scaling(where, 1.0 / value, np.zeros_like(value))

    def _batchnormalization(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("training_mode", 0) or len(node.output) > 1 or not attributes.get("spatial", 1):
            raise refusal(where, "an ONNX BatchNormalization in training mode")
        gain, shift, mean, variance = (self._constant(where, node, k) for k in range(1, 5))
        scale, offset = normalisation(gain, shift, mean, variance, attributes.get("epsilon", 1e-5))
        channels = (scale.size,) + (1,) * (len(self.shape) - 1)
        pair = [self._per_feature(where, node, v.reshape(channels), self.shape) for v in (scale, offset)]
        self.chain.scaling(where, *pair)

    def _flatten(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            raise refusal(where, f"an ONNX Flatten at axis {attributes['axis']}; only 1 keeps samples apart")
        self._flattened(where)

    def _flattened(self, where: str) -> None:
        size = math.prod(self.shape)
        self.chain.flatten(where, size)
        self.shape = (size,)

    def _reshape(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        """To (samples, features): the first size is 0, the number of samples or -1."""
        wanted = tuple(int(v) for v in np.asarray(self._constant(where, node, 1)).reshape(-1))
        size, zero_is_copy = math.prod(self.shape), not attributes.get("allowzero", 0)
        samples = {-1} | ({0} if zero_is_copy else set()) | ({self.samples} if self.samples else set())
        good = len(wanted) == 2 and wanted[0] in samples and wanted[1] in (size, -1)
        good = good or (len(wanted) == 2 and wanted == (0, 0) and zero_is_copy and len(self.shape) == 1)
        if not good or wanted == (-1, -1):
            raise refusal(
                where,
                f"an ONNX Reshape of samples of shape {self.shape} to {wanted}; expected (samples, {size})",
            )
        self._flattened(where)

    def _cast(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        """Between float types a cast only rounds, and the network is read in real arithmetic."""
        if attributes.get("to") not in (self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.DOUBLE):
            raise refusal(where, "an ONNX Cast to something else than float or double")

    def _identity(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        """Nothing to do."""

    def _dropout(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        training = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        if training is not None and bool(np.any(training)):
            raise refusal(where, "an ONNX Dropout in training mode")

    def _softmax(self, where: str, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", -1) not in (1, -1):
            raise refusal(where, f"an ONNX Softmax along axis {attributes['axis']}")
        self.chain.softmax(where, "an ONNX Softmax")


_OPERATORS: dict[str, Any] = {
    "Add": _Reader._add,
    "BatchNormalization": _Reader._batchnormalization,
    "Cast": _Reader._cast,
    "Div": _Reader._div,
    "Dropout": _Reader._dropout,
    "Flatten": _Reader._flatten,
    "Gemm": _Reader._gemm,
    "Identity": _Reader._identity,
    "LogSoftmax": _Reader._softmax,
    "MatMul": _Reader._matmul,
    "Mul": _Reader._mul,
    "Reshape": _Reader._reshape,
    "Softmax": _Reader._softmax,
    "Sub": _Reader._sub,
}
