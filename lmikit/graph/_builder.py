"""`GraphBuilder`: networks written as they are read.

g = GraphBuilder()
x = g.input(8)
h = g.relu(W0 @ x + b0)
net = g.output(W2 @ (x + W1 @ h))
"""

import dataclasses
import itertools
import math
import numbers
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..network import (
    AbstractLinearMap,
    ProductMap,
    SelectMap,
    StackMap,
    SumMap,
    TransposedMap,
    identity_map,
    resolve_activation,
)
from ..network._arrays_in import as_bias, as_linear_map
from ..nonlinear import AbstractGroups, MaxMinPairs, SortGroups
from ._graph import Graph
from ._groups import equal_groups, halved
from ._nodes import Affine, Apply, Input, Node

__all__ = ["GraphBuilder", "Value"]

Term = tuple[AbstractLinearMap, int]
_LARGEST_TREE = 1024  # ReLU of a maximum
_LARGEST_UNROLLED = (
    1500  # neurons; what is larger is bounded by norms and on a torus unless a method is named
)


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A value inside a graph, maps of nodes plus a bias: `W @ v`, `v + w`, `v[2:5]`, `-v`, `0.5 * v`."""

    builder: "GraphBuilder"
    size: int
    terms: tuple[Term, ...]
    bias: np.ndarray | None = None

    __array_ufunc__ = None  # numpy leaves W @ value and bias + value to this class

    def __rmatmul__(self, weight: Any) -> "Value":
        """W value for a matrix or linear map W (out, size)."""
        return self.builder._mapped(as_linear_map("weight", weight), self)

    def __add__(self, other: Any) -> "Value":
        """value + value, or value + bias (size,)."""
        if not isinstance(other, Value):
            given = np.asarray(other)
            bias = as_bias("bias", np.full(self.size, float(given)) if given.ndim == 0 else given, self.size)
            return dataclasses.replace(self, bias=_sum_of_biases(self.bias, bias))
        if other.builder is not self.builder or other.size != self.size:
            raise InputError(
                f"a value of size {self.size} cannot be added to one of size {other.size}; expected equal "
                "sizes in one graph."
            )
        return Value(
            self.builder, self.size, (*self.terms, *other.terms), _sum_of_biases(self.bias, other.bias)
        )

    __radd__ = __add__

    def __neg__(self) -> "Value":
        return (-sp.eye_array(self.size)) @ self

    def __mul__(self, factor: Any) -> "Value":
        """The value times a number; nothing else is affine."""
        if not isinstance(factor, numbers.Real) or not math.isfinite(factor):
            raise InputError(
                f"a value of a graph is multiplied by {factor!r}; expected a finite number, or "
                "W @ value for a matrix."
            )
        return (float(factor) * sp.eye_array(self.size)) @ self

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> "Value":
        return self + (-other if isinstance(other, Value) else -np.asarray(other))

    def __getitem__(self, key: Any) -> "Value":
        """A slice, or entries by index."""
        try:
            indices = np.atleast_1d(np.arange(self.size)[key])
        except IndexError as error:
            raise InputError(f"a value of size {self.size} has no entries {key!r} ({error}).") from error
        return self.builder._mapped(SelectMap(indices, self.size), self)


class GraphBuilder:
    """Collects nodes; `output` makes the `Graph`. Shapes are checked where a value is made."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._sorts = False  # whether a pooling was too large for a tree

    def input(self, size: int) -> Value:
        """The input x (size,); there is one."""
        if self._nodes:
            raise InputError("the graph has an input already; slice it where a part is wanted.")
        self._nodes.append(Input(size))
        return self._value(0)

    def apply(self, function: Any, value: Value) -> Value:
        """function(value): an activation (instance or lower-case name) or a nonlinearity on groups."""
        self._check(value)
        if not isinstance(function, AbstractGroups):
            function = resolve_activation(function)
        return self._append(Apply(function, self._node_of(value), value.size))

    def relu(self, value: Value) -> Value:
        """max(value, 0)."""
        return self.apply("relu", value)

    def maxmin(self, value: Value) -> Value:
        """(max, min) of consecutive pairs."""
        return self.apply(MaxMinPairs(), value)

    def sort_groups(self, value: Value, size: int) -> Value:
        """Consecutive groups of `size`, sorted in ascending order."""
        return self.apply(SortGroups(size), value)

    def max_pool(self, value: Value, groups: Any, *, tree: bool | None = None) -> Value:
        """The largest entry of each group of indices; groups may overlap and differ in size.

        With `tree` a tree of ReLU, max(a, b) = b + relu(a - b), all groups at once: tighter in LMIs than the
        quadratic constraint of max-pooling, whose every multiplier it can imitate. Without, the last of each
        group sorted: 1-Lipschitz after a selection of norm sqrt(how many groups share an entry), which is
        what products of norms and bounds on a torus need. None: a tree of at most 1024 ReLU with which
        the graph has at most 1500 neurons so far, as long as no larger pooling came before: a network that is
        too large for trees has all of its windows sorted.
        """
        self._check(value)
        lists = [np.atleast_1d(np.asarray(g, dtype=np.int64)) for g in groups]
        if not lists or any(g.size < 1 for g in lists):
            raise InputError("max_pool got no groups, or an empty one; expected lists of indices.")
        if tree is None:
            own = sum(g.size - 1 for g in lists)
            before = sum(node.size for node in self._nodes if isinstance(node, Apply))
            tree = not self._sorts and own <= _LARGEST_TREE and before + own <= _LARGEST_UNROLLED
            self._sorts = not tree
        if not tree:
            return self._largest_sorted(value, lists)
        while max(g.size for g in lists) > 1:
            first = np.concatenate([g[: g.size // 2 * 2 : 2] for g in lists])
            second = np.concatenate([g[1 : g.size // 2 * 2 : 2] for g in lists])
            larger = value[second] + self.relu(value[first] - value[second])
            over = np.concatenate([g[g.size // 2 * 2 :] for g in lists])
            value = self.concat(larger, value[over]) if over.size else larger
            lists = halved([g.size for g in lists], first.size)
        return value[np.concatenate(lists)]

    def _largest_sorted(self, value: Value, lists: list[np.ndarray]) -> Value:
        size = max(g.size for g in lists)
        gathered = value[equal_groups(lists, size, value.size).reshape(-1)]
        last = self.sort_groups(gathered, size)[np.arange(size - 1, size * len(lists), size)]
        return self._value(self._node_of(last))  # one node for whoever reads it

    def softmax(self, value: Value, logits: bool = False) -> Value:
        """`value` itself with `logits=True`; a softmax is refused, since it acts on the probabilities."""
        if not logits:
            raise InputError("softmax at the end is no part of the claim; pass logits=True to leave it off.")
        return value

    def layer_norm(self, value: Value) -> Value:
        """Refused: near inputs of equal entries its Lipschitz constant is 1 / sqrt(eps)."""
        raise InputError(
            "layer normalisation has no useful global Lipschitz bound: 1 / sqrt(eps) near constant inputs."
        )

    def concat(self, *values: Value) -> Value:
        """(v_1, v_2, ...), one after the other."""
        if not values:
            raise InputError("concat got no values; expected at least one.")
        for value in values:
            self._check(value)
        total = sum(v.size for v in values)
        terms: list[Term] = []
        start = 0
        for v in values:
            place = TransposedMap(SelectMap(np.arange(start, start + v.size), total))
            terms.append((place, self._node_of(v)))
            start += v.size
        return Value(self, total, tuple(terms))

    def output(self, value: Value) -> Graph:
        """The graph whose output is `value`; nodes that do not reach it are left out."""
        self._check(value)
        last = self._node_of(value)
        used = {last}
        for k in range(last, 0, -1):
            if k in used:
                used.update(self._nodes[k].parents)
        used.add(0)
        order = sorted(used)
        index = {old: new for new, old in enumerate(order)}
        return Graph(tuple(_renumbered(self._nodes[k], index) for k in order))

    def _check(self, value: Any) -> None:
        if not isinstance(value, Value) or value.builder is not self:
            raise InputError(
                f"got {type(value).__name__}; expected a value of this graph, such as g.input(8)."
            )

    def _append(self, node: Node) -> Value:
        self._nodes.append(node)
        return self._value(len(self._nodes) - 1)

    def _value(self, k: int) -> Value:
        size = self._nodes[k].size
        return Value(self, size, ((identity_map(size), k),))

    def _node_of(self, value: Value) -> int:
        """The node that holds `value`; a new one unless it is a node already."""
        linear, k = value.terms[0]
        if len(value.terms) == 1 and value.bias is None and _is_identity(linear):
            return k
        maps, parents = zip(*value.terms, strict=True)
        self._append(Affine(maps, parents, value.bias))
        return len(self._nodes) - 1

    def _mapped(self, linear: AbstractLinearMap, value: Value) -> Value:
        """linear @ value; products and sums are taken apart so that every map has exact entries."""
        if linear.shape[1] != value.size:
            raise InputError(
                f"a map of shape {linear.shape} is applied to a value of size {value.size}; expected (out, "
                f"{value.size}). Matrices are (out, in)."
            )
        if isinstance(linear, ProductMap):
            return self._mapped(linear.left, self._mapped(linear.right, value))
        if isinstance(linear, SumMap):
            parts = [self._mapped(m, value) for m in linear.maps]
            return sum(parts[1:], start=parts[0])
        if isinstance(linear, StackMap):
            return self.concat(*(self._mapped(m, value) for m in linear.maps))
        if isinstance(linear, TransposedMap):
            swapped = _transposed(linear.original)
            if swapped is not None:
                return self._mapped(swapped, value)
        return Value(self, linear.shape[0], ((linear, self._node_of(value)),))


def _transposed(linear: AbstractLinearMap) -> AbstractLinearMap | None:
    """The transpose of a compound map with its parts transposed; None for a map with exact entries."""
    if isinstance(linear, ProductMap):
        return ProductMap(linear.right.T, linear.left.T)
    if isinstance(linear, SumMap):
        return SumMap(tuple(m.T for m in linear.maps))
    if isinstance(linear, StackMap):
        ends = np.cumsum([0, *(m.shape[0] for m in linear.maps)])
        picks = [SelectMap(np.arange(a, b), int(ends[-1])) for a, b in itertools.pairwise(ends)]
        return SumMap(tuple(m.T @ p for m, p in zip(linear.maps, picks, strict=True)))
    return linear.original if isinstance(linear, TransposedMap) else None


def _is_identity(linear: AbstractLinearMap) -> bool:
    return isinstance(linear, SelectMap) and np.array_equal(linear.indices, np.arange(linear.size))


def _sum_of_biases(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(a + b)


def _renumbered(node: Node, index: dict[int, int]) -> Node:
    if isinstance(node, Affine):
        return Affine(node.maps, tuple(index[p] for p in node.parents), node.bias)
    if isinstance(node, Apply):
        return Apply(node.function, index[node.parent], node.size)
    return node
