"""The variables of RS-LMI training beside the weights: tau_k, alpha_k, prices, and what adapts them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ._optimisers import Adam
from ._rs_lmi_options import RSLMIOptions

__all__ = ["TauState"]

_ADAM = Adam()
_NUMBERS = ("log_tau", "start", "before", "violation")


Numbers = tuple[float, ...]  # one per layer: for a few of them NumPy's calls cost more than the sums


@dataclasses.dataclass(eq=False)
class TauState:
    """log tau, alpha and price per layer with the sums of the current window; K layers."""

    log_tau: Numbers
    memory: tuple[Numbers, Numbers]  # Adam's of log_tau
    alpha: np.ndarray
    price: np.ndarray
    log_product: float  # log prod tau_k that a target fixes; NaN without one
    start: Numbers  # log tau at step 0
    before: Numbers  # log tau at the start of the window
    violation: Numbers  # sums over the window
    counted: int
    updates: int

    @classmethod
    def initial(cls, squares: np.ndarray, options: RSLMIOptions, log_product: float) -> "TauState":
        """tau_k = |W_k|^2; where the product is fixed, all equal, or in proportion without `clip`."""
        log_tau = np.log(np.maximum(squares, 1e-12))
        if not math.isnan(log_product):
            log_tau = np.zeros_like(log_tau) if options.clip else log_tau
            log_tau = log_tau + (log_product - log_tau.sum()) / log_tau.size
        zeros, ones = (0.0,) * log_tau.size, np.ones_like(log_tau)
        numbers = tuple(log_tau.tolist())
        return cls(
            log_tau=numbers,
            memory=(zeros, zeros),
            alpha=ones * options.alpha,
            price=ones * (options.price if math.isnan(log_product) else 1.0),
            log_product=log_product,
            start=numbers,
            before=numbers,
            violation=zeros,
            counted=0,
            updates=0,
        )

    @property
    def tau(self) -> Numbers:
        """tau_k."""
        return tuple(map(math.exp, self.log_tau))

    def copy(self) -> "TauState":
        """Another state with the same fields, none of which any method changes in place."""
        found = object.__new__(TauState)
        vars(found).update(vars(self))
        return found

    def move(self, gradients: Sequence[float], violation: Sequence[float], options: RSLMIOptions) -> None:
        """One step of log tau by Adam along -tau d/dtau, then back to the fixed product."""
        direction = [t * g for t, g in zip(self.tau, gradients, strict=True)]
        if not math.isnan(self.log_product):
            mean = sum(direction) / len(direction)
            direction = [d - mean for d in direction]
        b, c = _ADAM.beta1, _ADAM.beta2
        first = tuple(b * m + (1.0 - b) * d for m, d in zip(self.memory[0], direction, strict=True))
        second = tuple(c * s + (1.0 - c) * (d * d) for s, d in zip(self.memory[1], direction, strict=True))
        self.updates += 1
        root = math.sqrt(1.0 - c**self.updates)
        size, eps = options.tau_rate * root / (1.0 - b**self.updates), _ADAM.eps * root
        moved = zip(self.log_tau, first, second, strict=True)
        self.fix([x - size * m / (math.sqrt(s) + eps) for x, m, s in moved])
        self.memory = (first, second)
        self.violation = tuple(a + v for a, v in zip(self.violation, violation, strict=True))
        self.counted += 1

    def fix(self, log_tau: Sequence[float]) -> None:
        """Take log tau, shifted to the fixed product where there is one."""
        apart = self.log_product - sum(log_tau)
        shift = 0.0 if math.isnan(apart) else apart / len(log_tau)
        self.log_tau = tuple(x + shift for x in log_tau)

    def adapt(self, options: RSLMIOptions) -> tuple[np.ndarray, list[str]]:
        """At the end of a window: (mean violations, what was changed because a tau diverges)."""
        mean = np.array(self.violation) / max(self.counted, 1)
        violated = mean > options.tolerance
        settled = mean < 0.25 * options.tolerance
        grown = np.subtract(self.log_tau, self.before)
        grew = np.isnan(self.log_product) & (grown > math.log(options.growth))
        alpha = np.where(violated | grew, 2.0 * self.alpha, np.where(settled, 0.9 * self.alpha, self.alpha))
        self.alpha = np.clip(alpha, options.alpha, options.alpha_max)
        self.price = np.where(grew & ~violated, 2.0 * self.price, self.price)
        said = [
            f"tau_{k} grew by a factor of {math.exp(grown[k]):.3g} in a window: "
            f"alpha_{k} is now {self.alpha[k]:.3g}, its price {self.price[k]:.3g}"
            for k in np.flatnonzero(grew)
        ]
        self.before, self.violation, self.counted = self.log_tau, (0.0,) * mean.size, 0
        return mean, said

    def diverged(self, options: RSLMIOptions) -> int | None:
        """The first layer whose tau left all bounds."""
        inside = np.subtract(self.log_tau, self.start) < math.log(options.divergence)
        return None if inside.all() else int(inside.argmin())

    def arrays(self) -> dict[str, tuple[np.ndarray, ...]]:
        """For a `TrainingState`."""
        groups: dict[str, tuple[np.ndarray, ...]] = {
            f"tau.{n}": (np.array(getattr(self, n)),) for n in (*_NUMBERS, "alpha", "price")
        }
        groups["tau.memory"] = tuple(map(np.array, self.memory))
        groups["tau.scalars"] = (np.array([self.log_product, self.counted, self.updates]),)
        return groups

    @classmethod
    def of(cls, arrays: Mapping[str, tuple[np.ndarray, ...]]) -> "TauState":
        """What `arrays` gave."""
        product, counted, updates = arrays["tau.scalars"][0]
        numbers = {n: tuple(arrays[f"tau.{n}"][0].tolist()) for n in _NUMBERS}
        first, second = (tuple(a.tolist()) for a in arrays["tau.memory"])
        return cls(
            memory=(first, second),
            alpha=arrays["tau.alpha"][0],
            price=arrays["tau.price"][0],
            log_product=float(product),
            counted=int(counted),
            updates=int(updates),
            **numbers,
        )
