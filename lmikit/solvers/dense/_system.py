"""Search directions of the homogeneous embedding at one iterate (notation and sources in `_interior`)."""

import dataclasses
import math

import numpy as np

from ._program import Normal, Program

__all__ = ["EmbeddingDirection", "EmbeddingState", "EmbeddingSystem", "refined"]

_REFINEMENTS = 4


@dataclasses.dataclass(eq=False)
class EmbeddingState:
    """One iterate of the homogeneous embedding."""

    y: np.ndarray
    v: np.ndarray
    S: list
    Z: list
    tau: float
    kappa: float


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingDirection:
    """A search direction, also in the scaled space."""

    y: np.ndarray
    v: np.ndarray
    S: list
    Z: list
    tau: float
    kappa: float
    slacks: list
    multipliers: list


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingSystem:
    """Search directions at one iterate; (y1, v1, Z1) is the direction of the data (c, F0, b)."""

    p: Program
    s: EmbeddingState
    normal: Normal
    residuals: tuple[np.ndarray, list, np.ndarray, float]
    y1: np.ndarray
    v1: np.ndarray
    Z1: list

    def direction(self, eta: float, targets: list, kappa_term: float) -> EmbeddingDirection:
        """Residuals shrink by 1 - eta, l o (dS + dZ) = target, kappa dtau + tau dkappa = kappa_term."""
        p, s = self.p, self.s
        d, primal, e, t = self.residuals
        divided = [cone.divide(target) for cone, target in zip(p.cones, targets, strict=True)]
        wanted = [
            cone.unscaled(part) - eta * r for cone, part, r in zip(p.cones, divided, primal, strict=True)
        ]
        pulled = p.adjoint([cone.metric(g) for cone, g in zip(p.cones, wanted, strict=True)])
        y2, v2, Z2 = refined(p, self.normal, -eta * d, -eta * e, wanted, -eta * d + pulled)
        xi = s.y / s.tau
        off = self.y1 - xi
        lengths = sum(
            float(np.sum(cone.scaled_multiplier(Z) ** 2)) for cone, Z in zip(p.cones, self.Z1, strict=True)
        )
        denominator = -s.kappa / s.tau - lengths - float(off @ p.curved(off))
        slope = 2.0 * p.curved(xi) + p.c
        numerator = -eta * t - kappa_term / s.tau - float(slope @ y2) - p.offset(Z2, v2)
        dtau = numerator / denominator
        y, v = y2 + dtau * self.y1, v2 + dtau * self.v1
        Z = [b + dtau * a for a, b in zip(self.Z1, Z2, strict=True)]
        S = [cone.linear(y) + dtau * cone.F0 + eta * r for cone, r in zip(p.cones, primal, strict=True)]
        multipliers = [cone.scaled_multiplier(part) for cone, part in zip(p.cones, Z, strict=True)]
        slacks = [cone.scaled_slack(part) for cone, part in zip(p.cones, S, strict=True)]
        return EmbeddingDirection(
            y, v, S, Z, dtau, (kappa_term - s.kappa * dtau) / s.tau, slacks, multipliers
        )

    def longest(self, step: EmbeddingDirection) -> float:
        """The step to the boundary, at most 1 / 0.99 is of use."""
        result = math.inf
        for now, d in ((self.s.tau, step.tau), (self.s.kappa, step.kappa)):
            if d < 0:
                result = min(result, -now / d)
        for cone, a, b in zip(self.p.cones, step.slacks, step.multipliers, strict=True):
            if np.isfinite(a).all() and np.isfinite(b).all():
                result = min(result, cone.longest(a), cone.longest(b))
            else:
                return 0.0
        return result


def refined(
    p: Program, normal: Normal, dual: np.ndarray, equal: np.ndarray, wanted: list, reduced: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list]:
    """y, v, Z with H y - F*(Z) + A'v = dual, A y = equal, F(y) + W'W Z = wanted.

    `reduced` is dual + F*((W'W)^-1 wanted). The steps of refinement look at the first two equations with
    the Z at hand, so that rounding in (W'W)^-1, which grows without end near the optimum, ends in the third,
    where it only disturbs complementarity.
    """
    y, v = normal.solve(reduced, equal)
    Z = [cone.metric(g - cone.linear(y)) for cone, g in zip(p.cones, wanted, strict=True)]
    last = math.inf
    for _ in range(_REFINEMENTS):
        pulled = p.adjoint(Z)
        left, low = dual - p.curved(y) + pulled - p.lifted(v), equal - p.A @ y if equal.size else equal
        error = math.sqrt(float(left @ left)) + math.sqrt(float(low @ low))
        if not error < 0.5 * last or error <= normal.goal(dual, pulled):
            break
        last = error
        dy, dv = normal.solve(left, low)
        y, v = y + dy, v + dv
        Z = [part - cone.metric(cone.linear(dy)) for cone, part in zip(p.cones, Z, strict=True)]
    return y, v, Z
