"""Exact truths that the tests of certificates rest on: rational Jacobians, arbitrary witnesses."""

import itertools
import math
from fractions import Fraction

import numpy as np

from lmikit.testing import witnesses


def rational(a):
    """An array of Fractions."""
    return [[Fraction(float(v)) for v in row] for row in a]


def product(a, b):
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]


def vertex_jacobian(network, choice):
    """W_L D_L ... D_1 W_0 in rationals, with slope beta where choice(k, i) and alpha elsewhere."""
    result = rational(network.weights[0])
    for k, (alpha, beta) in enumerate(network.slopes):
        slopes = [
            Fraction(float(b if choice(k, i) else a))
            for i, (a, b) in enumerate(zip(alpha, beta, strict=True))
        ]
        result = [[s * v for v in row] for s, row in zip(slopes, result, strict=True)]
        result = product(rational(network.weights[k + 1]), result)
    return result


def exact_relu_output(network, x):
    """f(x) of a ReLU network without biases in rationals."""
    value = [[Fraction(float(v))] for v in x]
    for k, layer in enumerate(network.layers):
        value = product(rational(layer.linear.to_dense()), value)
        if k < network.hidden_layers:
            value = [[max(v[0], Fraction(0))] for v in value]
    return [v[0] for v in value]


def stretches_beyond(jacobian, bound):
    """Whether ||J v|| > bound ||v|| for J's leading right singular vector v, decided exactly."""
    floats = np.array([[float(v) for v in row] for row in jacobian])
    size = max((abs(v) for row in jacobian for v in row), default=0)
    if size == 0:
        return False
    shift = Fraction(2) ** (math.frexp(float(size))[1] if float(size) else -1100)
    floats = np.array([[float(v / shift) for v in row] for row in jacobian])
    v = [[Fraction(float(x))] for x in np.linalg.svd(floats)[2][0]]
    image = product(jacobian, v)
    return sum(x[0] ** 2 for x in image) > Fraction(bound) ** 2 * sum(x[0] ** 2 for x in v)


def some_vertices(network, limit=24, seed=0):
    """All slope vertices of a small network, or `limit` random ones."""
    sizes = network.dims[1:-1]
    total = sum(sizes)
    starts = [0, *itertools.accumulate(sizes)]
    if 2**total <= limit:
        patterns = itertools.product((False, True), repeat=total)
    else:
        rng = np.random.default_rng(seed)
        patterns = [(True,) * total, (False,) * total, *(rng.random((limit - 2, total)) < 0.5)]
    for bits in patterns:
        yield lambda k, i, bits=bits: bits[starts[k] + i]


any_witness = witnesses
