"""Projected gradient ascent in a ball around each row; it finds large losses and proves nothing."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from .._errors import OptionError

__all__ = ["Gradients", "Norm", "ascend"]

Norm = Literal["l2", "linf"]
Gradients = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def ascend(
    gradients: Gradients,
    X: np.ndarray,
    radius: float,
    *,
    norm: Norm = "l2",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """`pgd_attack` for any function x (N, d) -> per-row losses (N,) and their gradients (N, d)."""
    if norm not in ("l2", "linf"):
        raise OptionError(f"norm is {norm!r}; expected 'l2' or 'linf'.")
    if not (np.isfinite(radius) and radius >= 0) or steps < 1 or restarts < 1:
        raise OptionError(
            f"radius={radius}, steps={steps}, restarts={restarts}; expected radius >= 0 and "
            "steps, restarts >= 1."
        )
    rng = np.random.default_rng(seed)
    step = 2.5 * radius / steps if step_size is None else float(step_size)
    best, best_losses = X.copy(), gradients(X)[0]
    for restart in range(restarts if radius > 0 else 0):
        x = X if restart == 0 else X + _projected(_random(rng, X.shape, radius, norm), radius, norm)
        losses, g = gradients(x)
        for _ in range(steps):
            x = X + _projected(x - X + step * _direction(g, norm), radius, norm)
            losses, g = gradients(x)
            better = losses > best_losses
            best[better], best_losses[better] = x[better], losses[better]
    return best


def _direction(g: np.ndarray, norm: Norm) -> np.ndarray:
    if norm == "linf":
        return np.sign(g)
    length = np.linalg.norm(g, axis=1, keepdims=True)
    return np.asarray(g / np.where(length > 0, length, 1.0))


def _projected(e: np.ndarray, radius: float, norm: Norm) -> np.ndarray:
    if norm == "linf":
        return np.clip(e, -radius, radius)
    length = np.linalg.norm(e, axis=1, keepdims=True)
    return np.asarray(e * np.minimum(1.0, radius / np.where(length > 0, length, 1.0)))


def _random(rng: np.random.Generator, shape: tuple[int, ...], radius: float, norm: Norm) -> np.ndarray:
    if norm == "linf":
        return rng.uniform(-radius, radius, shape)
    g = _direction(rng.standard_normal(shape), "l2")
    return np.asarray(radius * rng.uniform(size=(shape[0], 1)) ** (1.0 / shape[1]) * g)
