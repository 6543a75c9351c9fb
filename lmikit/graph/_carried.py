"""Graphs with skips as chains: what a later layer reads is carried along by neurons with phi(v) = v.

Every value of a graph is an affine function of the input and of the outputs of its nonlinear nodes (its
sources). Where the products and sums of maps that give it are exact in float64 - selections, sums of
different sources, entries times powers of two - it is that function; where one would round, a value in
between becomes a source itself, a layer of neurons without a nonlinearity. A source's layer comes after those
of all sources that it reads; a layer holds its sources and what later layers read of earlier ones. The chain
is the same real function as the graph: no entry of a map is rounded.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ..network import (
    Abs,
    AbstractLinearMap,
    Activation,
    DenseMap,
    Identity,
    Layer,
    LeakyReLU,
    Network,
    PReLU,
    ReLU,
    SparseMap,
)
from ._exactly import exact_image, exact_product, exact_sum
from ._graph import Graph
from ._largest import largest_as_trees
from ._nodes import Affine, Apply

__all__ = ["carried_chain"]

_SPARSE = 0.25  # of the entries; beyond it a dense matrix is smaller


@dataclasses.dataclass(frozen=True, eq=False)
class _Value:
    """sum over sources of parts[s] s + bias; `whole` is the map where that is one map of one source."""

    parts: dict[int, sp.csr_array]
    bias: np.ndarray
    whole: AbstractLinearMap | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """function(before); the input has neither. `layer` counts from 0, the input."""

    size: int
    layer: int
    before: _Value | None = None
    function: Activation | None = None


def carried_chain(graph: Graph) -> Network:
    """The same real function as a chain, whatever the skips; exact and the same every time.

    Max-poolings (`GraphBuilder.max_pool`) become trees of ReLU. Raises InputError for other nonlinearities on
    groups of channels, and where values pass beside neurons whose activation is not of two linear pieces.
    """
    unrolled = _Unrolled(largest_as_trees(graph))
    return _chain(unrolled.sources, unrolled.values[-1])


class _Unrolled:
    """The sources of a graph, and its nodes' values by them."""

    def __init__(self, graph: Graph) -> None:
        self.sources = [_Source(graph.input_dim, 0)]
        self.values: list[_Value] = []
        seen: dict[Any, int] = {}
        self.same: list[int] = []  # the first node that computes the same
        for k, node in enumerate(graph.nodes):
            self.same.append(seen.setdefault(self._key(node), k))
            if self.same[k] != k:
                self.values.append(self.values[self.same[k]])
            elif isinstance(node, Affine):
                self.values.append(self._affine(node))
            elif isinstance(node, Apply):
                if not isinstance(node.function, Activation):
                    raise InputError(
                        f"node {k} applies {node.function.name} to groups of channels; claims at a point "
                        "know (max, min) pairs and max-pooling. Of the bounds, LipSDP() and "
                        "SpectralProduct() take such graphs."
                    )
                before = self.values[self.same[node.parent]]
                self.values.append(self._new_source(before, node.function))
            else:
                self.values.append(_alone(0, node.size))

    def _key(self, node: Any) -> Any:
        parents = tuple(self.same[p] for p in node.parents)
        if isinstance(node, Affine):
            assert node.bias is not None
            return parents, tuple(m.digest for m in node.maps), node.bias.tobytes()
        return parents, id(node)

    def _new_source(self, before: _Value, function: Activation) -> _Value:
        layer = 1 + max((self.sources[s].layer for s in before.parts), default=0)
        size = before.bias.size
        self.sources.append(_Source(size, layer, before, function))
        return _alone(len(self.sources) - 1, size)

    def _materialised(self, k: int) -> _Value:
        """Node k as a source of its own."""
        if not _is_source(self.values[k]):
            self.values[k] = self._new_source(self.values[k], Identity())
        return self.values[k]

    def _affine(self, node: Affine) -> _Value:
        assert node.bias is not None
        parents = [self.same[p] for p in node.parents]
        if len(parents) == 1 and _is_source(own := self.values[parents[0]]):
            (source,) = own.parts
            return _Value({source: node.maps[0].to_sparse()}, node.bias, node.maps[0])
        maps = [m.to_sparse() for m in node.maps]
        for m, p in zip(maps, parents, strict=True):
            if _product(m, self.values[p]) is None:
                self._materialised(p)
        found = _sum(maps, [self.values[p] for p in parents], node.bias)
        if found is None:
            values, seen = [], set()
            for p in parents:
                value = self._materialised(p)
                (source,) = value.parts
                values.append(self._new_source(value, Identity()) if source in seen else value)
                seen.add(source)
            found = _sum(maps, values, node.bias)
        assert found is not None, "maps of different sources add up exactly"
        return found


def _product(own: sp.csr_array, value: _Value) -> _Value | None:
    """own times a value; None where that might round."""
    if _is_source(value):
        (source,) = value.parts
        return _Value({source: own}, np.zeros(own.shape[0]))
    shift = exact_image(own, value.bias)
    parts = {s: exact_product(own, part) for s, part in value.parts.items()}
    found = {s: part for s, part in parts.items() if part is not None}
    return None if shift is None or len(found) < len(parts) else _Value(found, shift)


def _sum(maps: list[sp.csr_array], values: list[_Value], bias: np.ndarray) -> _Value | None:
    """sum_i maps[i] values[i] + bias; None where that might round."""
    parts: dict[int, sp.csr_array] = {}
    for m, value in zip(maps, values, strict=True):
        product = _product(m, value)
        shift = None if product is None else exact_sum(bias, product.bias)
        if product is None or shift is None:
            return None
        bias = shift
        for s, part in product.parts.items():
            added = exact_sum(parts[s], part) if s in parts else part
            if added is None:
                return None
            parts[s] = added
    return _Value(parts, bias)


def _alone(source: int, size: int) -> _Value:
    return _Value({source: sp.eye_array(size, format="csr")}, np.zeros(size))


def _is_source(value: _Value) -> bool:
    """Whether the value is one source as it is."""
    if len(value.parts) != 1 or value.bias.any():
        return False
    (part,) = value.parts.values()
    n = part.shape[1]
    return part.shape[0] == n == part.nnz and bool(
        (part.data == 1.0).all() and np.array_equal(part.indices, np.arange(n))
    )


class _Layout:
    """Which entries of which sources every layer holds, and where."""

    def __init__(self, sources: list[_Source], output: _Value) -> None:
        self.last = max((s.layer for s in sources), default=0)
        needed = [np.full(s.size, -1) for s in sources]  # the last layer that has to hold each entry
        values = [(s.before, s.layer) for s in sources if s.before is not None]
        for value, layer in [*values, (output, self.last + 1)]:
            for s, part in value.parts.items():
                columns = np.unique(part.indices[part.data != 0.0])
                needed[s][columns] = np.maximum(needed[s][columns], layer - 1)
        self.held: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(self.last + 1)]
        for s, source in enumerate(sources):
            self.held[source.layer].append((s, np.arange(source.size)))
        for s, source in enumerate(sources):
            for layer in range(source.layer + 1, self.last + 1):
                columns = np.flatnonzero(needed[s] >= layer)
                if columns.size:
                    self.held[layer].append((s, columns))

    def places(self, layer: int) -> tuple[dict[int, np.ndarray], int]:
        """Per source where its entries are in the layer (-1 where they are not), and the layer's size."""
        found, start = {}, 0
        for s, columns in self.held[layer]:
            place = np.full(int(columns.max()) + 1, -1)
            place[columns] = start + np.arange(columns.size)
            found[s] = place
            start += columns.size
        return found, start


def _chain(sources: list[_Source], output: _Value) -> Network:
    layout = _Layout(sources, output)
    layers: list[Layer] = []
    for layer in range(1, layout.last + 1):
        held = layout.held[layer]
        values, functions = [], []
        for s, columns in held:
            source = sources[s]
            if source.layer == layer:
                assert source.before is not None
                assert source.function is not None
                values.append(source.before)
                functions.append((source.function, source.size))
            else:
                rows = sp.eye_array(source.size, format="csr")[columns]
                values.append(_Value({s: rows}, np.zeros(columns.size)))
                functions.append((Identity(), columns.size))
        linear, bias = _stacked(values, layout, layer - 1)
        layers.append(Layer.of(linear, bias, _activation(functions, layer), f"layer {layer}"))
    linear, bias = _stacked([output], layout, layout.last)
    layers.append(Layer.of(linear, bias, Identity(), "the output"))
    return Network(tuple(layers), sources[0].size)


def _stacked(values: list[_Value], layout: _Layout, layer: int) -> tuple[AbstractLinearMap, np.ndarray]:
    """The values one below the other, as a map of what `layer` holds, and their biases."""
    places, size = layout.places(layer)
    if len(values) == 1 == len(places) and values[0].whole is not None:
        return values[0].whole, values[0].bias
    rows, columns, data = ([np.zeros(0, dtype=t)] for t in (np.int64, np.int64, np.float64))
    start = 0
    for value in values:
        for s, part in value.parts.items():
            used = part.data != 0.0
            if not used.any():  # it cancelled: no layer needs to hold it
                continue
            rows.append(start + np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))[used])
            columns.append(places[s][part.indices[used]])
            data.append(part.data[used])
        start += value.bias.size
    entries = np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))
    matrix = sp.csr_array(entries, shape=(start, size))
    dense = matrix.nnz > _SPARSE * start * size
    bias = np.concatenate([value.bias for value in values])
    return (DenseMap(matrix.toarray()) if dense else SparseMap(matrix)), bias


def _activation(functions: list[tuple[Activation, int]], layer: int) -> Activation:
    """One activation for a layer of several sources."""
    if len(functions) == 1:
        return functions[0][0]
    slopes = [_left_slope(function, size) for function, size in functions]
    left = [s for s in slopes if s is not None]
    if len(left) < len(slopes):
        names = ", ".join(sorted({function.name for function, _ in functions}))
        raise InputError(
            f"layer {layer} of the graph written as a chain holds {names} side by side; claims at a point "
            "take skips beside relu, leaky_relu, prelu, abs and identity. Global bounds per pair of classes "
            "(lmikit.pairwise_bounds) and lmikit.lipschitz take other graphs."
        )
    both = np.concatenate(left)
    return ReLU() if not both.any() else Identity() if (both == 1.0).all() else PReLU(both)


def _left_slope(function: Activation, size: int) -> np.ndarray | None:
    """The slope below 0 of a function with slope 1 above; None for others."""
    if type(function) is ReLU:
        return np.zeros(size)
    if type(function) in (Identity, Abs):
        return np.full(size, 1.0 if type(function) is Identity else -1.0)
    if isinstance(function, LeakyReLU):
        return np.full(size, function.negative_slope)
    if isinstance(function, PReLU):
        return np.broadcast_to(np.asarray(function.weight, dtype=np.float64), (size,))
    return None
