"""A policy is trained under a Lipschitz constraint, and its closed loop is proven to be stable."""

import functools
import pathlib

import numpy as np

import lmikit
from lmikit import training
from lmikit.control import AttractionResult, NetworkLoop, System, lqr, region_of_attraction

HERE = pathlib.Path(__file__).resolve()
PLANT = System([[1.0, 0.1], [0.2, 1.0]], [[0.0], [0.1]], dt=1.0)  # unstable: an eigenvalue is 1.14


@functools.cache
def lesson() -> tuple[training.DenseLoss, list[np.ndarray]]:
    """The loss of imitating a saturated LQR controller with 6 tanh units, and weights to start from."""
    X = np.random.default_rng(0).uniform(-3.0, 3.0, (400, 2))
    expert = np.clip(X @ lqr(PLANT, np.eye(2), np.eye(1)).gain.T, -6.0, 6.0)
    loss = training.DenseLoss(X, expert, training.SquaredError(), activation="tanh")
    return loss, training.initial_weights((2, 6, 1), seed=0)


def free() -> NetworkLoop:
    """The loop with a policy that is trained without a constraint."""
    loss, start = lesson()
    found = training.sgd(loss, start, steps=1500, optimiser=training.Adam(learning_rate=1e-2))
    return NetworkLoop(PLANT, training.dense_network(found.weights, "tanh"), control=(0,))


def constrained(target: float) -> NetworkLoop:
    """The same with L <= target, by LipSDP in the loop of training."""
    loss, start = lesson()
    found = training.lip_loop(loss, start, "tanh", target=target, iterations=60)
    return NetworkLoop(PLANT, training.dense_network(found.weights, "tanh"), control=(0,))


def level(result: AttractionResult, x: np.ndarray) -> np.ndarray:
    """(x - x*)'P(x - x*), at most 1 in the proven ellipsoid."""
    assert result.P is not None
    d = x - result.center
    return np.asarray(np.einsum("...i,ij,...j->...", d, result.P, d))


def run() -> tuple[float, float]:
    """1, and the largest level one step after the boundary of the trained policy's region."""
    loop = constrained(6.0)
    region = region_of_attraction(loop, delta=2.0)
    return 1.0, float(level(region, loop.field(region.boundary(400))).max())


def figure(path: pathlib.Path) -> None:
    """Left: proven regions of both policies, with trajectories; right: what the policies do along a line."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2), layout="constrained")
    line = np.linspace(-3.0, 3.0, 400)
    for loop, name, color in ((free(), "free", "C3"), (constrained(6.0), "$L \\leq 6$", "C0")):
        region, bound = region_of_attraction(loop), lmikit.lipschitz(loop.network).bound
        label = f"{name}: proven L = {bound:.1f}, area {region.volume:.0f}"
        left.plot(*region.boundary(400).T, color, lw=2, label=label)
        right.plot(line, loop.network(np.stack([line, line], axis=1)), color, label=label)
    state = region.boundary(33)[:-1]
    path_of = [state]
    for _ in range(150):
        path_of.append(loop.field(path_of[-1]))
    paths = np.stack(path_of)
    left.plot(paths[:, :, 0], paths[:, :, 1], "0.6", lw=0.5, zorder=0)
    left.plot([-3, 3, 3, -3, -3], [-3, -3, 3, 3, -3], "k:", lw=1, label="where it was trained")
    left.set(xlabel="$x_1$", ylabel="$x_2$")
    right.set(xlabel="$x_1 = x_2$", ylabel="u")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    left.legend(frameon=False, fontsize=8, loc="upper right")
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(HERE.with_suffix(".png"))
