"""The networks of the stored version 1 files (tests/version_1/), by formula."""

import itertools

import numpy as np

from lmikit import Network
from lmikit.network import Abs, Identity, LeakyReLU, ReLU, Sigmoid, Slopes


def _weights(*dims):
    return [
        np.array([[((7 * i + 3 * j + k * k) % 11 - 5) / 8.0 for j in range(n)] for i in range(m)])
        for k, (n, m) in enumerate(itertools.pairwise(dims))
    ]


def stored_networks():
    """(name, network) of every stored file."""
    mixed = Slopes(np.array([0.0, 1.0, -0.5, 0.2]), np.array([1.0, 1.0, -0.5, 0.9]))
    dead = _weights(3, 4, 4, 2)
    dead[1][2] = 0.0
    yield "relu", Network.from_arrays(_weights(3, 5, 4, 2))
    yield "abs", Network.from_arrays(_weights(4, 3, 2), activation=Abs())
    yield "leaky", Network.from_arrays(_weights(2, 3, 3, 1), activation=[LeakyReLU(0.1), Sigmoid()])
    yield "mixed", Network.from_arrays(_weights(3, 4, 4, 2), activation=[mixed, ReLU()])
    yield "linear-layer", Network.from_arrays(_weights(3, 4, 3, 2), activation=[ReLU(), Identity()])
    yield "linear", Network.from_arrays(_weights(5, 4, 3), activation=[Identity()])
    yield "dead", Network.from_arrays(dead)
