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
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import blas_threads
from .._progress import ProgressCallback
from ..formulations.rs_lmi import SquaredHinge, slope_gains
from ..maps import Convolution2d
from ..methods import AbstractMethod, SpectralProduct
from ..solvers import AbstractSolver
from ._callback import Arrays, LossAndGrad, evaluate, read_only
from ._certify import Certified, certified, check_target, within_target
from ._checks import whole
from ._result import TrainingResult
from ._rs_lmi_options import RSLMIOptions
from ._rs_lmi_penalties import first_sketches, sketched_pulls
from ._rs_lmi_taus import TauState
from ._run import AbstractRun, Path, Resume
from ._state import TrainingState
from ._weights import Layout

__all__ = ["rs_lmi"]


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
    resume: Resume = None,
    save_to: Path | None = None,
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
    whole("steps", steps)
    layout = Layout.of(weights, activation, convolutions)
    run = SketchedRun(loss_and_grad, layout.own(weights), layout, target, options or RSLMIOptions(), steps)
    run.method_of_proof, run.solver = method or (SpectralProduct() if convolutions else None), solver
    run.resume(resume)
    with blas_threads(1):
        run.run(progress=progress, save_to=save_to, save_every=save_every)
    return run.finish()


class SketchedRun(AbstractRun):
    """One run of RS-LMI; `total` steps."""

    method = "rs_lmi"
    doubts_weights = True
    method_of_proof: AbstractMethod | None = None
    solver: AbstractSolver | None = None

    def __init__(
        self,
        callback: LossAndGrad,
        weights: Arrays,
        layout: Layout,
        target: float | None,
        options: RSLMIOptions,
        steps: int,
    ) -> None:
        self.layout, self.target, self.options = layout, target, options
        hinge = isinstance(options.penalty, SquaredHinge)
        self.decoupled = target is not None and hinge if options.decoupled is None else options.decoupled
        self.gain = math.prod(slope_gains(layout.network(weights)))
        goal = math.nan if target is None else 2.0 * math.log(target / self.gain)
        self.taus = TauState.initial(layout.norms(weights) ** 2, options, goal)
        if target is not None and options.clip:
            weights = layout.clipped(weights, np.sqrt(self.taus.tau))
        super().__init__(callback, weights, options.optimiser, steps)
        self.maps = layout.sketched_maps()
        self.sketches = first_sketches(self.maps, layout.maps(weights), options)
        self.loss_sum, self.loss_count, self.worst = 0.0, 0, 0.0
        self.runaway: int | None = None  # the layer whose tau left all bounds, looked for once a window
        each = [f"{name}_{k}" for name in ("tau", "alpha", "violation") for k in range(len(self.maps))]
        self.columns = ("step", "loss", "bound", "product", *each)

    def text(self) -> str:
        """The optimiser's numbers may change, its kind may not."""
        values = {f.name: getattr(self.options, f.name) for f in dataclasses.fields(self.options)}
        values["optimiser"] = type(self.optimiser).__name__
        return f"{values!r}, target={self.target!r}, shapes={self.layout.shapes}"

    def groups(self) -> dict[str, Arrays]:
        loss = (np.array([self.loss_sum, self.loss_count]),)
        return {"sketches": self.sketches, "loss": loss, **self.taus.arrays()}

    def read(self, state: TrainingState) -> None:
        self.sketches, self.taus = state.arrays["sketches"], TauState.of(state.arrays)
        self.loss_sum, self.loss_count = float(state.one("loss")[0]), int(state.one("loss")[1])

    def kept(self) -> dict[str, Any]:
        found = vars(self).copy()
        found["taus"] = self.taus.copy()
        return found

    def advance(self) -> float | None:
        loss, report = self._take(), None
        self.step += 1
        if self.taus.counted >= self.options.window:
            mean, said = self.taus.adapt(self.options)
            self.events += tuple(f"step {self.step}: {text}" for text in said)
            self._row(mean)
            self.loss_sum, self.loss_count = 0.0, 0
            self.runaway, report = self.taus.diverged(self.options), loss
        self._judge()
        every = self.options.certify_every
        if not self.undo and every is not None and self.step % every == 0:
            self._certify()
        return report

    def _judge(self) -> None:
        if self.runaway is not None:
            self.reason = (
                f"tau_{self.runaway} diverged at step {self.step}: raise price or alpha, or set a target"
            )
        elif not self.worst < self.options.divergence:
            self.reason = f"the weights diverged at step {self.step}: lower the learning rate or alpha"
        self.undo = bool(self.reason)

    def _take(self) -> float:
        due = self.step % self.options.every == 0
        # before the callback: the optimiser has just written the weights, so that they are in the cache
        pulls = self._pulls() if due and not self.decoupled else None
        loss, gradients = evaluate(self.callback, self.weights, self.step)
        if pulls is not None:
            gradients = self._plus(gradients, pulls, 1.0)
        self.weights, self.memory = self.optimiser.step(
            self.weights, gradients, self.memory, self.step, self.total
        )
        if due and self.decoupled:
            rate = self.optimiser.rate(self.step, self.total)
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
        self.worst = max(v if v == v else math.inf for v in found.violation)  # NaN diverged, too
        self.taus.move(found.tau_gradients, found.violation, self.options)
        return found.pulls

    def _row(self, violation: Any, bound: float = math.nan, product: float = math.nan) -> None:
        loss = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.record(self.step, loss, bound, product, self.taus.tau, self.taus.alpha, violation)

    def _proven(self) -> Certified:
        return certified(self.layout.network(self.weights), self.method_of_proof, self.solver)

    def _certify(self) -> None:
        found = self._proven()
        bound = found.certificate.bound
        self._row(np.full(self.taus.alpha.size, math.nan), bound, found.product)
        if self.target is not None and self.options.tighten and bound > 0.0:
            goal = 2.0 * math.log(self.target / self.gain * found.product / bound)
            self.taus.log_product = goal
            self.taus.fix(self.taus.log_tau)

    def finish(self) -> TrainingResult:
        self.reason = self.reason or f"all {self.total} steps were taken"
        found, state, weights = self._proven(), self.state(), self.weights
        if self.target is not None:
            found, weights = within_target(found, weights, self.layout, self.target)
        return self.result(found, weights, state)
