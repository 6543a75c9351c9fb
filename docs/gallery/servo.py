"""A shallow ReLU net for a servo's rise time: convex programs after SGD, and after ADMM."""

import os
import pathlib
from typing import Any

import numpy as np

import lmikit
from lmikit import training

HERE = pathlib.Path(__file__).resolve()
LIPSCHITZ, DECAY, BATCH = 0.01, 0.01, 32
RADII = np.linspace(0.0, 1.0, 9)
Rows = tuple[np.ndarray, np.ndarray]


def servo() -> Rows:
    """UCI servo, from uci/servo.tsv in $LMIKIT_DATA or ../shared/data beside the repository; else generated.

    Every column has mean 0 and variance 1.
    """
    file = pathlib.Path(os.environ.get("LMIKIT_DATA", HERE.parents[3] / "shared" / "data")) / "uci/servo.tsv"
    if file.is_file():
        table = np.loadtxt(file)
    else:
        rng = np.random.default_rng(0)
        x = rng.uniform(-1.0, 1.0, (167, 4))
        y = np.sin(3.0 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.standard_normal(167)
        table = np.column_stack([x, y])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    return table[:, :-1], table[:, -1]


def split() -> tuple[Rows, Rows]:
    """(training rows, a random fifth for tests)."""
    X, y = servo()
    order = np.random.default_rng(0).permutation(len(y))
    test, train = order[: len(y) // 5], order[len(y) // 5 :]
    return (X[train], y[train]), (X[test], y[test])


def trained(X: np.ndarray, y: np.ndarray, units: int, iterations: int) -> tuple[Any, Any, Any]:
    """(net by SGD, net by ADMM from there, ADMM's history) for mean squared error + LIPSCHITZ L^2."""
    model = training.MLP(dims=(X.shape[1], units, 1), output_bias=False)
    batches = training.Minibatches(model, X, y, batch_size=BATCH)
    decayed = training.with_weight_decay(batches, DECAY, (0, 1, 2))
    steps = 200 * batches.batches_per_epoch
    weights = training.sgd(decayed, model.initial(0), steps=steps).weights
    admm = training.admm_pauli(batches.full, weights, lipschitz=LIPSCHITZ, mu=0.1, iterations=iterations)
    return model.network(weights), model.network(admm.weights), admm.history


def attacked(network: lmikit.Network, X: np.ndarray, y: np.ndarray) -> list[float]:
    """Root mean squared error under projected gradient attacks, which is no bound of the worst case."""
    found = (network(training.pgd_attack(network, X, y, radius))[:, 0] for radius in RADII)
    return [float(np.sqrt(np.mean((outputs - y) ** 2))) for outputs in found]


def run() -> tuple[float, float]:
    """The objective after ADMM, and after a convex program from there: the first is at least the second."""
    rows, _ = split()
    _, tuned, _ = trained(*rows, units=15, iterations=3)
    result = training.convex_shallow(tuned, *rows, lipschitz=LIPSCHITZ)
    return result.initial_objective, result.objective


def figure(path: pathlib.Path, units: int = 15, iterations: int = 5) -> None:
    """The objective against semidefinite programs solved, and the attacked test error of the four nets."""
    import matplotlib.pyplot as plt

    rows, test = split()
    base, tuned, steps = trained(*rows, units=units, iterations=iterations)
    nets = {"SGD": (base, "C0--"), "ADMM": (tuned, "C1--")}
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for start, net, first, style in (("SGD", base, 0, "C0o-"), ("ADMM", tuned, len(steps), "C1o-")):
        result = training.convex_shallow(net, *rows, lipschitz=LIPSCHITZ, pattern_updates=5)
        nets[f"{start}, then convex"] = result.network, style
        values = [s.objective for s in result.history if s.stage not in ("restricted", "multipliers")]
        left.plot(first + np.arange(len(values)), values, style, ms=4, label=f"convex, after {start}")
        if start == "SGD":
            objectives = [values[0], *(s.objective for s in steps)]
            left.plot(range(len(objectives)), objectives, "C1--", label="ADMM")
    for name, (net, style) in nets.items():
        bound = lmikit.lipschitz(net).bound
        right.plot(RADII, attacked(net, *test), style, ms=4, label=f"{name}: proven L = {bound:.2f}")
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:.2g}")
    left.yaxis.set_minor_formatter("{x:.2g}")
    left.set_xlabel("semidefinite programs solved")
    left.set_ylabel("mean squared error + 0.01 L$^2$")
    right.set_xlabel("radius of the attack, l2")
    right.set_ylabel("root mean squared test error, attacked")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(HERE.with_suffix(".png"), units=50, iterations=30)
