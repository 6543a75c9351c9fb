"""One of JAX's primitives with its operands as values and arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._jaxpr import Known, Operation, run
from ._moves import moved
from ._onnx_shapes import NodeCall
from ._onnx_values import Arithmetic, Operand, Tensor
from ._steps import Steps, size_of

__all__ = ["JUMPS", "MOVING", "PRODUCT", "Primitive"]

PRODUCT = "a product of values has no global Lipschitz constant: return a value before it"
JUMPS = "it jumps, so no Lipschitz constant covers it: return a value before it"

# Primitives that only move entries, and the operands whose entries they move where not the first alone.
MOVING: dict[str, tuple[int, ...] | None] = {
    "broadcast_in_dim": (0,), "concatenate": None, "dynamic_slice": (0,), "dynamic_update_slice": (0, 1),
    "expand_dims": (0,), "gather": (0,), "pad": (0, 1), "reshape": (0,), "rev": (0,), "scatter": (0, 2),
    "select_n": None, "slice": (0,), "split": (0,), "squeeze": (0,), "stack": None,
    "tile": (0,), "transpose": (0,), "unstack": (0,),
}  # fmt: skip


class Primitive:
    """One operation with its operands as values and arrays."""

    def __init__(self, steps: Steps, operation: Operation, operands: list[Tensor | np.ndarray]) -> None:
        self.steps, self.operation, self.operands = steps, operation, operands
        self.where, self.params = operation.where, operation.params

    def refuse(self, what: str, why: str = "") -> Exception:
        return self.call({}).refuse(what, why)

    def call(self, attributes: dict[str, Any]) -> NodeCall:
        kind = f"a JAX {self.operation.name}"
        return NodeCall(
            self.where, kind, attributes, [], 99, 1, apart=False, samples=None, spend=self.steps.spend
        )

    def arithmetic(self, **attributes: Any) -> Arithmetic:
        operands: list[Operand] = [*self.operands]
        return Arithmetic(self.steps, self.call(attributes), operands)

    def value(self) -> Tensor:
        if not isinstance(self.operands[0], Tensor):
            raise self.refuse("whose first operand is a constant")
        return self.operands[0]

    def rearranged(self, value: Tensor, mover: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        return moved(self.steps, self.where, [value], lambda arrays: [mover(arrays[0])])[0]

    def moves(self, jax: Any) -> Tensor:
        """A primitive that only moves entries, run by JAX itself on their numbers."""
        places = MOVING[self.operation.name]
        first = 1 if self.operation.name == "select_n" else 0
        places = tuple(range(first, len(self.operands))) if places is None else places
        if not all(isinstance(o, np.ndarray) for k, o in enumerate(self.operands) if k not in places):
            raise self.refuse("at places that depend on the input", JUMPS)

        def numbers(arrays: list[np.ndarray]) -> list[np.ndarray]:
            given = [jax.numpy.asarray(o) for o in self.operation_constants()]
            for place, array in zip(places, arrays, strict=True):
                given[place] = jax.numpy.asarray(array.astype(np.int32))
            # what a gather fills in would pass for the number of an entry
            params = {k: -1 if k == "fill_value" else v for k, v in self.params.items()}
            found = run(self.operation.primitive, params, given)
            result = np.asarray(found[self.operation.output]).astype(np.int64)
            if result.size and not 0 <= result.min() <= result.max() < sum(a.size for a in arrays):
                raise self.refuse("of entries beyond those there are")
            return [result]

        self.steps.spend(self.where, size_of(self.operation.shape))
        return moved(self.steps, self.where, [self.operands[k] for k in places], numbers)[0]

    def operation_constants(self) -> list[Any]:
        return [o.value if isinstance(o, Known) else np.zeros(()) for o in self.operation.operands]
