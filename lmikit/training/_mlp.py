"""Networks of any activation of `Network` in float64, with losses per row: the reference for frameworks."""

import abc
import dataclasses
import itertools
from typing import Any, Literal

import numpy as np

from .._errors import OptionError
from ..attacks import ascend
from ..attacks._ascent import Norm
from ..attacks._losses import checked_rows, losses_of
from ..network import Activation, Network, ReLU
from ._callback import Weights
from ._dense import DensePass, Shuffled

__all__ = ["MLP", "AbstractMinibatches", "AdversarialMinibatches", "Minibatches"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP:
    """x_k = phi(W_{k-1} x_{k-1} + b_{k-1}), linear output; weights are [W_0, b_0, W_1, b_1, ...].

    `dims` = (inputs, hidden ..., outputs), W_k (dims[k+1], dims[k]). loss "squared": the mean over rows
    of ||f(x) - y||^2, y (N,) or (N, outputs); "cross_entropy": the mean of -log softmax(temperature
    f(x))_y, y (N,) integers. Without `output_bias` the last bias has gradient 0. Where the activation
    is not differentiable its derivative is taken as 0.
    """

    dims: tuple[int, ...]
    loss: Literal["squared", "cross_entropy"] = "squared"
    temperature: float = 1.0
    activation: Activation = dataclasses.field(default_factory=ReLU)
    output_bias: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(int(n) for n in self.dims))
        if len(self.dims) < 2 or min(self.dims) < 1:
            raise OptionError(f"dims is {self.dims}; expected at least (inputs, outputs), all positive.")
        if self.loss not in ("squared", "cross_entropy"):
            raise OptionError(f"loss is {self.loss!r}; expected 'squared' or 'cross_entropy'.")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise OptionError(f"temperature is {self.temperature}; expected a positive number.")

    def initial(self, seed: int) -> Weights:
        """Gaussian weights of variance 2/fan-in (1/fan-in at the output), zero biases."""
        rng = np.random.default_rng(seed)
        result = []
        for k, (columns, rows) in enumerate(itertools.pairwise(self.dims)):
            gain = 1.0 if k == len(self.dims) - 2 else 2.0
            result += [rng.standard_normal((rows, columns)) * np.sqrt(gain / columns), np.zeros(rows)]
        return result

    def network(self, weights: Weights) -> Network:
        """The weights as a `Network`."""
        phis = [self.activation] * (len(self.dims) - 2)
        return Network.from_arrays(weights[0::2], weights[1::2], activation=phis)

    def data(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """X (N, inputs) float64 and y as the loss wants it; raises InputError."""
        return checked_rows(self.dims[0], self.dims[-1], self.loss, X, y)

    def forward(self, weights: Weights, X: np.ndarray) -> np.ndarray:
        """Outputs (N, outputs) for X (N, inputs)."""
        return DensePass(weights, X, self._phi).outputs

    def loss_and_grad(self, weights: Weights, X: np.ndarray, y: np.ndarray) -> tuple[float, Weights]:
        """The mean loss over the rows of X and its gradients in the weights."""
        passed = DensePass(weights, X, self._phi)
        losses, g = losses_of(self.loss, passed.outputs, y, self.temperature)
        gradients = passed.in_weights(g / losses.size)
        if not self.output_bias:
            gradients[-1] = np.zeros_like(gradients[-1])
        return float(losses.mean()), gradients

    def input_gradients(
        self, weights: Weights, X: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The loss of each row (N,) and its gradient in that row (N, inputs)."""
        passed = DensePass(weights, X, self._phi)
        losses, g = losses_of(self.loss, passed.outputs, y, self.temperature)
        return losses, passed.in_rows(g)

    def _phi(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slope = np.nan_to_num(self.activation.derivative(v, axis=1), nan=0.0)
        return self.activation(v, axis=1), slope


class AbstractMinibatches(abc.ABC):
    """`loss_and_grad(weights)` over the next minibatch at each call.

    Every epoch is a permutation of the rows that depends on `seed` and the epoch only, and `calls`
    is the number of batches used so far: setting it resumes exactly there. `batch_size` None: all rows.
    """

    def __init__(self, model: MLP, X: Any, y: Any, *, batch_size: int | None = None, seed: int = 0) -> None:
        self.model, self.seed, self.calls = model, seed, 0
        self.X, self.y = model.data(X, y)
        rows = self.X.shape[0]
        self.batch_size = rows if batch_size is None else int(batch_size)
        if not 1 <= self.batch_size <= rows:
            raise OptionError(f"batch_size is {batch_size}; expected 1 to {rows}, the rows of X, or None.")
        self._order = Shuffled(rows, self.batch_size, seed, whole=False)
        self.batches_per_epoch = self._order.per_epoch

    def next_rows(self) -> np.ndarray:
        """The indices of the next minibatch; counts the call."""
        self.calls += 1
        return self._order.rows(self.calls - 1)

    @abc.abstractmethod
    def __call__(self, weights: Weights) -> tuple[float, Weights]:
        """The loss of the next minibatch and its gradients."""

    def seek(self, step: int) -> None:
        """Make the next call that of this step."""
        self.calls = step

    def full(self, weights: Weights) -> tuple[float, Weights]:
        """Loss and gradients over all rows; no call is counted."""
        return self.model.loss_and_grad(weights, self.X, self.y)


class Minibatches(AbstractMinibatches):
    """`loss_and_grad(weights)` over the next minibatch at each call, its rows as they are.

    Options as in `AbstractMinibatches`.
    """

    def __call__(self, weights: Weights) -> tuple[float, Weights]:
        rows = self.next_rows()
        return self.model.loss_and_grad(weights, self.X[rows], self.y[rows])


class AdversarialMinibatches(AbstractMinibatches):
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
        X, y = self.X[rows], self.y[rows]
        attacked = ascend(
            lambda x: self.model.input_gradients(weights, x, y),
            X,
            self.radius,
            norm=self.norm,
            steps=self.steps,
        )
        return self.model.loss_and_grad(weights, attacked, y)
