"""The iterate of the interior-point method and what one factorisation of it gives."""

import dataclasses
from typing import Any

from ._chain import Factor, LevelBlocks, Markov, complete, factorise, inner, invert
from ._compile import Compiled

__all__ = [
    "DualPoint",
    "PrimalPoint",
    "complementarity",
    "dual_at",
    "dual_objective",
    "point_at",
]


@dataclasses.dataclass
class PrimalPoint:
    """y with its slacks Z_k > 0 and s > 0; `feasible` says that they are F_k(y) and h - G y."""

    y: Any
    Z: list[LevelBlocks]
    factors: list[Factor]
    s: Any
    feasible: bool = True

    def inverses(self, problem: Compiled) -> list[Markov]:
        """R_k = Z_k^-1."""
        return [invert(problem.am, factor) for factor in self.factors]


@dataclasses.dataclass
class DualPoint:
    """X_k on the pattern with its completion, and z > 0."""

    X: list[Markov]
    z: Any


def point_at(
    problem: Compiled, y: Any, Z: list[LevelBlocks] | None = None, s: Any = None
) -> PrimalPoint | None:
    """The point at y (or with the given slacks), or None where a slack is not positive definite."""
    xp = problem.am.xp
    feasible = Z is None
    if s is None:
        s = problem.h - problem.G @ y if problem.h.size else problem.h
    if problem.h.size and not bool(xp.all(s > 0)):
        return None
    Z = [chain.evaluate(y) for chain in problem.chains] if Z is None else Z
    factors = []
    for block in Z:
        factor = factorise(problem.am, block)
        if factor is None:
            return None
        factors.append(factor)
    return PrimalPoint(y, Z, factors, s, feasible)


def dual_at(problem: Compiled, X: list[LevelBlocks], z: Any) -> DualPoint | None:
    """The multipliers, or None where one is not positive definite (or z not positive)."""
    if problem.h.size and not bool(problem.am.xp.all(z > 0)):
        return None
    completed = []
    for block in X:
        A = complete(problem.am, block)
        if A is None:
            return None
        completed.append(A)
    return DualPoint(completed, z)


def complementarity(Z: list[LevelBlocks], s: Any, X: list[LevelBlocks] | list[Markov], z: Any) -> float:
    """<X, Z> + z's."""
    total = sum(inner(x, block) for x, block in zip(X, Z, strict=True))
    return float(total) + (float(z @ s) if s.size else 0.0)


def dual_objective(problem: Compiled, dual: DualPoint) -> float:
    """-<X, F0> - h'z: a lower bound on the optimum where F*(X) - G'z = c."""
    value = -sum(inner(x, chain.F0) for x, chain in zip(dual.X, problem.chains, strict=True))
    return float(value) - (float(problem.h @ dual.z) if problem.h.size else 0.0)
