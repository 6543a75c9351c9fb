"""Lip-Loop: training under a convex condition on transformed weights, by ADMM.

    minimise loss(W)  s.t.  K(W, t) in the set,   augmented: loss + (rho/2) |K(W, t) - Z + U|_M^2

alternates gradient steps in W, the best t in closed form, Z by a semidefinite program (a projection) and
U += K - Z. M is diagonal, 1/t^2 where K holds T W, so that |.|_M is about a distance of weights: a
neuron with a small multiplier would be free to move otherwise. After Abdeen, Kekatos, Jin, arXiv
2506.23977; the conditions are derived in `_lip_loop_sets`. The set is convex, the problem is not (the
loss, and K is bilinear): ADMM has no guarantee here, so every run reports its residuals |K - Z|_M and
rho |Z - Z_before|_M, and the bound of the result is proven on the final weights by itself.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError, LmikitError, OptionError, SolveFailed
from .._progress import ProgressCallback
from ..methods import AbstractMethod
from ..solvers import AbstractSolver
from ._callback import Arrays, LossAndGrad, TrainingDiverged, evaluate
from ._certify import Certified, certified, check_target, within_target
from ._checks import whole
from ._lip_loop_conditions import AbstractCondition, ChainCondition, JointCondition
from ._lip_loop_options import LipLoopOptions
from ._lip_loop_sets import Point
from ._result import TrainingResult
from ._run import AbstractRun, Path, Resume
from ._state import TrainingState
from ._weights import Layout

__all__ = ["lip_loop"]

_METRIC_EVERY = 10  # iterations, in the first half of a run


def lip_loop(
    loss_and_grad: LossAndGrad,
    weights: Sequence[Any],
    activation: Any = "relu",
    *,
    target: float,
    iterations: int,
    form: Literal["chain", "joint"] = "chain",
    hidden: Sequence[int] | None = None,
    options: LipLoopOptions | None = None,
    method: AbstractMethod | None = None,
    solver: AbstractSolver | None = None,
    resume: Resume = None,
    save_to: Path | None = None,
    progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Train so that L <= target by LipSDP, not by a product of norms; the result's bound is proven.

    form "chain": weights [W0, b0, W1, b1, ...] of any slope-restricted activation. form "joint": weights
    [A, B, C, D, b, c] of a network with all forward skips in loop-transformed coordinates and
    hidden sizes `hidden` (`JointCondition`); `activation` plays no part, the callback applies psi with
    slopes in [-1, 1]. Weights are taken as float64. `solver` solves the projections (None: Clarabel);
    SCS is faster and less accurate, which the certificate does not depend on. The last weights may miss
    the target by what is left of the residual; those of Z meet it to the solver's tolerance. Each is scaled
    at its output where it must be, and the smaller loss wins (`events`). `reason` says whether the
    residuals met the tolerance. `resume` and `save_to` (at the end, or when anything interrupts) as in
    `rs_lmi`. Memory and time: one LMI of order n_0 + 2N + m per iteration, and sum_k n_k n_{k-1}
    variables; beyond some 5,000 variables use SCS, or `rs_lmi`.

    Raises TrainingDiverged, CallbackError (with the last good weights in `state`), SolveFailed,
    InputError, OptionError, NotCertified.
    """
    check_target(target)
    whole("iterations", iterations)
    condition, own = _condition(weights, activation, target, form, hidden)
    run = ConstrainedRun(loss_and_grad, own, condition, target, options or LipLoopOptions(), iterations)
    run.method_of_proof, run.solver = method, solver
    if not run.resume(resume):
        run.begin()
    with blas_threads(1):
        run.run(progress=progress, save_to=save_to)
    return run.finish()


def _condition(
    weights: Sequence[Any], activation: Any, target: float, form: str, hidden: Sequence[int] | None
) -> tuple[AbstractCondition, Arrays]:
    arrays = [np.asarray(w, dtype=np.float64) for w in weights]
    if form == "joint":
        if hidden is None:
            raise OptionError("form='joint' needs hidden=(n_1, ..., n_l), the sizes of the hidden layers.")
        joint = JointCondition(arrays, hidden, target)
        return joint, joint.layout.own(arrays)
    if form != "chain":
        raise OptionError(f"form is {form!r}; expected 'chain' or 'joint'.")
    layout = Layout.of(arrays, activation)
    own = layout.own(arrays)
    network = layout.network(own)
    if network.hidden_layers < 1:
        raise InputError(
            "the network has no hidden layer; expected at least one (use rs_lmi for a linear map)."
        )
    return ChainCondition(layout, network, target), own


class ConstrainedRun(AbstractRun):
    """One run of Lip-Loop; its steps are ADMM iterations."""

    method = "lip_loop"
    columns = ("step", "loss", "primal", "dual", "rho", "bound", "product", "seconds")
    method_of_proof: AbstractMethod | None = None
    solver: AbstractSolver | None = None
    warm: np.ndarray | None = None
    t: Point = ()
    Z: Point = ()
    U: Point = ()
    metric: Point = ()

    def __init__(
        self,
        callback: LossAndGrad,
        weights: Arrays,
        condition: AbstractCondition,
        target: float,
        options: LipLoopOptions,
        iterations: int,
    ) -> None:
        super().__init__(callback, weights, options.optimiser, iterations)
        self.condition, self.target, self.options, self.rho = condition, target, options, options.rho

    def begin(self) -> None:
        """The first point: the projection of the weights at their own multipliers."""
        self.t = self.condition.start(self.weights)
        K = self.condition.image(self.weights, self.t)
        self.metric = self.condition.metric(self.t)
        self.Z, self.warm = self.condition.project(K, self.metric, self.solver, None)
        self.U = _sum(K, self.Z, -1.0)

    def text(self) -> str:
        numbers = {"optimiser": type(self.optimiser).__name__, "inner": self.options.inner}
        return (
            f"{numbers}, target={self.target!r}, {type(self.condition).__name__}, {self.condition.set.shapes}"
        )

    def groups(self) -> dict[str, Arrays]:
        points = {name: getattr(self, name) for name in ("t", "Z", "U", "metric")}
        return {**points, "warm": (np.asarray(self.warm),), "rho": (np.array([self.rho]),)}

    def read(self, state: TrainingState) -> None:
        self.t, self.Z, self.U, self.metric = (state.arrays[name] for name in ("t", "Z", "U", "metric"))
        self.warm, self.rho = state.one("warm"), float(state.one("rho")[0])

    def advance(self) -> float:
        loss = self._descend()
        self.t = self.condition.best(self.weights, _sum(self.Z, self.U, -1.0))
        K, before = self.condition.image(self.weights, self.t), self.Z
        try:
            self.Z, self.warm = self.condition.project(_sum(K, self.U), self.metric, self.solver, self.warm)
        except SolveFailed as error:
            raise TrainingDiverged(f"iteration {self.step}: {error}") from error
        residual = _sum(K, self.Z, -1.0)
        self.U = _sum(self.U, residual)
        primal = self._norm(residual)
        dual = self.rho * self._norm(_sum(self.Z, before, -1.0))
        sizes = max(self._norm(K), self._norm(self.Z)), max(self._norm(self.U), self._norm(self.Z))
        tol = self.options.tol
        self.step += 1
        if primal <= tol * sizes[0] and dual <= tol * self.rho * sizes[1]:
            self.reason = f"both residuals met tol={tol:g} at iteration {self.step}"
        self.record(self.step, loss, primal, dual, self.rho, *self._bound(), self.seconds())
        self._adapt(primal, dual)
        return loss

    def _norm(self, point: Point) -> float:
        parts = zip(point, self.metric, strict=True)
        return math.sqrt(sum(float((m * p * p).sum()) for p, m in parts))

    def _descend(self) -> float:
        """`inner` gradient steps on the augmented loss; the mean of the callback's losses."""
        losses, total = 0.0, self.total * self.options.inner
        goal = _sum(self.Z, self.U, -1.0)
        for i in range(self.options.inner):
            at = self.step * self.options.inner + i
            loss, gradients = evaluate(self.callback, self.weights, at)
            K = self.condition.image(self.weights, self.t)
            forces = tuple(m * (k - g) for m, k, g in zip(self.metric, K, goal, strict=True))
            pulls = self.condition.pull(self.t, forces)
            gradients = tuple(
                g if p is None else g + self.rho * p for g, p in zip(gradients, pulls, strict=True)
            )
            self.weights, self.memory = self.optimiser.step(self.weights, gradients, self.memory, at, total)
            losses += loss
        return losses / self.options.inner

    def _adapt(self, primal: float, dual: float) -> None:
        """Adapt rho and the metric; the multiplier rho M U of the constraint stays what it is."""
        options, before, metric = self.options, self.rho, self.metric
        if 2 * self.step > self.total:
            return
        if self.step % _METRIC_EVERY == 0:
            self.metric = self.condition.metric(self.t)
        if options.adaptive and primal > options.ratio * dual:
            self.rho *= options.factor
        elif options.adaptive and dual > options.ratio * primal:
            self.rho /= options.factor
        factor = before / self.rho
        parts = zip(self.U, metric, self.metric, strict=True)
        self.U = tuple(u * (factor * old / new) for u, old, new in parts)

    def _bound(self) -> tuple[float, float]:
        every = self.options.certify_every
        if every is None or self.step % every:
            return math.nan, math.nan
        found = self._proven(self.weights)
        return found.certificate.bound, found.product

    def _proven(self, weights: Arrays) -> Certified:
        return certified(self.condition.network(weights), self.method_of_proof)

    def finish(self) -> TrainingResult:
        """The better, by the callback's loss, of the last weights and those of Z, both within the target."""
        state = self.state()
        if not self.reason:
            primal, dual = self.rows[-1][2:4] if self.rows else (math.nan, math.nan)
            residuals = f"(primal {primal:.3g}, dual {dual:.3g})"
            self.reason = (
                f"all {self.total} iterations were taken without both residuals meeting tol {residuals}"
            )
        candidates = [self._within("the last weights", self.weights)]
        with contextlib.suppress(LmikitError):  # Z may belong to no network that can be certified
            candidates.append(self._within("the weights of Z", self.condition.recover(self.weights, self.Z)))
        _, said, found, weights = min(candidates, key=lambda c: c[0])
        return self.result(found, weights, state, said)

    def _within(self, name: str, weights: Arrays) -> tuple[float, str, Certified, Arrays]:
        found = self._proven(weights)
        before = found.certificate.bound
        found, weights = within_target(found, weights, self.condition, self.target)
        at = max(self.step * self.options.inner - 1, 0)
        loss, _ = evaluate(self.callback, weights, at)
        scaled = f", output scaled by {self.target / before:.6g}" if before > self.target else ""
        return loss, f"{name} are returned: proven bound {before:.6g}{scaled}", found, weights


def _sum(a: Point, b: Point, sign: float = 1.0) -> Point:
    return tuple(x + sign * y for x, y in zip(a, b, strict=True))
