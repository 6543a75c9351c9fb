"""Options of Lip-Loop, checked where they are made."""

import dataclasses
import math

from .._errors import OptionError
from ._optimisers import AbstractOptimiser, Adam

__all__ = ["LipLoopOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LipLoopOptions:
    """ADMM: min loss(W) s.t. K(W, t) = Z in the convex set, penalty `rho`, scaled dual variable.

    Each iteration takes `inner` gradient steps on the weights, the best multipliers in closed form, one
    projection (SDP) and one dual step. With primal residual r = |K - Z| and dual residual s = rho |Z -
    Z_before|, `adaptive` multiplies rho by `factor` where r > `ratio` s and divides it where s > `ratio` r
    (Boyd et al., Foundations and Trends in Machine Learning 3 (2011), section 3.4.1), for the first
    half of the run. It stops where r <= tol max(|K|, |Z|) and s <= tol rho max(|U|, |Z|), section 3.3.1.
    `certify_every` iterations (None: at the end only) the current weights get a certificate.
    """

    rho: float = 1.0
    adaptive: bool = True
    ratio: float = 10.0
    factor: float = 2.0
    inner: int = 10
    tol: float = 1e-3
    optimiser: AbstractOptimiser = dataclasses.field(default_factory=lambda: Adam(learning_rate=1e-2))
    certify_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("rho", "tol"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected a positive number.")
        for name in ("ratio", "factor"):
            if not 1.0 < getattr(self, name) < math.inf:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected a number above 1.")
        for name in ("inner", "certify_every"):
            value = getattr(self, name)
            if value is None and name == "certify_every":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} is {value!r}; expected an integer of at least 1.")
        if not isinstance(self.optimiser, AbstractOptimiser):
            raise OptionError(f"optimiser is {self.optimiser!r}; expected one such as Adam().")
