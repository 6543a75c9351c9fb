"""LipSDP of graphs from its dual in factored form: the gates' multipliers, tilted until they are feasible.

The ascent of `_graph_gates` gives a lower end and multipliers Lambda; Q(Lambda) of
`lmikit.formulations.graph.OutputGain` gives the least rho for them, if they are feasible. Lambda_k
(1 + e)^-depth, depth the number of nonlinear nodes on the longest path to node k and with it, are feasible
for some e: the constraints of all nodes up to a depth leave rho |x|^2 + (their forms) >= 0 (let the others
follow w = c v, where their forms are <= 0), and a tilt adds a positive multiple of each of these sums.
"""

import math

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError
from .._progress import ProgressCallback
from ..formulations.graph import OutputGain
from ..formulations.graph._gain import spread
from ..graph import Graph, GraphWitness, Part
from ..graph._form import EliminatedForm
from ._gate_dual import GateAscent
from ._graph_gates import GateGraph
from ._output_newton import OutputOptimum
from ._proposal import Run

__all__ = ["dual_gain", "factored_optimum", "factored_witness", "gap_of_graph"]

_STAGE = "burer-monteiro"
_PASSES = 320  # what has not come near enough by then rarely does
_LARGEST_DENSE = 6000  # rows of the matrix that a trial of multipliers factorises
_HEADROOM = 1e-8  # relative, in rho, and once more per 1000 neurons, for the proof

_FIRST_RANK, _RANK_GROWTH = 20, 0.28  # columns at first: at least 20, and 0.28 sqrt(N) up to
_LARGEST_RANK = 64  # this many
_FIRST_CHECK = 40  # passes before multipliers are tried, and again after twice as many, or as soon as
_HOPE = 0.5  # times the gap that is wanted is what the iteration's residual lets one expect
_FIRST_TILT, _LEAST_TILT, _MOST_TILT = 1e-4, 1e-12, 2.0
_FACTOR = 4.0  # between tilts that are tried, and its root where that may end the search
_SLOW = 0.7  # of the gap that is left after twice the passes shows that the rank is too small
_SMALL_BLOCK = 1024  # rows up to which one BLAS thread is quicker
_SETTLED = 1e-10  # relative change of the value in a pass after which `dual_gain` has seen enough


def dual_gain(graph: Graph, run: Run, passes: int) -> float | None:
    """What every L that one multiplier per neuron can show is at least, up to rounding; nothing is unrolled.

    None where a nonlinearity on groups has no gates, or the output does not move. At the end of `run` and
    after `passes` the best so far is returned.
    """
    try:
        gates = GateGraph(graph)
    except InputError:
        return None
    ascent, best = GateAscent(gates, _rank(gates.size)), 0.0
    for count in range(1, passes + 1):
        if run.over:
            break
        ascent.step()
        before, best = best, max(best, ascent.point.value)
        if count > 2 * _FIRST_CHECK and best <= before * (1.0 + _SETTLED):
            break
    return math.sqrt(best) if best > 0.0 and math.isfinite(best) else None


def factored_witness(
    form: EliminatedForm,
    label: str,
    *,
    gap: float,
    time_limit: float | None,
    progress: ProgressCallback | None,
    passes: int = _PASSES,
) -> GraphWitness | None:
    """A witness with both ends; None for groups, large matrices, and where no multipliers were feasible."""
    try:
        gain = OutputGain(form)
    except InputError:
        return None
    if gain.rows > _LARGEST_DENSE:
        return None
    with blas_threads(1 if gain.rows <= _SMALL_BLOCK else None), np.errstate(all="ignore"):
        found = factored_optimum(gain, Run(_STAGE, time_limit, progress), gap, passes)
    if found is None:
        return None
    rho = found.rho * (1.0 + _HEADROOM * (1.0 + gain.variables / 1000.0))
    part = Part(np.array([rho]), np.ones(1), spread(form, rho * found.multipliers))
    lowest = math.sqrt(found.rho_at_least) if found.rho_at_least > 0.0 else None
    return GraphWitness(
        "dissipation",
        parts=(part,),
        produced_by=label,
        optimum_at_least=lowest,
    )


def gap_of_graph(witness: GraphWitness) -> float:
    """Relative, in rho, of an l2 gain to `optimum_at_least`."""
    rho = float(witness.parts[0].d_in[0] * witness.parts[0].d_out[0])
    return 1.0 - (witness.optimum_at_least or 0.0) ** 2 / rho


def factored_optimum(gain: OutputGain, run: Run, gap: float, passes: int) -> OutputOptimum | None:
    """Multipliers with rho within `gap` (relative) of the dual's value, or the best within these passes.

    None where no tilt was feasible.
    """
    gates = GateGraph(gain.form.graph)
    ascent, trials = GateAscent(gates, _rank(gates.size)), _Trials(gain, gates)
    check, last, expected = _FIRST_CHECK, math.inf, math.inf
    for count in range(1, passes + 1):
        ascent.step()
        trials.lower = max(trials.lower, ascent.point.value)
        over = run.over or count == passes
        residual = float(np.linalg.norm(ascent.point.image - ascent.point.x))
        if not (over or count == check or expected * residual <= _HOPE * gap):
            continue
        trials.tried(ascent.point.x, residual, gap, run)
        left, expected = trials.gap, trials.gap / max(residual, 1e-300)
        if trials.best is not None:
            run.report(math.sqrt(trials.best.rho), passes, math.sqrt(trials.lower))
        if over or left <= gap:
            break
        if count >= check:
            if left > _SLOW * last and 2 * ascent.rank <= gates.size:
                ascent.widen(2 * ascent.rank)
            check, last = 2 * count, left
        elif left > gap:
            expected = math.inf  # it promised too much
    return trials.found


class _Trials:
    """The best feasible multipliers so far, the dual's value, and how far the last ones were tilted."""

    def __init__(self, gain: OutputGain, gates: GateGraph) -> None:
        self._gain, self._gates = gain, gates
        self.lower, self._per_residual = 0.0, math.inf
        self.best: OutputOptimum | None = None
        self._depth = np.concatenate(
            [np.full(gain.sizes[k], float(gates.bends[k].depth)) for k in gain.nodes]
        )

    @property
    def gap(self) -> float:
        """Relative, in rho."""
        return math.inf if self.best is None else 1.0 - self.lower / self.best.rho

    @property
    def found(self) -> OutputOptimum | None:
        """The best with the dual's value beside it."""
        if self.best is None:
            return None
        return OutputOptimum(self.best.multipliers, self.best.rho, min(self.lower, self.best.rho))

    def tried(self, x: np.ndarray, residual: float, goal: float, run: Run) -> None:
        """Looks for the tilt of least rho until `run` is over or the gap is at most `goal`.

        It falls with the iteration's residual, so that the search begins where the last one would be now.
        """
        weights, half = self._weights(x), math.sqrt(_FACTOR)

        def at(tilt: float) -> float:
            return self._accepted(weights * (1.0 + tilt) ** -self._depth)

        tilt = min(max(self._per_residual * residual, _LEAST_TILT), _FIRST_TILT)
        rho = at(tilt)
        while math.isinf(rho) and tilt < _MOST_TILT and not run.over:
            tilt *= _FACTOR
            rho = at(tilt)
        if math.isinf(rho):
            return
        for factor in (1.0 / _FACTOR, _FACTOR):
            before = tilt
            while self.gap > goal and _LEAST_TILT < tilt * factor < _MOST_TILT and not run.over:
                less = at(tilt * factor)
                if not less < rho:
                    break
                tilt, rho = tilt * factor, less
            if tilt != before:  # it fell on this side, and does not on the other
                break
        if goal < self.gap <= _FACTOR * goal:
            tilt = min((rho, tilt), *((at(t), t) for t in (tilt / half, tilt * half)))[1]
        self._per_residual = tilt / max(residual, 1e-300)

    def _weights(self, x: np.ndarray) -> np.ndarray:
        """Lambda of the kept channels, node by node."""
        form, parts = self._gain.form, []
        _, found = self._gates.multipliers(x)
        for k in self._gain.nodes:
            bend, full = self._gates.bends[k], np.zeros(form.graph.nodes[k].size)
            full[slice(None) if bend.channels is None else bend.channels] = found[k]
            parts.append(full[form.kept[k]])
        return np.concatenate(parts)

    def _accepted(self, multipliers: np.ndarray) -> float:
        """The least rho for them, kept where it is the best; infinite if they are not feasible."""
        point = self._gain.at(multipliers)
        if point is None or not (math.isfinite(point.rho) and point.rho > 0.0):
            return math.inf
        if self.best is None or point.rho < self.best.rho:
            self.best = OutputOptimum(multipliers, point.rho, 0.0)
        return point.rho


def _rank(size: int) -> int:
    return min(max(_FIRST_RANK, round(_RANK_GROWTH * math.sqrt(size))), _LARGEST_RANK)
