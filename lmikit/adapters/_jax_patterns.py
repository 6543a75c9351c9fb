"""Activations that JAX writes out in several operations, found by comparison with the functions themselves.

A pattern is `jax.nn`'s function (or a common way to write it) traced at the shape at hand. An expression is
that activation if it is the same tree of operations; casts between floats are passed over, since they only
round, and the operands of sums, products and extremes may stand in either order.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..network import CELU, ELU, GELU, Activation, Hardtanh, LeakyReLU, PReLU, ReLU, Softplus, Softsign
from ._jaxpr import Expression, Given, Known, Operation, expressions

__all__ = ["Patterns", "is_float_cast"]

_SWAPS = ("add", "add_any", "max", "min", "mul")
_NO_MATTER = ("sharding", "out_sharding", "weak_type", "accuracy", "out_aval")
Bound = dict[int, Expression]


def _leaky(slope: np.ndarray, shape: tuple[int, ...]) -> Activation:
    if slope.size == 1:
        return LeakyReLU(float(slope.reshape(())))
    return PReLU(np.broadcast_to(slope, shape).reshape(-1))


def _table(jax: Any) -> list[tuple[str, int, Callable[..., Any], Callable[..., Any]]]:
    """(the last operation, open constants, the function, what it is; None for a softmax)."""
    nn, np_ = jax.nn, jax.numpy
    number = lambda make: lambda shape, *v: make(*(float(c.reshape(())) for c in v))  # noqa: E731
    leaky = lambda shape, slope: _leaky(slope, shape)  # noqa: E731
    return [
        ("select_n", 0, lambda x: np_.where(x > 0, x, 0.0), number(ReLU)),
        ("select_n", 0, lambda x: np_.where(x >= 0, x, 0.0), number(ReLU)),
        ("select_n", 1, lambda x, a: np_.where(x >= 0, x, a * x), leaky),
        ("select_n", 1, lambda x, a: np_.where(x > 0, x, a * x), leaky),
        ("select_n", 1, nn.elu, number(ELU)),
        ("select_n", 0, nn.softplus, number(Softplus)),
        ("select_n", 0, nn.hard_tanh, number(lambda: Hardtanh(-1.0, 1.0))),
        ("min", 2, lambda x, a, b: np_.minimum(np_.maximum(x, a), b), number(Hardtanh)),
        ("max", 2, lambda x, a, b: np_.maximum(np_.minimum(x, b), a), number(Hardtanh)),
        ("add", 1, nn.celu, number(CELU)),
        ("div", 0, nn.soft_sign, number(Softsign)),
        ("mul", 0, lambda x: nn.gelu(x, approximate=True), number(lambda: GELU("tanh"))),
        ("mul", 0, lambda x: nn.gelu(x, approximate=False), number(GELU)),
        ("div", 0, nn.softmax, number(lambda: None)),
        ("sub", 0, nn.log_softmax, number(lambda: None)),
    ]


class Patterns:
    """The patterns of one installation of JAX, traced once for each shape."""

    def __init__(self, jax: Any) -> None:
        self._jax, self._table, self._traced = jax, _table(jax), dict[Any, Expression]()
        self._of_vectors = (jax.nn.softmax, jax.nn.log_softmax)  # they have no value for a scalar

    def find(self, found: Expression) -> tuple[Expression, Activation | None] | None:
        """(the value that it acts on, the activation or None for a softmax), or None where it is neither."""
        if not isinstance(found, Operation):
            return None
        for k, (last, count, function, make) in enumerate(self._table):
            if last != found.name or (not found.shape and function in self._of_vectors):
                continue
            bound = _match(self._pattern(k, count, function, found), found, {})
            if bound is not None and all(_fits(bound, j) for j in range(1, count + 1)):
                values = [_number(bound[j]) for j in range(1, count + 1)]
                if last == "select_n" or all(v.size == 1 for v in values):
                    return bound[0], make(found.shape, *values)
        return None

    def _pattern(self, k: int, count: int, function: Callable[..., Any], like: Operation) -> Expression:
        key = k, like.shape, str(like.dtype)
        if key not in self._traced:
            value = self._jax.ShapeDtypeStruct(like.shape, like.dtype)
            closed = self._jax.make_jaxpr(function)(value, *[0.5] * count)
            given = [Given(j, tuple(v.aval.shape)) for j, v in enumerate(closed.jaxpr.invars)]
            self._traced[key] = expressions(self._jax, closed.jaxpr, closed.consts, given)[0]
        return self._traced[key]


def _fits(bound: Mapping[int, Expression], hole: int) -> bool:
    return isinstance(bound.get(hole), Known)


def _number(found: Expression) -> np.ndarray:
    assert isinstance(found, Known)
    return found.array()


def is_float_cast(found: Expression) -> bool:
    """Whether an operation casts between float types."""
    if not isinstance(found, Operation) or found.name not in ("convert_element_type", "reduce_precision"):
        return False
    before = found.operands[0]
    kinds = [found.dtype, before.dtype] if isinstance(before, Operation) else [found.dtype]
    return all("float" in str(kind) for kind in kinds)


def _plain(found: Expression) -> Expression:
    while isinstance(found, Operation) and (is_float_cast(found) or found.name == "copy"):
        found = found.operands[0]
    return found


def _match(pattern: Expression, found: Expression, bound: Bound) -> Bound | None:
    """The open parts of the pattern with what stands for them; None where the two differ."""
    pattern, found = _plain(pattern), _plain(found)
    spread = isinstance(pattern, Operation) and pattern.name == "broadcast_in_dim"
    if spread and isinstance(pattern.operands[0], Given) and pattern.operands[0].number:  # type: ignore[union-attr]
        pattern = pattern.operands[0]  # type: ignore[union-attr]
    if isinstance(pattern, Given):
        if pattern.number and (not isinstance(found, Known) or found.random):
            return None
        before = bound.get(pattern.number, found)
        same = before is found or (pattern.number > 0 and np.array_equal(_number(before), _number(found)))
        return {**bound, pattern.number: found} if same else None
    if isinstance(pattern, Known):
        same = isinstance(found, Known) and not found.random and _equal(pattern.array(), found.array())
        return bound if same else None
    if not isinstance(found, Operation) or not _same_kind(pattern, found):
        return None
    orders = [found.operands, found.operands[::-1]] if found.name in _SWAPS else [found.operands]
    for operands in orders:
        result: Bound | None = bound
        for one, other in zip(pattern.operands, operands, strict=True):
            result = None if result is None else _match(one, other, result)
        if result is not None:
            return result
    return None


def _equal(pattern: np.ndarray, found: np.ndarray) -> bool:
    if pattern.size == 1:
        return bool((found == pattern.reshape(())).all())
    return bool(np.array_equal(pattern, found))


def _same_kind(pattern: Operation, found: Operation) -> bool:
    if (pattern.name, pattern.output, pattern.shape) != (found.name, found.output, found.shape):
        return False
    if len(pattern.operands) != len(found.operands):
        return False
    pair = [{k: v for k, v in p.params.items() if k not in _NO_MATTER} for p in (pattern, found)]
    return bool(pair[0] == pair[1])
