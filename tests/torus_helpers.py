"""Random convolutional networks on small images, most of which lie on a torus."""

import numpy as np

from lmikit.graph import GraphBuilder
from lmikit.maps import Convolution2d, average_pool2d, pooling_windows

PHIS = ("relu", "tanh", "silu", "abs")  # all with 0 among their slopes


def conv(rng, out, shape, taps, **options):
    scale = np.sqrt(shape[0] * taps * taps)
    return Convolution2d(rng.standard_normal((out, shape[0], taps, taps)) / scale, shape, **options)


def random_network(seed):
    """A graph of one to three convolutions with strides and paddings of all kinds, perhaps a skip, a head."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    shape = int(rng.integers(1, 3)), int(rng.integers(3, 6)), int(rng.integers(3, 6))
    value = g.input(int(np.prod(shape)))
    for _ in range(int(rng.integers(1, 4))):
        taps = int(rng.integers(1, 4))
        options = {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, taps))}
        if taps > min(shape[1:]):
            break
        layer = conv(rng, int(rng.integers(1, 4)), shape, taps, **options)
        value, shape = g.apply(PHIS[int(rng.integers(4))], layer @ value), layer.output_shape
    if rng.random() < 0.4 and not (shape[1] % 2 or shape[2] % 2):
        value = g.max_pool(value, pooling_windows(shape, 2), tree=False)
        shape = shape[0], shape[1] // 2, shape[2] // 2
    if rng.random() < 0.4:  # a residual block, the activation after the sum
        blocks = [conv(rng, shape[0], shape, 3, padding=1) for _ in range(2)]
        value = g.relu(value + blocks[1] @ g.relu(blocks[0] @ value))
    if rng.random() < 0.3 and min(shape[1:]) >= 2:
        pool = average_pool2d(shape, 2)
        value, shape = pool @ value, pool.output_shape
    if rng.random() < 0.5:
        size = int(np.prod(shape))
        value = g.relu(rng.standard_normal((3, size)) / np.sqrt(size) @ value)
        value = rng.standard_normal((2, 3)) @ value
    elif rng.random() < 0.7:
        layer = conv(rng, 2, shape, 1)
        value = layer @ value
    else:
        value = rng.standard_normal((2, value.size)) @ value
    return g.output(value)


def pooled_network(seed):
    """A convolution, max-pooling of windows that may overlap or leave pixels out, and what may follow."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    shape = int(rng.integers(1, 3)), int(rng.integers(4, 7)), int(rng.integers(4, 7))
    first = conv(rng, 2, shape, 3, padding=1)
    window, stride = (tuple(int(n) for n in rng.integers(1, top, 2)) for top in (4, 3))
    value = g.apply(PHIS[int(rng.integers(4))], first @ g.input(int(np.prod(shape))))
    value = g.max_pool(value, pooling_windows(first.output_shape, window, stride=stride), tree=False)
    small = tuple((n - w) // s + 1 for n, w, s in zip(shape[1:], window, stride, strict=True))
    kind = int(rng.integers(3))
    if kind < 2:
        taps = min(3, *small)
        value = conv(rng, 2, (2, *small), taps, padding=taps // 2) @ value
    if kind == 0:
        value = g.relu(value)
    if kind != 1:
        value = rng.standard_normal((2, value.size)) / 3 @ value
    return g.output(value)
