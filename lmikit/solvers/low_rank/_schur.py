"""The Schur complement of the HKM direction, formed level by level.

For terms a, b with A_a = sym(p_a q_a'):

    S_ab = <A_a, X A_b R> = 1/4 (X_qp R_pq + X_qq R_pp + X_pp R_qq + X_pq R_qp)_ab,

where X_pq = P'X Q and so on and products are elementwise; O = E'S E. Both X and R are Markov,
so the rows X_{k,:} P of all terms up to level k follow from those of level k - 1 by one
product with G_k: about 8 N^2 n floating-point operations in all for N terms and levels of n.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..._arrays import ArrayModule
from ._chain import Markov
from ._compile import Compiled, LevelLMI, LevelTerms
from ._sandwich import Products
from ._terms import AnyFactor, Group, SelectionFactor

__all__ = ["add_inequalities", "schur_complement", "shared_diagonal", "window"]


class _Panel:
    """A_{k, :} P and A_{k, :} Q for the terms so far, for one Markov matrix A.

    No product is formed twice: where the terms of a level are rows e_a of it (p in LipSDP of ReLU), their
    columns at that level and the next are columns of blocks of A.
    """

    def __init__(self, am: ArrayModule, A: Markov, equal_factors: bool, known: Products | None) -> None:
        """`known`: the products of A that serve sandwiches, for terms that own a variable each."""
        self.am, self.A, self.sides, self.products = am, A, 1 if equal_factors else 2, known
        self.low: list[Any] = [None] * self.sides  # [P columns, Q columns] at level k - 1
        self.top: list[Any] = [None] * self.sides  # at level k
        self.group: Group | None = None  # whose columns are the last ones
        self.before: Group | None = None  # those of level k - 1, just before them
        self.diag: list[Any] = []  # A_{k-1,k-1} F for the lower parts F of P and Q of the group
        self.across: list[Any] = []  # A_{k,k-1} F

    def advance(self, k: int, group: Group | None) -> None:
        """Go to level k and append the columns of `group`."""
        A, new = self.A, [] if group is None else _sides(group)[: self.sides]
        self._lower(k, group, [low if k else None for _, low in new])
        for side, old in enumerate(self.top):
            low, top = old, None if old is None else self._moved(k, side, old)
            if group is not None:
                f = new[side][0]
                top = self._joined(top, _sum(_right(f, A.diag[k]), self.across[side]))
                if k:
                    low = self._joined(low, _sum(_right(f, A.low[k].T), self.diag[side]))
            self.low[side], self.top[side] = low, top
        self.before, self.group = self.group, group

    def _lower(self, k: int, group: Group | None, below: list[AnyFactor]) -> None:
        """A F for the lower parts F; for that of Q it is twice what sandwiches hold transposed (U = F'/2)."""
        inner = across = None
        if self.products is not None and group is not None and group.plain_rows():
            inner, across = self.products.inner[k], self.products.across[k]
        self.diag, self.across = (
            [None if f is None else f.right(B) if half is None else 2.0 * half.T for f in below]
            for B, half in ((self.A.diag[k - 1], inner), (self.A.low[k], across))
        )

    def _moved(self, k: int, side: int, old: Any) -> Any:
        """G_k times the columns `old` of level k - 1."""
        chosen = _chosen(self.group, side)
        if chosen is None:
            return self.am.product(self.A.G[k], old)
        older = old.shape[1] - chosen.columns
        moved = self.am.product(self.A.G[k], old[:, :older]) if older else None
        return self._joined(moved, chosen.right(self.A.low[k]))

    def rows(self, group: Group, columns: slice) -> tuple[Any, ...]:
        """P'A P, P'A Q, Q'A P, Q'A Q between the rows of `group` and the columns so far."""
        result = []
        for row, (f_top, f_low) in enumerate(_sides(group)[: self.sides]):
            for side, top in enumerate(self.top):
                part = None if f_top is None else f_top.left(top[:, columns])
                below = None if f_low is None else self._below(group, row, f_low, side, columns)
                result.append(_sum(part, below))
        return tuple(result)

    def _below(self, group: Group, row: int, f: AnyFactor, side: int, columns: slice) -> Any:
        """F'A between the lower part of P or Q of `group` and the columns of P or Q."""
        assert f is not None
        low, own = self.low[side][:, columns], _chosen(group, side)
        if group is not self.group or own is None or low.shape[1] < self.low[side].shape[1]:
            return f.left(low)  # the last columns, which are known already, may not be among these
        last, older = own.right(self.across[row].T), low.shape[1] - own.columns
        earlier = _chosen(self.before, side)
        if earlier is not None:
            older -= earlier.columns
            last = self._joined(earlier.right(self.diag[row].T), last)
        return self._joined(f.left(low[:, :older]) if older else None, last)

    def _joined(self, left: Any, right: Any) -> Any:
        return right if left is None else self.am.xp.concatenate([left, right], axis=1)


def _sides(group: Group) -> list[tuple[AnyFactor, AnyFactor]]:
    """(top, low) of P and of Q."""
    return [(group.P_top, group.P_low), (group.Q_top, group.Q_low)]


def _chosen(group: Group | None, side: int) -> SelectionFactor | None:
    """The factor of P or Q where its columns are single rows of their own level."""
    top, low = (None, None) if group is None else _sides(group)[side]
    return top if low is None and isinstance(top, SelectionFactor) else None


def _right(f: AnyFactor, A: Any) -> Any | None:
    return None if f is None else f.right(A)


def _sum(a: Any | None, b: Any | None) -> Any:
    """Of what is not None; terms with p = 0 or q = 0 were dropped."""
    return b if a is None else a if b is None else a + b


def _combine(x: tuple[Any, ...], r: tuple[Any, ...]) -> Any:
    """The elementwise formula above; fresh storage."""
    if len(x) == 1:
        return x[0] * r[0]
    xp_p, xp_q, xq_p, xq_q = x
    rp_p, rp_q, rq_p, rq_q = r
    S = xq_p * rp_q
    buffer = xq_q * rp_p
    S += buffer
    for a, b in ((xp_p, rq_q), (xp_q, rq_p)):
        buffer[...] = a
        buffer *= b
        S += buffer
    S *= 0.25
    return S


def schur_complement(
    chains: Sequence[LevelLMI],
    X: list[Markov],
    R: list[Markov],
    out: Any,
    check_time: Callable[[], None] = lambda: None,
    known: Sequence[tuple[Products, Products]] | None = None,
) -> None:
    """out (m, m) := the sum over the LMIs; only its lower triangle is meaningful.

    `known`: the products of each X and R that sandwiches use, where they have been formed.
    """
    out[...] = 0.0
    for k, (chain, x, r) in enumerate(zip(chains, X, R, strict=True)):
        _add_chain(chain, x, r, out, check_time, (None, None) if known is None else known[k])


def _add_chain(
    chain: LevelLMI,
    X: Markov,
    R: Markov,
    out: Any,
    check_time: Callable[[], None],
    known: tuple[Products | None, Products | None],
) -> None:
    simple, shared = _panels(chain, X, R, known), _panels(chain, X, R)
    start = chain.levels[0].simple_variables.start
    seen: list[tuple[slice, LevelTerms]] = []  # the columns of `shared` by level
    count = 0
    for k, level in enumerate(chain.levels):
        check_time()
        for panel in simple:
            panel.advance(k, level.simple)
        for panel in shared:
            panel.advance(k, level.shared)
        if level.shared is not None:
            seen.append((slice(count, count + level.shared.size), level))
            count += level.shared.size
        if level.simple is not None:
            _simple_rows(level, level.simple, simple, shared, seen, start, out)
        if level.shared is not None:
            _shared_rows(level, level.shared, simple, shared, seen, start, out)


def _tile(panels: list[_Panel], group: Group, columns: slice) -> Any:
    return _combine(panels[0].rows(group, columns), panels[1].rows(group, columns))


def _simple_rows(
    level: LevelTerms,
    group: Group,
    simple: list[_Panel],
    shared: list[_Panel],
    seen: list[tuple[slice, LevelTerms]],
    start: int,
    out: Any,
) -> None:
    rows = level.simple_variables
    out[rows, start : rows.stop] += _tile(simple, group, slice(0, rows.stop - start))
    for columns, other in seen:
        tile = _tile(shared, group, columns) @ other.shared_weights
        out[other.shared_variables, rows] += tile.T


def _shared_rows(
    level: LevelTerms,
    group: Group,
    simple: list[_Panel],
    shared: list[_Panel],
    seen: list[tuple[slice, LevelTerms]],
    start: int,
    out: Any,
) -> None:
    before = level.simple_variables.start
    variables, weights = level.shared_variables, level.shared_weights
    if before > start:
        out[variables, start:before] += weights.T @ _tile(simple, group, slice(0, before - start))
    for columns, other in seen:
        tile = weights.T @ _tile(shared, group, columns) @ other.shared_weights
        out[variables[:, None], other.shared_variables] += tile
        if other is not level:
            out[other.shared_variables[:, None], variables] += tile.T


def add_inequalities(problem: Compiled, weights: Any, out: Any) -> None:
    """out += G'diag(weights)G."""
    if problem.h.size:
        problem.am.add_gram(problem.G, weights, out)


def shared_diagonal(chain: LevelLMI, X: Markov, R: Markov, out: Any) -> None:
    """out += the diagonal of E'S E for the variables that share terms, as far as single levels know it."""
    for k, level in enumerate(chain.levels):
        if level.shared is not None:
            panels = _panels(chain, X, R)
            for panel in panels:
                panel.advance(k, level.shared)
            tile = _tile(panels, level.shared, slice(None))
            weights = level.shared_weights
            out[level.shared_variables] += (weights * (tile @ weights)).sum(axis=0)


def window(chain: LevelLMI, X: Markov, R: Markov, first: int, last: int) -> tuple[slice, Any]:
    """(variables, principal submatrix of E'S E) for the simple variables of levels first..last.

    Only the lower triangle is meaningful.
    """
    levels = chain.levels[first : last + 1]
    start, stop = levels[0].simple_variables.start, levels[-1].simple_variables.stop
    out = chain.am.xp.zeros((stop - start, stop - start))
    panels = _panels(chain, X, R)
    for k, level in enumerate(levels, start=first):
        for panel in panels:
            panel.advance(k, level.simple)
        if level.simple is not None:
            rows = slice(level.simple_variables.start - start, level.simple_variables.stop - start)
            out[rows, : rows.stop] = _tile(panels, level.simple, slice(0, rows.stop))
    return slice(start, stop), out


def _panels(
    chain: LevelLMI, X: Markov, R: Markov, known: tuple[Products | None, Products | None] = (None, None)
) -> list[_Panel]:
    return [_Panel(chain.am, A, chain.equal_factors, p) for A, p in zip((X, R), known, strict=True)]
