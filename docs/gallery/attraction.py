"""A policy network balances an unstable plant: a proven region of attraction, and trajectories."""

import pathlib

import numpy as np

import lmikit
from lmikit.control import AttractionResult, NetworkLoop, System, region_of_attraction

HERE = pathlib.Path(__file__).resolve()


def loop() -> NetworkLoop:
    """x+ = A x + B f(x) with eigenvalues 1 +- 0.14 of A and two tanh units in f."""
    plant = System([[1.0, 0.1], [0.2, 1.0]], [[0.0], [0.1]], dt=1.0)
    policy = lmikit.Network.from_arrays([[[1.0, 0.5], [0.5, 1.0]], [[-3.0, -3.0]]], activation="tanh")
    return NetworkLoop(plant, policy, control=(0,))


def trajectories(system: NetworkLoop, start: np.ndarray, steps: int) -> np.ndarray:
    """States (steps + 1, points, n)."""
    path = [start]
    for _ in range(steps):
        path.append(system.field(path[-1]))
    return np.stack(path)


def level(result: AttractionResult, x: np.ndarray) -> np.ndarray:
    """(x - x*)'P(x - x*), at most 1 in the proven ellipsoid."""
    assert result.P is not None
    d = x - result.center
    return np.asarray(np.einsum("...i,ij,...j->...", d, result.P, d))


def run() -> tuple[float, float]:
    """1, and the largest level one step after the boundary: the ellipsoid is invariant."""
    system = loop()
    result = region_of_attraction(system, delta=2.1)
    return 1.0, float(level(result, system.field(result.boundary(400))).max())


def figure(path: pathlib.Path) -> None:
    """Ellipses for three deltas, trajectories from the boundary of the largest, and some that diverge."""
    import matplotlib.pyplot as plt

    system = loop()
    fig, axes = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    best = region_of_attraction(system)
    for result, style in ((region_of_attraction(system, 1.0), "C0:"), (best, "C0-")):
        label = f"proven, $\\delta$ = {result.delta:.2f}, area {result.volume:.1f}"
        axes.plot(*result.boundary(400).T, style, lw=2, label=label)
    inside = trajectories(system, best.boundary(25)[:-1], 120)
    axes.plot(inside[:, :, 0], inside[:, :, 1], "C2-", lw=0.6)
    outside = trajectories(system, np.array([[3.2, 0.0], [-3.2, 0.0], [2.6, 1.5], [-2.6, -1.5]]), 40)
    axes.plot(outside[:, :, 0], outside[:, :, 1], "C3-", lw=0.8)
    axes.plot([], [], "C2-", label="trajectories from the boundary")
    axes.plot([], [], "C3-", label="trajectories that diverge")
    axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), xlabel="$x_1$", ylabel="$x_2$")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(HERE.with_suffix(".png"))
