"""Where to start: a strictly feasible y if one is easy to find, else slacks that are not F(y)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._arrays import ArrayModule
from ...lmi import SDP
from ._chain import LevelBlocks, factorise, inner
from ._compile import Compiled, LevelLMI, compile_sdp
from ._segments import Solve, improved
from ._state import PrimalPoint, point_at

__all__ = ["Start", "level_by_level", "levelwise", "starting_point", "warm_point"]

_RETREATS = (0.0, 0.5, 0.9, 0.99, 1.0)
_INSIDE = 0.67  # of the way to the boundary, level by level; at 0.75 many networks take twice the iterations
_IMPROVED = 0.3  # dominance of a start that segments have brought near the optimum
_PRICED = 0.5  # of the way to the boundary, for the variables with a price


@dataclasses.dataclass(frozen=True)
class Start:
    """Where to start, the incumbent, and how far the first X must exceed the objective's size."""

    point: PrimalPoint
    incumbent: PrimalPoint | None
    dominance: float
    interrupted: bool = False


def starting_point(
    problem: Compiled,
    sdp: SDP,
    warm_start: np.ndarray | None,
    size: float = 10.0,
    solve: Solve | None = None,
    inside: np.ndarray | None = None,
) -> Start:
    """A start of our own, with the point that `warm_start` gives as incumbent.

    `size`: how far the slacks of an infeasible start exceed the data. `solve` improves segments of
    deep chains (None: they are left as they are). `inside`: the point of `levelwise`, where it is known.

    A start of our own is preferred: from points near the boundary, where the best ones are, the
    method needs twice the iterations. The warm start serves where there is none, and as incumbent.
    """
    warm = warm_point(problem, warm_start)
    point, y = _easy(problem), None
    if point is None and len(problem.chains) == 1:
        if inside is None:
            fine = compile_sdp(problem.am, sdp, merge=False, deadline=problem.deadline)
            y = level_by_level(fine)
            inside = None if y is None else fine.original(y)
        y = None if inside is None else problem.internal(inside)
        point = None if y is None else point_at(problem, y)
        if point is not None and solve is not None:
            return _better(problem, point, warm, solve, len(sdp.lmis[0].partition or ()))
    return Start(point or warm or _infeasible(problem, y, size), warm, _dominance(problem))


def warm_point(problem: Compiled, warm_start: np.ndarray | None) -> PrimalPoint | None:
    """The incumbent that a warm start gives."""
    if warm_start is None or not np.isfinite(warm_start).all():
        return None
    return _retreated(problem, problem.internal(warm_start))


def _better(
    problem: Compiled, point: PrimalPoint, warm: PrimalPoint | None, solve: Solve, depth: int
) -> Start:
    """With the segments of a deep chain improved; the point itself where that leads nowhere."""
    try:
        y = improved(problem, point.y, solve, max(depth, len(problem.chains[0].levels)))
    except KeyboardInterrupt:  # the point will do
        return Start(point, warm, _dominance(problem), interrupted=True)
    above = None if y is None else point_at(problem, y)
    return Start(point, warm, _dominance(problem)) if above is None else Start(above, warm, _IMPROVED)


def _dominance(problem: Compiled) -> float:
    """Deep chains start far from their optimum."""
    levels = max(len(chain.levels) for chain in problem.chains)
    return float(10.0 ** min(6.0, 0.1 * max(0, levels - 4)))


def _retreated(problem: Compiled, y: Any) -> PrimalPoint | None:
    """y, with the variables that pay for the objective drawn back toward zero as far as it takes."""
    paying = problem.c * y < 0
    for back in _RETREATS:
        point = point_at(problem, problem.am.xp.where(paying, (1.0 - back) * y, y))
        if point is not None:
            return point
    return None


def _easy(problem: Compiled) -> PrimalPoint | None:
    """A multiple of a direction along which every slack grows, as in max-cut; or y = 0."""
    xp, c = problem.am.xp, problem.c
    point = point_at(problem, xp.zeros(c.size))
    if point is not None:
        return point
    ones = xp.ones(c.size)
    for direction in (c, ones, -ones):
        length = float(xp.sqrt((direction**2).sum()))
        if length == 0:
            continue
        direction = direction * (c.size**0.5 / length)
        if not _grows(problem, direction):
            continue
        t = 1e-3 * _size(problem, direction)
        for _ in range(40):
            if point_at(problem, t * direction) is not None:
                return point_at(problem, 2.0 * t * direction)
            t *= 2.0
    return None


def _grows(problem: Compiled, direction: Any) -> bool:
    if problem.h.size and float((problem.G @ direction).max()) > 0:
        return False
    return all(factorise(problem.am, chain.linear(direction)) is not None for chain in problem.chains)


def _size(problem: Compiled, direction: Any) -> float:
    """How long `direction` must be to matter beside F0."""
    constant = sum(inner(chain.F0, chain.F0) for chain in problem.chains)
    linear = [chain.linear(direction) for chain in problem.chains]
    moved = sum(inner(block, block) for block in linear)
    return (constant / moved) ** 0.5 if constant > 0 and moved > 0 else 1.0


def level_by_level(problem: Compiled) -> Any | None:
    """y for the first LMI if its levels each bring their own variables, as in LipSDP; or None.

    Forward recursion on the Schur complements of the leading levels: the variables of level k are
    _INSIDE of the largest t, times ones, that keeps them positive definite. Variables with a price
    come last and move against the objective. G y <= h is not looked at.
    """
    chain, xp = problem.chains[0], problem.am.xp
    y = xp.zeros(problem.c.size)
    leading = None
    for k, level in enumerate(chain.levels):
        problem.check_time()
        rows = level.simple_variables
        free = problem.c[rows] == 0
        test = _LevelTest(chain, k, leading, free)
        t = _largest(test.schur) if bool(free.any()) else 0.0
        leading = None if t is None else test.schur(_INSIDE * t)
        if t is None or leading is None:
            return None
        y[rows] = _INSIDE * t * free
    return _against_objective(problem, y)


def levelwise(am: ArrayModule, sdp: SDP) -> np.ndarray | None:
    """The level-by-level point of an SDP of one LMI with levels, as its variables stand there; or None."""
    if len(sdp.lmis) != 1 or sdp.lmis[0].partition is None:
        return None
    fine = compile_sdp(am, sdp, merge=False)
    found = level_by_level(fine)
    return None if found is None else fine.original(found)


class _LevelTest:
    """The Schur complement of level k when its own variables are t times ones."""

    def __init__(self, chain: LevelLMI, k: int, leading: Any, free: Any) -> None:
        self.am, self.k, self.leading = chain.am, k, leading
        xp = chain.am.xp
        level, n = chain.levels[k], chain.sizes[k]
        m = chain.sizes[k - 1] if k else 0
        diag = {k: xp.zeros((n, n)), k - 1: xp.zeros((m, m))}
        low = {k: xp.zeros((n, m))}
        if level.simple is not None:
            level.simple.add_to(chain.am, diag, low, 1.0 * free)
        self.own, self.across, self.below = diag[k], low[k], diag[k - 1]
        self.F0, self.F0_low = chain.F0.diag[k], chain.F0.low[k]
        self.gram: Any = (
            None  # Z loses (t size)^2 gram where t stands in no other term than `own` and `across`
        )
        if k and not bool((self.below != 0).any()) and not bool((self.F0_low != 0).any()):
            self._form_gram(leading)

    def _form_gram(self, leading: Any) -> None:
        L = self.am.cholesky(leading)
        if L is None:
            return
        half = self.am.solve_triangular(L, self.across.T)
        self.size = max(float(self.am.xp.abs(half).max()), 2.0**-1000) if half.size else 1.0
        self.gram = -self.am.less_gram(0.0 * self.own, half / self.size)

    def schur(self, t: float) -> Any | None:
        """X_k(t), or None where the leading levels are not positive definite."""
        Z = self.F0 + t * self.own
        if self.gram is not None:
            Z = Z - (t * self.size) ** 2 * self.gram if t * self.size < 2.0**500 else Z * math.nan
        elif self.k:
            L = self.am.cholesky(self.leading + t * self.below)
            if L is None:
                return None
            half = self.am.solve_triangular(L, (self.F0_low + t * self.across).T)
            Z = self.am.less_gram(Z, half)
        return None if self.am.cholesky(Z) is None else Z


def _largest(works: Callable[[float], Any]) -> float | None:
    """About the largest t with works(t) not None (to 10 %), from 2^-1000 to 2^1000."""
    t = 1.0
    if works(t) is not None:
        while t < 2.0**1000 and works(64.0 * t) is not None:
            t *= 64.0
    else:
        while works(t) is None:
            t /= 64.0
            if t < 2.0**-1000:
                return None
    factor = 8.0
    for _ in range(6):
        if works(factor * t) is not None:
            t *= factor
        factor = math.sqrt(factor)
    return t


def _against_objective(problem: Compiled, y: Any) -> Any | None:
    xp = problem.am.xp
    direction = -xp.sign(problem.c)
    if float(xp.abs(direction).max()) == 0.0:
        return y
    t = _largest(lambda t: _slacks(problem, y + t * direction))
    return None if t is None else y + _PRICED * t * direction


def _slacks(problem: Compiled, y: Any) -> PrimalPoint | None:
    """The point at y with the inequalities left out."""
    return point_at(problem, y, [chain.evaluate(y) for chain in problem.chains], 0.0 * problem.h + 1.0)


def _infeasible(problem: Compiled, y: Any | None, times: float) -> PrimalPoint:
    """Slacks that dominate the data (an infeasible start in the sense of SDPA).

    Where the LMIs hold at y their slacks are F(y), and only those of G y <= h are made up.
    """
    xp = problem.am.xp
    if y is not None and problem.h.size:
        s = problem.h - problem.G @ y
        point = point_at(
            problem, y, [c.evaluate(y) for c in problem.chains], xp.maximum(s, 0.1 * xp.abs(s).max())
        )
        if point is not None:
            return point
    size = 1.0
    for chain in problem.chains:
        size = max(size, *(float(xp.abs(block).max()) for block in chain.F0.diag))
    if problem.h.size:
        size = max(size, float(xp.abs(problem.h).max()))
    size *= times
    Z = [
        LevelBlocks(
            [size * xp.eye(n) for n in chain.sizes], [None, *(0.0 * block for block in chain.F0.low[1:])]
        )
        for chain in problem.chains
    ]
    point = point_at(problem, xp.zeros(problem.c.size), Z, 0.0 * problem.h + size)
    assert point is not None
    return point
