"""How far slopes outside [0, 1] move the bound: LipSDP beside the vertex maximum on a small network."""

import pathlib

import numpy as np

import lmikit
from lmikit.network import vertex_maximum

WEIGHTS = [np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([[1.0, 1.0]])]


def bounds(spread: float) -> tuple[float, float, float]:
    """Product of norms, LipSDP and vertex maximum for slopes in [-spread, 1 + spread]."""
    network = lmikit.Network.from_arrays(WEIGHTS, activation=lmikit.Slopes(-spread, 1.0 + spread))
    product = lmikit.lipschitz(network, lmikit.SpectralProduct()).bound
    return product, lmikit.lipschitz(network).bound, vertex_maximum(network)


def run() -> tuple[float, float]:
    """(LipSDP's bound, the vertex maximum) for slopes in [-0.1, 1.1]: no bound can be below the second."""
    return bounds(0.1)[1:]


def figure(path: pathlib.Path) -> None:
    """The three curves."""
    import matplotlib.pyplot as plt

    spreads = np.linspace(0.0, 0.5, 11)
    curves = np.array([bounds(s) for s in spreads])
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for values, label, style in zip(
        curves.T,
        ("product of norms", "LipSDP, proven", "vertex maximum"),
        ("C7-", "C0o-", "k--"),
        strict=True,
    ):
        axes.plot(spreads, values, style, label=label, ms=4)
    axes.set_xlabel("s, for slopes in [-s, 1 + s]")
    axes.set_ylabel("Lipschitz bound")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"))
