"""Options of Lip-Loop, checked where they are made."""

import dataclasses

from ._checks import instance, positive, whole
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
        positive(self, "rho", "tol")
        positive(self, "ratio", "factor", above=1.0)
        whole("inner", self.inner)
        if self.certify_every is not None:
            whole("certify_every", self.certify_every)
        instance(self, "optimiser", AbstractOptimiser)
