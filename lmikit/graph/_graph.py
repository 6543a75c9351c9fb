"""`Graph`: a network as nodes in topological order; forward, jvp and vjp by one sweep."""

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._convert import as_float64
from .._errors import InputError
from ..network import Network
from ..nonlinear import AbstractGroups
from ._file import read_graph_nodes, write_graph
from ._nodes import Affine, Apply, Input, Node

__all__ = ["Graph"]

Through = Callable[[Apply, int, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """f(x) = value of the last node; node 0 is the input, parents come before their children.

    Build one with `GraphBuilder`. Raises InputError for shapes that do not fit and for nodes in
    another order. Immutable.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise InputError("a graph has no nodes, or does not begin with its Input.")
        for k, node in enumerate(self.nodes[1:], start=1):
            _check_node(self.nodes, k, node)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Graph":
        """The graph in a `.npz` that `save` wrote, exactly; raises InputError for anything else."""
        return cls(read_graph_nodes(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` that `from_file` reads back exactly; it replaces `path` in one step.

        Raises InputError for maps and functions that are not lmikit's.
        """
        write_graph(path, self)

    @property
    def input_dim(self) -> int:
        """n_0."""
        return self.nodes[0].size

    @property
    def output_dim(self) -> int:
        """m."""
        return self.nodes[-1].size

    @property
    def dims(self) -> tuple[int, ...]:
        """(n_0, sizes of the nonlinear nodes, m)."""
        return (self.input_dim, *(n.size for n in self.nodes if isinstance(n, Apply)), self.output_dim)

    @functools.cached_property
    def applied(self) -> tuple[int, ...]:
        """The indices of the nonlinear nodes."""
        return tuple(k for k, node in enumerate(self.nodes) if isinstance(node, Apply))

    @property
    def hidden_neurons(self) -> int:
        """N, the channels of all nonlinear nodes."""
        return sum(self.nodes[k].size for k in self.applied)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a Lipschitz claim rests on: maps, parents, slopes (not biases)."""
        sha = hashlib.sha256(b"lmikit-graph-1\n")
        for node in self.nodes:
            sha.update(json.dumps(_description(node)).encode())
            if isinstance(node, Apply):
                for values in (node.alpha, node.beta):
                    sha.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return sha.hexdigest()

    def __call__(self, x: Any) -> np.ndarray:
        """Forward pass for x of shape (..., n_0); returns (..., m)."""
        value, _ = as_float64("x", x)
        if value.ndim == 0 or value.shape[-1] != self.input_dim:
            raise InputError(f"x has shape {value.shape}; expected (..., {self.input_dim}).")
        lead = value.shape[:-1]
        result = self.values(value.reshape(-1, self.input_dim).T)[-1]
        return result.T.reshape(*lead, self.output_dim)

    def values(self, x: np.ndarray) -> list[np.ndarray]:
        """The value of every node at x (n_0, k), columns are points."""
        values: list[np.ndarray] = []
        for node in self.nodes:
            if isinstance(node, Affine):
                assert node.bias is not None
                values.append(_sum_of_maps(node, values) + node.bias[:, None])
            elif isinstance(node, Apply):
                values.append(node.value(values[node.parent]))
            else:
                values.append(x)
        return values

    def jvp(self, values: Sequence[np.ndarray], dx: np.ndarray) -> np.ndarray:
        """J(x) dx (m, k) at the points of `values` (see `values`); NaN where a derivative is."""
        return self.tangents(values, dx)[-1]

    def tangents(self, values: Sequence[np.ndarray], dx: np.ndarray) -> list[np.ndarray]:
        """How every node moves with dx (n_0, k) at the points of `values`; the last is J(x) dx."""

        def through(node: Apply, k: int, moved: np.ndarray) -> np.ndarray:
            return _jvp(node, values[node.parent], moved)

        return self.pushed(dx, through)

    def pushed(self, dx: np.ndarray, through: Through) -> list[np.ndarray]:
        """Every node's increment from dx (n_0, k): `through(node, k, dv)` is dw of the nonlinear node k."""
        moved: list[np.ndarray] = []
        for k, node in enumerate(self.nodes):
            if isinstance(node, Affine):
                moved.append(_sum_of_maps(node, moved))
            elif isinstance(node, Apply):
                moved.append(through(node, k, moved[node.parent]))
            else:
                moved.append(dx)
        return moved

    def vjp(self, values: Sequence[np.ndarray], u: np.ndarray, kinks: float = math.nan) -> np.ndarray:
        """J(x)'u (n_0, k) at the points of `values`; a derivative that does not exist counts as `kinks`."""

        def through(node: Apply, k: int, here: np.ndarray) -> np.ndarray:
            moved = _vjp(node, values[node.parent], here)
            return moved if math.isnan(kinks) else np.nan_to_num(moved, nan=kinks)

        return self.pulled(u, through)

    def pulled(self, u: np.ndarray, through: Through) -> np.ndarray:
        """What u (m, k) at the output is at the input, by the adjoints of the maps and of nonlinear nodes.

        `through(node, k, g)` takes what arrives at the values of node k to what it is before the node; it is
        called for the nodes on a path to the output, last ones first.
        """
        back: list[np.ndarray | None] = [None] * len(self.nodes)
        back[-1] = u
        for k in range(len(self.nodes) - 1, 0, -1):
            node, here, back[k] = self.nodes[k], back[k], None
            if here is None:
                continue
            if isinstance(node, Affine):
                for linear, p in zip(node.maps, node.parents, strict=True):
                    back[p] = _plus(back[p], linear.rmatvec(here))
            elif isinstance(node, Apply):
                back[node.parent] = _plus(back[node.parent], through(node, k, here))
        return np.zeros((self.input_dim, u.shape[1])) if back[0] is None else back[0]

    def jacobian(self, x: Any) -> np.ndarray:
        """J(x) (m, n_0) at x (n_0,); NaN where a moving channel sits on a kink of its activation."""
        value, _ = as_float64("x", x)
        if value.shape != (self.input_dim,):
            raise InputError(f"x has shape {value.shape}; expected ({self.input_dim},).")
        return self.jvp(self.values(value[:, None]), np.eye(self.input_dim))

    def as_chain(self) -> Network:
        """The same function as a `Network`; raises InputError where the nodes are no chain."""
        from ._chain import graph_chain

        return graph_chain(self)

    def __repr__(self) -> str:
        sizes = f"{self.input_dim} -> {self.output_dim}, {len(self.nodes)} nodes"
        return f"Graph({sizes}, {self.hidden_neurons} neurons)"


def _check_node(nodes: tuple[Node, ...], k: int, node: Node) -> None:
    if not isinstance(node, (Affine, Apply)):
        raise InputError(
            f"node {k} is a {type(node).__name__}; expected Affine or Apply after the one Input."
        )
    for p in node.parents:
        if not 0 <= p < k:
            raise InputError(f"node {k} has the parent {p}; expected an earlier node, 0 to {k - 1}.")
    sizes = [m.shape[1] for m in node.maps] if isinstance(node, Affine) else [node.size]
    for size, p in zip(sizes, node.parents, strict=True):
        if nodes[p].size != size:
            raise InputError(f"node {k} takes {size} values of node {p}, which has {nodes[p].size}.")


def _description(node: Node) -> list[Any]:
    if isinstance(node, Affine):
        return ["affine", node.size, list(node.parents), [m.digest for m in node.maps]]
    if isinstance(node, Apply):
        function = node.function
        groups = (
            [function.name, function.parameters()] if isinstance(function, AbstractGroups) else ["slopes"]
        )
        return ["apply", node.size, node.parent, *groups]
    return ["input", node.size]


def _sum_of_maps(node: Affine, values: Sequence[np.ndarray]) -> np.ndarray:
    terms = [m.matvec(values[p]) for m, p in zip(node.maps, node.parents, strict=True)]
    return np.asarray(sum(terms[1:], start=terms[0]))


def _plus(a: np.ndarray | None, b: np.ndarray) -> np.ndarray:
    return b if a is None else a + b


def _jvp(node: Apply, v: np.ndarray, dv: np.ndarray) -> np.ndarray:
    if isinstance(node.function, AbstractGroups):
        if v.shape[1] == 1 and dv.shape[1] != 1:
            v = np.repeat(v, dv.shape[1], axis=1)
        return node.function.jvp(v, dv)
    slope = node.function.derivative(v, axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(dv == 0.0, 0.0, slope * dv)


def _vjp(node: Apply, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    if isinstance(node.function, AbstractGroups):
        if v.shape[1] == 1 and u.shape[1] != 1:
            v = np.repeat(v, u.shape[1], axis=1)
        return node.function.vjp(v, u)
    slope = node.function.derivative(v, axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(u == 0.0, 0.0, slope * u)
