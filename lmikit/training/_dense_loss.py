"""A fully connected network and its data as `loss_and_grad`, in the dtype of its weights."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from ._dense import DensePass, Shuffled, phi_of
from ._losses import AbstractLoss, CrossEntropy
from ._margin_losses import AbstractMarginLoss
from ._pairwise_gains import AbstractPairwiseGain
from ._row_attack import TRADES, RowAttack

__all__ = ["DenseLoss"]


class DenseLoss:
    """`loss_and_grad` of a fully connected network on (X, y), on minibatches that the step determines.

    `activation` is "relu", "abs", "tanh" or "half_abs": |x| on every other neuron, the others linear,
    which is MaxMin up to orthogonal factors: max, min = (a + b +- |a - b|)/2. A loss that sees L_ij takes
    it from `gain`. `batch` None takes all rows at each step. Rows are shuffled anew in every epoch by a
    generator seeded with (seed, epoch), so that `seek(step)` can go anywhere; `augment(rows, generator)`,
    if given, changes the rows of each minibatch, with a generator seeded with (seed, step); a `RowAttack`
    then moves them where the loss is larger, `TRADES` adds what moved rows change (losses of outputs alone).
    Raises InputError where X and y do not fit, OptionError for other options.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        loss: AbstractLoss | AbstractMarginLoss,
        *,
        gain: AbstractPairwiseGain | None = None,
        activation: str = "relu",
        batch: int | None = None,
        seed: int = 0,
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        attack: RowAttack | TRADES | None = None,
    ) -> None:
        self._augment, self._attack = augment, attack
        self._X, self._y, self._loss = np.asarray(X), np.asarray(y), loss
        if self._X.ndim != 2 or len(self._X) != len(self._y) or not len(self._X):
            raise InputError(
                f"X has shape {self._X.shape}, y {self._y.shape}; expected (N, n) and N targets."
            )
        if not all(a.dtype.kind in "biuf" and np.isfinite(a).all() for a in (self._X, self._y)):
            raise InputError(
                "X or y holds NaN, infinity or no numbers; expected finite numbers: drop or fill those rows."
            )
        if batch is not None and not 1 <= batch <= len(self._X):
            raise OptionError(f"batch is {batch!r}; expected None or an integer from 1 to {len(self._X)}.")
        if isinstance(loss, AbstractMarginLoss) != (gain is not None):
            raise OptionError(
                f"loss is a {type(loss).__name__} and gain {gain!r}; expected one for a "
                "loss that sees L_ij, and for no other."
            )
        if attack is not None and gain is not None:
            raise OptionError("attack is for losses of outputs alone; expected no gain beside it.")
        self._sizes: tuple[int, int] | None = None  # inputs and outputs of the weights that were checked
        self._gain, self._phi, self._seed, self._step = gain, phi_of(activation), seed, 0
        self._minibatches = None if batch is None else Shuffled(len(self._X), batch, seed, whole=True)

    @property
    def steps_per_epoch(self) -> int:
        """Full minibatches in the data; the rest of a shuffle is left out."""
        return 1 if self._minibatches is None else self._minibatches.per_epoch

    def seek(self, step: int) -> None:
        """The minibatch of this step comes next."""
        self._step = step

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """(loss, gradients) on the current minibatch; the next call takes the next one."""
        self._check_fit(weights)
        X, y = self._X, self._y
        if self._minibatches is not None:
            rows = self._minibatches.rows(self._step)
            X, y = X[rows], y[rows]
        if self._augment is not None:
            X = self._augment(X, np.random.default_rng([self._seed, self._step, 0xA6]))
        self._step += 1
        if isinstance(self._attack, TRADES):
            return self._with_moved(self._attack, weights, X, y)
        if self._attack is not None:
            X = self._moved(self._attack, weights, X, lambda outputs: self._of_outputs(outputs, y)[1])
        network = weights[: 2 * sum(w.ndim == 2 for w in weights)]  # then come the gain's own arrays
        passed = DensePass(network, X, self._phi)
        extra: dict[int, np.ndarray] = {}
        if isinstance(self._loss, AbstractMarginLoss):
            assert self._gain is not None
            L, pull = self._gain(weights)
            loss, gradient, in_L = self._loss(passed.outputs, y, L, self._loss.at(self._step - 1))
            extra = pull(in_L)
        else:
            loss, gradient = self._loss(passed.outputs, y)
        result = passed.in_weights(gradient)
        result += [np.zeros_like(w) for w in weights[len(network) :]]
        for k, more in extra.items():
            result[k] = result[k] + more
        return loss, result

    def _check_fit(self, weights: Sequence[np.ndarray]) -> None:
        """Raises InputError where the first weights' sizes are not those of the data; looked at once."""
        maps = [w for w in weights if w.ndim == 2]
        sizes = (maps[0].shape[1], maps[-1].shape[0]) if maps else (0, 0)
        if sizes == self._sizes:
            return
        if sizes[0] != self._X.shape[1]:
            raise InputError(f"the network takes {sizes[0]} inputs, X has shape {self._X.shape}.")
        y, labelled = self._y, isinstance(self._loss, (CrossEntropy, AbstractMarginLoss))
        if labelled and not (y.ndim == 1 and y.dtype.kind in "iu" and y.min() >= 0 and y.max() < sizes[1]):
            raise InputError(
                f"y has shape {y.shape}, {y.dtype} entries from {y.min()} to {y.max()}; expected integer "
                f"labels (N,) from 0 to {sizes[1] - 1}, the network's outputs."
            )
        self._sizes = sizes

    def _of_outputs(self, outputs: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        assert isinstance(self._loss, AbstractLoss)  # an attack is for losses of outputs alone
        return self._loss(outputs, y)

    def _moved(
        self,
        attack: RowAttack,
        weights: Sequence[np.ndarray],
        X: np.ndarray,
        slope: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """The rows that the attack makes, given the gradient of what it raises in the outputs."""

        def in_rows(rows: np.ndarray) -> np.ndarray:
            passed = DensePass(weights, rows, self._phi)
            return passed.in_rows(slope(passed.outputs))

        step = self._step - 1
        return attack(in_rows, X, attack.at(step), np.random.default_rng([self._seed, step, 0xA7]))

    def _with_moved(
        self, trades: TRADES, weights: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray
    ) -> tuple[float, list[np.ndarray]]:
        near = DensePass(weights, X, self._phi)
        moved = self._moved(trades.attack, weights, X, lambda Z: trades.divergence(near.outputs, Z)[2])
        far = DensePass(weights, moved, self._phi)
        loss, gradient = self._of_outputs(near.outputs, y)
        value, in_near, in_far = trades.divergence(near.outputs, far.outputs)
        pairs = zip(near.in_weights(gradient + in_near), far.in_weights(in_far), strict=True)
        return loss + value, [a + b for a, b in pairs]
