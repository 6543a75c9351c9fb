"""A better start for deep chains: segments of levels solved roughly, each for what the next ones need.

From the level-by-level start the method crawls: it loses a factor per level, and on 50 hidden layers of 40
twenty of 34 iterations only make up for it. The later levels of the chain are homogeneous in their variables:
scaled by t they ask t M of the levels up to b, X_b - t M >= 0, X_b the Schur complement of these and M that
of the later ones. So the variables of some levels at a time take a few iterations that maximise t, and what
they gain scales the variables of all later levels. The cost is linear in the number of levels, and 50 and 100
hidden layers of 40 take 14 and 16 iterations. More iterations per segment, a second pass, or segments joined
and improved together bring the start nearer to the optimum and to the boundary: 100 layers then take 44.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._chain import LevelBlocks, mirrored
from ._compile import Compiled, LevelLMI, LevelTerms
from ._terms import DenseFactor, Group, SelectionFactor

__all__ = ["Solve", "improved"]

_DEEP = 18  # levels before small ones are merged; on shorter chains segments cost what they gain, or more
_SEGMENT = 6  # levels, at most
_KEPT = 0.99  # of what the later levels could be scaled by
_FIRST = 0.5  # of the largest t

Solve = Callable[[Compiled, Any], Any]  # a better y from one inside the cone; None where that is not inside


class _NotSuited(Exception):
    """The chain is not of the kind that segments are made for."""


def improved(problem: Compiled, y: Any, solve: Solve, depth: int) -> Any | None:
    """A better y from a y inside the cone, or None where the problem is not one long homogeneous chain.

    `depth`: its levels before small ones were merged. G y <= h is not looked at.
    """
    if depth < _DEEP or not _suits(problem):
        return None
    try:
        return _Segments(problem, solve).one_after_the_other(y)
    except _NotSuited:
        return None


def _suits(problem: Compiled) -> bool:
    """One LMI of many levels whose variables own one term each, but for those of the last level."""
    if len(problem.chains) != 1:
        return False
    chain = problem.chains[0]
    *levels, last = chain.levels
    if last.simple is None or last.shared is None:
        return False
    own = last.simple_variables.stop
    if bool((problem.c[:own] != 0).any()):
        return False
    if any(bool((block != 0).any()) for block in [*chain.F0.diag[1:], *chain.F0.low[1:]]):
        return False  # the variables of later levels could not be scaled
    return all(k.shared is None for k in levels) and all(k.simple is not None for k in levels[1:])


class _Segments:
    def __init__(self, problem: Compiled, solve: Solve) -> None:
        self.problem, self.solve, self.am = problem, solve, problem.am
        self.chain = problem.chains[0]
        self.end = len(self.chain.levels) - 1

    def one_after_the_other(self, y: Any) -> Any:
        """y with all segments improved, and the later levels scaled by what each has gained."""
        count = self.end + 1
        parts = -(-count // _SEGMENT)
        bounds = [count * k // parts for k in range(parts + 1)]
        leading = None  # X at the last level of the segments done
        for a, b in itertools.pairwise(bounds):
            before, y = y, self._segment(a, b - 1, leading, y)
            if b > self.end:
                break
            old, new = (self._complement(a, b - 1, leading, values) for values in (before, y))
            taken, later = self._taken(b - 1, y), self._variables(b, self.end)
            gain = self._largest(new, taken) / self._largest(old, taken)
            leading, y = new, _with(y, later, _KEPT * gain * y[later])
        return y

    def _segment(self, first: int, last: int, leading: Any | None, y: Any) -> Any:
        """Improve the levels first..last; `leading` is X at level first - 1."""
        rows = self._variables(first, last)
        if last == self.end:
            sub, start = self._problem(first, last, leading, None), y[rows]
        else:
            taken = self._taken(last, y)
            t = _FIRST * self._largest(self._complement(first, last, leading, y), taken)
            sub = self._problem(first, last, leading, taken)
            start = self.am.xp.concatenate([y[rows], self.am.xp.full(1, t)])
        found = self.solve(sub, start)
        if found is None:
            raise _NotSuited
        return _with(y, rows, found[: y[rows].size])

    def _variables(self, first: int, last: int) -> Any:
        """Those of the levels: a slice, the shared ones of the last level after its own."""
        levels = self.chain.levels
        stop = self.problem.c.size if last == self.end else levels[last].simple_variables.stop
        return slice(levels[first].simple_variables.start, stop)

    def _problem(self, first: int, last: int, leading: Any | None, taken: Any | None) -> Compiled:
        """The levels alone, with X of the level before as a level without variables; t comes last."""
        am, chain = self.am, self.chain
        xp = am.xp
        low = max(0, first - 1)
        start = chain.levels[first].simple_variables.start
        levels = [_moved(am, chain.levels[k], k - low, -start) for k in range(first, last + 1)]
        diag, across = chain.F0.diag[low : last + 1], chain.F0.low[low + 1 : last + 1]
        if leading is not None:
            diag = [leading, *diag[1:]]
            levels = [LevelTerms(None, slice(0, 0), None, xp.zeros((0, 0)), _indices(am, 0, 0)), *levels]
        cost = self.problem.c[self._variables(first, last)]
        if taken is not None:
            n, m = len(taken), cost.size
            levels[-1] = dataclasses.replace(
                levels[-1],
                shared=_less(am, last - low, taken),
                shared_weights=xp.ones((n, 1)),
                shared_variables=_indices(am, m, m + 1),
            )
            cost = xp.concatenate([cost, xp.full(1, -1.0)])
        sizes = chain.sizes[low : last + 1]
        F0 = LevelBlocks(diag, [None, *across])
        part = LevelLMI(am, np.arange(sizes.sum()), sizes, F0, levels, equal_factors=False)
        G = am.sparse(sp.csr_array((0, int(cost.size))))
        return Compiled(am, [part], cost, G, xp.zeros(0), np.arange(int(cost.size)), int(sizes.sum()))

    def _complement(self, first: int, last: int, leading: Any | None, y: Any) -> Any:
        """X_last: the Schur complement of the levels up to `last` in their part of F(y)."""
        am = self.am
        part = self._problem(first, last, leading, None)
        Z = part.chains[0].evaluate(y[self._variables(first, last)])
        X = Z.diag[0]
        for diag, low in zip(Z.diag[1:], Z.low[1:], strict=True):
            L = am.cholesky(X)
            if L is None:
                raise _NotSuited
            X = am.less_gram(diag, am.solve_triangular(L, low.T))
        return mirrored(am, X)

    def _taken(self, last: int, y: Any) -> Any:
        """M: what the levels after `last` take from X_last."""
        am = self.am
        later = y.copy()
        later[: self.chain.levels[last].simple_variables.stop] = 0.0
        Z = self.chain.linear(later)
        S = Z.diag[-1]
        for k in range(len(Z.diag) - 1, last, -1):
            L = am.cholesky(S)
            if L is None:
                raise _NotSuited
            S = am.less_gram(Z.diag[k - 1], am.solve_triangular(L, Z.low[k]))
        return -mirrored(am, S)

    def _largest(self, X: Any, M: Any) -> float:
        """The largest t with X - t M PSD."""
        L = self.am.cholesky(X)
        if L is None:
            raise _NotSuited
        quotient = self.am.solve_triangular(L, self.am.solve_triangular(L, M).T)
        if not bool(self.am.xp.isfinite(quotient).all()):
            raise _NotSuited
        largest = float(self.am.eigvalsh(quotient)[-1])
        if not largest > 0.0:
            raise _NotSuited
        return 1.0 / largest


def _moved(am: Any, level: LevelTerms, to: int, shift: int) -> LevelTerms:
    """The level as the one of number `to`, with its variables moved by `shift`."""
    rows = slice(level.simple_variables.start + shift, level.simple_variables.stop + shift)
    return dataclasses.replace(
        level,
        simple=None if level.simple is None else dataclasses.replace(level.simple, level=to),
        simple_variables=rows,
        shared=None if level.shared is None else dataclasses.replace(level.shared, level=to),
        shared_variables=level.shared_variables + shift,
    )


def _less(am: Any, level: int, M: Any) -> Group:
    """The terms of -t M."""
    n = len(M)
    P = SelectionFactor(am, np.arange(n), np.ones(n), n)
    return Group(level, P, None, DenseFactor(am, -am.to_numpy(M)), None, n)


def _indices(am: Any, start: int, stop: int) -> Any:
    return am.asarray(np.arange(start, stop), dtype=np.int64)


def _with(y: Any, rows: Any, values: Any) -> Any:
    y = y.copy()
    y[rows] = values
    return y
