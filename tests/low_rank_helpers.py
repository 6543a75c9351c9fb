"""LipSDP and max-cut problems for the tests of the low-rank method."""

import itertools

import numpy as np
import scipy.sparse as sp

from lmikit import Network
from lmikit.formulations import JointLipSDP
from lmikit.lmi import LMI, SDP


def random_network(rng, dims, activation="relu"):
    """Gaussian weights, each scaled to a spectral norm in [0.4, 1.8]."""
    weights = []
    for inputs, outputs in itertools.pairwise(dims):
        W = rng.standard_normal((outputs, inputs))
        weights.append(W * rng.uniform(0.4, 1.8) / np.linalg.norm(W, 2))
    return Network.from_arrays(weights, activation=activation)


def lipsdp(network, multipliers="neuron"):
    return JointLipSDP(network, multipliers).sdp()


def max_cut(rng, nodes, density=0.3):
    """minimise 1'y s.t. diag(y) - L/4 PSD for the Laplacian L of a random graph."""
    A = np.triu(rng.random((nodes, nodes)) < density, 1).astype(float)
    A = A + A.T
    laplacian = np.diag(A.sum(axis=1)) - A
    identity = sp.eye_array(nodes)
    return SDP(np.ones(nodes), (LMI(sp.csc_array(-laplacian / 4), identity, identity, identity),))


def ring_cut(nodes, width):
    """Max-cut of a cycle of cliques: sparse enough for levels to be found."""
    A = np.zeros((nodes, nodes))
    for i in range(nodes):
        for j in range(i + 1, min(nodes, i + width)):
            A[i, j] = A[j, i] = 1.0
    laplacian = np.diag(A.sum(axis=1)) - A
    identity = sp.eye_array(nodes)
    return SDP(np.ones(nodes), (LMI(sp.csc_array(-laplacian / 4), identity, identity, identity),))
