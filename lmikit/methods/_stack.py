"""Exact LipSDP of small chains of equal shapes, together: the driver of `_gate_stack`."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from .._arrays import ArrayModule, array_module, blas_threads
from .._witness import Witness
from ..network import Network
from ._gate_stack import GateStack, StackAscent, feasible_tilts
from ._proposal import Run, proposed_witness
from ._recursion import EliminatedChain, Evaluation, chain_of

__all__ = ["stacked_optima"]

_RANK = 8  # columns at first
_EVERY = 4  # passes between looks at which gates have stopped
_STILL = 0.3  # of the gap: gates that move less give multipliers worth a trial
_NEXT = 0.1  # of that, before they are tried again
_TRIED_ANYWAY = (40, 80, 160, 320)  # passes; gates on which little depends may stop late
_WIDENED = (80, 160)  # passes after which more columns are given to what is still open
_FIRST_TILT, _LEAST_TILT = 4e-3, 1e-9


def stacked_optima(
    networks: Sequence[Network],
    gap: float,
    run: Run,
    *,
    max_passes: int,
    name: str,
    am: ArrayModule | None = None,
) -> list[Witness | None]:
    """One witness per network, all of equal shapes with dense maps; None where no multipliers were feasible.

    `optimum_at_least` is the dual's value; a witness whose bound is within `gap` of it is no further
    improved. `run` ends the search early, with what there is; it is told of the first network. Assumes
    entries whose squares are in range, as reductions leave them.
    """
    chains = [chain_of(network) for network in networks]
    with blas_threads(1), np.errstate(all="ignore"):
        search = _Searches(am or array_module(), chains, gap)
        for count in range(1, max_passes + 1):
            search.ascent.step()
            over = run.over or count == max_passes
            run.report(*search.ends_of_first(max_passes))
            if over or count % _EVERY == 0:
                search.tried(everything=over or count in _TRIED_ANYWAY)
            if over or not search.active.size:
                break
            if count in _WIDENED:
                search.widen()
    return [
        None if at is None else _witness(chain, at, float(lower), name)
        for chain, at, lower in zip(chains, search.best, search.lower, strict=True)
    ]


class _Searches:
    """The chains that are still open, and the best multipliers of all."""

    def __init__(self, am: ArrayModule, chains: Sequence[EliminatedChain], gap: float) -> None:
        self._gap = gap
        self.best: list[Evaluation | None] = [None] * len(chains)
        self.lower = np.zeros(len(chains))
        self.active = np.arange(len(chains))
        self._due = np.full(len(chains), _STILL * gap)
        self.ascent = StackAscent(GateStack(am, chains), _RANK)

    def tried(self, everything: bool) -> None:
        """Multipliers of the chains whose gates have nearly stopped, or of all; what is settled leaves."""
        moving = self.ascent.moving()
        chosen = np.flatnonzero(everything | (moving <= self._due[self.active]))
        if not chosen.size:
            return
        stack, point = self.ascent.stack.chosen(chosen), self.ascent.point
        first = np.clip(moving[chosen], _LEAST_TILT, _FIRST_TILT)
        inverse = stack.inverse_multipliers(point.x[chosen])
        rho, tilt = feasible_tilts(stack, inverse, first)
        host = [stack.am.to_numpy(d) for d in inverse]
        value = stack.am.to_numpy(point.value)[chosen]
        members = self.active[chosen]
        self.lower[members] = np.maximum(self.lower[members], value)
        self._due[members] = _NEXT * moving[chosen]
        for i in np.flatnonzero(np.isfinite(rho)):
            at = self.best[members[i]]
            if at is None or rho[i] < at.rho:
                d = tuple(x[i] * (1.0 + tilt[i]) ** k for k, x in enumerate(host, start=1))
                self.best[members[i]] = Evaluation(float(rho[i]), np.zeros(0), (), d)
        open_ = np.array([not self._settled(int(k)) for k in self.active])
        if not open_.all():
            self.active = self.active[open_]
            if self.active.size:
                self.ascent.keep(np.flatnonzero(open_))

    def _settled(self, k: int) -> bool:
        at, lower = self.best[k], self.lower[k]
        return at is not None and lower > 0.0 and math.sqrt(at.rho / lower) - 1.0 <= self._gap

    def widen(self) -> None:
        if 2 * self.ascent.rank <= self.ascent.stack.size:
            self.ascent.widen(2 * self.ascent.rank)

    def ends_of_first(self, total: int) -> tuple[float, int, float]:
        """(upper end, passes, lower end) of the first network's bound, in its own unit."""
        at, lower = self.best[0], self.lower[0]
        if self.active.size and self.active[0] == 0:
            lower = max(lower, float(self.ascent.point.value[0]))
        return math.inf if at is None else math.sqrt(at.rho), total, math.sqrt(lower)


def _witness(chain: EliminatedChain, at: Evaluation, lower: float, name: str) -> Witness:
    lowest = math.sqrt(min(lower, at.rho))
    found = proposed_witness(chain, at, name)
    return dataclasses.replace(found, optimum_at_least=lowest if lowest > 0.0 else None)
