"""Two spirals in the plane: trained freely, and by Lip-Loop under a proven Lipschitz bound."""

import pathlib

import numpy as np

import lmikit
from lmikit import training

TARGET, INNER, RATE = 10.0, 20, 1e-2


def spirals(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two interleaved spirals of one turn in the unit disc, with noise of deviation 0.03."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    radius = rng.uniform(0.2, 1.0, count)
    angle = 2.0 * np.pi * radius + np.pi * y
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + 0.03 * rng.standard_normal((count, 2)), y


def free(width: int, iterations: int) -> tuple[lmikit.Network, lmikit.Certificate]:
    """A 2-width-width-2 net by Adam alone, with as many gradient steps as `constrained` takes."""
    loss = training.DenseLoss(*spirals(600, 0), training.CrossEntropy())
    start = training.initial_weights((2, width, width, 2))
    weights = training.sgd(
        loss, start, steps=INNER * iterations, optimiser=training.Adam(learning_rate=RATE, decay="cosine")
    ).weights
    network = lmikit.Network.from_arrays(weights[0::2], weights[1::2])
    return network, lmikit.lipschitz(network)


def constrained(width: int, iterations: int) -> tuple[lmikit.Network, lmikit.Certificate]:
    """The same net by Lip-Loop, L <= TARGET."""
    loss = training.DenseLoss(*spirals(600, 0), training.CrossEntropy())
    start = training.initial_weights((2, width, width, 2))
    adam = training.Adam(learning_rate=RATE, decay="cosine")
    options = training.LipLoopOptions(inner=INNER, optimiser=adam)
    result = training.lip_loop(loss, start, target=TARGET, iterations=iterations, options=options)
    return result.network, result.certificate


def run() -> tuple[float, float]:
    """(the target, the L proven after a short run of Lip-Loop): the first is at least the second."""
    _, certificate = constrained(width=8, iterations=30)
    return TARGET, certificate.bound


def figure(path: pathlib.Path, width: int = 8, iterations: int = 20) -> None:
    """Decision boundaries, and the certified radius of every point of the plane."""
    import matplotlib.pyplot as plt

    X, y = spirals(600, 0)
    Xt, yt = spirals(4000, 1000)
    side = np.linspace(-1.2, 1.2, 161)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    levels = np.linspace(-0.25, 0.25, 21)
    fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
    trained = (("Adam", free), ("Lip-Loop", constrained))
    for panel, (name, train) in zip(axes, trained, strict=True):
        network, certificate = train(width, iterations)
        pairs = lmikit.pairwise_bounds(network, certificate=certificate)
        logits = network(grid)
        radius = lmikit.certified_radius(pairs, logits, logit_error=1e-10)
        signed = np.where(logits.argmax(axis=1) == 1, radius, -radius).reshape(side.size, side.size)
        shown = panel.contourf(side, side, signed, levels=levels, cmap="RdBu", extend="both")
        margin = (logits[:, 1] - logits[:, 0]).reshape(side.size, side.size)
        panel.contour(side, side, margin, levels=[0.0], colors="k", linewidths=1)
        panel.scatter(*X[y == 0].T, s=3, c="darkred")
        panel.scatter(*X[y == 1].T, s=3, c="navy")
        found = lmikit.certified_accuracy(pairs, network(Xt), yt, (0.05,), logit_error=1e-10)
        panel.set_title(f"{name}: proven L = {certificate.bound:.3g}")
        panel.set_xlabel(f"{found.accuracy:.1%} right, {found.certified[0]:.1%} certified at 0.05")
        panel.set_aspect("equal")
    fig.colorbar(shown, ax=axes, label="certified l2 radius, signed by class", shrink=0.85)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(pathlib.Path(__file__).with_suffix(".png"), width=16, iterations=150)
