"""Stochastic gradient descent on weight arrays by any optimiser, with retractions and exact resumption."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from .._progress import ProgressCallback
from ._callback import LossAndGrad, TrainingDiverged, Weights, as_weights, evaluate, read_only
from ._checks import whole
from ._optimisers import AbstractOptimiser, Adam
from ._retraction import AbstractRetraction
from ._run import AbstractRun, Path, Resume
from ._state import TrainingState

__all__ = ["SGDResult", "sgd"]


@dataclasses.dataclass(frozen=True, eq=False)
class SGDResult:
    """The last weights, the loss that the callback returned at each step, and the state to resume from."""

    weights: Weights
    losses: tuple[float, ...]
    state: TrainingState

    def __str__(self) -> str:
        said = f", loss {self.losses[0]:.6g} -> {self.losses[-1]:.6g}" if self.losses else ""
        return f"SGDResult: {self.state.step} steps{said}; no bound is known"


def sgd(
    loss_and_grad: LossAndGrad,
    weights: Sequence[Any],
    *,
    steps: int,
    optimiser: AbstractOptimiser | None = None,
    retraction: AbstractRetraction | None = None,
    total_steps: int | None = None,
    state: Resume = None,
    save_to: Path | None = None,
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
    whole("steps", steps, 0, InputError)
    chosen = Adam(learning_rate=1e-2, decay="cosine") if optimiser is None else optimiser
    if not isinstance(chosen, AbstractOptimiser):
        raise OptionError(f"optimiser is {chosen!r}; expected Adam(...), Momentum(...) or None.")
    run = _Descent(loss_and_grad, as_weights(weights), chosen, 0)
    run.retraction, run.losses = retraction, []
    run.resume(state)
    last = run.step + steps
    run.total = last if total_steps is None else total_steps
    run.run(last, progress=progress, save_to=save_to)
    return SGDResult([w.copy() for w in run.weights], tuple(run.losses), run.state())


class _Descent(AbstractRun):
    method = "sgd"
    retraction: AbstractRetraction | None
    losses: list[float]

    def text(self) -> str:
        return f"{type(self.optimiser).__name__}, shapes={[w.shape for w in self.weights]}"

    def advance(self) -> float:
        loss, gradients = evaluate(self.callback, self.weights, self.step)
        weights, memory = self.optimiser.step(self.weights, gradients, self.memory, self.step, self.total)
        if self.retraction is not None:
            weights = tuple(read_only(w) for w in self.retraction(weights))
        if not all(np.isfinite(w).all() for w in weights):
            raise TrainingDiverged("a step led to infinite weights; lower the learning rate.")
        self.weights, self.memory, self.step = weights, memory, self.step + 1
        self.losses.append(loss)
        return loss
