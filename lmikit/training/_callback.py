"""The callback that training goes through, and the checks of what it returns.

`loss_and_grad(weights) -> (loss, gradients)`: weights and gradients are sequences of arrays of the
same shapes, in an order that is the caller's. Any framework can sit behind it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .._errors import InputError, SolveFailed
from ._state import TrainingState

__all__ = [
    "Arrays",
    "CallbackError",
    "LossAndGrad",
    "Stepped",
    "TrainingDiverged",
    "Weights",
    "as_weights",
    "distance",
    "evaluate",
    "own_copies",
    "read_only",
]

Arrays = tuple[np.ndarray, ...]
Weights = list[np.ndarray]
LossAndGrad = Callable[[Sequence[np.ndarray]], tuple[Any, Sequence[Any]]]


@runtime_checkable
class Stepped(Protocol):
    """A callback whose minibatch is a function of the step: `seek(step)` is called before each call.

    With it an interrupted run that is resumed gives the weights of an uninterrupted one, bit for bit.
    """

    def seek(self, step: int) -> None:
        """Choose the minibatch of this step, from the step alone."""


class CallbackError(InputError):
    """What `loss_and_grad` returned has a wrong form; `state` holds the last good weights and all else."""

    def __init__(self, message: str, state: TrainingState | None = None) -> None:
        super().__init__(message)
        self.state = state


class TrainingDiverged(SolveFailed):
    """The loss or a gradient became NaN or infinite; `state` is the last good one, to resume from."""

    def __init__(self, message: str, state: TrainingState | None = None) -> None:
        super().__init__(message)
        self.state = state


def as_weights(weights: Any) -> Arrays:
    """Read-only copies: float32 arrays as they are, others as float64.

    Raises InputError for NaN, infinity, things that are no numbers, or no array at all.
    """
    if isinstance(weights, np.ndarray):
        raise InputError(f"weights is one array of shape {weights.shape}; expected a list of arrays.")
    try:
        given = [np.asarray(w) for w in weights]
        result = [np.array(w, dtype=np.float32 if w.dtype == np.float32 else np.float64) for w in given]
    except (TypeError, ValueError) as error:
        raise InputError(f"weights must be a list of numeric arrays: {error}.") from error
    if not result:
        raise InputError("weights is empty; expected at least one array.")
    for k, w in enumerate(result):
        if not np.isfinite(w).all():
            raise InputError(f"weights[{k}] holds NaN or infinity; expected finite numbers.")
    return tuple(read_only(w) for w in result)


def own_copies(weights: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]) -> Arrays:
    """Read-only copies of these shapes and dtypes; raises InputError for NaN and for what does not fit."""
    if len(weights) != len(shapes):
        raise InputError(f"got {len(weights)} arrays; expected {len(shapes)}.")
    result = []
    for i, (w, shape, dtype) in enumerate(zip(weights, shapes, dtypes, strict=True)):
        array = np.array(w, dtype=dtype, order="C")
        if array.shape != shape or not np.isfinite(array).all():
            raise InputError(f"weights[{i}] must be finite, of shape {shape}; got shape {array.shape}.")
        result.append(read_only(array))
    return tuple(result)


def distance(a: Sequence[np.ndarray], b: Sequence[np.ndarray] | None = None) -> float:
    """sqrt(sum_k |a_k - b_k|_F^2) in float64, b None: zeros."""
    other: Sequence[Any] = [0.0] * len(a) if b is None else b
    return math.sqrt(
        sum(float(((x.astype(np.float64) - y) ** 2).sum()) for x, y in zip(a, other, strict=True))
    )


def read_only(array: np.ndarray) -> np.ndarray:
    """The same array, not writeable."""
    array.setflags(write=False)
    return array


def evaluate(
    callback: LossAndGrad, weights: Sequence[np.ndarray], step: int | None = None
) -> tuple[float, Arrays]:
    """(loss, gradients) at `weights`, in their dtypes; a callback with `seek` is told the step first.

    Raises CallbackError where the answer has a wrong form, TrainingDiverged where it is not finite.
    """
    if step is not None and hasattr(callback, "seek"):  # `Stepped`, which costs more to ask for
        callback.seek(step)
    answer = callback(weights)
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
        raise CallbackError(
            f"loss_and_grad returned {type(answer).__name__}; expected a pair (loss, gradients)."
        )
    loss, gradients = answer
    if type(loss) is not float:
        value = np.asarray(loss)
        if value.size != 1:
            raise CallbackError(f"the loss has shape {value.shape}; expected one number.")
        loss = float(value.reshape(()))
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"the loss is {loss}{_at(step)}; expected a finite number. The weights before that step are in "
            "this error's `state`; resume from it with a smaller learning rate."
        )
    if len(gradients) != len(weights):
        raise CallbackError(
            f"loss_and_grad returned {len(gradients)} gradients; expected {len(weights)}, one each."
        )
    return loss, tuple(_checked(i, g, weights[i], step) for i, g in enumerate(gradients))


def _checked(i: int, gradient: Any, weight: np.ndarray, step: int | None) -> np.ndarray:
    array = gradient if type(gradient) is np.ndarray else np.asarray(gradient)
    if array.shape != weight.shape:
        raise CallbackError(
            f"gradients[{i}] has shape {array.shape}; expected {weight.shape}, that of weights[{i}]."
        )
    # a finite sum of squares, one pass without a temporary, is the common case
    if not math.isfinite(abs(np.vdot(array, array))) and not np.isfinite(array).all():
        raise TrainingDiverged(
            f"gradients[{i}] holds NaN or infinity{_at(step)}; expected finite numbers. The last good "
            "weights are in this error's `state`."
        )
    return array if array.dtype is weight.dtype else array.astype(weight.dtype, copy=False)


def _at(step: int | None) -> str:
    return "" if step is None else f" at step {step}"
