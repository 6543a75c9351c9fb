"""Which nodes of a graph are images, and how they lie on one torus of cells.

Shapes come from the convolutions. The trunk is what follows the input through convolutions, their adjoints,
identities and nonlinearities per channel; the head is the rest. A node whose total stride is 1/R of the
coarsest one has R positions (phases) per cell: position i lies in cell i // R at phase i % R, axis by axis,
and every map of the trunk commutes with shifts by cells.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from .._errors import InputError
from ..graph import Affine, Apply, Graph
from ..maps import Convolution2d
from ..network import AbstractLinearMap, SelectMap, TransposedMap

__all__ = ["Images", "convolution_of", "image_shapes", "images_of", "is_identity", "not_on_a_torus"]

Pair = tuple[int, int]


def not_on_a_torus(reason: str) -> InputError:
    """The error of a network to which the torus does not apply."""
    return InputError(
        f"torus bounds do not apply: {reason}; expected convolutions with zero padding, slopes per channel, "
        "and at most a chain of fully connected layers at the end. LipSDP() and SpectralProduct() take any "
        "network that fits into memory unrolled."
    )


def convolution_of(linear: AbstractLinearMap) -> tuple[Convolution2d, bool] | None:
    """(convolution, False), or (it, True) for the adjoint of one; None for another map."""
    if isinstance(linear, Convolution2d):
        return linear, False
    if isinstance(linear, TransposedMap) and isinstance(linear.original, Convolution2d):
        return linear.original, True
    return None


def is_identity(linear: AbstractLinearMap) -> bool:
    """Whether the map is the identity, as a selection."""
    return (
        isinstance(linear, SelectMap)
        and linear.indices.size == linear.size
        and bool((linear.indices == np.arange(linear.size)).all())
    )


@dataclasses.dataclass(frozen=True)
class Images:
    """`shapes`: (channels, height, width) of the trunk's nodes; `phases`: positions per cell and axis.

    `phases` holds the nodes that lie on the torus: the nonlinear ones of the trunk, the input, and what
    leads to them (an output that is an image included). Linear nodes that only the head reads are not among
    them.
    """

    shapes: dict[int, tuple[int, int, int]]
    phases: dict[int, Pair]

    def cells_needed(self, graph: Graph) -> tuple[Pair, list[dict[str, int]]]:
        """The least admissible (m_1, m_2), and what every map of the torus demands (`admissibility`)."""
        demands = self.admissibility(graph)
        least = [1, 1]
        for d in demands:
            least[d["axis"]] = max(least[d["axis"]], -(-(d["size"] + d["reach"]) // d["phases"]))
        return (least[0], least[1]), demands

    def admissibility(self, graph: Graph) -> list[dict[str, int]]:
        """Per node and map of the torus and axis: cells * phases >= size + reach, the lemma's condition.

        `size` is that of the image that taps read (of the written one for adjoints), `reach` how far they
        read outside of it, the larger of both sides.
        """
        found = []
        for k, phases in self.phases.items():
            for axis in range(2):
                own = {"node": k, "axis": axis, "phases": phases[axis]}
                found.append({**own, "size": self.shapes[k][1 + axis], "reach": 0})
            node = graph.nodes[k]
            if not isinstance(node, Affine):
                continue
            for linear, parent in zip(node.maps, node.parents, strict=True):
                pair = convolution_of(linear)
                if pair is None:
                    continue
                conv, adjoint = pair
                read = k if adjoint else parent
                for axis in range(2):
                    line = conv.axes[axis].reads()
                    size = conv.axes[axis].size
                    reach = max(0, -int(line.min()), int(line.max()) - (size - 1))
                    own = {"node": k, "axis": axis, "phases": self.phases[read][axis]}
                    found.append({**own, "size": size, "reach": reach})
        return found

    def outside_stays_zero(self, graph: Graph, k: int, cells: Pair) -> bool:
        """Whether the linear node k is zero outside its image on the torus, whatever its parents are inside.

        Only then may another linear map read it: in the network it reads zeros there.
        """
        node = graph.nodes[k]
        assert isinstance(node, Affine)
        for linear in node.maps:
            pair = convolution_of(linear)
            if pair is None:
                continue  # an identity keeps zeros where they are
            conv, adjoint = pair
            for axis in range(2):
                ax, m = conv.axes[axis], cells[axis]
                if adjoint:  # what it writes must lie inside
                    line = ax.reads()
                    if int(line.min()) < 0 or int(line.max()) >= ax.size:
                        return False
                    continue
                outside = np.arange(ax.outputs, m * self.phases[k][axis])
                used = np.flatnonzero(conv.kernel.any(axis=(0, 1, 3 - axis)))  # a zero reads nothing
                taps = ax.dilation * used - ax.before
                where = (ax.stride * outside[:, None] + taps) % (m * self.phases[k][axis] * ax.stride)
                if (where < ax.size).any():
                    return False
        return True


def images_of(graph: Graph) -> Images:
    """The images of a graph; raises InputError where there is no trunk with a nonlinearity or an output."""
    shapes = image_shapes(graph)
    trunk = _trunk(graph, shapes)
    if not trunk:
        raise not_on_a_torus("the input is not read by a convolution")
    wanted = [k for k in graph.applied if k in trunk]
    if len(graph.nodes) - 1 in trunk:
        wanted.append(len(graph.nodes) - 1)
    if not wanted:
        raise not_on_a_torus("no nonlinearity acts on an image")
    needed = {0, *wanted}
    for k in range(len(graph.nodes) - 1, 0, -1):
        if k in needed:
            needed.update(graph.nodes[k].parents)
    ratios = _ratios(graph, sorted(needed))
    phases = [_integers([ratio[axis] for ratio in ratios.values()]) for axis in range(2)]
    joined = {k: (phases[0][i], phases[1][i]) for i, k in enumerate(ratios)}
    return Images({k: shapes[k] for k in sorted(trunk)}, joined)


def image_shapes(graph: Graph) -> dict[int, tuple[int, int, int]]:
    """Shapes from convolutions, carried through identities and nonlinearities in both directions."""
    shapes: dict[int, tuple[int, int, int]] = {}
    equal: list[tuple[int, int]] = []

    def put(k: int, shape: tuple[int, int, int]) -> None:
        if shapes.setdefault(k, shape) != shape:
            raise not_on_a_torus(f"node {k} is read as an image of shape {shapes[k]} and of {shape}")

    for k, node in enumerate(graph.nodes):
        if isinstance(node, Apply):
            equal.append((node.parent, k))
        elif isinstance(node, Affine):
            for linear, parent in zip(node.maps, node.parents, strict=True):
                pair = convolution_of(linear)
                if pair is not None:
                    ends = (parent, k) if not pair[1] else (k, parent)
                    put(ends[0], pair[0].input_shape)
                    put(ends[1], pair[0].output_shape)
                elif is_identity(linear):
                    equal.append((parent, k))
    for _ in range(2):  # forward, then once more after what came backward
        for order in (equal, equal[::-1]):
            for a, b in order:
                for one, other in ((a, b), (b, a)):
                    if one in shapes:
                        put(other, shapes[one])
    return shapes


def _trunk(graph: Graph, shapes: dict[int, tuple[int, int, int]]) -> set[int]:
    trunk: set[int] = set()
    for k, node in enumerate(graph.nodes):
        if k not in shapes or any(p not in trunk for p in node.parents):
            continue
        if isinstance(node, Affine) and not all(convolution_of(m) or is_identity(m) for m in node.maps):
            continue
        trunk.add(k)
    return trunk


def _ratios(graph: Graph, needed: list[int]) -> dict[int, tuple[Fraction, Fraction]]:
    """Positions per position of the input, per axis."""
    ratios = {0: (Fraction(1), Fraction(1))}
    for k in needed[1:]:
        node = graph.nodes[k]
        found = set()
        for parent, linear in zip(
            node.parents, node.maps if isinstance(node, Affine) else (None,), strict=True
        ):
            pair = None if linear is None else convolution_of(linear)
            scale = [Fraction(1), Fraction(1)]
            if pair is not None:
                scale = [Fraction(s) if pair[1] else Fraction(1, s) for s in pair[0].stride]
            found.add((ratios[parent][0] * scale[0], ratios[parent][1] * scale[1]))
        if len(found) != 1:
            raise not_on_a_torus(f"node {k} adds images of different total strides")
        ratios[k] = found.pop()
    return ratios


def _integers(ratios: list[Fraction]) -> list[int]:
    """The same proportions in integers without a common factor."""
    common = math.lcm(*(r.denominator for r in ratios))
    values = [int(r * common) for r in ratios]
    divisor = math.gcd(*values)
    return [v // divisor for v in values]
