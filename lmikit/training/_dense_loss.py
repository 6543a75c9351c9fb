"""A fully connected network as `loss_and_grad` in the dtype of its weights, float32 included.

`MLP` is its float64 counterpart for every activation of `Network`, with losses per row; `_dense_pass` serves
both. Weights are [W0, b0, W1, b1, ...], W_k (out, in); data are rows, X (N, n_0).
"""

import abc
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import InputError, OptionError
from ..network import Activation, Network, PReLU
from ._dense_pass import forward, output_gradients, weight_gradients
from ._margin_losses import AbstractMarginLoss
from ._pairwise_gains import AbstractPairwiseGain
from ._row_attack import TRADES, RowAttack

__all__ = [
    "AbstractLoss",
    "CrossEntropy",
    "DenseLoss",
    "SquaredError",
    "dense_forward",
    "dense_network",
    "initial_weights",
]

_ACTIVATIONS = ("relu", "abs", "half_abs", "tanh")


class AbstractLoss(abc.ABC):
    """A loss of outputs Z (N, m), averaged over the rows."""

    @abc.abstractmethod
    def __call__(self, Z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """(loss, its gradient in Z)."""


@dataclasses.dataclass(frozen=True)
class SquaredError(AbstractLoss):
    """(1/N) sum_i |z_i - y_i|^2; y (N, m), or (N,) for one output."""

    def __call__(self, Z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        difference = Z - y.reshape(Z.shape).astype(Z.dtype, copy=False)
        count = len(Z)
        return float((difference**2).sum() / count), difference * Z.dtype.type(2.0 / count)


@dataclasses.dataclass(frozen=True)
class CrossEntropy(AbstractLoss):
    """(1/(t N)) sum_i [log sum_j exp(t (z_ij + margin 1[j != y_i])) - t z_i,y_i], t the temperature.

    y (N,) integers. A network with small L has small outputs, which a large t makes up for; for large
    t the loss tends to max_j (z_j - z_y + margin)_+, so margin = eps L sqrt(2) asks for decisions that
    no perturbation of norm eps changes. Raises OptionError for t <= 0 or a negative margin.
    """

    temperature: float = 1.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.temperature < math.inf and 0.0 <= self.margin < math.inf):
            raise OptionError(
                f"temperature={self.temperature!r}, margin={self.margin!r}; expected t > 0 and margin >= 0."
            )

    def __call__(self, Z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        rows, real = np.arange(len(Z)), Z.dtype.type
        logits = Z * real(self.temperature)
        if self.margin:
            logits[rows, y] -= real(self.temperature * self.margin)
        logits -= logits.max(axis=1, keepdims=True)
        shifted = logits[rows, y].copy()
        np.exp(logits, out=logits)
        total = logits.sum(axis=1)
        loss = float((np.log(total) - shifted).mean()) / self.temperature
        logits /= total[:, None]
        logits[rows, y] -= 1
        logits *= real(1.0 / len(Z))
        return loss, logits


def initial_weights(dims: Sequence[int], seed: int = 0, dtype: Any = np.float64) -> list[np.ndarray]:
    """[W0, b0, ...] for layers of these sizes: normal entries of variance 2/n_in, biases zero (He et al.)."""
    rng = np.random.default_rng([seed, 0x57])
    weights = []
    for n_in, n_out in itertools.pairwise(dims):
        weights.append((rng.standard_normal((n_out, n_in)) * math.sqrt(2.0 / n_in)).astype(dtype))
        weights.append(np.zeros(n_out, dtype=dtype))
    return weights


def _phi(name: str, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(phi(v), phi'(v))."""
    if name == "relu":
        return np.maximum(v, 0), v > 0
    if name == "abs":
        return np.abs(v), np.sign(v)
    if name == "half_abs":
        slope = np.ones_like(v)
        slope[:, 0::2] = np.sign(v[:, 0::2])
        return v * slope, slope
    w = np.tanh(v)
    return w, 1 - w * w


def dense_forward(weights: Sequence[np.ndarray], X: np.ndarray, activation: str = "relu") -> np.ndarray:
    """Outputs (N, m) of [W0, b0, W1, b1, ...]."""
    last = len(weights) // 2 - 1
    for k in range(last + 1):  # `forward` would keep every layer's values
        X = X @ weights[2 * k].T + weights[2 * k + 1]
        if k < last:
            X = _phi(activation, X)[0]
    return X


def dense_network(weights: Sequence[np.ndarray], activation: str = "relu") -> Network:
    """The `Network` that `DenseLoss` trains; for "half_abs" every neuron is a PReLU of slope -1 or 1."""
    hidden: list[Activation] | str = activation
    if activation == "half_abs":
        hidden = [PReLU(np.where(np.arange(len(w)) % 2 == 0, -1.0, 1.0)) for w in weights[0:-2:2]]
    return Network.from_arrays(weights[0::2], weights[1::2], hidden)


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
        if activation not in _ACTIVATIONS:
            raise OptionError(f"activation is {activation!r}; expected one of {_ACTIVATIONS}.")
        if batch is not None and not 1 <= batch <= len(self._X):
            raise OptionError(f"batch is {batch!r}; expected None or an integer from 1 to {len(self._X)}.")
        if isinstance(loss, AbstractMarginLoss) != (gain is not None):
            raise OptionError(
                f"loss is a {type(loss).__name__} and gain {gain!r}; expected one for a "
                "loss that sees L_ij, and for no other."
            )
        if attack is not None and gain is not None:
            raise OptionError("attack is for losses of outputs alone; expected no gain beside it.")
        self._gain = gain
        self._activation, self._batch, self._seed = activation, batch, seed
        self._step, self._epoch = 0, -1
        self._order = np.arange(len(self._X))

    @property
    def steps_per_epoch(self) -> int:
        """Full minibatches in the data; the rest of a shuffle is left out."""
        return 1 if self._batch is None else len(self._X) // self._batch

    def seek(self, step: int) -> None:
        """The minibatch of this step comes next."""
        self._step = step

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """(loss, gradients) on the current minibatch; the next call takes the next one."""
        X, y = self._rows()
        if self._augment is not None:
            X = self._augment(X, np.random.default_rng([self._seed, self._step, 0xA6]))
        self._step += 1
        if isinstance(self._attack, TRADES):
            return self._with_moved(self._attack, weights, X, y)
        if self._attack is not None:
            X = self._moved(self._attack, weights, X, lambda outputs: self._of_outputs(outputs, y)[1])
        network = weights[: 2 * sum(w.ndim == 2 for w in weights)]  # then come the gain's own arrays
        outputs, inputs, slopes = forward(network, X, functools.partial(_phi, self._activation))
        extra: dict[int, np.ndarray] = {}
        if isinstance(self._loss, AbstractMarginLoss):
            assert self._gain is not None
            L, pull = self._gain(weights)
            loss, gradient, in_L = self._loss(outputs, y, L, self._loss.at(self._step - 1))
            extra = pull(in_L)
        else:
            loss, gradient = self._loss(outputs, y)
        result = weight_gradients(inputs, output_gradients(network, slopes, gradient))
        result += [np.zeros_like(w) for w in weights[len(network) :]]
        for k, more in extra.items():
            result[k] = result[k] + more
        return loss, result

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
        phi = functools.partial(_phi, self._activation)

        def in_rows(rows: np.ndarray) -> np.ndarray:
            outputs, _, slopes = forward(weights, rows, phi)
            return np.asarray(output_gradients(weights, slopes, slope(outputs))[0] @ weights[0])

        step = self._step - 1
        return attack(in_rows, X, attack.at(step), np.random.default_rng([self._seed, step, 0xA7]))

    def _with_moved(
        self, trades: TRADES, weights: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray
    ) -> tuple[float, list[np.ndarray]]:
        phi = functools.partial(_phi, self._activation)
        outputs, inputs, slopes = forward(weights, X, phi)
        moved = self._moved(trades.attack, weights, X, lambda Z: trades.divergence(outputs, Z)[2])
        far, far_inputs, far_slopes = forward(weights, moved, phi)
        loss, gradient = self._of_outputs(outputs, y)
        value, in_near, in_far = trades.divergence(outputs, far)
        near = weight_gradients(inputs, output_gradients(weights, slopes, gradient + in_near))
        more = weight_gradients(far_inputs, output_gradients(weights, far_slopes, in_far))
        return loss + value, [a + b for a, b in zip(near, more, strict=True)]

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        if self._batch is None:
            return self._X, self._y
        epoch, position = divmod(self._step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._X))
            self._epoch = epoch
        rows = self._order[position * self._batch : (position + 1) * self._batch]
        return self._X[rows], self._y[rows]
