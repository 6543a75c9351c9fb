"""Max-pooling as trees of ReLU whose maps are convolutions.

max(a, b) = b + relu(a - b) in real arithmetic, and every map here has the entries 1, 0 and -1: the graph is
the same function. A pooled value is one pixel of the window plus some ReLU outputs, so that a ReLU reads the
difference of two pixels, which is a convolution whose stride is that of the windows, and differences of ReLU
outputs. That one pixel, the last that is compared, is the one in row and column min(stride, size) - 1 of the
window: windows that overlap by less than their stride and end at the image's edge have it outside the image
wherever they are outside the outputs, so that pooled values are zero there. Warm start: the quadratic
constraint of max-pooling, |y|^2 <= sum of |u|^2 over each window, with the multiplier tau is the tree with 2
tau everywhere, window by window, whether they overlap or not: no tree shows more than the constraint.
"""

import numpy as np

from ..graph import Affine, Apply, Graph
from ..graph._nodes import Node
from ..maps import Convolution2d, pooling_windows
from ..network import AbstractLinearMap, ReLU, SelectMap, identity_map
from ..nonlinear import SortGroups
from ._layout import Pair, image_shapes

__all__ = ["pooling_as_trees"]

Shape = tuple[int, int, int]
Window = tuple[Shape, Pair, Pair]  # the image, the size of the windows, their stride
Pooled = tuple[int, tuple[int, ...]]  # a pixel of the window, the ReLU nodes added to it


def pooling_as_trees(graph: Graph) -> tuple[Graph, dict[int, int]]:
    """The same function, and per ReLU of a tree the node whose windows it compares.

    It is the graph itself where it has no such pooling.
    """
    if not any(isinstance(node, Apply) and isinstance(node.function, SortGroups) for node in graph.nodes):
        return graph, {}
    shapes = image_shapes(graph)
    found = {k: w for k in range(len(graph.nodes)) if (w := _window(graph, shapes, k)) is not None}
    inner = {j for k in found for j in (k - 1, k - 2)}
    others = [node for k, node in enumerate(graph.nodes) if k not in found and k not in inner]
    readers = {p for node in others for p in node.parents}
    found = {k: w for k, w in found.items() if k - 1 not in readers and k - 2 not in readers}
    inner = {j for k in found for j in (k - 1, k - 2)}
    nodes: list[Node] = []
    place: dict[int, int] = {}
    trees: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        if k in found:
            first, source = len(nodes), place[graph.nodes[k - 2].parents[0]]
            place[k] = _tree(nodes, source, *found[k])
            trees |= {j: source for j in range(first, len(nodes)) if isinstance(nodes[j], Apply)}
        elif k not in inner:
            nodes.append(_moved(node, place))
            place[k] = len(nodes) - 1
    return Graph(tuple(nodes)), trees


def _moved(node: Node, place: dict[int, int]) -> Node:
    if isinstance(node, Affine):
        return Affine(node.maps, tuple(place[p] for p in node.parents), node.bias)
    return Apply(node.function, place[node.parent], node.size) if isinstance(node, Apply) else node


def _window(graph: Graph, shapes: dict[int, Shape], k: int) -> Window | None:
    """The windows whose maximum node k is: the last of each group that k - 1 sorts and k - 2 gathers."""
    if k < 3:
        return None
    gather, applied, last = graph.nodes[k - 2 : k + 1]
    if not (isinstance(applied, Apply) and isinstance(applied.function, SortGroups)):
        return None
    if applied.parent != k - 2 or last.parents != (k - 1,):
        return None
    size, picked, read = applied.function.size, _selection(last), _selection(gather)
    if picked is None or read is None or gather.parents[0] not in shapes:
        return None
    if not np.array_equal(picked, np.arange(size - 1, applied.size, size)):
        return None
    shape = shapes[gather.parents[0]]
    first = read[:size]
    rows, columns = np.unique(first // shape[2]), np.unique(first % shape[2])
    window = rows.size, columns.size
    if first[0] or first.max() >= shape[1] * shape[2] or rows.size * columns.size != size:
        return None
    starts = read[::size]
    starts = starts[starts < shape[1] * shape[2]]  # of the first channel's windows
    wide = int((starts < shape[2]).sum())
    stride = (
        int(starts[wide] // shape[2]) if wide < starts.size else window[0],
        int(starts[1]) if wide > 1 else window[1],
    )
    if min(stride) < 1:
        return None
    same = np.array_equal(read, np.concatenate(pooling_windows(shape, window, stride=stride)))
    return (shape, window, stride) if same else None


def _selection(node: Node) -> np.ndarray | None:
    """The indices of a node that only selects."""
    if not isinstance(node, Affine) or len(node.maps) != 1 or not isinstance(node.maps[0], SelectMap):
        return None
    assert node.bias is not None
    return None if node.bias.any() else np.asarray(node.maps[0].indices)


def _tree(nodes: list[Node], source: int, shape: Shape, window: Pair, stride: Pair) -> int:
    """Appends the tree; returns the place of the maximum."""
    small = shape[0], *((n - w) // s + 1 for n, w, s in zip(shape[1:], window, stride, strict=True))
    size = small[0] * small[1] * small[2]
    minus = Convolution2d(-np.ones((small[0], 1, 1, 1)), small, groups=small[0])

    def pixels(weights: dict[int, float]) -> Convolution2d:
        kernel = np.zeros((shape[0], 1, *window))
        for t, weight in weights.items():
            kernel[:, 0, t // window[1], t % window[1]] = weight
        return Convolution2d(kernel, shape, stride, groups=shape[0])

    def affine(taps: dict[int, float], plus: tuple[int, ...], less: tuple[int, ...]) -> int:
        maps: list[AbstractLinearMap] = [pixels(taps)]
        maps += [identity_map(size)] * len(plus) + [minus] * len(less)
        nodes.append(Affine(tuple(maps), (source, *plus, *less)))
        return len(nodes) - 1

    last = (min(stride[0], window[0]) - 1) * window[1] + min(stride[1], window[1]) - 1
    order = [*(t for t in range(window[0] * window[1]) if t != last), last]
    values: list[Pooled] = [(t, ()) for t in order]
    while len(values) > 1:
        halved: list[Pooled] = []
        for (a, ra), (b, rb) in zip(values[::2], values[1::2], strict=False):
            nodes.append(Apply(ReLU(), affine({a: 1.0, b: -1.0}, ra, rb), size))
            halved.append((b, (*rb, len(nodes) - 1)))
        values = halved + values[2 * (len(values) // 2) :]
    tap, added = values[0]
    return affine({tap: 1.0}, added, ())
