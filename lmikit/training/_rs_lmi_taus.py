"""The variables of RS-LMI training beside the weights: tau_k, alpha_k, prices, and what adapts them."""

import copy
import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from ._optimisers import Adam
from ._rs_lmi_options import RSLMIOptions

__all__ = ["TauState"]

_ADAM = Adam()
_ARRAYS = ("log_tau", "alpha", "price", "start", "before", "violation")


@dataclasses.dataclass(eq=False)
class TauState:
    """log tau, alpha and price per layer with the sums of the current window; K layers."""

    log_tau: np.ndarray  # (K,)
    memory: tuple[np.ndarray, ...]  # Adam's of log_tau
    alpha: np.ndarray
    price: np.ndarray
    log_product: float  # log prod tau_k that a target fixes; NaN without one
    start: np.ndarray  # log tau at step 0
    before: np.ndarray  # log tau at the start of the window
    violation: np.ndarray  # sums over the window
    counted: int
    updates: int

    @classmethod
    def initial(cls, squares: np.ndarray, options: RSLMIOptions, log_product: float) -> "TauState":
        """tau_k = |W_k|^2; where the product is fixed, all equal, or in proportion without `clip`."""
        log_tau = np.log(np.maximum(squares, 1e-12))
        if not math.isnan(log_product):
            log_tau = np.zeros_like(log_tau) if options.clip else log_tau
            log_tau = log_tau + (log_product - log_tau.sum()) / log_tau.size
        ones, price = np.ones_like(log_tau), options.price if math.isnan(log_product) else 1.0
        return cls(
            log_tau=log_tau,
            memory=_ADAM.start([log_tau]),
            alpha=ones * options.alpha,
            price=ones * price,
            log_product=log_product,
            start=log_tau.copy(),
            before=log_tau.copy(),
            violation=0.0 * ones,
            counted=0,
            updates=0,
        )

    @property
    def tau(self) -> np.ndarray:
        """tau_k."""
        return np.exp(self.log_tau)

    def copy(self) -> "TauState":
        """Another state with the same arrays, which no method changes in place."""
        return copy.copy(self)

    def move(self, tau_gradients: np.ndarray, violation: np.ndarray, options: RSLMIOptions) -> None:
        """One step of log tau along -tau d/dtau, then back to the fixed product."""
        direction = self.tau * tau_gradients
        if not math.isnan(self.log_product):
            direction -= direction.sum() / direction.size
        move, self.memory = _ADAM.direction(direction, self.memory, self.updates)
        self.fix(self.log_tau - options.tau_rate * move)
        self.violation = self.violation + violation
        self.counted += 1
        self.updates += 1

    def fix(self, log_tau: np.ndarray) -> None:
        """Take log tau, shifted to the fixed product where there is one."""
        if not math.isnan(self.log_product):
            log_tau = log_tau + (self.log_product - log_tau.sum()) / log_tau.size
        self.log_tau = log_tau

    def adapt(self, options: RSLMIOptions) -> tuple[np.ndarray, list[str]]:
        """At the end of a window: (mean violations, what was changed because a tau diverges)."""
        mean = self.violation / max(self.counted, 1)
        violated = mean > options.tolerance
        settled = mean < 0.25 * options.tolerance
        grew = np.isnan(self.log_product) & (self.log_tau - self.before > math.log(options.growth))
        alpha = np.where(violated | grew, 2.0 * self.alpha, np.where(settled, 0.9 * self.alpha, self.alpha))
        self.alpha = np.clip(alpha, options.alpha, options.alpha_max)
        self.price = np.where(grew & ~violated, 2.0 * self.price, self.price)
        said = [
            f"tau_{k} grew by a factor of {math.exp(self.log_tau[k] - self.before[k]):.3g} in a window: "
            f"alpha_{k} is now {self.alpha[k]:.3g}, its price {self.price[k]:.3g}"
            for k in np.flatnonzero(grew)
        ]
        self.before, self.violation, self.counted = self.log_tau.copy(), 0.0 * self.violation, 0
        return mean, said

    def diverged(self, options: RSLMIOptions) -> int | None:
        """The first layer whose tau left all bounds."""
        inside = self.log_tau - self.start < math.log(options.divergence)
        return None if inside.all() else int(inside.argmin())

    def arrays(self) -> dict[str, tuple[np.ndarray, ...]]:
        """For a `TrainingState`."""
        groups: dict[str, tuple[np.ndarray, ...]] = {
            f"tau.{n}": (np.array(getattr(self, n)),) for n in _ARRAYS
        }
        groups["tau.memory"] = tuple(self.memory)
        groups["tau.scalars"] = (np.array([self.log_product, self.counted, self.updates]),)
        return groups

    @classmethod
    def of(cls, arrays: Mapping[str, tuple[np.ndarray, ...]]) -> "TauState":
        """What `arrays` gave."""
        product, counted, updates = arrays["tau.scalars"][0]
        return cls(
            memory=tuple(arrays["tau.memory"]),
            log_product=float(product),
            counted=int(counted),
            updates=int(updates),
            **{name: arrays[f"tau.{name}"][0] for name in _ARRAYS},
        )
