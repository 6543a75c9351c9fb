"""Random graphs with skips, slices, sums, concatenations and every kind of nonlinearity."""

import numpy as np

from lmikit.graph import GraphBuilder
from lmikit.nonlinear import MaxMinPairs, Reflect, SortGroups

SLOPES = ("relu", "tanh", "leaky_relu", "abs", "silu", "identity", "hardswish")


def random_graph(seed, *, groups=True, depth=3):
    """A graph of a few nodes whose values are reused: most have skips, some are chains."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    values = [g.input(int(rng.integers(1, 5)))]
    functions = [*SLOPES, *([MaxMinPairs(), SortGroups(4), Reflect([3.0, 1.0, -2.0, 1.0])] if groups else [])]
    for _ in range(depth):
        parts = [values[-1], values[int(rng.integers(len(values)))]]
        before = g.concat(*parts) if rng.random() < 0.3 else parts[0]
        v = dense(rng, 4, before.size) @ before + rng.standard_normal(4)
        if rng.random() < 0.5:
            other = values[int(rng.integers(len(values)))]
            v = v + dense(rng, 4, other.size) @ other
        w = g.apply(functions[int(rng.integers(len(functions)))], v)
        kind = rng.integers(4)
        if kind == 0:
            w = w + v  # a linear skip
        elif kind == 1:
            w = w[1:] if w.size > 1 else w
        elif kind == 2:
            w = dense(rng, 3, w.size) @ w
        values.append(w)
    last = values[int(rng.integers(len(values)))]
    return g.output(dense(rng, 3, values[-1].size) @ values[-1] + dense(rng, 3, last.size) @ last)


def dense(rng, rows, columns):
    return rng.standard_normal((rows, columns)) / np.sqrt(columns)


def residual_net(blocks, width, seed, *, after, scale=0.5):
    """x -> 10 outputs: blocks s + G relu(W s), followed by a ReLU where `after`."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    x = g.input(width)
    s = g.relu(x) if after else x
    for _ in range(blocks):
        W, G = (rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(2))
        W /= np.linalg.norm(W, 2)
        G *= scale / np.linalg.norm(G, 2)
        s = s + G @ g.relu(W @ s)
        s = g.relu(s) if after else s
    out = rng.standard_normal((10, width))
    return g.output((out / np.linalg.norm(out, 2)) @ s)
