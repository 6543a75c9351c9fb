"""Stochastic gradient descent on weight arrays by any optimiser, with retractions and exact resumption."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from .._progress import Progress, ProgressCallback
from ._callback import (
    Arrays,
    CallbackError,
    LossAndGrad,
    Stepped,
    TrainingDiverged,
    Weights,
    as_weights,
    evaluate,
    read_only,
)
from ._optimisers import AbstractOptimiser, Adam
from ._retraction import AbstractRetraction
from ._state import TrainingState

__all__ = ["SGDResult", "sgd", "with_weight_decay"]

_METHOD = "sgd"


@dataclasses.dataclass(frozen=True, eq=False)
class SGDResult:
    """The last weights, the loss that the callback returned at each step, and the state to resume from."""

    weights: Weights
    losses: tuple[float, ...]
    state: TrainingState


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

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, Weights]:
        loss, gradients = self.loss_and_grad(weights)
        result = [np.array(g) for g in gradients]
        for k in range(len(weights)) if self.arrays is None else self.arrays:
            loss += 0.5 * self.weight * float(np.vdot(weights[k], weights[k]))
            result[k] = result[k] + weights[k].dtype.type(self.weight) * weights[k]
        return loss, result


def sgd(
    loss_and_grad: LossAndGrad,
    weights: Sequence[Any],
    *,
    steps: int,
    optimiser: AbstractOptimiser | None = None,
    retraction: AbstractRetraction | None = None,
    total_steps: int | None = None,
    state: TrainingState | str | os.PathLike[str] | None = None,
    save_to: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> SGDResult:
    """Minimise a loss by `steps` gradient steps from `weights`, or from `state` where it is given.

    w <- R(w - rate(step) direction(gradients)), R the `retraction` onto a set of weights (None: the
    identity). Weights keep their dtype, float32 or float64. `optimiser` None is Adam at 1e-2 with cosine
    decay, whose rate falls over `total_steps` (None: the steps of this call and those of `state`). The
    same callback, weights and steps give the same weights, bit for bit, in one call or in several with
    the same `total_steps`, where the callback depends on the step only: one with `seek`, as `Minibatches`
    has, is told the step before each call. `save_to` gets the state at the end and at any interruption.

    Raises CallbackError for gradients of the wrong shape, TrainingDiverged where loss, gradients or
    weights are not finite, both with the last good state in `state`; InputError, OptionError.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise InputError(f"steps is {steps!r}; expected an integer >= 0.")
    chosen = Adam(learning_rate=1e-2, decay="cosine") if optimiser is None else optimiser
    if not isinstance(chosen, AbstractOptimiser):
        raise OptionError(f"optimiser is {chosen!r}; expected Adam(...), Momentum(...) or None.")
    run = _Descent(chosen, retraction, as_weights(weights), state)
    run.total = run.step + steps if total_steps is None else total_steps
    try:
        losses = tuple(run.take(loss_and_grad, progress) for _ in range(steps))
    except (CallbackError, TrainingDiverged) as error:
        error.state = run.state()
        raise
    finally:
        if save_to is not None:
            run.state().save(save_to)
    return SGDResult([w.copy() for w in run.weights], losses, run.state())


class _Descent:
    """Weights, moments and steps done; `take` replaces them only by finite ones."""

    total: int

    def __init__(
        self,
        optimiser: AbstractOptimiser,
        retraction: AbstractRetraction | None,
        weights: Arrays,
        state: TrainingState | str | os.PathLike[str] | None,
    ) -> None:
        self.optimiser, self.retraction = optimiser, retraction
        self.weights, self.memory, self.step = weights, optimiser.start(weights), 0
        if state is None:
            return
        found = state if isinstance(state, TrainingState) else TrainingState.load(state)
        found.require(_METHOD, self._text())
        self.weights, self.memory, self.step = found.weights, found.arrays["memory"], found.step

    def _text(self) -> str:
        return f"{type(self.optimiser).__name__}, shapes={[w.shape for w in self.weights]}"

    def state(self) -> TrainingState:
        return TrainingState(
            _METHOD, self.step, self._text(), {"weights": self.weights, "memory": self.memory}
        )

    def take(self, callback: LossAndGrad, progress: ProgressCallback | None) -> float:
        loss, gradients = evaluate(callback, self.weights, self.step)
        weights, memory = self.optimiser.step(self.weights, gradients, self.memory, self.step, self.total)
        if self.retraction is not None:
            weights = tuple(read_only(w) for w in self.retraction(weights))
        if not all(np.isfinite(w).all() for w in weights):
            raise TrainingDiverged("a step led to infinite weights; lower the learning rate.")
        self.weights, self.memory, self.step = weights, memory, self.step + 1
        if progress is not None:
            progress(Progress(_METHOD, self.step, self.total, loss))
        return loss
