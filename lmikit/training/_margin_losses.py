"""Losses that see how far logits can move: they ask for margins that a Lipschitz bound certifies.

|(f_i - f_j)(x) - (f_i - f_j)(x')| <= L_ij ||x - x'||: the class c of x is the same within min_j
(z_c - z_j)/L_cj. L depends on the weights and is differentiated with the logits (Leino, Wang, Fredrikson,
"Globally-robust neural networks", ICML 2021, section 3). What a loss says of training data proves nothing:
bounds of the result come from `pairwise_bounds`. A call gives the gradients too, in NumPy; `value` is the
same function of arrays of any framework, which differentiates it where they are.
"""

import abc
import dataclasses
import math
from typing import Any

import numpy as np
import scipy.special

from .._errors import OptionError
from ._namespace import eye_like, namespace

__all__ = ["AbstractMarginLoss", "CertifiedHinge", "WorstCaseLogits"]

_LEAST = 1e-18  # in place of L_ij = 0; its square is no zero in float32


@dataclasses.dataclass(frozen=True)
class AbstractMarginLoss(abc.ABC):
    """A loss of outputs Z (N, m), labels y (N,) and L (m, m) at a radius, averaged over the rows.

    `eps` >= 0 is the radius (l2, in the units of the inputs); over the first `ramp` steps it grows from 0.
    Raises OptionError.
    """

    eps: float
    ramp: int = 0

    def __post_init__(self) -> None:
        if not (0.0 <= self.eps < math.inf):
            raise OptionError(f"eps is {self.eps!r}; expected a finite number, zero or more.")
        if isinstance(self.ramp, bool) or not isinstance(self.ramp, int) or self.ramp < 0:
            raise OptionError(f"ramp is {self.ramp!r}; expected a number of steps, zero or more.")

    def at(self, step: int) -> float:
        """The radius at this step."""
        return self.eps * min(step / self.ramp, 1.0) if self.ramp else self.eps

    @abc.abstractmethod
    def __call__(
        self, Z: np.ndarray, y: np.ndarray, L: np.ndarray, eps: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """(loss, its gradient in Z, its gradient in L) at the radius eps."""

    @abc.abstractmethod
    def value(self, Z: Any, y: Any, L: Any, eps: Any = None) -> Any:
        """The loss of torch tensors, JAX or NumPy arrays, for the framework to differentiate.

        y holds integers. `eps` None is the full radius; with a ramp pass `at(step)`, as an argument where
        the function is compiled. Raises InputError for other arrays.
        """


@dataclasses.dataclass(frozen=True)
class WorstCaseLogits(AbstractMarginLoss):
    """(1/N) sum_i [log sum_j exp(z_ij + eps L_cj) - z_ic], c = y_i, L_cc = 0.

    The cross-entropy of the worst logits within eps that L allows.
    """

    def __call__(
        self, Z: np.ndarray, y: np.ndarray, L: np.ndarray, eps: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        rows, count = np.arange(len(Z)), len(Z)
        worst = Z + (eps * L)[y].astype(Z.dtype, copy=False)
        worst -= worst.max(axis=1, keepdims=True)
        own = worst[rows, y].copy()
        p = np.exp(worst, out=worst)
        total = p.sum(axis=1)
        loss = float((np.log(total) - own).mean())
        p /= total[:, None] * Z.dtype.type(count)
        in_L = np.zeros(L.shape)
        np.add.at(in_L, y, eps * p.astype(np.float64))
        np.fill_diagonal(in_L, 0.0)
        p[rows, y] -= Z.dtype.type(1.0 / count)
        return loss, p, in_L

    def value(self, Z: Any, y: Any, L: Any, eps: Any = None) -> Any:
        xp = namespace(Z)
        own = eye_like(xp, L)[y]
        worst = Z + (self.eps if eps is None else eps) * (L[y] * (1.0 - own))
        shifted = worst - xp.amax(worst, axis=1)[:, None]
        return (xp.log(xp.exp(shifted).sum(axis=1)) - (shifted * own).sum(axis=1)).mean()


@dataclasses.dataclass(frozen=True)
class CertifiedHinge(AbstractMarginLoss):
    """(1/(t N)) sum_i log(1 + exp(t (eps - r_i))), r_i = min_j (z_ic - z_ij)/L_cj the certified radius.

    `sharpness` is t > 0, in 1/radius. Raises OptionError.
    """

    sharpness: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0.0 < self.sharpness < math.inf):
            raise OptionError(f"sharpness is {self.sharpness!r}; expected a positive number.")

    def __call__(
        self, Z: np.ndarray, y: np.ndarray, L: np.ndarray, eps: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        rows, count, t = np.arange(len(Z)), len(Z), self.sharpness
        gains = np.maximum(L, np.finfo(np.float64).tiny)[y]
        radii = (Z[rows, y][:, None] - Z) / gains
        radii[rows, y] = np.inf
        nearest = radii.argmin(axis=1)
        r = radii[rows, nearest].astype(np.float64)
        loss = float(np.logaddexp(0.0, t * (eps - r)).mean()) / t
        pull = -scipy.special.expit(t * (eps - r)) / count
        per_logit = pull / gains[rows, nearest]
        in_Z = np.zeros(Z.shape)
        in_Z[rows, y] += per_logit
        in_Z[rows, nearest] -= per_logit
        in_L = np.zeros(L.shape)
        np.add.at(in_L, (y, nearest), -per_logit * r)
        return loss, in_Z.astype(Z.dtype), in_L

    def value(self, Z: Any, y: Any, L: Any, eps: Any = None) -> Any:
        xp, t = namespace(Z), self.sharpness
        own, gains = eye_like(xp, L)[y], L[y]
        margins = (Z * own).sum(axis=1)[:, None] - Z
        radii = margins / xp.where(gains > 0.0, gains, _LEAST)
        x = t * ((self.eps if eps is None else eps) - xp.amin(xp.where(own > 0.0, math.inf, radii), axis=1))
        return xp.logaddexp(xp.zeros_like(x), x).mean() / t
