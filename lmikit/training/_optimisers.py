"""First-order optimisers on lists of arrays: what they carry is arrays too, so that it can be saved.

Every step is out of place: the arrays of the step before stay valid, which is what "the last good
weights" rests on.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from .._errors import OptionError
from ._callback import Arrays, read_only

__all__ = ["AbstractOptimiser", "Adam", "Momentum", "cosine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractOptimiser(abc.ABC):
    """w <- w - rate(step) * direction(gradients); `decay` names how the rate falls.

    `decay`: "none", or "cosine" from learning_rate at step 0 to zero at the run's last step. Raises
    OptionError for a rate that is not positive.
    """

    learning_rate: float
    decay: str = "none"
    slots: ClassVar[int]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise OptionError(f"learning_rate is {self.learning_rate!r}; expected a positive number.")
        if self.decay not in ("none", "cosine"):
            raise OptionError(f"decay is {self.decay!r}; expected 'none' or 'cosine'.")

    def start(self, weights: Sequence[np.ndarray]) -> Arrays:
        """Zeros: `slots` arrays per weight."""
        return tuple(read_only(np.zeros_like(w)) for w in weights for _ in range(self.slots))

    def rate(self, t: int, steps: int) -> float:
        """The learning rate at step t of a run of `steps`."""
        return self.learning_rate * (cosine(t, steps) if self.decay == "cosine" else 1.0)

    def step(
        self,
        weights: Sequence[np.ndarray],
        gradients: Sequence[np.ndarray],
        memory: Arrays,
        t: int,
        steps: int,
    ) -> tuple[Arrays, Arrays]:
        """(weights, memory) after step t = 0, 1, ... of a run of `steps`."""
        rate = self.rate(t, steps)
        moved: list[np.ndarray] = []
        kept: list[np.ndarray] = []
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            own = memory[self.slots * i : self.slots * (i + 1)]
            move, own = self.direction(g, own, t)
            moved.append(read_only(w - w.dtype.type(rate) * move))
            kept.extend(read_only(a) for a in own)
        return tuple(moved), tuple(kept)

    @abc.abstractmethod
    def direction(self, gradient: np.ndarray, own: Arrays, t: int) -> tuple[np.ndarray, Arrays]: ...


def cosine(t: int, steps: int) -> float:
    """(1 + cos(pi t / steps))/2, zero from `steps` on."""
    return 0.5 * (1.0 + math.cos(math.pi * min(t / max(steps, 1), 1.0)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Momentum(AbstractOptimiser):
    """v <- momentum v + g; w <- w - rate v (Polyak); momentum = 0 is gradient descent."""

    learning_rate: float = 1e-2
    momentum: float = 0.9
    slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.momentum < 1.0:
            raise OptionError(f"momentum is {self.momentum!r}; expected a number in [0, 1).")

    def direction(self, gradient: np.ndarray, own: Arrays, t: int) -> tuple[np.ndarray, Arrays]:
        velocity = gradient.dtype.type(self.momentum) * own[0] + gradient
        return velocity, (velocity,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(AbstractOptimiser):
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1)."""

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0.0 <= self.beta1 < 1.0 and 0.0 <= self.beta2 < 1.0 and self.eps > 0.0):
            raise OptionError(f"beta1={self.beta1!r}, beta2={self.beta2!r}, eps={self.eps!r}; see Adam.")

    def direction(self, gradient: np.ndarray, own: Arrays, t: int) -> tuple[np.ndarray, Arrays]:
        real = gradient.dtype.type
        mean = real(self.beta1) * own[0] + real(1.0 - self.beta1) * gradient
        square = real(self.beta2) * own[1] + real(1.0 - self.beta2) * (gradient * gradient)
        bias = math.sqrt(1.0 - self.beta2 ** (t + 1))
        root = np.sqrt(square)
        root += real(self.eps * bias)
        move = mean / root
        move *= real(bias / (1.0 - self.beta1 ** (t + 1)))
        return move, (mean, square)
