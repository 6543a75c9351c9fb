"""JAX: any function of one array (flax, equinox, haiku, plain), read from its jaxpr."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import BackendMissing, InputError
from ..graph import Graph
from ..network import Network
from ._built_steps import model_of_steps
from ._chain import import_error_extra, refusal
from ._jax_operators import PASSED, PRIMITIVES, REASONS
from ._jax_patterns import Patterns, is_float_cast
from ._jax_primitive import MOVING, Primitive
from ._jaxpr import Expression, Given, Known, Operation, expressions
from ._onnx_values import Tensor
from ._steps import Steps, size_of

__all__ = ["from_jax"]

_ROOM = 2**26  # entries of everything computed, beside a multiple of the weights


def from_jax(function: Callable[[Any], Any], example: Any, *, logits: bool = False) -> Network | Graph:
    """What a JAX function of one array computes, with the same outputs to rounding; flattened in row order.

    `example` is an input (or a `jax.ShapeDtypeStruct`) of one sample, with an axis of size 1 where the
    function wants a batch; only its shape and dtype matter. A `Network` where the function is a chain of
    affine maps and activations, a `Graph` where values meet. Weights are what the function closes over:
    `lambda x: model.apply(variables, x)` of flax.linen or haiku, an nnx module after `model.eval()`, an
    Equinox model after `eqx.nn.inference_mode`. Read: dot_general and conv_general_dilated with constant
    kernels (groups, dilations, strides; transposed ones), pooling, sums, means and extremes along axes or
    windows, sums and differences of values, products with and quotients by constants, everything that moves
    entries to constant places, and the activations that lmikit names, as primitives or as `jax.nn` writes
    them. `logits=True` leaves off a softmax at the very end. Constants are computed as JAX computes them
    (a batch normalisation's scale in its float32); scalings are folded in float64, which rounds.

    Raises InputError naming the primitive for everything else, BackendMissing without jax.
    """
    try:
        import jax
        import jax.extend
    except ImportError as error:
        raise BackendMissing(import_error_extra("jax", "'lmikit[jax]'")) from error
    shape = getattr(example, "shape", None)
    if shape is None or not hasattr(example, "dtype") or np.dtype(example.dtype).kind not in "fV":
        raise InputError(
            f"example is {type(example).__name__}; expected one array of floats, as the function takes it."
        )
    if not callable(function):
        raise InputError(f"function is {type(function).__name__}; expected a function of one array.")
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(tuple(shape), example.dtype))
    if len(closed.jaxpr.outvars) != 1:
        raise InputError(
            f"the function returns {len(closed.jaxpr.outvars)} arrays; expected one: pick it, as in "
            "lambda x: function(x)[0]."
        )
    given = Given(0, tuple(int(n) for n in shape))
    result = expressions(jax, closed.jaxpr, closed.consts, [given])[0]
    if isinstance(result, Known):
        raise InputError("the function's result does not depend on its input; expected a network.")
    held = sum(int(np.size(c)) for c in closed.consts)
    reader = _Reader(jax, Steps(size_of(given.shape), logits=logits, budget=_ROOM + 64 * held), given)
    return model_of_steps(reader.steps, reader.read(result).step)


class _Reader:
    """Records what a result needs, operands first; `values` holds what was recorded."""

    def __init__(self, jax: Any, steps: Steps, given: Given) -> None:
        self.jax, self.steps = jax, steps
        self.values: dict[Expression, Tensor] = {given: Tensor(0, given.shape)}
        self.patterns = Patterns(jax)
        self.found: dict[Expression, Any] = {}

    def read(self, result: Expression) -> Tensor:
        waiting = [result]
        while waiting:
            current = waiting[-1]
            if current in self.values:
                waiting.pop()
                continue
            assert isinstance(current, Operation)
            if current not in self.found:
                self.found[current] = self.patterns.find(current)
            known = self.found[current]
            needed = current.operands if known is None else known[:1]
            missing = [o for o in needed if not isinstance(o, Known) and o not in self.values]
            if missing:
                self._refuse_unknown(current, known)
                waiting.extend(missing)
                continue
            self.values[current] = self._primitive(current) if known is None else self._found(current, known)
            waiting.pop()
        return self.values[result]

    def _refuse_unknown(self, operation: Operation, known: Any) -> None:
        """The last primitive that cannot be read is named, not those that lead to it."""
        name = operation.name
        chosen = name == "select_n" and not isinstance(operation.operands[0], Known)  # by a value
        readable = name in PRIMITIVES or name in MOVING or name in PASSED
        if known is None and (chosen or not readable):
            raise refusal(operation.where, f"a JAX {name}", REASONS.get(name, ""))

    def _found(self, operation: Operation, known: Any) -> Tensor:
        value, activation = self.values[known[0]], known[1]
        if activation is None:
            step = self.steps.softmax(operation.where, value.step, "a softmax")
        else:
            step = self.steps.activation(operation.where, value.step, activation)
        return Tensor(step, value.shape)

    def _primitive(self, operation: Operation) -> Tensor:
        self._refuse_unknown(operation, None)
        operands = [o.array() if isinstance(o, Known) else self.values[o] for o in operation.operands]
        name = operation.name
        primitive = Primitive(self.steps, operation, operands)
        if name in PASSED:
            if name == "convert_element_type" and not is_float_cast(operation):
                raise primitive.refuse("to something else than a float", "it jumps")
            found = operands[operation.output]
            assert isinstance(found, Tensor)
            return found
        if name in MOVING:
            return primitive.moves(self.jax)
        return self._named(operation, PRIMITIVES[name], primitive)

    def _named(self, operation: Operation, read: Any, primitive: Primitive) -> Tensor:
        try:
            return read(primitive)
        except InputError as error:
            text = str(error)
            if text.startswith(("layer ", "a layer ")):
                raise
            raise InputError(f"layer {operation.where} (a JAX {operation.name}): {text}") from error
