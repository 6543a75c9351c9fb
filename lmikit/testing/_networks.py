"""Hypothesis strategies for networks: constructive (nothing is filtered), small, and full of odd cases.

Every network that `networks` draws is valid input; dead, duplicate, negated and one-neuron
layers, rank-deficient and badly scaled weights, alpha = beta, alpha < 0, alpha beta > 0 and
nets without a hidden layer all occur. Shrinking leads to small integers and plain ReLU.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ..network import (
    ELU,
    GELU,
    Abs,
    Activation,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    Mish,
    Network,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Slopes,
    Softplus,
    Tanh,
)

__all__ = [
    "DEMO_WEIGHTS",
    "PIECEWISE_LINEAR",
    "SMOOTH",
    "WEIGHT_KINDS",
    "activations",
    "concrete_activations",
    "demo_network",
    "networks",
    "slope_classes",
    "weight_matrices",
]

WEIGHT_KINDS = (
    "integers",
    "gaussian",
    "rank_one",
    "duplicate_rows",
    "dead_rows",
    "dead_columns",
    "zero",
    "identity",
    "badly_scaled_rows",
)


@st.composite
def weight_matrices(
    draw: st.DrawFn, rows: int, columns: int, kinds: Sequence[str] = WEIGHT_KINDS, layer_pow2: int = 0
) -> np.ndarray:
    """A (rows, columns) float64 matrix of one of `kinds`, times 2**k with |k| <= layer_pow2."""
    kind = draw(st.sampled_from(kinds))
    if kind == "gaussian":
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        matrix = rng.standard_normal((rows, columns)) / np.sqrt(columns)
    elif kind == "rank_one":
        left = draw(hnp.arrays(np.int64, (rows, 1), elements=st.integers(-4, 4)))
        right = draw(hnp.arrays(np.int64, (1, columns), elements=st.integers(-4, 4)))
        matrix = (left * right) / 4.0
    elif kind == "zero":
        matrix = np.zeros((rows, columns))
    elif kind == "identity":
        matrix = np.eye(rows, columns)
    else:
        matrix = draw(hnp.arrays(np.int64, (rows, columns), elements=st.integers(-8, 8))) / 4.0
        if kind == "duplicate_rows":
            sign = draw(st.sampled_from((1.0, -1.0)))
            matrix[1:] = sign * matrix[0]
        elif kind == "dead_rows":
            matrix[draw(hnp.arrays(np.bool_, rows))] = 0.0
        elif kind == "dead_columns":
            matrix[:, draw(hnp.arrays(np.bool_, columns))] = 0.0
        elif kind == "badly_scaled_rows":
            powers = draw(hnp.arrays(np.int64, (rows, 1), elements=st.integers(-30, 30)))
            matrix = np.ldexp(matrix, powers)
    if layer_pow2:
        matrix = np.ldexp(matrix, draw(st.integers(-layer_pow2, layer_pow2)))
    return matrix


PIECEWISE_LINEAR = (
    ReLU(), Identity(), Abs(), Hardtanh(), Hardtanh(-0.25, 2.0),
    *(LeakyReLU(s) for s in (-0.5, 0.0, 0.01, 1.0, 1.5)),
)  # fmt: skip
SMOOTH = (
    Tanh(), Sigmoid(), Softplus(), Softplus(4.0), GELU(), GELU("tanh"), SiLU(), Mish(), Sin(),
    ELU(), ELU(2.0), ELU(-0.5), Hardswish(),
)  # fmt: skip


def concrete_activations(neurons: int | None = None) -> st.SearchStrategy[Activation]:
    """Activations with a forward pass; per-neuron PReLU too where the number of neurons is given."""
    fixed = st.sampled_from((*PIECEWISE_LINEAR, *SMOOTH))
    if neurons is None:
        return fixed
    weights = hnp.arrays(np.int64, neurons, elements=st.integers(-4, 6)).map(lambda w: PReLU(w / 4.0))
    return st.one_of(fixed, weights)


_PAIRS = (
    (0.0, 1.0),
    (-0.1, 1.1),
    (-1.0, 1.0),
    (0.2, 0.9),
    (-0.9, -0.2),
    (0.0, 0.0),
    (1.0, 1.0),
    (-0.5, -0.5),
    (0.0, 3.0),
)


@st.composite
def slope_classes(draw: st.DrawFn, neurons: int, linear: bool = True) -> Slopes:
    """`Slopes` for a layer: one pair for all neurons, or a pair per neuron; alpha = beta if `linear`."""
    pairs = st.sampled_from([p for p in _PAIRS if linear or p[0] < p[1]])
    if draw(st.booleans()):
        alpha, beta = draw(pairs)
        return Slopes(alpha, beta)
    chosen = np.array([draw(pairs) for _ in range(neurons)])
    return Slopes(chosen[:, 0], chosen[:, 1])


def activations(neurons: int, concrete: bool = False) -> st.SearchStrategy[Activation]:
    """An activation for a layer of `neurons`; with `concrete` only those with a forward pass."""
    if concrete:
        return concrete_activations(neurons)
    return st.one_of(concrete_activations(neurons), slope_classes(neurons))


@st.composite
def networks(
    draw: st.DrawFn,
    min_hidden: int = 0,
    max_hidden: int = 3,
    max_width: int = 4,
    max_outputs: int = 3,
    min_outputs: int = 1,
    kinds: Sequence[str] = WEIGHT_KINDS,
    activation: Any = None,
    concrete: bool = False,
    biases: bool = True,
    layer_pow2: int = 0,
) -> Network:
    """A valid `Network`.

    `activation` fixes the activation of every hidden layer (an instance or a name); otherwise
    one is drawn per layer, with a forward pass if `concrete`. `layer_pow2` > 0 also scales
    each layer by a power of two up to that size.
    """
    hidden = draw(st.integers(min_hidden, max_hidden))
    dims = [draw(st.integers(1, max_width)) for _ in range(hidden + 1)]
    dims.append(draw(st.integers(min_outputs, max_outputs)))
    weights = [
        draw(weight_matrices(rows, columns, kinds, layer_pow2)) for columns, rows in itertools.pairwise(dims)
    ]
    offsets = None
    if biases and draw(st.booleans()):
        offsets = [draw(hnp.arrays(np.int64, rows, elements=st.integers(-4, 4))) / 4.0 for rows in dims[1:]]
    if activation is None:
        phis: list[Activation] = [draw(activations(n, concrete)) for n in dims[1:-1]]
        return Network.from_arrays(weights, offsets, phis)
    return Network.from_arrays(weights, offsets, activation)


DEMO_WEIGHTS = ([[1.0, 2.0], [-1.0, 1.0]], [[1.0, -1.0], [2.0, 1.0]], [[1.0, 1.0]])


def demo_network(activation: Any = "relu") -> Network:
    """A two-layer net whose bounds are known: ReLU product 7.49926, FGL 6.70820, LipSDP 6.71755."""
    return Network.from_arrays([np.array(w) for w in DEMO_WEIGHTS], activation=activation)
