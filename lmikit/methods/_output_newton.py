"""Best multipliers of a graph by a truncated Newton method: a barrier on the output's matrix alone.

With Q(Lambda) of `lmikit.formulations.graph.OutputGain`, matrix-convex, the central points of

    min rho  s.t.  rho I - Q(Lambda) > 0:      min over Lambda, rho of  t rho - log det(rho I - Q(Lambda))

are within m / t of the least rho, m the order of Q: as few outputs as that is, so few digits are lost to the
barrier. Steps are halved until the barrier falls, so that every iterate is strictly feasible; a neuron whose
multiplier falls takes 1 / (1 - s) for 1 + s, which stays positive.

Q hardly sees some directions in which Z may become singular. The r columns J along which Z is least definite
count in the barrier as log det(J'Z^-1 J), convex as well (minus the logarithm of a Schur complement).

Dual. With the weights P of the barrier after the step, and S moved with it, the gradient <P, Q'> vanishes to
first order: S P^(1/2) is nearly an admissible process of `relaxed_gain`, whose gain is a lower end.
"""

import dataclasses
import math

import numpy as np

from ..formulations.graph import OutputGain, relaxed_gain
from ..formulations.graph._output_gain import GainPoint
from ._output_barrier import NewtonStep, OutputBarrier, newton_step
from ._proposal import Run

__all__ = ["OutputOptimum", "output_newton"]

_FIRST_GAP = 0.1  # relative to rho, of the first central point
_GROWTH = 8.0  # of t
_NEAR, _CENTRED = 1.0, 0.3  # Newton decrement, squared, from which t grows, and at the end
_FORCING = 0.1  # relative gain per product at which a Newton step is left
_FINE = (1e-2, 1e-4, 1e-6)  # at the end, one after the other, until the gap is small enough
_WATCHED = 8  # directions in which Z is kept definite
_FAR = 0.3  # a relative step beyond which longer ones are tried: far from the best multipliers
_SHORTEST = 1e-5  # a step below which rounding is all that is left


@dataclasses.dataclass(frozen=True, eq=False)
class OutputOptimum:
    """Strictly feasible multipliers Lambda, the least rho for them, and what every rho is at least.

    `rho_at_least` is right up to rounding, not proven; 0 where nothing is known.
    """

    multipliers: np.ndarray
    rho: float
    rho_at_least: float

    @property
    def gap(self) -> float:
        """Relative, in rho."""
        return 1.0 - self.rho_at_least / self.rho


def output_newton(
    gain: OutputGain, start: np.ndarray, run: Run, tolerance: float, steps: int
) -> OutputOptimum | None:
    """The multipliers with the least rho, within about `tolerance` of it; None for a start outside.

    At the end of `run` and after `steps` the best so far is returned, and where rounding leaves no more.
    """
    point = gain.at(start)
    if point is None:
        return None
    best, x, watched = OutputOptimum(start, point.rho, 0.0), start, None
    t, outputs, fine = 0.0, gain.form.graph.output_dim, iter(_FINE)
    forcing = _FORCING
    for _ in range(steps):
        if run.over:
            break
        watched = point.weakest(_WATCHED, watched)
        point = point.watching(watched) or point
        t = max(t, outputs / (_FIRST_GAP * max(point.rho, 1e-300)))
        try:
            barrier = OutputBarrier.of(point, t)
            step = newton_step(point, barrier, x, forcing, run)
        except np.linalg.LinAlgError:  # no digits are left: what was found is still feasible
            break
        last = len(barrier.weight) / t < tolerance * best.rho
        centred = step.decrement < (_CENTRED if last else _NEAR)
        if last or centred:
            lower = _lower_end(point, step, x)
            best = dataclasses.replace(best, rho_at_least=max(best.rho_at_least, lower))
        if best.gap <= tolerance:
            break
        if last and centred:  # perhaps the products were too few to see more
            finer = next(fine, None)
            if finer is None:
                break
            forcing = finer
        moved = _searched(gain, x, watched, step, barrier.value, t, run)
        if moved is not None:
            x, point = moved
            if point.rho < best.rho:
                best = dataclasses.replace(best, multipliers=x, rho=point.rho)
        run.report(math.sqrt(best.rho), None)
        if (moved is None or centred) and not last:
            t *= _GROWTH
        elif moved is None and not centred:
            break
    return best


def _lower_end(point: GainPoint, step: NewtonStep, x: np.ndarray) -> float:
    """By the process that the step leads to."""
    values, vectors = np.linalg.eigh(step.weight)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    change = point.moved(step.relative * x)
    found = relaxed_gain(point.gain, {s: (S - change[s]) @ root for s, S in point.states.items()})
    return found if math.isfinite(found) else 0.0


def _searched(
    gain: OutputGain,
    x: np.ndarray,
    watched: np.ndarray,
    newton: NewtonStep,
    value: float,
    t: float,
    run: Run,
) -> tuple[np.ndarray, GainPoint] | None:
    """The first point along the step and its halves where the barrier falls, longer while it pays."""
    step, decrement = newton.relative, newton.decrement
    if not decrement > 0.0:
        return None

    def at(length: float, below: float) -> tuple[np.ndarray, GainPoint, float] | None:
        trial = x * np.where(
            step > 0.0,
            1.0 + length * step,
            1.0 / (1.0 - length * np.minimum(step, 0.0)),
        )
        point = gain.at(trial, watched)
        try:
            reached = math.inf if point is None else OutputBarrier.of(point, t).value
        except np.linalg.LinAlgError:
            return None
        return (trial, point, reached) if point is not None and reached <= below else None

    length, found = 1.0, None
    while found is None:
        if length <= _SHORTEST or run.over:
            return None
        found = at(length, value - 1e-4 * length * decrement)
        length *= 0.5
    length *= 4.0
    while length >= 2.0 and float(step.max()) > _FAR and not run.over:
        longer = at(length, found[2])
        if longer is None:
            break
        found, length = longer, 2.0 * length
    return found[:2]
