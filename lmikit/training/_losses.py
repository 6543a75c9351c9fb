"""Losses of outputs, averaged over the rows, with their gradients."""

import abc
import dataclasses
import math

import numpy as np

from .._errors import OptionError

__all__ = ["AbstractLoss", "CrossEntropy", "SquaredError"]


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
