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
import os
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .._arrays import blas_threads
from .._errors import InputError, LmikitError, OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from ..methods import AbstractMethod
from ..solvers import AbstractSolver
from ._callback import Arrays, CallbackError, LossAndGrad, TrainingDiverged, evaluate
from ._certify import Certified, certified, check_target, within_target
from ._lip_loop_conditions import AbstractCondition, ChainCondition, JointCondition
from ._lip_loop_options import LipLoopOptions
from ._lip_loop_sets import Point
from ._result import TrainingResult
from ._state import TrainingState, saved
from ._weights import Layout

__all__ = ["lip_loop"]

_METHOD = "lip_loop"
_METRIC_EVERY = 10  # iterations, in the first half of a run
_COLUMNS = ("step", "loss", "primal", "dual", "rho", "bound", "product", "seconds")


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
    resume: TrainingState | str | os.PathLike[str] | None = None,
    save_to: str | os.PathLike[str] | None = None,
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
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise OptionError(f"iterations is {iterations!r}; expected an integer of at least 1.")
    condition, own = _condition(weights, activation, target, form, hidden)
    run = _Run(loss_and_grad, own, condition, target, options or LipLoopOptions(), solver, iterations)
    run.certifier = lambda network: certified(network, method, None)
    run.begin(resume)
    with saved(run, save_to), blas_threads(1):
        run.train(progress)
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
    layout = Layout.of(arrays)
    own = layout.own(arrays)
    network = layout.network(own, activation)
    if network.hidden_layers < 1:
        raise InputError(
            "the network has no hidden layer; expected at least one (use rs_lmi for a linear map)."
        )
    return ChainCondition(layout, activation, network, target), own


class _Run:
    """One run: what the loop changes lives here and nowhere else."""

    certifier: Any

    def __init__(
        self,
        callback: LossAndGrad,
        weights: Arrays,
        condition: AbstractCondition,
        target: float,
        options: LipLoopOptions,
        solver: AbstractSolver | None,
        iterations: int,
    ) -> None:
        self.callback, self.condition, self.target = callback, condition, target
        self.options, self.solver, self.iterations = options, solver, iterations
        self.weights = weights
        self.memory = options.optimiser.start(weights)
        self.step, self.rho = 0, options.rho
        self.warm: np.ndarray | None = None
        self.t: Point = ()
        self.Z: Point = ()
        self.U: Point = ()
        self.metric: Point = ()
        self.rows: list[np.ndarray] = []
        self.events: list[str] = []
        self.reason = ""

    def begin(self, resume: TrainingState | str | os.PathLike[str] | None) -> None:
        if resume is None:
            self.t = self.condition.start(self.weights)
            K = self.condition.image(self.weights, self.t)
            self.metric = self.condition.metric(self.t)
            self.Z, self.warm = self.condition.project(K, self.metric, self.solver, None)
            self.U = tuple(k - z for k, z in zip(K, self.Z, strict=True))
            self.last_good = self.state()
            return
        state = resume if isinstance(resume, TrainingState) else TrainingState.load(resume)
        state.require(_METHOD, self._text())
        self.weights = self.condition.layout.own(state.weights)
        names = ("memory", "t", "Z", "U", "metric")
        self.memory, self.t, self.Z, self.U, self.metric = (state.arrays[n] for n in names)
        self.warm, self.rho = state.one("warm"), float(state.one("rho")[0])
        self.rows = list(state.one("rows"))
        self.events = [str(e) for e in state.one("events")]
        self.step, self.last_good = state.step, state

    def _text(self) -> str:
        numbers = {"optimiser": type(self.options.optimiser).__name__, "inner": self.options.inner}
        return (
            f"{numbers}, target={self.target!r}, {type(self.condition).__name__}, {self.condition.set.shapes}"
        )

    def state(self) -> TrainingState:
        arrays = {
            "weights": self.weights,
            "memory": self.memory,
            "t": self.t,
            "Z": self.Z,
            "U": self.U,
            "metric": self.metric,
            "warm": (np.asarray(self.warm),),
            "rho": (np.array([self.rho]),),
            "rows": (np.array(self.rows).reshape(-1, len(_COLUMNS)),),
            "events": (np.array(self.events, dtype=np.str_) if self.events else np.zeros(0, dtype="<U1"),),
        }
        return TrainingState(_METHOD, self.step, self._text(), arrays)

    def train(self, progress: ProgressCallback | None) -> None:
        started = time.monotonic()
        self.reason = f"all {self.iterations} iterations were taken"
        while self.step < self.iterations:
            self.last_good = self.state()
            try:
                done = self._iterate(time.monotonic() - started)
            except (CallbackError, TrainingDiverged) as error:
                error.state = self.last_good
                raise
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Progress(_METHOD, self.step, self.iterations, self.rows[-1][1], seconds=seconds))
            if done:
                self.reason = f"both residuals met tol={self.options.tol:g} at iteration {self.step}"
                return
        primal, dual = self.rows[-1][2:4] if self.rows else (math.nan, math.nan)
        self.reason += f" without both residuals meeting tol (primal {primal:.3g}, dual {dual:.3g})"

    def _iterate(self, seconds: float) -> bool:
        loss = self._descend()
        self.t = self.condition.best(self.weights, _sum(self.Z, self.U, -1.0))
        K, before = self.condition.image(self.weights, self.t), self.Z
        try:
            self.Z, self.warm = self.condition.project(_sum(K, self.U), self.metric, self.solver, self.warm)
        except SolveFailed as error:
            raise TrainingDiverged(f"iteration {self.step}: {error}", self.last_good) from error
        residual = _sum(K, self.Z, -1.0)
        self.U = _sum(self.U, residual)
        primal = self._norm(residual)
        dual = self.rho * self._norm(_sum(self.Z, before, -1.0))
        sizes = max(self._norm(K), self._norm(self.Z)), max(self._norm(self.U), self._norm(self.Z))
        done = primal <= self.options.tol * sizes[0] and dual <= self.options.tol * self.rho * sizes[1]
        self.step += 1
        bound, product = self._bound()
        self.rows.append(np.array([self.step, loss, primal, dual, self.rho, bound, product, seconds]))
        self._adapt(primal, dual)
        return done

    def _norm(self, point: Point) -> float:
        parts = zip(point, self.metric, strict=True)
        return math.sqrt(sum(float((m * p * p).sum()) for p, m in parts))

    def _descend(self) -> float:
        """`inner` gradient steps on the augmented loss; the mean of the callback's losses."""
        losses, optimiser, total = 0.0, self.options.optimiser, self.iterations * self.options.inner
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
            self.weights, self.memory = optimiser.step(self.weights, gradients, self.memory, at, total)
            losses += loss
        return losses / self.options.inner

    def _adapt(self, primal: float, dual: float) -> None:
        """Adapt rho and the metric; the multiplier rho M U of the constraint stays what it is."""
        options, before, metric = self.options, self.rho, self.metric
        if 2 * self.step > self.iterations:
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
        found = self.certifier(self.condition.network(self.weights))
        return found.certificate.bound, found.product

    def finish(self) -> TrainingResult:
        """The better, by the callback's loss, of the last weights and those of Z, both within the target."""
        state = self.state()
        candidates = [self._within("the last weights", self.weights)]
        with contextlib.suppress(LmikitError):  # Z may belong to no network that can be certified
            candidates.append(self._within("the weights of Z", self.condition.recover(self.weights, self.Z)))
        _, said, found, weights = min(candidates, key=lambda c: c[0])
        table = np.array(self.rows).reshape(-1, len(_COLUMNS))
        return TrainingResult(
            weights,
            found.network,
            found.certificate,
            found.taus,
            found.product,
            {name: table[:, j] for j, name in enumerate(_COLUMNS)},
            (*self.events, said),
            self.reason,
            state,
        )

    def _within(self, name: str, weights: Arrays) -> tuple[float, str, Certified, Arrays]:
        found = self.certifier(self.condition.network(weights))
        before = found.certificate.bound
        found, weights = within_target(found, weights, self.condition, self.target)
        at = max(self.step * self.options.inner - 1, 0)
        loss, _ = evaluate(self.callback, weights, at)
        scaled = f", output scaled by {self.target / before:.6g}" if before > self.target else ""
        return loss, f"{name} are returned: proven bound {before:.6g}{scaled}", found, weights


def _sum(a: Point, b: Point, sign: float = 1.0) -> Point:
    return tuple(x + sign * y for x, y in zip(a, b, strict=True))
