"""Gradient descent that stops where a score of data held back has stopped rising."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import InputError
from .._progress import ProgressCallback
from ._callback import LossAndGrad, Weights
from ._checks import whole
from ._optimisers import AbstractOptimiser
from ._retraction import AbstractRetraction
from ._sgd import SGDResult, sgd

__all__ = ["EarlyStopped", "early_stopped_sgd"]


@dataclasses.dataclass(frozen=True, eq=False)
class EarlyStopped:
    """The weights of the best score, after `step` steps; every (step, score); the run as it ended."""

    weights: Weights
    score: float
    step: int
    scores: tuple[tuple[int, float], ...]
    last: SGDResult

    def __str__(self) -> str:
        taken = f"{len(self.scores)} scores in {self.last.state.step} steps"
        return (
            f"EarlyStopped: best score {self.score:.6g} after {self.step} steps ({taken}); no bound is known"
        )


def early_stopped_sgd(
    loss_and_grad: LossAndGrad,
    weights: Sequence[Any],
    score: Callable[[Sequence[np.ndarray]], float],
    *,
    steps: int,
    every: int,
    patience: int = 5,
    optimiser: AbstractOptimiser | None = None,
    retraction: AbstractRetraction | None = None,
    progress: ProgressCallback | None = None,
) -> EarlyStopped:
    """`sgd` for at most `steps` steps; the weights whose score was best, of one after each `every` steps.

    `score(weights)` is better where it is larger: the share certified of a validation split, for instance.
    The run ends after `patience` scores without a better one. Its steps are those of `sgd(..., steps=steps)`,
    bit for bit where that promises it: a decay of the learning rate goes by `steps`.
    Ties go to the earlier weights. Raises InputError for a score that is no number, and what `sgd` raises.
    """
    whole("steps", steps, 1, InputError)
    whole("every", every, 1, InputError)
    whole("patience", patience, 1, InputError)
    scores: list[tuple[int, float]] = []
    best: tuple[float, int, Weights] | None = None
    last: SGDResult | None = None
    losses: tuple[float, ...] = ()
    while last is None or (last.state.step < steps and not _is_over(scores, patience)):
        done = 0 if last is None else last.state.step
        last = sgd(
            loss_and_grad,
            weights,
            steps=min(every, steps - done),
            optimiser=optimiser,
            retraction=retraction,
            total_steps=steps,
            state=None if last is None else last.state,
            progress=progress,
        )
        losses += last.losses
        found = _number(score(last.weights), last.state.step)
        scores.append((last.state.step, found))
        if best is None or found > best[0]:
            best = found, last.state.step, last.weights
    assert best is not None
    return EarlyStopped(best[2], best[0], best[1], tuple(scores), dataclasses.replace(last, losses=losses))


def _number(score: Any, step: int) -> float:
    value = np.asarray(score)
    if value.size != 1 or value.dtype.kind not in "bfiu" or np.isnan(value).any():
        what = f"an array of shape {value.shape}" if value.size != 1 else repr(score)
        raise InputError(f"the score after {step} steps is {what}; expected one number.")
    return float(value.reshape(()))


def _is_over(scores: Sequence[tuple[int, float]], patience: int) -> bool:
    values = [value for _, value in scores]
    return len(values) - 1 - values.index(max(values)) >= patience
