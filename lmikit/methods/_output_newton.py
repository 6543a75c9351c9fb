"""Best multipliers of a graph by a truncated Newton method: a barrier on the output's matrix alone.

With Q(Lambda) of `lmikit.formulations.graph.OutputGain`, matrix-convex, the central points of

    min rho  s.t.  rho I - Q(Lambda) > 0:      min over Lambda, rho of  t rho - log det(rho I - Q(Lambda))

are within m / t of the least rho, m the order of Q: as few outputs as that is, so few digits are lost to the
barrier. rho is put in (one equation), and Newton's equations for Lambda, as many as there are neurons, are
solved by conjugate gradients in relative steps, left when a product no longer pays (Nash, Sofer, Oper. Res.
Lett. 1990), preconditioned by a diagonal and the barrier's own part: a product with the Hessian is one solve
with the factor of the point. Steps are halved until the barrier falls, so that every iterate is strictly
feasible; a neuron whose multiplier falls takes 1 / (1 - s) for 1 + s, which stays positive.

Q hardly sees some directions in which Z may become singular. The r columns J along which Z is least definite
count in the barrier as log det(J'Z^-1 J), convex as well (minus the logarithm of a Schur complement).
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from .._arrays import blas_threads
from .._errors import SolveFailed
from .._progress import ProgressCallback
from ..formulations.graph import OutputGain
from ..formulations.graph._gain import spread
from ..formulations.graph._output_gain import GainPoint
from ..graph import GraphWitness, Part
from ._proposal import Run

__all__ = ["neuron_witness", "output_newton"]

_FIRST_GAP = 0.1  # relative to rho, of the first central point
_GROWTH = 8.0  # of t
_NEAR, _CENTRED = (
    1.0,
    0.3,
)  # Newton decrement, squared, from which t grows, and at the end
_FORCING, _FINEST = (
    0.1,
    0.01,
)  # relative gain per product at which a Newton step is left; before t grows
_PRODUCTS = 100  # of one Newton step at most
_WATCHED = 8  # directions in which Z is kept definite
_FAR = 0.3  # a relative step beyond which longer ones are tried: far from the best multipliers
_SHORTEST = 1e-5  # a step below which rounding is all that is left
_POWERS, _ROOM = 30, 1.1  # of norms of maps
_DAMPING = 1e-6  # of relative steps, per output: neurons without influence stay
_MOST_OUTPUTS = 32  # for whose barrier the preconditioner has its part of rank m (m + 1) / 2
_FLOOR = 1e-8  # of the preconditioner's diagonal, relative to its largest entry
_STEPS = 400
_SMALL_BLOCK = 1024  # rows up to which one BLAS thread is quicker


def neuron_witness(
    gain: OutputGain,
    start: np.ndarray | None,
    *,
    tolerance: float,
    time_limit: float | None,
    progress: ProgressCallback | None,
) -> GraphWitness:
    """A witness with one multiplier per neuron and the least rho for them, on the output.

    From `start`, the multipliers Lambda of the kept channels, or from `feasible_start` where it is None or
    not feasible. At `time_limit` (seconds) the best so far is returned; raises SolveFailed where no start is
    feasible in floating point.
    """
    run = Run("one multiplier per neuron", time_limit, progress)
    with (
        blas_threads(1 if gain.rows <= _SMALL_BLOCK else None),
        np.errstate(all="ignore"),
    ):
        found = None if start is None else output_newton(gain, start, run, tolerance)
        if found is None:
            found = output_newton(gain, feasible_start(gain), run, tolerance)
    if found is None:
        raise SolveFailed("the LMI has no start that is feasible in floating point; rescale the layers.")
    T = spread(gain.form, found[0])
    part = Part(np.ones(1), np.array([found[1]]), T)
    return GraphWitness(
        "dissipation",
        parts=(part,),
        produced_by="one multiplier per neuron, truncated Newton",
    )


def output_newton(
    gain: OutputGain, start: np.ndarray, run: Run, tolerance: float
) -> tuple[np.ndarray, float] | None:
    """(multipliers, least rho for them) within about `tolerance`, relative in rho; None for a start outside.

    At the end of `run` the best so far is returned.
    """
    point = gain.at(start)
    if point is None:
        return None
    x, best, watched = start, (start, point.rho), None
    t, forcing, outputs = 0.0, _FORCING, gain.form.graph.output_dim
    for _ in range(_STEPS):
        if run.over:
            break
        watched = point.weakest(_WATCHED, watched)
        point = point.watching(watched) or point
        t = max(t, outputs / (_FIRST_GAP * max(point.rho, 1e-300)))
        try:
            barrier = _OutputBarrier.of(point, t)
            step, decrement = _newton_step(point, barrier, x, forcing, run)
        except np.linalg.LinAlgError:  # no digits are left: what was found is still feasible
            break
        last = outputs / t < tolerance * best[1]
        centred = decrement < (_CENTRED if last else _NEAR)
        if last and centred and forcing > _FINEST:  # perhaps the products were too few to see more
            forcing = _FINEST
            continue
        moved = _searched(gain, x, watched, step, barrier.value, decrement, t, run)
        if moved is not None:
            x, point = moved
            if point.rho < best[1]:
                best = x, point.rho
        run.report(math.sqrt(best[1]), None)
        if moved is None or centred:
            if last:
                break
            t *= _GROWTH
        forcing = _FORCING
    return best


@dataclasses.dataclass(frozen=True, eq=False)
class _OutputBarrier:
    """The barrier at the rho that is best for t, and its weights P = (rho I - Q)^-1 and B^-1."""

    weight: np.ndarray
    value: float
    outputs: int

    @classmethod
    def of(cls, point: GainPoint, t: float) -> "_OutputBarrier":
        m = point.gain.form.graph.output_dim
        values, vectors = np.linalg.eigh(point.gram[:m, :m])
        gaps = values[-1] - values
        low, high = 1.0 / t, m / t  # of rho - lambda_max: tr P = t
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if (1.0 / (middle + gaps)).sum() > t else (low, middle)
        rest = high + gaps
        value = t * (values[-1] + high) - float(np.log(rest).sum())
        weight = np.zeros(point.gram.shape)
        weight[:m, :m] = (vectors / rest) @ vectors.T
        if len(weight) > m:
            watched = point.gram[m:, m:]
            value += float(np.linalg.slogdet(watched)[1])
            weight[m:, m:] = np.linalg.inv(watched)
        return cls(0.5 * (weight + weight.T), value, m)


def _newton_step(
    point: GainPoint, barrier: _OutputBarrier, x: np.ndarray, forcing: float, run: Run
) -> tuple[np.ndarray, float]:
    """(the relative step, minus its slope) by conjugate gradients."""
    m, weight = barrier.outputs, barrier.weight
    slope = point.gradient(weight) * x
    square = np.zeros_like(weight)
    square[:m, :m] = weight[:m, :m] @ weight[:m, :m]
    flat, size = point.gradient(square) * x, float(np.trace(square))

    def product(s: np.ndarray) -> np.ndarray:
        d = s * x
        inner = weight @ point.derivative(d) @ weight
        inner[:m, m:], inner[m:, :m] = 0.0, 0.0
        inner[m:, m:] *= -1.0
        bent = point.curvature(weight, d) + point.gradient(inner)
        return np.asarray(bent * x - (np.trace(inner[:m, :m]) / size) * flat + _DAMPING * m * s)

    approximate = _preconditioner(point, weight, m, x)
    step, residual = np.zeros_like(x), -slope
    direction = approximate(residual)
    left, model = float(residual @ direction), 0.0
    for k in range(1, _PRODUCTS + 1):
        if left == 0.0 or run.over:
            break
        image = product(direction)
        bend = float(direction @ image)
        if not bend > 0.0:
            break
        length = left / bend
        step += length * direction
        residual -= length * image
        fallen, model = model, 0.5 * float(step @ (slope - residual))
        if not model < 0.0 or k * (1.0 - fallen / model) <= forcing:
            break
        near = approximate(residual)
        before, left = left, float(residual @ near)
        direction = near + (left / before) * direction
    return step, -float(slope @ step)


def _preconditioner(
    point: GainPoint, weight: np.ndarray, m: int, x: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The inverse of D + G G': a diagonal in place of the curvature's part, and that of the barrier on Q.

    <P Q'[D] P, Q'[D]> = ||L'Q'[D] L||_F^2 for P = L L' is of rank m (m + 1) / 2, and large near the end.
    """
    diagonal = point.curvature_diagonal(weight) * x**2
    diagonal += _FLOOR * float(diagonal.max()) + _DAMPING * m
    if m > _MOST_OUTPUTS:
        return lambda r: np.asarray(r / diagonal)
    values, vectors = np.linalg.eigh(weight[:m, :m])
    columns = point.derivative_columns(vectors * np.sqrt(np.maximum(values, 0.0))) * x[:, None]
    scaled = columns / diagonal[:, None]
    core = scipy.linalg.cho_factor(np.eye(columns.shape[1]) + columns.T @ scaled)

    def apply(r: np.ndarray) -> np.ndarray:
        return np.asarray(r / diagonal - scaled @ scipy.linalg.cho_solve(core, scaled.T @ r))

    return apply


def _searched(
    gain: OutputGain,
    x: np.ndarray,
    watched: np.ndarray,
    step: np.ndarray,
    value: float,
    decrement: float,
    t: float,
    run: Run,
) -> tuple[np.ndarray, GainPoint] | None:
    """The first point along the step and its halves where the barrier falls, longer while it pays."""
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
            reached = math.inf if point is None else _OutputBarrier.of(point, t).value
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


def feasible_start(gain: OutputGain) -> np.ndarray:
    """Multipliers of any graph, a number per node, well inside the LMI: those of the product of norms.

    With X_s >= x_s what elimination leaves of the sources that node k reads, G = V X^-1 V' is at most
    sum ||V_ks||^2 / x_s, and Lambda_k = 1 / (2 r^2 G) keeps half of K, so X_k >= Lambda_k / (1 + c^2 / r^2)
    (`_recursion`, Lemma 1).
    What a source has is divided among the nodes that read it. Norms are estimates from below.
    """
    nodes, output = gain.nodes, gain.output
    readers = {s: sum(s in node.rows for node in nodes.values()) + (s in output) for s in gain.sizes}
    left, result = {0: 1.0}, []
    for k, node in nodes.items():
        gram = sum(readers[s] * _norm_square(rows.matrix) / left[s] for s, rows in node.rows.items())
        weight = 1.0 / (2.0 * node.square * gram)
        left[k] = float((weight / (1.0 + node.centre**2 / node.square)).min())
        result.append(weight)
    return np.concatenate(result)


def _norm_square(matrix: np.ndarray | sp.csr_array) -> float:
    """||A||^2 by power iteration, slightly raised."""
    v = np.random.default_rng(0).standard_normal(matrix.shape[1])
    size = 1.0
    for _ in range(_POWERS):
        v = matrix.T @ (matrix @ (v / np.linalg.norm(v)))
        size = float(np.linalg.norm(v))
        if size == 0.0:
            return 1e-300
    return _ROOM * size
