"""The walk through an ONNX graph: nodes in order of dependence, each recorded as a step or folded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from ..graph import Graph
from ..network import Network
from ._built_steps import model_of_steps
from ._chain import refusal
from ._moves import moved
from ._onnx_activations import ACTIVATIONS
from ._onnx_constants import FOLDED, NOT_LIPSCHITZ, constant_of
from ._onnx_operators import MOVED, MOVES, OPERATORS
from ._onnx_shapes import NodeCall, pad_amounts
from ._onnx_values import Arithmetic, Tensor, half_clip
from ._steps import Padding, Steps, size_of

__all__ = ["DOMAINS", "Reader"]

DOMAINS = ("", "ai.onnx")
_WIDEST = 2**20  # input features, whatever the constants are
_ROOM = 2**24  # entries of everything computed from the file, beside a multiple of what it holds


class Reader:
    """Follows the nodes in order of dependence; `values` holds constants and what depends on the input."""

    def __init__(
        self,
        onnx: Any,
        model: Any,
        output: str | None,
        inputs: Sequence[str] | None,
        logits: bool,
        whole: bool,
    ) -> None:
        self.onnx, self.graph = onnx, model.graph
        self.opset = max(o.version for o in model.opset_import if o.domain in DOMAINS)
        self.values: dict[str, Any] = {t.name: onnx.numpy_helper.to_array(t) for t in self.graph.initializer}
        given = self._inputs(inputs)
        several = [len(shape) > 1 and shape[0] != 1 for _, shape in given]
        counts = {shape[0] for (_, shape), many in zip(given, several, strict=True) if many}
        self.apart = all(several) and len(counts) == 1 and not whole
        self.samples = max(counts) if len(counts) == 1 and max(counts) > 1 else None
        if not self.apart and counts & {0}:
            given = [(name, (max(shape[0], 1), *shape[1:])) for name, shape in given]
        shapes = {name: (1, *shape[1:]) if self.apart else shape for name, shape in given}
        total = sum(size_of(shape) for shape in shapes.values())
        held = sum(int(value.size) for value in self.values.values())
        self._refuse_widths(total, held)
        self.steps = Steps(total, logits=logits, budget=_ROOM + 64 * held)
        start = 0
        for name, shape in shapes.items():
            index = np.arange(start, start + size_of(shape))
            zeros = np.zeros(index.size)
            step = (
                self.steps.gather(name, [0], zeros.astype(np.int64), index, zeros) if len(shapes) > 1 else 0
            )
            self.values[name] = Tensor(step, shape)
            start += index.size
        self.output = self._output(output)

    def _inputs(self, wanted: Sequence[str] | None) -> list[tuple[str, tuple[int, ...]]]:
        """The names and shapes of the inputs in their order; 0 for a first size that is left open."""
        known = {value.name: value for value in (*self.graph.value_info, *self.graph.input)}
        own = [value.name for value in self.graph.input if value.name not in self.values]
        names = own if wanted is None else list(wanted)
        if not names or len(set(names)) != len(names) or any(name not in known for name in names):
            raise InputError(
                f"the graph has inputs {str(own)[:200]}, asked for were {str(names)[:200]}; expected one or "
                "more of them, or other values whose shapes the file states."
            )
        return [(name, self._sizes(known[name])) for name in names]

    def _sizes(self, value: Any) -> tuple[int, ...]:
        dims = value.type.tensor_type.shape.dim
        sizes = [int(d.dim_value) if d.HasField("dim_value") else 0 for d in dims]
        known = sizes[1:] if len(sizes) > 1 else sizes
        if not sizes or min(known) < 1 or sizes[0] < 0:
            raise InputError(
                f"input {value.name[:80]!r} has shape {sizes[:8]} (0: unknown); expected (samples, "
                "...) with every size after the first known, or one axis of known size: export the model "
                "with fixed sizes, or fix them with onnx.tools.update_model_dims."
            )
        return tuple(sizes)

    def _refuse_widths(self, total: int, held: int) -> None:
        """Features that no weight of the file could take are not worth the memory."""
        if total > max(_WIDEST, held):
            raise InputError(
                f"the model has {total} input features, but only {held} constants; expected "
                "at least a weight for each."
            )

    def _output(self, wanted: str | None) -> str:
        names = [value.name for value in self.graph.output]
        if wanted is None and len(names) != 1:
            raise InputError(f"the graph has outputs {names}; expected one: pass output=name.")
        return names[0] if wanted is None else wanted

    def read(self) -> Network | Graph:
        for node in self._needed():
            self._advance(node)
        result = self.values.get(self.output)
        if not isinstance(result, Tensor):
            what = "is a constant" if result is not None else "is given by none of its nodes"
            raise InputError(f"no chain of nodes leads to {self.output!r} from the input: it {what}.")
        return model_of_steps(self.steps, result.step)

    def _needed(self) -> list[Any]:
        """The nodes that the output depends on, each after those it depends on."""
        makers = {name: node for node in self.graph.node for name in node.output if name}
        done: set[str] = set(self.values)
        open_names: set[str] = set()
        order: list[Any] = []
        waiting = [self.output]
        while waiting:
            name = waiting[-1]
            node = makers.get(name)
            if name in done or node is None:
                waiting.pop()
                continue
            missing = [i for i in node.input if i and i not in done and i in makers]
            if not missing:
                order.append(node)
                done.update(node.output)
                waiting.pop()
                continue
            if name in open_names:
                raise InputError(f"the nodes around {name!r} depend on each other in a circle.")
            open_names.add(name)
            waiting.extend(missing)
        return order

    def _call(self, node: Any) -> NodeCall:
        domain = "" if node.domain in DOMAINS else f"{node.domain}."
        domain = domain if domain.isprintable() else repr(domain)
        name = str(node.name)
        given = node.output[0] if node.output else ""
        where = (name if name.isprintable() else repr(name)) or f"giving {given!r}"
        kind = node.op_type if node.op_type.isprintable() else repr(node.op_type)
        operands = [self.values.get(name) if name else None for name in node.input]
        for name, operand in zip(node.input, operands, strict=True):
            if name and operand is None:
                raise refusal(where, f"an ONNX {domain}{kind} of {name!r}, which nothing gives")
        return NodeCall(
            where,
            f"an ONNX {domain}{kind}",
            {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute},
            [o if isinstance(o, np.ndarray) else None for o in operands],
            self.opset,
            len([name for name in node.output if name]),
            self.apart and any(isinstance(o, Tensor) for o in operands),
            self.samples,
            self.steps.spend,
        )

    def _advance(self, node: Any) -> None:
        call, kind = self._call(node), node.op_type
        operands = [self.values.get(name) if name else None for name in node.input]
        known = not any(isinstance(o, Tensor) for o in operands)
        results: list[Any]
        if node.domain not in DOMAINS:
            raise refusal(call.where, call.kind)
        if kind in ("Shape", "Size") or (known and (kind in FOLDED or kind not in MOVES)):
            results = [constant_of(self.onnx, call, kind, self._shape(operands[0]) if operands else None)]
        elif kind in MOVES:
            results = self._moved(call, kind, operands)
        elif kind == "Cast":
            results = [self._cast(call, Arithmetic(self.steps, call, operands).value(0))]
        else:
            results = [self._computed(call, kind, operands)]
        for name, value in zip(node.output, results, strict=False):
            if name:
                self.values[name] = value

    def _shape(self, operand: Any) -> tuple[int, ...] | None:
        if not isinstance(operand, Tensor):
            return None if operand is None else operand.shape
        return (self.samples, *operand.shape[1:]) if self.apart and self.samples else operand.shape

    def _cast(self, call: NodeCall, value: Tensor) -> Tensor:
        """Between float types a cast only rounds, and the network is read in real arithmetic."""
        if call.attributes.get("to") not in (self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.DOUBLE):
            raise call.refuse("to something else than float or double")
        return value

    def _moved(self, call: NodeCall, kind: str, operands: list[Any]) -> list[Any]:
        """Where the entries go, found by moving their numbers about."""
        used = (
            operands
            if kind == "Concat"
            else [operands[k] for k in MOVED.get(kind, (0,)) if k < len(operands)]
        )
        if kind == "Pad":
            constant = operands[2] if len(operands) > 2 and operands[2] is not None else None
            constant = call.attributes.get("value", 0.0) if constant is None else constant
            used = [operands[0], constant if isinstance(constant, Tensor) else np.asarray(constant)]
        if not any(isinstance(o, Tensor) for o in used):
            if any(isinstance(o, Tensor) for o in operands):
                raise call.refuse("by a value")
            return MOVES[kind]([np.asarray(o) for o in used], call)
        results = moved(self.steps, call.where, used, lambda arrays: MOVES[kind](arrays, call))
        if kind == "Pad":
            self._remember_padding(call, operands[0], used[1], results[0])
        return results

    def _remember_padding(self, call: NodeCall, value: Any, constant: Any, result: Tensor) -> None:
        """A padding with zeros, which a convolution after it may take as its own."""
        amounts = tuple(pad_amounts(len(value.shape), call))
        grows = any(a for pair in amounts for a in pair) and all(a >= 0 for pair in amounts for a in pair)
        plain = call.attributes.get("mode", b"constant") in (b"constant", "constant")
        if grows and plain and isinstance(constant, np.ndarray) and not constant.any():
            self.steps.paddings[result.step] = Padding(value.step, value.shape, amounts)

    def _computed(self, call: NodeCall, kind: str, operands: list[Any]) -> Tensor:
        arithmetic = Arithmetic(self.steps, call, operands)
        if kind == "Clip":
            half = half_clip(arithmetic)
            if half is not None:
                return half
        if kind in ACTIVATIONS:
            value = arithmetic.value(0)
            constants = [self._slopes(kind, o, value) for o in operands[1:]]
            activation = ACTIVATIONS[kind](call.where, call.attributes, constants)
            return Tensor(self.steps.activation(call.where, value.step, activation), value.shape)
        if kind not in OPERATORS:
            raise call.refuse("", NOT_LIPSCHITZ.get(kind, ""))
        return OPERATORS[kind](arithmetic)

    def _slopes(self, kind: str, operand: Any, value: Tensor) -> Any:
        """A PRelu's slopes, one per entry unless there is one for all."""
        if kind != "PRelu" or not isinstance(operand, np.ndarray) or operand.size == 1:
            return operand if isinstance(operand, np.ndarray) else None
        if self.opset < 7 and operand.ndim == 1 and len(value.shape) > 2:
            operand = operand.reshape(-1, *(1,) * (len(value.shape) - 2))
        return np.broadcast_to(operand, value.shape).reshape(-1)
