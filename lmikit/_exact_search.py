"""Branch and bound over activation patterns: best first, neurons in the order of the layers.

Jordan and Dimakis, "Exactly computing the local Lipschitz constant of ReLU networks", NeurIPS 2020, and
Bhowmick, D'Souza and Raghavan, "LipBaB", 2021, for branching on neurons; here a cell counts only with
interior points.
"""

import dataclasses
import heapq
import itertools
import time

import numpy as np

from ._exact_polyhedra import Halfspaces, Polyhedra
from ._progress import Progress, ProgressCallback
from .attacks import settle
from .certificates.cells import (
    BOUND,
    EMPTY,
    Cell,
    CellTheory,
    CellTree,
    Emptiness,
    InteriorPoint,
    LeafBounds,
    interior_norm,
)
from .claims import AbstractRegion

__all__ = ["CellSearch"]


@dataclasses.dataclass(eq=False)
class _Node:
    """A node of the tree that is being built; `floats` are the cell's forms in floating point."""

    cell: Cell
    floats: tuple[np.ndarray, ...]
    spaces: Halfspaces
    point: np.ndarray | None
    bound: float
    code: int = BOUND
    children: tuple["_Node", ...] = ()
    emptiness: Emptiness | None = None


class CellSearch:
    """`run` refines the tree until `upper` is within `tolerance` of `lower`, or time is over."""

    def __init__(
        self,
        theory: CellTheory,
        region: AbstractRegion | None,
        bounds: LeafBounds,
        *,
        tolerance: float,
        deadline: float,
        progress: ProgressCallback | None,
    ) -> None:
        self.theory, self.region, self.bounds = theory, region, bounds
        self.tolerance, self.deadline, self.progress = tolerance, deadline, progress
        self.polyhedra = Polyhedra(region, theory.network.input_dim)
        self.lower = 0.0
        self.best_point: InteriorPoint | None = None
        self.visited, self.closed = 0, 0.0
        self.ticket = itertools.count()
        cell = theory.root()
        start = np.zeros(theory.network.input_dim) if region is None else region.anchor
        self.root = self._node(cell, (), self.polyhedra.none(), start)
        self.heap: list[tuple[float, int, _Node]] = []

    @property
    def upper(self) -> float:
        """The largest bound of a leaf, in floating point."""
        return max(self.closed, -self.heap[0][0] if self.heap else 0.0)

    def run(self, samples: np.ndarray) -> None:
        """Search; `samples` (B, n_0) are points to begin with."""
        for x in samples:
            self._consider(x)
        self._push(self.root)
        while self.heap and time.monotonic() < self.deadline:
            if -self.heap[0][0] <= self._target():
                break
            self._expand(heapq.heappop(self.heap)[2])
            if self.progress is not None:
                self.progress(Progress("cells", self.visited, None, self.lower, self.upper))

    def _target(self) -> float:
        return self.lower * (1.0 + 0.5 * self.tolerance)

    def _push(self, node: _Node) -> None:
        heapq.heappush(self.heap, (-node.bound, next(self.ticket), node))

    def _node(
        self, cell: Cell, floats: tuple[np.ndarray, ...], spaces: Halfspaces, point: np.ndarray | None
    ) -> _Node:
        more = tuple(form.approximate() for form in cell.forms[len(floats) :])
        return _Node(cell, (*floats, *more), spaces, point, self.bounds.estimate(cell))

    def _expand(self, node: _Node) -> None:
        """Decide neurons until one has points on both sides, or the node is settled."""
        while time.monotonic() < self.deadline:
            self.visited += 1
            if node.cell.linear or node.bound <= self._target():
                self.closed = max(self.closed, node.bound)
                return
            neuron = self._choice(node)
            sides = self.theory.split(node.cell, neuron)
            children = tuple(
                self._child(node, neuron, cell, s) for cell, s in zip(sides, (1, -1), strict=True)
            )
            node.code, node.children = neuron, children
            left = [child for child in children if child.emptiness is None]
            if len(left) != 1:
                for child in left:
                    self._push(child)
                return
            left[0].spaces = node.spaces  # the other side is empty: the new halfspace says nothing
            node = left[0]
        self._push(node)

    def _choice(self, node: _Node) -> int:
        """The open neuron with the largest term in the Jacobian."""
        cell = node.cell
        index = cell.undecided
        alpha, beta = self.theory.given[cell.layer]
        weight = self.theory.network.weights[cell.layer + 1]
        rows = node.floats[cell.layer][index, :-1]
        size = np.linalg.norm(rows, axis=1) * np.linalg.norm(weight[:, index], axis=0)
        return int(index[np.argmax(size * (beta - alpha)[index])])

    def _child(self, node: _Node, neuron: int, cell: Cell, sign: int) -> _Node:
        """The side of a split, with a point of it or a proof that it is empty where one is found."""
        form = node.floats[node.cell.layer][neuron]
        row, limit, norm = self.polyhedra.halfspace(form, sign)
        spaces = node.spaces.with_row(row, limit, norm, len(node.cell.path))
        point, emptiness = node.point, None
        if point is None or not self.polyhedra.contains(spaces, point):
            point, u = self.polyhedra.find(spaces)
            if point is None:
                emptiness = self.polyhedra.prove(cell, spaces, u)
            else:
                self._consider(point)
        if emptiness is not None:
            return _Node(cell, node.floats, spaces, None, 0.0, EMPTY, (), emptiness)
        return self._node(cell, node.floats, spaces, point)

    def _consider(self, x: np.ndarray) -> None:
        """A better lower bound, if there is one near x."""
        if self.region is not None:
            x = settle(self.region, x)
        value = self.theory.network.jacobian(x) if np.isfinite(x).all() else None
        if value is None or not np.isfinite(value).all():
            return
        _, sizes, right = np.linalg.svd(value)
        if not sizes.size or sizes[0] <= self.lower * (1.0 + 1e-13):
            return
        point = InteriorPoint(x, right[0])
        proven = interior_norm(self.theory, self.region, point)
        if proven > self.lower:
            self.lower, self.best_point = proven, point

    def tree(self) -> CellTree:
        """The tree so far, in depth-first order."""
        codes: list[int] = []
        empties: list[Emptiness] = []
        stack = [self.root]
        while stack:
            node = stack.pop()
            codes.append(node.code)
            if node.emptiness is not None:
                empties.append(node.emptiness)
            stack += reversed(node.children)
        return CellTree(tuple(codes), tuple(empties))

    @property
    def leaf_bound(self) -> float:
        """The largest estimate over the leaves that are to be bounded."""
        found, stack = 0.0, [self.root]
        while stack:
            node = stack.pop()
            if node.code == BOUND:
                found = max(found, node.bound)
            stack += node.children
        return max(found, self.lower)
