"""RS-LMI training: weights whose layers obey sketched LMIs, then a proven bound of what came out.

    minimise  loss(W) + sum_k price_k [tau_k + alpha_k P_k(W_k, tau_k; S_k)],  P_k from
    S_k'(W_k'W_k - tau_k I)S_k <= 0,    L <= prod_k sqrt(tau_k) m_k,  m_k = max |slope| of layer k

(Abdeen, Kekatos, Jin, "A scalable approach for safe and robust learning via Lipschitz-constrained
networks", arXiv 2506.23977, with m_k = 1). The sketched LMI is a relaxation and proves nothing; the
bound of the result comes from `certificates.verify` on the final weights. W_k W_k' has the spectrum of
W_k'W_k, so the sketch lives on the smaller side of each layer.
"""

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import blas_threads
from .._errors import OptionError
from .._progress import Progress, ProgressCallback
from ..formulations.rs_lmi import SquaredHinge, slope_gains
from ..maps import Convolution2d
from ..methods import AbstractMethod, SpectralProduct
from ..solvers import AbstractSolver
from ._callback import Arrays, CallbackError, LossAndGrad, TrainingDiverged, evaluate, read_only
from ._certify import certified, check_target, within_target
from ._result import TrainingResult
from ._rs_lmi_options import RSLMIOptions
from ._rs_lmi_penalties import first_sketches, sketched_pulls
from ._rs_lmi_taus import TauState
from ._state import TrainingState, saved
from ._weights import ChainModel, Layout

__all__ = ["rs_lmi"]

_METHOD = "rs_lmi"


def rs_lmi(
    loss_and_grad: LossAndGrad,
    weights: Sequence[Any],
    activation: Any = "relu",
    *,
    steps: int,
    target: float | None = None,
    convolutions: Sequence[Convolution2d] = (),
    options: RSLMIOptions | None = None,
    method: AbstractMethod | None = None,
    solver: AbstractSolver | None = None,
    resume: TrainingState | str | os.PathLike[str] | None = None,
    save_to: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Train weights under sketched layerwise LMIs; the result has a proven L <= prod sqrt(tau_k) m_k.

    `loss_and_grad(weights) -> (loss, gradients)` on arrays [W0, b0, W1, b1, ...] (or without biases),
    W_k (out, in), float32 or float64; a callback with `seek(step)` is told the step first. With
    `target` the product of sqrt(tau_k) m_k is held at it and the result is proven to meet it (the output
    layer is scaled where it must be); without, tau_k are paid for by `options.price`. An array of four axes
    is a kernel, whose geometry is that of its place in `convolutions`: its penalty uses products with images
    only, and its proof the matrix unrolled. `method` and `solver` make the certificates (None: LipSDP, or
    with convolutions the product of norms). `resume` goes on from a state or its file, to the
    same weights that an uninterrupted run gives if the callback's answer depends on the step alone;
    `save_to` is written every `save_every` steps, at the end, and when anything interrupts.

    Raises TrainingDiverged (a SolveFailed) for a NaN loss or gradient and CallbackError (an InputError) for
    gradients of a wrong shape, both with the last good weights in their `state`;
    InputError for other arrays, a target that is not positive, a state of another run; OptionError;
    NotCertified. Not checked: that the callback's network is that of the arrays.
    """
    check_target(target)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise OptionError(f"steps is {steps!r}; expected an integer of at least 1.")
    run = _RSLMIRun(
        loss_and_grad,
        weights,
        activation,
        convolutions,
        target,
        options or RSLMIOptions(),
        method,
        solver,
        steps,
    )
    run.begin(resume)
    with saved(run, save_to), blas_threads(1):
        run.train(save_to, save_every, progress)
    return run.finish()


class _RSLMIRun:
    """One run: what the loop changes lives here and nowhere else."""

    def __init__(
        self,
        callback: LossAndGrad,
        weights: Sequence[Any],
        activation: Any,
        convolutions: Sequence[Convolution2d],
        target: float | None,
        options: RSLMIOptions,
        method: AbstractMethod | None,
        solver: AbstractSolver | None,
        steps: int,
    ) -> None:
        self.callback, self.target = callback, target
        product = SpectralProduct() if convolutions else None
        self.options, self.method, self.solver, self.steps = options, method or product, solver, steps
        hinge = isinstance(options.penalty, SquaredHinge)
        self.decoupled = target is not None and hinge if options.decoupled is None else options.decoupled
        self.layout = Layout.of(weights, convolutions)
        self.weights = self.layout.own(weights)
        self.model = ChainModel(self.layout, activation)
        network = self.model.network(self.weights)
        self.gain = math.prod(slope_gains(network))
        goal = math.nan if target is None else 2.0 * math.log(target / self.gain)
        squares = self.layout.norms(self.weights) ** 2
        self.taus = TauState.initial(squares, options, goal)
        if target is not None and options.clip:
            self.weights = self.layout.clipped(self.weights, np.sqrt(self.taus.tau))
        self.memory = options.optimiser.start(self.weights)
        self.maps = self.layout.sketched_maps()
        self.sketches = first_sketches(self.maps, self.layout.maps(self.weights), options)
        self.step, self.loss_sum, self.loss_count = 0, 0.0, 0
        self.worst = 0.0
        self.runaway: int | None = None  # the layer whose tau left all bounds, looked for once a window
        self.rows: list[np.ndarray] = []
        self.events: list[str] = []
        self.reason = f"all {steps} steps were taken"
        self.last_good = self.state()

    def begin(self, resume: TrainingState | str | os.PathLike[str] | None) -> None:
        if resume is None:
            return
        state = resume if isinstance(resume, TrainingState) else TrainingState.load(resume)
        state.require(_METHOD, self._text())
        self.weights = self.layout.own(state.weights)
        self.memory, self.sketches = state.arrays["memory"], state.arrays["sketches"]
        self.taus = TauState.of(state.arrays)
        self.rows = list(state.one("rows"))
        self.events = [str(e) for e in state.one("events")]
        self.loss_sum, self.loss_count = float(state.one("loss")[0]), int(state.one("loss")[1])
        self.step, self.last_good = state.step, state

    def _text(self) -> str:
        """What a resumed run must share; the optimiser's numbers may change, its kind may not."""
        values = {f.name: getattr(self.options, f.name) for f in dataclasses.fields(self.options)}
        values["optimiser"] = type(self.options.optimiser).__name__
        return f"{values!r}, target={self.target!r}, shapes={self.layout.shapes}"

    def state(self) -> TrainingState:
        events = np.array(self.events, dtype=np.str_) if self.events else np.zeros(0, dtype="<U1")
        width = 4 + 3 * len(self.layout.matrices)
        rows = np.array(self.rows) if self.rows else np.zeros((0, width))
        arrays = {
            "weights": self.weights,
            "memory": self.memory,
            "sketches": self.sketches,
            "rows": (rows,),
            "events": (events,),
            "loss": (np.array([self.loss_sum, self.loss_count]),),
            **self.taus.arrays(),
        }
        return TrainingState(_METHOD, self.step, self._text(), arrays)

    def train(
        self,
        save_to: str | os.PathLike[str] | None,
        save_every: int | None,
        progress: ProgressCallback | None,
    ) -> None:
        started, options = time.monotonic(), self.options
        good = before = _Snapshot(self)
        while self.step < self.steps:
            before, good = good, _Snapshot(self)
            try:
                loss = self._take()
            except (
                CallbackError,
                TrainingDiverged,
            ) as error:  # the weights of this step may be what is wrong
                error.state = self.last_good = before.state()
                raise
            except BaseException:
                self.last_good = good.state()
                raise
            self.step += 1
            if self.taus.counted >= options.window:
                self._adapt()
                self.runaway = self.taus.diverged(options)
                if progress is not None:
                    progress(
                        Progress(_METHOD, self.step, self.steps, loss, seconds=time.monotonic() - started)
                    )
            if self._diverged():
                good.restore()
                break
            if options.certify_every is not None and self.step % options.certify_every == 0:
                self._certify()
            if save_to is not None and save_every is not None and self.step % save_every == 0:
                self.state().save(save_to)

    def _diverged(self) -> bool:
        if self.runaway is not None:
            self.reason = (
                f"tau_{self.runaway} diverged at step {self.step}: raise price or alpha, or set a target"
            )
        elif not self.worst < self.options.divergence:
            self.reason = f"the weights diverged at step {self.step}: lower the learning rate or alpha"
        else:
            return False
        return True

    def _take(self) -> float:
        loss, gradients = evaluate(self.callback, self.weights, self.step)
        due = self.step % self.options.every == 0
        if due and not self.decoupled:
            gradients = self._plus(gradients, self._pulls(), 1.0)
        self.weights, self.memory = self.options.optimiser.step(
            self.weights, gradients, self.memory, self.step, self.steps
        )
        if due and self.decoupled:
            rate = self.options.optimiser.rate(self.step, self.steps)
            self.weights = self._plus(self.weights, self._pulls(rate), -1.0)
        self.loss_sum += loss
        self.loss_count += 1
        return loss

    def _plus(self, arrays: Arrays, pulls: Sequence[np.ndarray | None], sign: float) -> Arrays:
        result = list(arrays)
        for i, pull in zip(self.layout.matrices, pulls, strict=True):
            if pull is not None:
                (np.add if sign > 0.0 else np.subtract)(result[i], pull, out=pull)
                result[i] = read_only(pull)
        return tuple(result)

    def _pulls(self, rate: float | None = None) -> tuple[np.ndarray | None, ...]:
        """What the penalties do to the W_k at this step; moves tau by its own gradient."""
        weights = self.layout.maps(self.weights)
        found = sketched_pulls(self.maps, weights, self.sketches, self.taus, self.options, self.step, rate)
        self.sketches = found.sketches
        self.worst = float(found.violation.max())
        self.taus.move(found.tau_gradients, found.violation, self.options)
        return found.pulls

    def _adapt(self) -> None:
        mean, said = self.taus.adapt(self.options)
        self.events += [f"step {self.step}: {text}" for text in said]
        self._record(mean, math.nan, math.nan)
        self.loss_sum, self.loss_count = 0.0, 0

    def _record(self, violation: np.ndarray, bound: float, product: float) -> None:
        loss = self.loss_sum / self.loss_count if self.loss_count else math.nan
        head = [self.step, loss, bound, product]
        self.rows.append(np.array([*head, *self.taus.tau, *self.taus.alpha, *violation]))

    def _certify(self) -> None:
        found = certified(self.model.network(self.weights), self.method, self.solver)
        bound = found.certificate.bound
        self._record(np.full(self.taus.alpha.size, math.nan), bound, found.product)
        if self.target is not None and self.options.tighten and bound > 0.0:
            goal = 2.0 * math.log(self.target / self.gain * found.product / bound)
            self.taus.log_product = goal
            self.taus.fix(self.taus.log_tau)

    def finish(self) -> TrainingResult:
        found = certified(self.model.network(self.weights), self.method, self.solver)
        state, weights = self.state(), self.weights
        if self.target is not None:
            found, weights = within_target(found, weights, self.model, self.target)
        return TrainingResult(
            weights,
            found.network,
            found.certificate,
            found.taus,
            found.product,
            self._history(),
            tuple(self.events),
            self.reason,
            state,
        )

    def _history(self) -> dict[str, np.ndarray]:
        layers = len(self.layout.matrices)
        names = ["step", "loss", "bound", "product"]
        names += [f"{name}_{k}" for name in ("tau", "alpha", "violation") for k in range(layers)]
        table = np.array(self.rows) if self.rows else np.zeros((0, len(names)))
        return {name: table[:, j] for j, name in enumerate(names)}


class _Snapshot:
    """References to what a step is about to replace; the arrays themselves never change."""

    def __init__(self, run: _RSLMIRun) -> None:
        self._run = run
        self._kept = (run.weights, run.memory, run.sketches, run.step, run.loss_sum, run.loss_count)
        self._taus = run.taus.copy()
        self._lengths = len(run.rows), len(run.events)

    def restore(self) -> None:
        run = self._run
        run.weights, run.memory, run.sketches, run.step, run.loss_sum, run.loss_count = self._kept
        run.taus = self._taus
        del run.rows[self._lengths[0] :], run.events[self._lengths[1] :]

    def state(self) -> TrainingState:
        self.restore()
        return self._run.state()
