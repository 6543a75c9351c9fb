"""Attacks on the rows of a minibatch, in the dtype of the data."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .._errors import OptionError

__all__ = ["TRADES", "RowAttack"]


@dataclasses.dataclass(frozen=True)
class RowAttack:
    """Projected gradient ascent of the loss in an l2 ball around each row, from a random point of it.

    minimise over the weights the mean of max_{|e_i| <= radius} loss(x_i + e_i, y_i), the inner maximum
    by `steps` steps (Madry et al., ICLR 2018, eq. 2.1); over the first `ramp` steps of training the radius
    grows from 0. Raises OptionError.
    """

    radius: float
    steps: int = 3
    ramp: int = 0

    def __post_init__(self) -> None:
        if not (0.0 < self.radius < math.inf and self.steps >= 1 and self.ramp >= 0):
            raise OptionError(
                f"radius={self.radius!r}, steps={self.steps!r}, ramp={self.ramp!r}; expected a positive "
                "radius, one step or more, and a ramp of zero or more."
            )

    def at(self, step: int) -> float:
        """The radius at this step of training."""
        return self.radius * min((step + 1) / self.ramp, 1.0) if self.ramp else self.radius

    def __call__(
        self,
        in_rows: Callable[[np.ndarray], np.ndarray],
        X: np.ndarray,
        radius: float,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Rows within `radius` of X; `in_rows(x)` is the gradient of each row's loss in the row."""
        real = X.dtype.type
        moved = _of_length(generator.standard_normal(X.shape).astype(X.dtype), real(0.5 * radius))
        for _ in range(self.steps):
            moved = moved + _of_length(in_rows(X + moved), real(1.5 * radius / self.steps))
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            moved *= np.minimum(real(radius) / np.maximum(length, np.finfo(X.dtype).tiny), real(1.0))
        return np.asarray(X + moved)


@dataclasses.dataclass(frozen=True)
class TRADES:
    """The clean loss plus beta/N sum_i KL(p(x_i) || p(x_i')), p = softmax f, x_i' from an attack on it.

    minimise l(f(x), y) + beta max_{|x' - x| <= radius} KL(p(x) || p(x')) (Zhang et al., ICML 2019, eq. 5,
    1/lambda = beta): accuracy is asked of the data, and of the ball only that the prediction stays. Raises
    OptionError.
    """

    attack: RowAttack
    beta: float = 6.0

    def __post_init__(self) -> None:
        if not (isinstance(self.attack, RowAttack) and 0.0 < self.beta < math.inf):
            raise OptionError(
                f"attack={self.attack!r}, beta={self.beta!r}; expected a RowAttack and a positive number."
            )

    def divergence(self, Z: np.ndarray, moved: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(beta/N sum_i KL(softmax z_i || softmax z_i'), its gradient in Z, its gradient in `moved`)."""
        log_p, log_q = _log_softmax(Z), _log_softmax(moved)
        p, gap = np.exp(log_p), log_p - log_q
        own = (p * gap).sum(axis=1, keepdims=True)
        scale = Z.dtype.type(self.beta / len(Z))
        return self.beta * float(own.mean()), scale * p * (gap - own), scale * (np.exp(log_q) - p)


def _log_softmax(Z: np.ndarray) -> np.ndarray:
    shifted = Z - Z.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _of_length(rows: np.ndarray, length: np.floating) -> np.ndarray:
    own = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows * (length / np.maximum(own, np.finfo(rows.dtype).tiny)))
