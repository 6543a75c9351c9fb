"""What every adapter must show: same outputs, the bound of the raw arrays."""

import numpy as np
import pytest

from lmikit import EclipseFast, Network, lipschitz


def training_data(samples=120, features=6, classes=3, seed=0):
    """Gaussian clusters that a small network separates."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, features)) * 2.0
    labels = rng.integers(0, classes, samples)
    return (centres[labels] + rng.standard_normal((samples, features))).astype(np.float32), labels


def assert_same_function(network, outputs, inputs, rounding=3e-5):
    """`outputs` are the framework's own float32 values on `inputs`, one row per sample."""
    ours = network(np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1))
    outputs = np.asarray(outputs, dtype=np.float64).reshape(ours.shape)
    assert np.abs(ours - outputs).max() <= rounding * max(1.0, np.abs(outputs).max())
    assert outputs.std() > 1e-3  # a constant function would show nothing


def assert_same_bound(network, weights, activation="relu"):
    """The bound is that of the raw (out, in) arrays: the very same number."""
    raw = Network.from_arrays(weights, activation=activation)
    assert network.digest == raw.digest
    assert lipschitz(network, EclipseFast()).bound == lipschitz(raw, EclipseFast()).bound


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def importorskip(name):
    """The module, or a skip that says which extra has it."""
    return pytest.importorskip(name, reason=f"needs {name}: pip install '.[frameworks]'")
