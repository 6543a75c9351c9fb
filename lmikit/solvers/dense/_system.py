"""Search directions of the homogeneous embedding at one iterate (notation and sources in `_interior`)."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ._program import Normal, Program

__all__ = ["EmbeddingDirection", "EmbeddingState", "EmbeddingSystem"]

_REFINEMENTS = 8


@dataclasses.dataclass(eq=False)
class EmbeddingState:
    """One iterate of the homogeneous embedding."""

    y: np.ndarray
    v: np.ndarray
    S: list
    Z: list
    tau: float
    kappa: float


class EmbeddingDirection(NamedTuple):
    """A search direction; slacks and multipliers are in the scaled space."""

    y: np.ndarray
    v: np.ndarray
    Z: list
    tau: float
    kappa: float
    slacks: list  # W^-T dS
    multipliers: list  # W dZ


class EmbeddingSystem:
    """Search directions at one iterate; index 1 is for the direction of the data (c, F0, b)."""

    def __init__(
        self,
        p: Program,
        s: EmbeddingState,
        normal: Normal,
        residuals: tuple[np.ndarray, list, np.ndarray, float],
    ) -> None:
        self.p, self.s, self.normal = p, s, normal
        self.d, self.primal, self.e, self.t = residuals
        self.scaled = [cone.scaled_slack(r) for cone, r in zip(p.cones, self.primal, strict=True)]
        F0 = [cone.F0 for cone in p.cones]
        scaled = [cone.scaled_slack(part) for cone, part in zip(p.cones, F0, strict=True)]
        nothing = [np.zeros_like(part) for part in F0]
        self.y1, self.v1, self.x1, self.Z1 = self._solve(-p.c, p.b, nothing, F0, scaled, 1.0)
        off = self.y1 - s.y / s.tau
        lengths = sum(float(np.vdot(x, x)) for x in self.x1)
        self.denominator = -s.kappa / s.tau - lengths - float(off @ p.curved(off))
        self.slope = 2.0 * p.curved(s.y / s.tau) + p.c

    def direction(self, eta: float, targets: list, kappa_term: float) -> EmbeddingDirection:
        """Residuals shrink by 1 - eta, l o (dS + dZ) = target, kappa dtau + tau dkappa = kappa_term."""
        p, s = self.p, self.s
        wanted = [cone.divide(target) for cone, target in zip(p.cones, targets, strict=True)]
        y2, v2, x2, Z2 = self._solve(-eta * self.d, -eta * self.e, wanted, self.primal, self.scaled, eta)
        numerator = -eta * self.t - kappa_term / s.tau - float(self.slope @ y2) - p.offset(Z2, v2)
        dtau = numerator / self.denominator
        y, v = y2 + dtau * self.y1, v2 + dtau * self.v1
        Z, multipliers = (
            [b + dtau * a for a, b in zip(one, two, strict=True)]
            for one, two in ((self.Z1, Z2), (self.x1, x2))
        )
        slacks = [g - x for g, x in zip(wanted, multipliers, strict=True)]
        return EmbeddingDirection(y, v, Z, dtau, (kappa_term - s.kappa * dtau) / s.tau, slacks, multipliers)

    def longest(self, step: EmbeddingDirection) -> float:
        """The step to the boundary, at most 1 / 0.99 is of use."""
        result = math.inf
        for now, d in ((self.s.tau, step.tau), (self.s.kappa, step.kappa)):
            if d < 0:
                result = min(result, -now / d)
        for cone, a, b in zip(self.p.cones, step.slacks, step.multipliers, strict=True):
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                return 0.0
            result = min(result, cone.longest(a, b))
        return result

    def _solve(
        self, dual: np.ndarray, equal: np.ndarray, wanted: list, constant: list, scaled: list, eta: float
    ) -> tuple[np.ndarray, np.ndarray, list, list]:
        """y, v, x = W Z and Z with H y - F*(Z) + A'v = dual, A y = equal, W^-T(F(y) + eta r) + x = wanted.

        r is `constant`, and `scaled` is W^-T r. The steps of refinement look at the first two equations with
        the Z at hand, so that rounding in W^-1, which grows without end near the optimum, ends in the third,
        where it only disturbs complementarity. F(y) + eta r is added up before it is scaled, as it cancels.
        """
        p, normal, cones = self.p, self.normal, self.p.cones
        reduced = dual.copy()
        for cone, g, r in zip(cones, wanted, scaled, strict=True):
            reduced += cone.scaled_adjoint(g - eta * r)
        quick = normal.once if p.small else normal.solve  # small ones: the loop below costs no more
        y, v = quick(reduced, equal)
        x = [
            g - cone.scaled_slack(cone.linear(y) + eta * r)
            for cone, g, r in zip(cones, wanted, constant, strict=True)
        ]
        Z = [cone.multiplier(part) for cone, part in zip(cones, x, strict=True)]
        last = math.inf
        for again in range(_REFINEMENTS):
            pulled = p.adjoint(Z)
            left, low = dual - p.curved(y) + pulled - p.lifted(v), equal - p.A @ y if equal.size else equal
            error = math.sqrt(float(left @ left)) + math.sqrt(float(low @ low))
            if not error < 0.5 * last or error <= normal.goal(dual, pulled):
                break
            last = error
            dy, dv = (normal.solve if again else quick)(left, low)
            y, v = y + dy, v + dv
            change = [cone.scaled_slack(cone.linear(dy)) for cone in cones]
            x = [part - more for part, more in zip(x, change, strict=True)]
            Z = [part - cone.multiplier(more) for cone, part, more in zip(cones, Z, change, strict=True)]
        return y, v, x, Z
