"""Certified accuracy of a small classifier of scikit-learn's digits, by pairwise bounds and by sqrt(2) L."""

import functools
import pathlib
import warnings
from typing import Any

import numpy as np

import lmikit


@functools.cache
def trained() -> tuple[lmikit.Network, np.ndarray, np.ndarray]:
    """A 64-32-10 network with weight decay, and test data."""
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    data, labels = load_digits(return_X_y=True)
    data = data / 16.0
    model = MLPClassifier((32,), alpha=1.0, max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 60 epochs are enough for an example
        model.fit(data[:1200], labels[:1200])
    return lmikit.adapters.from_sklearn(model), data[1200:], labels[1200:]


def certified(bounds: Any, network: lmikit.Network, data: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Certified radii of rightly classified samples, 0 elsewhere."""
    logits = network(data)
    radii = lmikit.certified_radius(bounds, logits, logit_error=1e-10)
    return np.where(logits.argmax(axis=1) == labels, radii, 0.0)


def run() -> tuple[float, float]:
    """Median radius by pairwise bounds, and by sqrt(2) L: the first is at least the second."""
    network, data, labels = trained()
    pairs = lmikit.pairwise_bounds(network)
    radii = [np.median(certified(b, network, data, labels)) for b in (pairs, pairs.certificate)]
    return float(radii[0]), float(radii[1])


def figure(path: pathlib.Path) -> None:
    """Certified accuracy against radius."""
    import matplotlib.pyplot as plt

    network, data, labels = trained()
    pairs = lmikit.pairwise_bounds(network)
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for bounds, label in ((pairs, "pairwise bounds"), (pairs.certificate, "sqrt(2) L")):
        radii = np.sort(certified(bounds, network, data, labels))
        axes.step(radii, 1.0 - np.arange(radii.size) / radii.size, where="post", label=label)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("l2 radius")
    axes.set_ylabel("certified accuracy")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"))
