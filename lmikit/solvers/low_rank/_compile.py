"""An `SDP` compiled for the low-rank method: levels, term groups, variables in a convenient order."""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..._arrays import ArrayModule
from ...lmi import LMI, SDP
from .._interrupt import OutOfTime
from ._chain import AbstractLevelBlocks, LevelBlocks, symmetric
from ._ordering import levels_of
from ._sandwich import Structured, diagonal_of
from ._terms import Group, factor_of

__all__ = ["Compiled", "LevelLMI", "compile_sdp"]


@dataclasses.dataclass
class LevelTerms:
    """The terms that end at one level: those with a variable of their own, and the others."""

    simple: Group | None
    simple_variables: slice
    shared: Group | None
    shared_weights: Any  # (terms, variables) dense
    shared_variables: Any  # indices


@dataclasses.dataclass
class LevelLMI:
    """One LMI: F0 in blocks, and its terms by level; `rows` is the permutation of its rows."""

    am: ArrayModule
    rows: np.ndarray
    sizes: np.ndarray
    F0: LevelBlocks
    levels: list[LevelTerms]
    equal_factors: bool  # P == Q throughout

    @property
    def order(self) -> int:
        """D."""
        return int(self.sizes.sum())

    def linear(self, y: Any) -> Structured:
        """F(y) - F0."""
        xp, levels = self.am.xp, range(len(self.levels))
        diag = [xp.zeros((n, n)) for n in self.sizes]
        low = [None, *(xp.zeros((n, m)) for n, m in zip(self.sizes[1:], self.sizes[:-1], strict=True))]
        scales: list[Any] = [None for _ in levels]
        thin: list[Any] = [None for _ in levels]
        for k, level in enumerate(self.levels):
            if level.simple is not None:
                level.simple.add_to(self.am, diag, low, y[level.simple_variables])
                scales[k] = y[level.simple_variables]
            if level.shared is not None:
                weights = level.shared_weights @ y[level.shared_variables]
                thin[k] = level.shared.thin(weights)
                if thin[k] is None:
                    level.shared.add_to(self.am, diag, low, weights)
        bare = [diagonal_of(self.am, block) for block in diag]
        for k in levels:
            if thin[k] is not None:
                p, q = thin[k]
                diag[k] = diag[k] + symmetric(self.am.product(p, q.T))
        return Structured(diag, low, scales, bare, thin)

    @functools.cached_property
    def single(self) -> "LevelLMI":
        """The terms in single precision."""
        levels = [
            dataclasses.replace(
                level,
                simple=None if level.simple is None else level.simple.single(),
                shared=None if level.shared is None else level.shared.single(),
                shared_weights=level.shared_weights.astype(np.float32),
            )
            for level in self.levels
        ]
        return dataclasses.replace(self, levels=levels)

    @functools.cached_property
    def across(self) -> list[Any]:
        """U_k with low[k] = diag(y_k) U_k in `linear(y)`, y_k the level's own variables; None without one."""
        found = [None if k.simple is None else k.simple.across() for k in self.levels]
        shared = [k.shared is not None and k.shared.reaches_below for k in self.levels]
        return [None if below else u for u, below in zip(found, shared, strict=True)]

    @functools.cached_property
    def skips(self) -> bool:
        """Whether terms touch more than one row of their level and the level before (see `Group.skips`)."""
        return any(level.simple is not None and level.simple.skips() for level in self.levels)

    def evaluate(self, y: Any) -> LevelBlocks:
        """F(y)."""
        return self.F0.plus(1.0, self.linear(y))

    def add_adjoint(self, A: AbstractLevelBlocks, out: Any) -> None:
        """out += F*(A), A symmetric on the pattern."""
        for level in self.levels:
            if level.simple is not None:
                out[level.simple_variables] += level.simple.products(self.am, A.diag, A.low)
            if level.shared is not None:
                values = level.shared.products(self.am, A.diag, A.low)
                out[level.shared_variables] += level.shared_weights.T @ values


@dataclasses.dataclass
class Compiled:
    """minimise c'y, F_k(y) PSD, G y <= h, with y[i] the original variable `variables[i]`."""

    am: ArrayModule
    chains: list[LevelLMI]
    c: Any
    G: Any  # (p, m) dense on the device, or scipy sparse on the host
    h: Any
    variables: np.ndarray
    degree: int  # order of all blocks and inequalities together
    deadline: float = (
        math.inf
    )  # `time.perf_counter` value at which work is given up, also within an iteration

    def check_time(self) -> None:
        """Raise OutOfTime after the deadline."""
        if time.perf_counter() > self.deadline:
            raise OutOfTime

    def original(self, y: Any) -> np.ndarray:
        """y in the order of the SDP, on the host."""
        result = np.empty(self.variables.size)
        result[self.variables] = self.am.to_numpy(y)
        return result

    def internal(self, y: np.ndarray) -> Any:
        """y in the order of this problem, on the device."""
        return self.am.asarray(np.asarray(y, dtype=np.float64)[self.variables])

    def adjoint(self, blocks: Sequence[AbstractLevelBlocks], z: Any) -> Any:
        """sum_k F_k*(A_k) - G'z."""
        out = self.am.xp.zeros(self.c.size)
        for chain, A in zip(self.chains, blocks, strict=True):
            chain.add_adjoint(A, out)
        return out - self.G.T @ z if self.h.size else out


def compile_sdp(am: ArrayModule, sdp: SDP, *, merge: bool = True, deadline: float = math.inf) -> Compiled:
    """Terms grouped by level; variables that own exactly one term come first, level by level.

    `merge` joins small neighbouring levels (see `levels_of`).
    """
    lmis = [lmi for lmi in sdp.lmis if lmi.size]
    uses = sum(
        (np.bincount(lmi.E.tocoo().col, minlength=sdp.variables) for lmi in lmis), np.zeros(sdp.variables)
    )
    plans = [_plan(lmi, uses, merge) for lmi in lmis]
    owned = np.concatenate([np.zeros(0, dtype=np.int64), *(v for p in plans for v in p.simple_variables)])
    others = np.setdiff1d(np.arange(sdp.variables), owned)
    variables = np.concatenate([owned, others])
    position = np.empty_like(variables)
    position[variables] = np.arange(variables.size)
    start = 0
    chains = []
    for plan in plans:
        chains.append(_chain(am, plan, position, start))
        start += sum(v.size for v in plan.simple_variables)
    G = sp.csr_array(sdp.G)[:, variables]
    return Compiled(
        am=am,
        chains=chains,
        c=am.asarray(sdp.c[variables]),
        G=am.sparse(G),
        h=am.asarray(sdp.h),
        variables=variables,
        degree=sum(chain.order for chain in chains) + sdp.h.size,
        deadline=deadline,
    )


@dataclasses.dataclass
class _Plan:
    lmi: LMI
    E: sp.csr_array  # of the LMI, without stored zeros
    rows: np.ndarray
    sizes: np.ndarray
    simple_terms: list[np.ndarray]  # per level
    simple_variables: list[np.ndarray]
    shared_terms: list[np.ndarray]


def _plan(lmi: LMI, uses: np.ndarray, merge: bool) -> _Plan:
    rows, sizes = levels_of(lmi, merge)
    level = np.empty(lmi.size, dtype=np.int64)
    level[rows] = np.repeat(np.arange(sizes.size), sizes)
    E = sp.csr_array(lmi.E)
    E.eliminate_zeros()
    nonzero = (np.diff(lmi.P.indptr) > 0) & (np.diff(lmi.Q.indptr) > 0)
    per_term = np.diff(E.indptr)
    own = np.full(per_term.size, -1, dtype=np.int64)
    single = per_term == 1
    own[single] = E.indices[E.indptr[:-1][single]]
    simple = single & nonzero & (uses[own] == 1)
    last = _last_level(lmi, level)
    simple_terms, variables, shared = [], [], []
    for k in range(sizes.size):
        simple &= ~_few_wide(simple & (last == k), np.diff(lmi.P.indptr))
        here = np.flatnonzero(simple & (last == k))
        here = here[np.argsort(own[here], kind="stable")]
        simple_terms.append(here)
        variables.append(own[here])
        shared.append(np.flatnonzero(nonzero & ~simple & (last == k) & (per_term > 0)))
    return _Plan(lmi, E, rows, sizes, simple_terms, variables, shared)


def _few_wide(terms: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The terms whose p has several entries, where they are few among terms that have one.

    They go with the shared ones: a single wide column would make the level's whole P dense.
    """
    wide = terms & (entries > 1)
    return wide if 10 * wide.sum() <= terms.sum() else np.zeros_like(wide)


def _last_level(lmi: LMI, level: np.ndarray) -> np.ndarray:
    last = np.zeros(lmi.P.shape[1], dtype=np.int64)
    for factor in (lmi.P, lmi.Q):
        entries = factor.tocoo()
        np.maximum.at(last, entries.col, level[entries.row])
    return last


def _chain(am: ArrayModule, plan: _Plan, position: np.ndarray, start: int) -> LevelLMI:
    lmi, sizes = plan.lmi, plan.sizes
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    F0 = sp.csr_array(lmi.F0)[plan.rows][:, plan.rows]
    P, Q = sp.csc_array(sp.csr_array(lmi.P)[plan.rows]), sp.csc_array(sp.csr_array(lmi.Q)[plan.rows])
    E = plan.E
    diag = [am.asarray(_dense(F0, a, b, a, b)) for a, b in itertools.pairwise(bounds)]
    low = [
        am.asarray(_dense(F0, b, c, a, b)) for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False)
    ]
    levels = []
    for k in range(sizes.size):
        terms, shared = plan.simple_terms[k], plan.shared_terms[k]
        weights = E.data[E.indptr[terms]]  # of the one variable of each
        used = np.unique(E[shared].indices)
        levels.append(
            LevelTerms(
                simple=_group(am, k, bounds, P, Q, terms, weights),
                simple_variables=slice(start, start + terms.size),
                shared=_group(am, k, bounds, P, Q, shared, np.ones(shared.size)),
                shared_weights=am.asarray(
                    E[shared].tocsc()[:, used].toarray() if used.size else np.zeros((shared.size, 0))
                ),
                shared_variables=am.asarray(position[used], dtype=np.int64),
            )
        )
        start += terms.size
    equal = abs(P - Q).nnz == 0 and bool((E.data == 1.0).all()) and not any(s.size for s in plan.shared_terms)
    return LevelLMI(am, plan.rows, sizes, LevelBlocks(diag, [None, *low]), levels, equal)


def _dense(matrix: sp.csr_array, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A block; most are zero."""
    if matrix.indptr[top] == matrix.indptr[bottom]:
        return np.zeros((bottom - top, right - left))
    return np.asarray(matrix[top:bottom, left:right].toarray())


def _group(
    am: ArrayModule,
    k: int,
    bounds: np.ndarray,
    P: sp.csc_array,
    Q: sp.csc_array,
    terms: np.ndarray,
    weights: np.ndarray,
) -> Group | None:
    """The group with sym(p_a q_a') of the terms, scaled by weights (absorbed into Q)."""
    if terms.size == 0:
        return None
    P, Q = P[:, terms], Q[:, terms]
    Q.data *= np.repeat(weights, np.diff(Q.indptr))
    below = slice(bounds[k - 1], bounds[k]) if k else slice(0, 0)
    top = slice(bounds[k], bounds[k + 1])

    def part(matrix: sp.csc_array, rows: slice) -> Any:
        return factor_of(am, sp.csc_array(matrix[rows]))

    return Group(k, part(P, top), part(P, below), part(Q, top), part(Q, below), P.shape[1])
