"""Certified accuracy of two nets on handwritten digits: one trained as usual, one by RS-LMI."""

import os
import pathlib
from typing import Any

import numpy as np
import threadpoolctl

import lmikit
from lmikit import training

HERE = pathlib.Path(__file__).resolve()
TARGET, MARGIN, BATCH = 1.0, 2.2, 128
Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def digits() -> Data:
    """scikit-learn's digits of 8 x 8 pixels: 1,400 for training and 397 for tests."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    return X[:1400], y[:1400], X[1400:], y[1400:]


def mnist() -> Data:
    """MNIST, from mnist.npz in $LMIKIT_DATA or ../shared/data beside the repository; else `digits()`."""
    folder = pathlib.Path(os.environ.get("LMIKIT_DATA", HERE.parents[3] / "shared" / "data"))
    if not (folder / "mnist.npz").is_file():
        return digits()
    with np.load(folder / "mnist.npz") as file:
        X, Xt = ((file[name].reshape(-1, 784) / 255).astype(np.float32) for name in ("x_train", "x_test"))
        return X, file["y_train"].astype(np.int64), Xt, file["y_test"].astype(np.int64)


def plain(X: np.ndarray, y: np.ndarray, hidden: tuple[int, ...], epochs: int) -> tuple[Any, Any]:
    """(network, certificate) by Adam on the cross-entropy."""
    loss = training.DenseLoss(X, y, training.CrossEntropy(), batch=BATCH)
    start = training.initial_weights((X.shape[1], *hidden, 10), dtype=np.float32)
    steps = epochs * loss.steps_per_epoch
    with threadpoolctl.threadpool_limits(1):  # the products are too small for more threads
        weights = training.sgd(
            loss, start, steps=steps, optimiser=training.Adam(learning_rate=1e-3, decay="cosine")
        ).weights
    network = lmikit.Network.from_arrays(weights[0::2], weights[1::2])
    return network, lmikit.lipschitz(network)


def robust(X: np.ndarray, y: np.ndarray, hidden: tuple[int, ...], epochs: int) -> tuple[Any, Any]:
    """(network, certificate) by RS-LMI: L <= TARGET, and a loss that asks for margins."""
    loss = training.DenseLoss(X, y, training.CrossEntropy(temperature=10.0, margin=MARGIN), batch=BATCH)
    start = training.initial_weights((X.shape[1], *hidden, 10), dtype=np.float32)
    adam = training.Adam(learning_rate=1e-3, decay="cosine")
    options = training.RSLMIOptions(optimiser=adam, decoupled=False, tau_rate=1e-2)
    steps = epochs * loss.steps_per_epoch
    result = training.rs_lmi(loss, start, steps=steps, target=TARGET, options=options)
    return result.network, result.certificate


def certified(data: Data, hidden: tuple[int, ...], epochs: int, radii: Any) -> dict[str, Any]:
    """Certified accuracies at these radii, with the proven L, of both nets."""
    X, y, Xt, yt = data
    found = {}
    for name, train in (("plain", plain), ("RS-LMI", robust)):
        network, certificate = train(X, y, hidden, epochs)
        pairs = lmikit.pairwise_bounds(network, certificate=certificate)
        accuracy = lmikit.certified_accuracy(pairs, network(Xt), yt, radii, logit_error=1e-10)
        found[name] = certificate.bound, accuracy
    return found


def run() -> tuple[float, float]:
    """Certified accuracy at radius 0.3 on the small digits, by RS-LMI and plainly: the first is larger."""
    found = certified(digits(), (32,), 60, [0.3])
    return float(found["RS-LMI"][1].certified[0]), float(found["plain"][1].certified[0])


def figure(path: pathlib.Path, data: Data | None = None, hidden: tuple[int, ...] = (32,)) -> None:
    """Certified accuracy against radius; `data` None: the small digits."""
    import matplotlib.pyplot as plt

    data = digits() if data is None else data
    radii = np.linspace(0.0, 3.0, 301)
    epochs = max(10, 60 * 1400 // len(data[0]))
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, (bound, accuracy) in certified(data, hidden, epochs, radii).items():
        axes.plot(radii, accuracy.certified, label=f"{name}, proven L = {bound:.3g}")
    axes.set_xlim(0.0, radii[-1])
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("l2 radius")
    axes.set_ylabel("certified accuracy")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    figure(HERE.with_suffix(".png"), mnist(), (128, 64))
