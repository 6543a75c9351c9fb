"""An output that no input moves does not keep the others from their bound."""

import math

import numpy as np
import pytest

import lmikit
from lmikit.graph import chain_graph


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_constant_output_leaves_the_bound_of_the_others(p, activation):
    rng = np.random.default_rng(19)
    weights = [rng.standard_normal(shape) for shape in ((4, 3), (5, 4), (3, 5))]
    biases = [rng.standard_normal(w.shape[0]) for w in weights]
    dead = [*weights[:2], np.vstack([weights[2][:1], np.zeros((1, 5)), weights[2][1:]])]
    plain = lmikit.Network.from_arrays(weights, biases, activation)
    more = lmikit.Network.from_arrays(dead, [*biases[:2], np.ones(4)], activation)
    expected = lmikit.lipschitz(chain_graph(plain), norm=(p, math.inf)).bound
    certificate = lmikit.lipschitz(chain_graph(more), norm=(p, math.inf))
    assert certificate.bound == pytest.approx(expected, rel=1e-6)
    assert lmikit.check(certificate, chain_graph(more), exact=True)
