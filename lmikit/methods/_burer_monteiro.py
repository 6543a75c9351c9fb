"""`BurerMonteiro`: exact LipSDP of large chains from its dual in factored form, with a lower bound."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .._arrays import ArrayModule, array_module
from .._errors import InputError, OptionError
from .._progress import ProgressCallback
from .._witness import Witness
from ..graph import Graph, GraphWitness
from ..graph._witness import as_norm
from ..network import Network
from ..solvers import AbstractSolver
from ._eclipse_pass import fast_pass
from ._gate_dual import GateAscent, GateChain
from ._gate_polish import corrected
from ._graph import factored_gain
from ._proposal import AbstractChainMethod, Run, proposed_witness
from ._recursion import COMPACT_RATIO, EliminatedChain, Evaluation, chain_of

__all__ = ["BurerMonteiro"]

_FIRST_RANK, _RANK_GROWTH = 20, 0.28  # columns at first: at least 20, and 0.28 sqrt(N)
_FIRST_CHECK = 40  # passes before the multipliers are tried; each later trial comes after twice as many
_LEAST_PASSES = 5  # whose multipliers are worth a trial where time runs out
_LEAST_TILT, _FIRST_TILT, _MOST_TILT = 1e-12, 4e-3, 2.0
_TILT_FACTOR = 4.0
# Corrections of multipliers (`_gate_polish`): passes before the first, and gap times hidden layers from which
# it is worth its price; passes between two of them, doubled after one that was refused; neurons beyond which
# their blocks take too much memory
_CORRECTED_FROM, _CORRECTED_GAP, _BETWEEN, _MOST_BETWEEN = 80, 0.4, 10, 40
_MOST_CORRECTED = 20_000
_CURVATURE, _LEAST_CURVATURE = 10.0, 5.0
_EASED, _TIGHTENED = 0.7, 3.0  # its factors after a step that lowers the bound, and after any other
_CURVATURE_LIMIT = 1e3  # beyond, the multipliers of the ascent are the better start
_SLOW = 0.7  # of the gap that is left after twice the passes shows that the rank is too small


@dataclasses.dataclass(frozen=True, kw_only=True)
class BurerMonteiro(AbstractChainMethod):
    """LipSDP with one multiplier per neuron to a stated gap, by products with few columns.

    ||f(x) - f(x')||^2 <= rho ||x - x'||^2, rho minimised over all T >= 0 with M(rho, T) >= 0
    (`lmikit.Witness`). The dual SDP is maximised over X = V V' with few columns, more of them where the
    gap does not close. Its iterates give multipliers (`_gate_dual`), which the least tilt
    T_k (1 + e)^(L + 1 - k) that a block Cholesky factorisation accepts moves into the feasible set. Both ends
    are known: `optimum_at_least` of the witness is the dual's value (floating point, not proven). It
    starts from EclipseFast and keeps the best point, so the bound is never above that one.

    `gap`: relative distance of the bound from the dual's value at which it stops, in (0, 1);
    `max_passes`: forward and backward passes after which it stops in any case; `array_module`: where to
    compute.
    Time: O(R sum n_k n_{k-1}) a pass with R columns (20 or 0.28 sqrt(N) at first), O(sum n_k^3) for a trial
    of multipliers, of which there are about three for every doubling of the passes; memory
    O(sum n_k n_{k-1} + R N).
    Raises OptionError for options outside these ranges, BackendMissing for a missing array module.
    Assumed, not checked: the slopes hold globally.

    Source: Burer and Monteiro (Math. Programming 2003) for X = V V'; Fazlyab et al. (NeurIPS 2019,
    Theorem 2) for M.
    """

    name: ClassVar[str] = "burer-monteiro"
    balances: ClassVar[bool] = False  # gates do not depend on the scale of a neuron
    gap: float = 1e-3
    max_passes: int = 2000
    array_module: str = "numpy"

    def __post_init__(self) -> None:
        if not 0.0 < self.gap < 1.0 or self.max_passes < 1:
            raise OptionError(
                f"gap={self.gap!r}, max_passes={self.max_passes!r}; expected a number between 0 and 1 "
                "and a positive one."
            )

    def propose_graph(
        self,
        graph: Graph,
        *,
        norm: tuple[float, float] = (2.0, 2.0),
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> GraphWitness:
        """A witness of the l2 gain of any graph without sorted groups, maps applied by their own products.

        Raises InputError for other norms, OptionError for another array module than NumPy, SolveFailed where
        no multipliers are feasible or their matrix is too large.
        """
        if as_norm(norm) != (2.0, 2.0):
            raise InputError(f"{self.label} bounds l2 gains only; LipSDP() takes the norms {norm}.")
        if self.array_module != "numpy":
            raise OptionError(f"array_module is {self.array_module!r}; expected 'numpy' for graphs.")
        return factored_gain(
            graph,
            self.label,
            gap=min(2.0 * self.gap, 0.5),  # of rho
            passes=self.max_passes,
            time_limit=time_limit,
            progress=progress,
        )

    def _proposed(self, network: Network, run: Run) -> Witness:
        chain, fast = fast_pass(chain_of(network))
        if not chain.hidden_layers or not fast.rho > 0.0:
            return proposed_witness(chain, fast, self.name)
        best, value = self._searched(chain, dataclasses.replace(fast, steps=()), run)
        lowest = math.ldexp(math.sqrt(min(value, best.rho)), sum(chain.layer_pow2))
        return dataclasses.replace(
            proposed_witness(chain, best, self.name), optimum_at_least=lowest if lowest > 0.0 else None
        )

    def _improved(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> Evaluation:
        return self._searched(chain, fast, run)[0]

    def _searched(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> tuple[Evaluation, float]:
        """(the best multipliers found, the dual's value)."""
        am = array_module(self.array_module)
        gates = GateChain(am, chain.weights, chain.centre, chain.radius)
        primal = _Primal(am, gates.weights, chain, fast)
        ascent = GateAscent(gates, max(_FIRST_RANK, round(_RANK_GROWTH * math.sqrt(gates.size))))
        floors = [k * m for k, m in zip(chain.kappa, chain.gain, strict=True)]
        scale, check, last, lower = sum(chain.layer_pow2), _FIRST_CHECK, math.inf, ascent.point.value
        corrections: _Corrections | None = None
        for count in range(1, self.max_passes + 1):
            ascent.step()
            lower = max(lower, ascent.point.value)
            run.report(_gain(primal.best.rho, scale), self.max_passes, _gain(lower, scale))
            over = run.over or count == self.max_passes
            if not (over or count == check):
                continue
            if run.over and count < _LEAST_PASSES:
                break
            if corrections is None:
                primal.tried(gates.inverse_multipliers(ascent.point.x, floors), run)
            elif not run.over:
                corrections.step(ascent, run)
            lower = max(lower, ascent.point.value)
            gap = math.sqrt(primal.best.rho / lower) - 1.0 if lower > 0.0 else math.inf
            if over or gap <= self.gap:
                break
            check = 2 * count
            if (
                corrections is None
                and _near(count, gap * chain.hidden_layers)
                and gates.size <= _MOST_CORRECTED
            ):
                corrections = _Corrections(gates, primal, floors)
            if corrections is not None:
                check = count + corrections.between
            elif gap > _SLOW * last and 2 * ascent.rank <= gates.size:
                ascent.widen(2 * ascent.rank)
            last = gap
        return primal.best, lower


def _near(count: int, gap: float) -> bool:
    return count >= _CORRECTED_FROM and gap <= _CORRECTED_GAP


class _Corrections:
    """Steps of `_gate_polish` from the best multipliers, each damped as much as the last ones needed."""

    def __init__(self, gates: GateChain, primal: "_Primal", floors: Sequence[np.ndarray]) -> None:
        self._gates, self._primal, self._floors = gates, primal, floors
        self._from: tuple[list[np.ndarray], float] | None = None  # d, rho
        self._shift, self._curvature, self.between = primal.tilt, _CURVATURE, _BETWEEN

    def step(self, ascent: GateAscent, run: Run) -> None:
        """One correction; its X becomes the point of the ascent where the value of its gates is higher."""
        gates, before, chain = self._gates, self._primal.best.rho, self._primal.chain
        d, rho = self._from or (gates.inverse_multipliers(ascent.point.x, self._floors), ascent.point.value)
        found = corrected(
            gates.am, gates.weights, (chain.centre, chain.radius), gates.values(ascent.point.x), rho, d,
            self._shift, self._curvature,
        )  # fmt: skip
        if found is not None:
            ascent.offer(gates.at(gates.gates(found.values)))
            self._primal.tried(found.d, run)
        if found is not None and self._primal.best.rho < before:
            self._from, self._shift, self.between = (found.d, found.rho), self._primal.tilt, _BETWEEN
            self._curvature = max(_EASED * self._curvature, _LEAST_CURVATURE)
            return
        self._curvature *= _TIGHTENED
        self.between = min(2 * self.between, _MOST_BETWEEN)
        if self._curvature > _CURVATURE_LIMIT:
            self._from, self._curvature = None, _CURVATURE


class _Primal:
    """The best feasible multipliers so far, and how far the last ones had to be tilted."""

    def __init__(
        self, am: ArrayModule, weights: Sequence[Any], chain: EliminatedChain, best: Evaluation
    ) -> None:
        self._am, self._weights, self.chain, self.best = am, weights, chain, best
        self.tilt = _FIRST_TILT

    def tried(self, d: Sequence[np.ndarray], run: Run) -> None:
        """Looks for the tilt of least rho, from a little less than the last one on, until `run` is over."""
        tilt = self.tilt
        rho = self._accepted(d, tilt)
        if rho is None:
            while rho is None:
                tilt *= _TILT_FACTOR
                if tilt > _MOST_TILT or run.over:
                    return
                rho = self._accepted(d, tilt)
            self._accepted(d, tilt / math.sqrt(_TILT_FACTOR))
        else:
            while tilt > _LEAST_TILT and not run.over:
                less = self._accepted(d, tilt / _TILT_FACTOR)
                if less is None or less >= rho:
                    break
                tilt, rho = tilt / _TILT_FACTOR, less
        self.tilt = max(tilt / _TILT_FACTOR, _LEAST_TILT)

    def _accepted(self, d: Sequence[np.ndarray], tilt: float) -> float | None:
        """The least rho with Lambda_k (1 + tilt)^-k, kept where it is the best; None if infeasible."""
        tilted = [x * (1.0 + tilt) ** k for k, x in enumerate(d, start=1)]
        rho = _least_rho(self._am, self._weights, self.chain, tilted)
        if rho is not None and rho < self.best.rho:
            self.best = dataclasses.replace(self.best, rho=rho, d=tuple(tilted))
        return rho


def _least_rho(
    am: ArrayModule, weights: Sequence[Any], chain: EliminatedChain, d: Sequence[np.ndarray]
) -> float | None:
    """rho of Lemma 1 of `_recursion` for Lambda_k = 1/d[k-1], nothing kept; None where it is infeasible.

    The matrices are -W X^-1 W', of which the lower triangle is used.
    """
    xp = am.xp
    first = weights[0]
    negative = am.less_gram(xp.zeros((first.shape[0], first.shape[0])), xp.ascontiguousarray(first.T))
    for k, d_k in enumerate(d):
        c, r, on_host = (am.asarray(v) for v in (chain.centre[k], chain.radius[k], d_k))
        k_matrix = negative * r * r[:, None]
        k_matrix.ravel()[:: d_k.size + 1] += on_host
        factor = am.cholesky(k_matrix)
        if factor is None:
            return None
        following = weights[k + 1]
        if (np.abs(chain.centre[k]) <= COMPACT_RATIO * chain.radius[k]).all():
            ratio = c / xp.where(r > 0.0, r, 1.0)
            v = am.solve_triangular(factor, (on_host * ratio)[:, None] * following.T)
            rest = (1.0 - ratio * ratio) * on_host
            direct = -am.product(following * rest, following.T) if bool(rest.any()) else None
        else:
            gram = -(xp.tril(negative) + xp.tril(negative, -1).T)
            v = am.product(am.solve_triangular(factor, r[:, None] * gram * c), following.T)
            inner = c[:, None] * gram * c
            inner.ravel()[:: d_k.size + 1] += on_host
            direct = -am.product(am.product(following, inner), following.T)
        if direct is None:
            direct = xp.zeros((following.shape[0], following.shape[0]))
        negative = am.less_gram(direct, v)
    full = -(xp.tril(negative) + xp.tril(negative, -1).T)
    if not bool(xp.isfinite(full).all()):
        return None
    rho = float(am.eigvalsh(full)[-1])
    return rho if rho > 0.0 else None


def _gain(rho: float, pow2: int) -> float:
    """2**pow2 sqrt(rho), infinite where that overflows."""
    return float(np.ldexp(math.sqrt(rho), pow2))
