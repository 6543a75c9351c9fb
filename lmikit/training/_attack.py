"""Projected gradient attacks: inputs near the given ones where the loss is large; they prove nothing."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .._errors import InputError, OptionError
from ..network import Network
from ._callback import Weights
from ._reference import MLP, Minibatches

__all__ = ["AdversarialMinibatches", "ascend", "pgd_attack"]

Norm = Literal["l2", "linf"]
Gradients = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def pgd_attack(
    network: Network,
    X: Any,
    y: Any,
    radius: float,
    *,
    norm: Norm = "l2",
    loss: Literal["squared", "cross_entropy"] = "squared",
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
    model = MLP(dims=(network.input_dim, network.output_dim), loss=loss)
    data, target = model.data(X, y)

    def gradients(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slopes = x.T, []
        for layer in network.layers:
            v = layer.preactivation(value)
            value = layer.activation(v, axis=0)
            slopes.append(np.nan_to_num(layer.activation.derivative(v, axis=0), nan=0.0))
        losses, g = model._loss(value.T, target)
        back = g.T
        for layer, slope in zip(reversed(network.layers), reversed(slopes), strict=True):
            back = layer.linear.rmatvec(slope * back)
        return losses, back.T

    return ascend(
        gradients, data, radius, norm=norm, steps=steps, step_size=step_size, restarts=restarts, seed=seed
    )


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


class AdversarialMinibatches(Minibatches):
    """`Minibatches` whose rows are attacked before the loss is taken: adversarial training.

    minimise over the weights the mean of max_{||e_i|| <= radius} loss(x_i + e_i, y_i), the inner
    maximum by `steps` steps of projected gradient ascent (Madry et al., ICLR 2018, eq. 2.1).
    """

    def __init__(
        self,
        model: MLP,
        X: Any,
        y: Any,
        radius: float,
        *,
        norm: Norm = "l2",
        steps: int = 7,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, X, y, batch_size=batch_size, seed=seed)
        self.radius, self.norm, self.steps = radius, norm, steps

    def __call__(self, weights: Weights) -> tuple[float, Weights]:
        rows = self.next_rows()
        y = self.y[rows]
        attacked = ascend(
            lambda x: self.model.input_gradients(weights, x, y),
            self.X[rows],
            self.radius,
            norm=self.norm,
            steps=self.steps,
        )
        return self.model.loss_and_grad(weights, attacked, y)


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
