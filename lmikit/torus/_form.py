"""`TorusForm`: a graph of convolutions on a torus of cells, one small problem per frequency.

THE LEMMA. Let every map of the trunk read zeros outside its image, let cells * phases >= size + reach hold
for every node and map (`Images.admissibility`), and let every slope class contain 0 (alpha <= 0 <= beta).
Put the images of an increment on the torus with m_1 x m_2 cells, and zeros elsewhere. Then a circular tap of
an output inside its image reads the right position or a zero, so that dv is right inside. Outside, dw = 0 and
(dw - alpha dv)(dw - beta dv) = alpha beta dv^2 <= 0 whatever dv is. Hence every constraint with a multiplier
lambda >= 0 per channel holds at every position of the torus, ||dx|| is the same, and the output inside its
image is right, so that ||dy|| is at most the norm of the circular output. The circular inequality is
invariant under shifts by cells, hence block diagonal in the unitary discrete Fourier transform: that it
holds for each frequency proves the bound of the network. Slopes of a channel are the hull over its positions
and 0.

A linear node that another linear map reads must be zero outside its image by itself
(`Images.outside_stays_zero`); the torus is refused otherwise. Max-pooling
of windows beside each other becomes a tree of ReLU first (`_pooling`).
"""

import dataclasses
import functools
import itertools

import numpy as np

from .._errors import InputError
from ..graph import Affine, Apply, Graph
from ._head import Head, head_of
from ._layout import Images, Pair, convolution_of, images_of, not_on_a_torus
from ._pooling import pooling_as_trees
from ._symbols import Symbol, half_grid, head_symbol, symbol_of

_LARGEST_HEAD = 2**25  # entries of a map of the head

__all__ = ["TorusForm", "torus_form", "torus_work"]


@dataclasses.dataclass(frozen=True, eq=False)
class TorusForm:
    """The images, the number of cells (m_1, m_2), the head; `torus_form` builds it and checks everything.

    `graph` is the `source` with max-pooling as trees of ReLU (`_pooling`), the same function.
    """

    source: Graph
    graph: Graph
    trees: dict[int, int]  # per ReLU of a max-pooling the node whose windows it compares
    images: Images
    cells: Pair
    head: Head | None

    @functools.cached_property
    def nodes(self) -> tuple[int, ...]:
        """The nonlinear nodes on the torus, in order."""
        return tuple(k for k in self.graph.applied if k in self.images.phases)

    @functools.cached_property
    def channels(self) -> tuple[int, ...]:
        """How many multipliers each of them has: one per channel."""
        return tuple(self.images.shapes[k][0] for k in self.nodes)

    @property
    def head_nodes(self) -> tuple[int, ...]:
        """The nonlinear nodes of the head, one multiplier per neuron."""
        return () if self.head is None else self.head.nodes

    def repeats(self, k: int) -> int:
        """Positions per cell of node k."""
        rows, columns = self.images.phases[k]
        return rows * columns

    def size(self, k: int) -> int:
        """Rows of node k at one frequency: channels times phases."""
        return self.images.shapes[k][0] * self.repeats(k)

    @functools.cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """(frequencies (J, 2) as integers, weights)."""
        return half_grid(self.cells)

    @property
    def positions(self) -> int:
        """m_1 m_2."""
        return self.cells[0] * self.cells[1]

    @functools.cached_property
    def linear(self) -> tuple[int, ...]:
        """The affine nodes on the torus."""
        return tuple(k for k in self.images.phases if isinstance(self.graph.nodes[k], Affine))

    def slopes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, beta) per channel (or neuron of the head): hulls with 0."""
        node = self.graph.nodes[k]
        assert isinstance(node, Apply)
        alpha, beta = node.alpha, node.beta
        if k in self.images.phases:
            shape = self.images.shapes[k][0], -1
            alpha, beta = alpha.reshape(shape).min(axis=1), beta.reshape(shape).max(axis=1)
        return np.minimum(alpha, 0.0), np.maximum(beta, 0.0)

    def map_symbols(self, k: int, frequencies: np.ndarray) -> tuple[tuple[int, Symbol | None], ...]:
        """(parent, symbol) per map of the affine node k; None is the identity."""
        node = self.graph.nodes[k]
        assert isinstance(node, Affine)
        found: list[tuple[int, Symbol | None]] = []
        for linear, parent in zip(node.maps, node.parents, strict=True):
            pair = convolution_of(linear)
            if pair is None:
                found.append((parent, None))
                continue
            conv, adjoint = pair
            written = self.images.phases[parent if adjoint else k]
            symbol = symbol_of(conv, written, frequencies, self.cells)
            found.append((parent, symbol.adjoint if adjoint else symbol))
        return tuple(found)

    def head_symbols(self, frequencies: np.ndarray) -> dict[int, Symbol]:
        """U(w) by what the head reads."""
        assert self.head is not None
        return {
            s: head_symbol(
                rows.mid,
                rows.rad,
                self.images.shapes[s],
                self.images.phases[s],
                frequencies,
                self.cells,
            )
            for s, rows in self.head.reads.items()
        }


def torus_form(graph: Graph, cells: Pair | None = None) -> TorusForm:
    """The form with the least admissible torus, or with `cells`; InputError where it does not apply."""
    source, (graph, trees) = graph, pooling_as_trees(graph)
    images = images_of(graph)
    least, demands = images.cells_needed(graph)
    if cells is None:
        cells = least
    for d in demands:
        if cells[d["axis"]] * d["phases"] < d["size"] + d["reach"]:
            raise InputError(
                f"a torus of {cells} cells is not admissible: node {d['node']} needs {d['size']} + "
                f"{d['reach']} positions along axis {d['axis']} and has {cells[d['axis']] * d['phases']}; "
                f"expected at least {least} cells."
            )
    for k in images.phases:
        node = graph.nodes[k]
        if isinstance(node, Apply) and node.grouped:
            raise not_on_a_torus(f"node {k} applies {node.function!r} to groups of channels")
        if not isinstance(node, Affine):
            continue
        for parent in node.parents:
            inner = isinstance(graph.nodes[parent], Affine)
            if inner and not images.outside_stays_zero(graph, parent, cells):
                raise not_on_a_torus(
                    f"the linear node {parent}, which node {k} reads, is not zero outside its image"
                )
    head = head_of(graph, images)
    if head is not None and any(s not in images.phases for s in head.reads):
        raise not_on_a_torus("the fully connected layers read an image beside the torus")
    form = TorusForm(source, graph, trees, images, cells, head)
    if form.head_nodes:
        alpha, beta = form.slopes(form.head_nodes[0])
        if ((alpha != 0.0) & (beta != 0.0)).any():  # not alpha * beta, which may underflow
            raise not_on_a_torus(f"node {form.head_nodes[0]} after the images has slopes of both signs")
    return form


def torus_work(graph: Graph) -> tuple[float, int]:
    """(multiplications of one elimination at all frequencies, roughly; rows of the largest two levels).

    Of the least admissible torus, before anything is built; raises InputError where it does not apply.
    """
    graph, _ = pooling_as_trees(graph)
    images = images_of(graph)
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Apply) and node.grouped:
            raise not_on_a_torus(f"node {k} applies {node.function.name} to groups of channels")
        if k in images.shapes or not isinstance(node, Affine):
            continue
        if any(m.shape[0] * m.shape[1] > _LARGEST_HEAD for m in node.maps):
            raise not_on_a_torus(f"node {k} after the images is too large for a matrix")
    cells, _ = images.cells_needed(graph)
    count = (cells[0] * cells[1] + 1) // 2 + 1
    sizes = [
        images.shapes[k][0] * phases[0] * phases[1]
        for k, phases in images.phases.items()
        if not isinstance(graph.nodes[k], Affine)
    ]
    levels = [a + b for a, b in itertools.pairwise(sizes)] or sizes
    return 8.0 * count * sum(float(n) ** 3 for n in sizes), max(levels)
