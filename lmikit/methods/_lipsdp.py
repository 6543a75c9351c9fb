"""`LipSDP`: the best bound that diagonal multipliers show, by a semidefinite program."""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from typing import ClassVar, Literal

from .._errors import LmikitError, OptionError
from .._progress import ProgressCallback
from .._witness import Witness
from ..formulations import ChordalLipSDP, JointLipSDP, LoopLipSDP
from ..formulations.iqc import check_multipliers
from ..graph import Graph, GraphWitness
from ..graph._witness import as_norm
from ..lmi import Status
from ..network import Network, is_wide
from ..reductions import BALANCED, REDUCTIONS, LayerPowers, Prepared, as_stored, prepare, scale_witness
from ..solvers import AbstractSolver, Clarabel, LowRank
from ._base import AbstractMethod
from ._burer_monteiro import BurerMonteiro
from ._closed_form import ClosedForm
from ._eclipse_fast import EclipseFast
from ._graph import solved_gain, solved_norms
from ._output_witness import chain_optimum, gap_of, suits_output
from ._polish import polished
from ._proposal import Run, smaller_witness
from ._spectral import SpectralProduct, one_norm
from ._stack import stacked_optima
from ._start import closed_form_start

__all__ = ["LipSDP", "default_solver"]


_LEAST_LIMIT = 0.5  # seconds: on a busy machine less would leave even small networks unfinished
_INSIDE = 0.5  # the start's F, relative to its least rho: strictly feasible
_NEAR_ENOUGH = 4.0  # times the tolerance: a gap from which no other solver is asked
# Neurons from which the dual in factored form is worked on by itself, and from which nothing else is tried.
_FACTORED, _ONLY_FACTORED = 300, 10_000
_DEEPEST_STACKED = 10  # hidden layers of small networks; the gates of deep narrow ones stop late
_MOST_STACKED = 64  # networks at once: beyond it nothing is gained, and arrays leave the cache
_STACKED_PASSES, _FACTORED_PASSES = 160, 2000  # what has not come near enough by then rarely does
_WITHIN = 0.25  # of what is near enough in rho, twice of it: the headroom of proposals comes on top
_FACTORED_GAP = 1e-3  # of networks beyond the reach of other solvers, where no tolerance is given
_LEAST_FACTORED = 1e-8  # a tolerance that the headroom of its proposals would hide


def default_solver(tol: float | None) -> AbstractSolver:
    """The solver of a method that was given none."""
    return LowRank() if tol is None else LowRank(tol=tol)


def _for_chordal(tol: float | None) -> AbstractSolver:
    return Clarabel() if tol is None else Clarabel(tol=tol)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LipSDP(AbstractMethod):
    """min sqrt(rho) over M(rho, T) >= 0 (see `lmikit.Witness`), T diagonal.

    `multipliers`: "neuron", one per neuron, or "layer", one per layer (fewer variables, a looser
    bound). `tol` is the tolerance of the default solver; a solver that is passed to `propose`
    keeps its own. `chordal` hands over one LMI per pair of layers instead of one for all: for
    solvers that do not use sparsity themselves (SCS, MOSEK) on deep networks; its default solver
    is Clarabel, LowRank otherwise.

    The network is reduced first (dead neurons, linear layers, rank) and its layers are scaled by
    powers of two until a closed-form bound is near 1; with "neuron" single neurons are scaled too where
    they differ widely. Without a solver, networks of at most 10 hidden layers or at least 300 neurons are
    solved by `BurerMonteiro`'s iteration; where that does not come within twice the tolerance, by Newton's
    method on the output's matrix (up to three wide hidden layers, 8 to 20 outputs) or by LowRank. Beyond
    10,000 neurons its bound stands, at a gap of 0.1 % if `tol` is not given.
    A network with a sparse layer that is too large for dense blocks gets the product of
    norms instead. Linear neurons in a layer with others are eliminated exactly. A point that the
    solver left infeasible or, with "neuron", above its own lower bound is made feasible and improved by
    `NeuronScaling`'s ascent. Raises OptionError for other options, SolveFailed where the solver has no
    usable point. Assumes that the slopes hold globally.

    Fazlyab, Robey, Hassani, Morari, Pappas, NeurIPS 2019, Theorem 2, diagonal multipliers only.
    """

    multipliers: Literal["neuron", "layer"] = "neuron"
    tol: float | None = None
    chordal: bool = False
    name: ClassVar[str] = "lipsdp"
    uses_solver: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_multipliers(self.multipliers)
        if self.tol is not None and not 0.0 < self.tol < 1.0:
            raise OptionError(f"tol is {self.tol!r}; expected a number between 0 and 1, or None.")

    @property
    def label(self) -> str:
        return f"LipSDP ({self.multipliers})"

    @property
    def cli_name(self) -> str:
        return self.name if self.multipliers == "neuron" else f"{self.name}-{self.multipliers}"

    @property
    def start(self) -> AbstractMethod:
        """The closed form with the same freedom: one multiplier per neuron, or one per layer."""
        return ClosedForm() if self.multipliers == "neuron" else EclipseFast()

    def propose(
        self,
        network: Network,
        *,
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Witness:
        """A witness at the optimum; `time_limit` (seconds) bounds the solver's part of the work.

        Limits below half a second count as half a second: small networks are then solved whatever the limit.
        """
        time_limit = None if time_limit is None else max(time_limit, _LEAST_LIMIT)
        clock = _Clock(time_limit)
        if any(is_wide(layer.linear) for layer in network.layers):
            witness = SpectralProduct().propose(network)
            return dataclasses.replace(witness, produced_by=f"{self.label}, norms of wide layers")
        small = self._small(network, clock, progress) if solver is None and self._stacks(network) else None
        if small is not None and (clock.over or self._near(small)):
            return small
        prepared = prepare(network, BALANCED if self.multipliers == "neuron" else REDUCTIONS)
        if not prepared.network.hidden_layers:  # linear: one norm, nothing to solve
            witness = one_norm(prepared.network)
            return prepared.undo(dataclasses.replace(witness, produced_by=f"{self.label}, one norm"))
        factored = self._factored(prepared.network, clock, progress) if solver is None else None
        if factored is not None and self._settled(factored, clock):
            return prepared.undo(factored)
        start = closed_form_start(prepared.network, self.multipliers, time_limit)
        if factored is not None:
            start = as_stored(smaller_witness(start, factored))
        levels = LayerPowers.to_levels(prepared.network, start)
        start = scale_witness(start, levels.powers)
        found = self._by_output(levels.network, start, clock, progress) if solver is None else None
        witness = found or self._solved(levels.network, start, solver, clock, progress)
        witness = prepared.undo(levels.undo(witness))
        return witness if small is None else smaller_witness(witness, small)

    def propose_together(self, networks: Sequence[Network]) -> list[Witness | None]:
        """Witnesses of small networks, those whose reduced shapes are equal by the same calls.

        None where that does not reach the tolerance or does not suit (one multiplier per layer, 300 neurons,
        over 10 hidden layers, wide maps): there `propose` is to be asked.
        """
        found: list[Witness | None] = [None] * len(networks)
        groups: dict[tuple[int, ...], list[tuple[int, Prepared[Network, Witness]]]] = {}
        for index, network in enumerate(networks):
            if not self._stacks(network):
                continue
            with contextlib.suppress(LmikitError):
                prepared = _for_gates(network)
                groups.setdefault(prepared.network.dims, []).append((index, prepared))
        for members in groups.values():
            for first in range(0, len(members), _MOST_STACKED):
                part = members[first : first + _MOST_STACKED]
                witnesses = self._stacked([p.network for _, p in part], Run(self.name, None, None))
                for (index, prepared), witness in zip(part, witnesses, strict=True):
                    if witness is not None and self._near(witness):
                        found[index] = prepared.undo(witness)
        return found

    def _factored(
        self, network: Network, clock: "_Clock", progress: ProgressCallback | None
    ) -> Witness | None:
        """What the dual in factored form gives; None for networks that are too small for it."""
        if self.multipliers != "neuron" or self.chordal or sum(network.dims[1:-1]) < _FACTORED:
            return None
        if sum(network.dims[1:-1]) > _ONLY_FACTORED:
            method = BurerMonteiro(gap=_FACTORED_GAP if self.tol is None else 0.5 * self.tol)
        elif self._tol < _LEAST_FACTORED:
            return None
        else:
            gap = _WITHIN * self._tol * _NEAR_ENOUGH
            method = BurerMonteiro(gap=gap, max_passes=_FACTORED_PASSES)
        found = method.propose(network, time_limit=clock.left(), progress=progress)
        return dataclasses.replace(found, produced_by=f"{self.label}, {method.label}")

    def _stacks(self, network: Network) -> bool:
        """Whether `_small` and `propose_together` suit it."""
        suits = self.multipliers == "neuron" and not self.chordal and self._tol >= _LEAST_FACTORED
        small = sum(network.dims[1:-1]) < _FACTORED and 1 <= network.hidden_layers <= _DEEPEST_STACKED
        return suits and small and not any(is_wide(layer.linear) for layer in network.layers)

    def _small(self, network: Network, clock: "_Clock", progress: ProgressCallback | None) -> Witness | None:
        """What the dual in factored form gives for one small network."""
        prepared = _for_gates(network)
        run = Run(BurerMonteiro.name, clock.left(), progress)
        (found,) = self._stacked([prepared.network], run)
        return None if found is None else prepared.undo(found)

    def _stacked(self, networks: Sequence[Network], run: Run) -> list[Witness | None]:
        """The same for prepared networks of equal shapes; nothing for linear ones."""
        if not networks[0].hidden_layers:
            return [None] * len(networks)
        name, gap = f"{self.label}, {BurerMonteiro().label}", 0.5 * self._tol * _NEAR_ENOUGH
        return stacked_optima(networks, gap, run, max_passes=_STACKED_PASSES, name=name)

    def _near(self, found: Witness) -> bool:
        return gap_of(found) <= _NEAR_ENOUGH * self._tol

    def _settled(self, found: Witness, clock: "_Clock") -> bool:
        """Whether no other solver would improve on it: near the dual's value, out of time or out of reach."""
        large = sum(t.size for t in found.multipliers) > _ONLY_FACTORED
        return large or clock.over or self._near(found)

    @property
    def _tol(self) -> float:
        return LowRank().tol if self.tol is None else self.tol

    def _by_output(
        self, scaled: Network, start: Witness, clock: "_Clock", progress: ProgressCallback | None
    ) -> Witness | None:
        """What Newton's method on the output's matrix finds, where it suits and reaches the tolerance."""
        if self.multipliers != "neuron" or self.chordal or not suits_output(scaled):
            return None
        found = chain_optimum(scaled, start, tolerance=self._tol, time_limit=clock.left(), progress=progress)
        if found is None or not (self._near(found) or clock.over):
            return None
        return dataclasses.replace(found, produced_by=f"{self.label}, {found.produced_by}")

    def _solved(
        self,
        scaled: Network,
        start: Witness,
        solver: AbstractSolver | None,
        clock: "_Clock",
        progress: ProgressCallback | None,
    ) -> Witness:
        form = self._formulation(scaled)
        warm = None if isinstance(form, ChordalLipSDP) else form.point(start, _INSIDE)
        if solver is None:
            solver = _for_chordal(self.tol) if self.chordal else default_solver(self.tol)
        solution = solver.solve(form.sdp(), warm_start=warm, time_limit=clock.left(), progress=progress)
        witness = dataclasses.replace(
            form.witness(solution), produced_by=f"{self.label}, {solution.solver or type(solver).__name__}"
        )
        # a solver that says it is done and gives no bound of its own is taken at its word
        done = solution.status is Status.SOLVED and witness.optimum_at_least is None
        ascend = self.multipliers == "neuron" and not done
        return polished(scaled, witness, start, ascend=ascend, time_limit=clock.left(), progress=progress)

    def propose_graph(
        self,
        graph: Graph,
        *,
        norm: tuple[float, float] = (2.0, 2.0),
        solver: AbstractSolver | None = None,
        time_limit: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> GraphWitness:
        """A witness for any graph and norms; the SDP has levels of nodes, one multiplier per channel.

        Without a solver, the l2 gain comes from the dual in factored form, as `BurerMonteiro`'s, where that
        closes the gap; groups and other norms are LowRank's or Clarabel's.

        Raises OptionError for one multiplier per layer and for `chordal`, which graphs do not have.
        """
        if self.multipliers != "neuron" or self.chordal:
            raise OptionError("graphs and other norms take LipSDP(multipliers='neuron', chordal=False).")
        norm = as_norm(norm)
        if norm == (2.0, 2.0):
            return solved_gain(
                graph, self.label, solver=solver, tol=self.tol, time_limit=time_limit, progress=progress
            )
        return solved_norms(
            graph, norm, self.label, solver=solver, tol=self.tol, time_limit=time_limit, progress=progress
        )

    def _formulation(self, network: Network) -> JointLipSDP | ChordalLipSDP | LoopLipSDP:
        if any((alpha == beta).any() for alpha, beta in network.slopes):
            return LoopLipSDP(network, self.multipliers, centred=False)
        return (ChordalLipSDP if self.chordal else JointLipSDP)(network, self.multipliers)


def _for_gates(network: Network) -> Prepared[Network, Witness]:
    """Only what shapes and zeros show: gates do not depend on the scale of a neuron."""
    return prepare(network, REDUCTIONS, thorough=False)


class _Clock:
    """Seconds left of a limit; never less than a millisecond, so that the best point so far comes back."""

    def __init__(self, limit: float | None) -> None:
        self._limit, self._started = limit, time.perf_counter()

    @property
    def over(self) -> bool:
        return self._limit is not None and time.perf_counter() - self._started >= self._limit

    def left(self) -> float | None:
        if self._limit is None:
            return None
        return max(self._limit - (time.perf_counter() - self._started), 1e-3)
