"""Forward and backward passes of a fully connected network on rows, in the dtype of its arrays.

v_k = W_k x_k + b_k, x_{k+1} = phi(v_k), linear output; weights are [W_0, b_0, W_1, b_1, ...].
"""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["forward", "output_gradients", "weight_gradients"]

Phi = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def forward(
    weights: Sequence[np.ndarray], X: np.ndarray, phi: Phi
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(outputs, [x_0, x_1, ...], [phi'(v_0), ...]) for `phi`: v -> (phi(v), phi'(v))."""
    inputs, slopes = [X], []
    for k in range(len(weights) // 2 - 1):
        value, slope = phi(inputs[-1] @ weights[2 * k].T + weights[2 * k + 1])
        inputs.append(value)
        slopes.append(slope)
    return inputs[-1] @ weights[-2].T + weights[-1], inputs, slopes


def output_gradients(
    weights: Sequence[np.ndarray], slopes: Sequence[np.ndarray], gradient: np.ndarray
) -> list[np.ndarray]:
    """The loss's gradients in v_0, v_1, ..., the last of which is given."""
    found = [gradient]
    for k in range(len(slopes), 0, -1):
        found.append((found[-1] @ weights[2 * k]) * slopes[k - 1])
    return found[::-1]


def weight_gradients(inputs: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The loss's gradients in [W_0, b_0, ...] from those in v_0, v_1, ..."""
    return [a for x, g in zip(inputs, gradients, strict=True) for a in (g.T @ x, g.sum(axis=0))]
