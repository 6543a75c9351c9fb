"""A traced JAX function as expressions: calls are inlined, what does not depend on the input is computed.

A jaxpr is a list of operations with names for their results; here every operation holds its operands, so
that it can be read, and compared with how `jax.nn` writes an activation, from its result backwards.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._chain import refusal

__all__ = ["Expression", "Given", "Known", "Operation", "expressions", "run"]

# Operations that call a jaxpr of their own, and the parameter that holds it.
_CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr", "remat2": "jaxpr", "custom_lin": "jaxpr",
}  # fmt: skip
_RANDOM = ("random_", "threefry", "rng_")


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """The input, number 0, or an open constant of a pattern."""

    number: int
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A value that does not depend on the input."""

    value: Any  # an array of JAX or numpy
    random: bool = False  # whether it was drawn

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(np.shape(self.value))

    def array(self) -> np.ndarray:
        """As numpy holds it; floats that numpy does not know (bfloat16, ...) widened, exactly."""
        found = np.asarray(self.value)
        return found.astype(np.float32) if found.dtype.kind == "V" else found


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """Output number `output` of one primitive on operands of which at least one depends on the input."""

    where: str
    primitive: Any
    params: Mapping[str, Any]
    operands: tuple["Expression", ...]
    output: int
    shape: tuple[int, ...]
    dtype: Any

    @property
    def name(self) -> str:
        return str(self.primitive.name)


Expression = Given | Known | Operation


def expressions(jax: Any, jaxpr: Any, consts: Sequence[Any], given: Sequence[Expression]) -> list[Expression]:
    """The results of a jaxpr whose inputs are `given`; raises InputError for random numbers on values."""
    literal = jax.extend.core.Literal
    known: dict[Any, Expression] = dict(zip(jaxpr.constvars, map(Known, consts), strict=True))
    known |= zip(jaxpr.invars, given, strict=True)

    def of(atom: Any) -> Expression:
        if isinstance(atom, literal):
            return Known(jax.numpy.asarray(atom.val, atom.aval.dtype))
        return known[atom]

    for number, equation in enumerate(jaxpr.eqns):
        stack = str(equation.source_info.name_stack)
        where = f"{stack + '/' if stack else ''}{equation.primitive.name} {number}"
        operands = tuple(of(atom) for atom in equation.invars)
        known |= zip(equation.outvars, _results(jax, where, equation, operands), strict=True)
    return [of(atom) for atom in jaxpr.outvars]


def _results(jax: Any, where: str, equation: Any, operands: tuple[Expression, ...]) -> Sequence[Expression]:
    primitive, params = equation.primitive, equation.params
    if primitive.name in _CALLS and _CALLS[primitive.name] in params:
        inner = params[_CALLS[primitive.name]]
        closed = isinstance(inner, jax.extend.core.ClosedJaxpr)
        return expressions(jax, inner.jaxpr if closed else inner, inner.consts if closed else (), operands)
    drawn = any(isinstance(o, Known) and o.random for o in operands)
    outputs = equation.outvars
    if all(isinstance(o, Known) for o in operands):
        if drawn or primitive.name.startswith(_RANDOM):
            return [Known(None, random=True)] * len(outputs)
        return [Known(v) for v in run(primitive, params, [o.value for o in operands if isinstance(o, Known)])]
    if drawn:
        raise refusal(where, "an operation with random numbers", "trace the model in inference mode")
    return [
        Operation(where, primitive, params, operands, k, tuple(v.aval.shape), v.aval.dtype)
        for k, v in enumerate(outputs)
    ]


def run(primitive: Any, params: Mapping[str, Any], values: Sequence[Any]) -> Sequence[Any]:
    """The results of one primitive on arrays."""
    options = primitive.get_bind_params(dict(params))  # before JAX 0.7 with functions beside them
    functions, options = options if isinstance(options, tuple) else ((), options)
    found = primitive.bind(*functions, *values, **options)
    return found if primitive.multiple_results else [found]
