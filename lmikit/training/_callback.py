"""The callback that training goes through, and the checks of what it returns.

`loss_and_grad(weights) -> (loss, gradients)`: weights and gradients are sequences of arrays of the
same shapes, in an order that is the caller's. Any framework can sit behind it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import InputError, SolveFailed

__all__ = ["LossAndGrad", "TrainingDiverged", "Weights", "as_weights", "evaluate"]

Weights = list[np.ndarray]
LossAndGrad = Callable[[Weights], tuple[float, Sequence[np.ndarray]]]


class TrainingDiverged(SolveFailed):
    """The loss or a gradient became NaN or infinite; `state` is the last good one, to resume from."""

    def __init__(self, message: str, state: Any = None) -> None:
        super().__init__(message)
        self.state = state


def as_weights(weights: Any) -> Weights:
    """Copies of the weights as float64 arrays; raises InputError for NaN, infinity or no array at all."""
    if isinstance(weights, np.ndarray):
        raise InputError(f"weights is one array of shape {weights.shape}; expected a list of arrays.")
    try:
        result = [np.array(w, dtype=np.float64) for w in weights]
    except (TypeError, ValueError) as error:
        raise InputError(f"weights must be a list of numeric arrays: {error}.") from error
    if not result:
        raise InputError("weights is empty; expected at least one array.")
    for k, w in enumerate(result):
        if not np.isfinite(w).all():
            raise InputError(f"weights[{k}] holds NaN or infinity; expected finite numbers.")
    return result


def evaluate(loss_and_grad: LossAndGrad, weights: Weights, state: Any = None) -> tuple[float, Weights]:
    """Call the callback and check its answer.

    Raises InputError where the answer has the wrong form, TrainingDiverged with `state` where the
    loss or a gradient is not finite.
    """
    answer = loss_and_grad(weights)
    try:
        value, given = answer
        loss, gradients = float(value), [np.asarray(g, dtype=np.float64) for g in given]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"loss_and_grad returned {type(answer).__name__}; expected (loss, gradients), a number and a "
            f"list of arrays: {error}."
        ) from error
    if len(gradients) != len(weights):
        raise InputError(
            f"loss_and_grad returned {len(gradients)} gradients for {len(weights)} weights; "
            "expected one each."
        )
    for k, (g, w) in enumerate(zip(gradients, weights, strict=True)):
        if g.shape != w.shape:
            raise InputError(
                f"gradients[{k}] has shape {g.shape}; expected {w.shape}, the shape of weights[{k}]."
            )
    if not np.isfinite(loss):
        raise TrainingDiverged(f"the loss is {loss}; lower the learning rate or check the data.", state)
    for k, g in enumerate(gradients):
        if not np.isfinite(g).all():
            raise TrainingDiverged(
                f"gradients[{k}] holds NaN or infinity; lower the learning rate or check the data.", state
            )
    return loss, gradients
