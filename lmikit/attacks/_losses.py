"""Losses per row and their gradients, and the attack that climbs them."""

from typing import Any, Literal

import numpy as np
import scipy.special

from .._errors import InputError, OptionError
from ..network import Network
from ._ascent import Norm, ascend

__all__ = ["Loss", "checked_rows", "losses_of", "pgd_attack"]

Loss = Literal["squared", "cross_entropy"]


def checked_rows(inputs: int, outputs: int, loss: Loss, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """X (N, inputs) float64 and y as the loss wants it; raises InputError, OptionError."""
    if loss not in ("squared", "cross_entropy"):
        raise OptionError(f"loss is {loss!r}; expected 'squared' or 'cross_entropy'.")
    data = np.asarray(X, dtype=np.float64)
    if data.ndim != 2 or data.shape[1] != inputs or not data.shape[0]:
        raise InputError(f"X has shape {data.shape}; expected (N, {inputs}), N >= 1.")
    count = data.shape[0]
    if loss == "cross_entropy":
        labels = np.asarray(y)
        if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"y has shape {labels.shape}, dtype {labels.dtype}; expected ({count},) integers."
            )
        if labels.min() < 0 or labels.max() >= outputs:
            raise InputError(f"y has labels {labels.min()} to {labels.max()}; expected 0 to {outputs - 1}.")
        return data, labels
    target = np.asarray(y, dtype=np.float64)
    target = target[:, None] if target.ndim == 1 else target
    if target.shape != (count, outputs):
        raise InputError(f"y has shape {np.shape(y)}; expected ({count}, {outputs}), one row per row of X.")
    return data, target


def losses_of(
    loss: Loss, outputs: np.ndarray, y: np.ndarray, temperature: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Per-row losses (N,) and their gradients in the outputs (N, outputs)."""
    if loss == "squared":
        difference = outputs - (y[:, None] if y.ndim == 1 else y)
        return (difference**2).sum(axis=1), 2.0 * difference
    logits = temperature * outputs
    rows = np.arange(y.size)
    log_probabilities = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    g = np.exp(log_probabilities)
    g[rows, y] -= 1.0
    return -log_probabilities[rows, y], temperature * g


def pgd_attack(
    network: Network,
    X: Any,
    y: Any,
    radius: float,
    *,
    norm: Norm = "l2",
    loss: Loss = "squared",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Inputs X~ (N, d), ||X~_i - X_i|| <= radius, at which an ascent found the largest losses.

    Loss of row i: ||f(x) - y_i||^2, or -log softmax(f(x))_{y_i}. Each restart but the first begins at a
    random point of the ball; `step_size` None is 2.5 radius / steps. The result is never worse for the
    attacker than X itself, and is an estimate from below of the worst case.

    Raises InputError (shapes, a network without dense layers), OptionError. Madry, Makelov, Schmidt,
    Tsipras, Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """
    if not isinstance(network, Network):
        raise InputError(f"network is a {type(network).__name__}; expected an lmikit.Network.")
    data, target = checked_rows(network.input_dim, network.output_dim, loss, X, y)

    def gradients(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slopes = x.T, []
        for layer in network.layers:
            v = layer.preactivation(value)
            value = layer.activation(v, axis=0)
            slopes.append(np.nan_to_num(layer.activation.derivative(v, axis=0), nan=0.0))
        losses, g = losses_of(loss, value.T, target)
        back = g.T
        for layer, slope in zip(reversed(network.layers), reversed(slopes), strict=True):
            back = layer.linear.rmatvec(slope * back)
        return losses, back.T

    return ascend(
        gradients, data, radius, norm=norm, steps=steps, step_size=step_size, restarts=restarts, seed=seed
    )
