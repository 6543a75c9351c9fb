"""Stochastic gradient descent on weight arrays: momentum or Adam, with exact resumption."""

import dataclasses
import math
from typing import Literal

import numpy as np

from .._errors import InputError, OptionError
from .._progress import Progress, ProgressCallback
from ._callback import LossAndGrad, TrainingDiverged, Weights, as_weights, evaluate
from ._weights import Stepped

__all__ = ["SGDResult", "SGDState", "sgd", "with_weight_decay"]

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # Kingma, Ba, "Adam", ICLR 2015


@dataclasses.dataclass(frozen=True, eq=False)
class SGDState:
    """Where training stands: weights, moments, steps done. `sgd(..., state=state)` goes on from here."""

    step: int
    weights: Weights
    first: Weights
    second: Weights


@dataclasses.dataclass(frozen=True, eq=False)
class SGDResult:
    """The last weights, the loss that the callback returned at each step, and the state to resume from."""

    weights: Weights
    losses: tuple[float, ...]
    state: SGDState


def with_weight_decay(
    loss_and_grad: LossAndGrad, weight: float, arrays: tuple[int, ...] | None = None
) -> LossAndGrad:
    """The callback plus weight/2 sum ||w_k||^2 over the arrays with these indices (None: all)."""
    if not (np.isfinite(weight) and weight >= 0):
        raise OptionError(f"weight is {weight}; expected a finite number >= 0.")

    return _Decayed(loss_and_grad, float(weight), arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class _Decayed:
    loss_and_grad: LossAndGrad
    weight: float
    arrays: tuple[int, ...] | None

    def seek(self, step: int) -> None:
        if isinstance(self.loss_and_grad, Stepped):
            self.loss_and_grad.seek(step)

    def __call__(self, weights: Weights) -> tuple[float, Weights]:
        loss, gradients = self.loss_and_grad(weights)
        result = [np.array(g, dtype=np.float64) for g in gradients]
        for k in range(len(weights)) if self.arrays is None else self.arrays:
            loss += 0.5 * self.weight * float(np.vdot(weights[k], weights[k]))
            result[k] = result[k] + self.weight * weights[k]
        return loss, result


def sgd(
    loss_and_grad: LossAndGrad,
    weights: Weights,
    *,
    steps: int,
    learning_rate: float = 1e-2,
    optimiser: Literal["adam", "momentum"] = "adam",
    momentum: float = 0.9,
    schedule: Literal["cosine", "constant"] = "cosine",
    total_steps: int | None = None,
    state: SGDState | None = None,
    progress: ProgressCallback | None = None,
) -> SGDResult:
    """Minimise a loss by `steps` gradient steps from `weights`, or from `state` where it is given.

    The learning rate falls as cos from `learning_rate` to 0 over `total_steps` (None: the steps of this
    call and those of `state`). The same callback, weights and steps give the same weights, bit for bit,
    in one call or in several with the same `total_steps`, where the callback depends on the step only:
    one with `seek`, as `Minibatches` has, is told the step before each call.

    Raises InputError for gradients of the wrong shape, TrainingDiverged with the last good state where
    loss or gradients are not finite, OptionError.
    """
    _check(steps, learning_rate, optimiser, momentum, schedule)
    if state is None:
        given = as_weights(weights)
        zeros = [np.zeros_like(w) for w in given]
        state = SGDState(0, given, zeros, zeros)
    total = state.step + steps if total_steps is None else total_steps
    losses = []
    for _ in range(steps):
        if isinstance(loss_and_grad, Stepped):
            loss_and_grad.seek(state.step)
        loss, gradients = evaluate(loss_and_grad, [w.copy() for w in state.weights], state)
        rate = learning_rate
        if schedule == "cosine":
            rate *= 0.5 * (1.0 + math.cos(math.pi * min(state.step / max(total, 1), 1.0)))
        following = (
            _adam(state, gradients, rate) if optimiser == "adam" else _heavy(state, gradients, rate, momentum)
        )
        if not all(np.isfinite(w).all() for w in following.weights):
            raise TrainingDiverged("a step led to infinite weights; lower the learning rate.", state)
        state = following
        losses.append(loss)
        if progress is not None:
            progress(Progress("sgd", state.step, total, loss))
    return SGDResult([w.copy() for w in state.weights], tuple(losses), state)


def _adam(state: SGDState, gradients: Weights, rate: float) -> SGDState:
    step = state.step + 1
    first = [_BETA1 * m + (1 - _BETA1) * g for m, g in zip(state.first, gradients, strict=True)]
    second = [_BETA2 * v + (1 - _BETA2) * g * g for v, g in zip(state.second, gradients, strict=True)]
    scale1, scale2 = 1.0 - _BETA1**step, 1.0 - _BETA2**step
    weights = [
        w - rate * (m / scale1) / (np.sqrt(v / scale2) + _EPS)
        for w, m, v in zip(state.weights, first, second, strict=True)
    ]
    return SGDState(step, weights, first, second)


def _heavy(state: SGDState, gradients: Weights, rate: float, momentum: float) -> SGDState:
    first = [momentum * m + g for m, g in zip(state.first, gradients, strict=True)]
    weights = [w - rate * m for w, m in zip(state.weights, first, strict=True)]
    return SGDState(state.step + 1, weights, first, state.second)


def _check(steps: int, learning_rate: float, optimiser: str, momentum: float, schedule: str) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise InputError(f"steps is {steps!r}; expected an integer >= 0.")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise OptionError(f"learning_rate is {learning_rate!r}; expected a positive number.")
    if optimiser not in ("adam", "momentum"):
        raise OptionError(f"optimiser is {optimiser!r}; expected 'adam' or 'momentum'.")
    if not 0 <= momentum < 1:
        raise OptionError(f"momentum is {momentum!r}; expected a number in [0, 1).")
    if schedule not in ("cosine", "constant"):
        raise OptionError(f"schedule is {schedule!r}; expected 'cosine' or 'constant'.")
