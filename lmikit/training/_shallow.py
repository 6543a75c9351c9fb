"""Convex training of shallow ReLU networks with a Lipschitz or a weight-decay penalty.

Starting from a trained net, its activation patterns and signs are kept, which makes training convex
(`_shallow_program`). The given net is feasible, so the result is never worse. "Convex training of
Lipschitz-regularized shallow neural networks", Algorithm 1 and Corollaries 10 and 11.
"""

import contextlib
import dataclasses
import time
from typing import Any, Literal

import numpy as np

from .._api import lipschitz as prove_lipschitz
from .._errors import NotCertified, OptionError, SolveFailed
from .._progress import ProgressCallback
from .._witness import Witness
from ..certificates import Certificate, verify
from ..network import Network
from ..solvers import AbstractSolver, Clarabel
from ._shallow_model import ShallowModel, read_model
from ._shallow_program import lipschitz_program, pattern_rows, penalty_rho, weight_decay_program
from ._shallow_result import ShallowResult, ShallowStep
from ._shallow_rows import solve_with_rows

__all__ = ["convex_shallow"]

_SHRINK = (1.0, 0.99, 0.9, 0.5)  # of the way to the solver's point, until the true objective does not rise


def convex_shallow(
    network: Network,
    X: Any,
    y: Any,
    *,
    lipschitz: float | None = None,
    weight_decay: float | None = None,
    multipliers: Literal["joint", "alternating"] = "joint",
    solver: AbstractSolver | None = None,
    working_set: float | None = None,
    max_iterations: int = 20,
    tol: float = 1e-4,
    time_limit: float | None = None,
    progress: ProgressCallback | None = None,
) -> ShallowResult:
    """Lower the regularised training objective of a shallow ReLU net by convex programs.

    One of the two weights is given, a number > 0:
    `lipschitz`:    minimise (1/N) ||f(X) - y||^2 + lipschitz * L^2, L the LipSDP bound of f;
    `weight_decay`: minimise (1/N) ||f(X) - y||^2 + weight_decay/2 sum_j (||u_j||^2 + a_j^2), u_j with its
    bias, over the weights with the given net's activation patterns on X and signs of a; the output
    bias stays. X (N, d), y (N,). With `lipschitz`, `multipliers` "joint" is one SDP over weights and
    multipliers; "alternating" is the paper's method: multipliers by LipSDP, then weights with
    multipliers and |a_j| fixed, until an iteration gains less than `tol` of the objective or
    `max_iterations` are done. `working_set` in (0, 1] starts each program with that share of the
    pattern rows and adds violated ones. `solver` None is Clarabel at tolerance 1e-7; `time_limit`
    in seconds counts for the whole call, and the best point so far comes back.

    Units that are active on no row, or have a_j = 0, become zero: that never raises the objective. A
    step is taken only where the objective, recomputed from the network, does not rise.

    Raises InputError (not a shallow ReLU net with one output, shapes, NaN), OptionError, SolveFailed
    where the first program has no usable point, NotCertified.
    """
    _check(lipschitz, weight_decay, multipliers, working_set, max_iterations, tol)
    model = read_model(network, X, y)
    run = _Run(
        model,
        Clarabel(tol=1e-7) if solver is None else solver,
        working_set,
        np.inf if time_limit is None else time.perf_counter() + time_limit,
        progress,
    )
    if lipschitz is None:
        assert weight_decay is not None
        return run.weight_decay(network, weight_decay)
    if multipliers == "joint":
        return run.joint(network, lipschitz)
    return run.alternating(network, lipschitz, max_iterations, tol)


class _Run:
    """One call: the model, the clock, the current point (V, p) and the history."""

    def __init__(
        self,
        model: ShallowModel,
        solver: AbstractSolver,
        working_set: float | None,
        deadline: float,
        progress: ProgressCallback | None,
    ) -> None:
        self.model, self.solver, self.working_set = model, solver, working_set
        self.deadline, self.progress = deadline, progress
        self.started = time.perf_counter()
        self.G = pattern_rows(model)
        self.V, self.p = model.V, np.zeros(model.units)
        self.history: list[ShallowStep] = []

    def joint(self, network: Network, weight: float) -> ShallowResult:
        initial = self._initial(network, weight)
        if self.model.units:
            y = self._solve(lambda G: lipschitz_program(self.model, weight, None, G)[0])
            V, p = self._unpack(y), np.maximum(y[self.V.size + 1 :], 0.0)
            better = self._best_multipliers(V)  # the solver's p is right to its tolerance only
            self._move("joint", weight, V, min(p, better, key=lambda q: self._rho(V, q)))
        return self._result(initial, weight, "the joint program was solved")

    def alternating(self, network: Network, weight: float, iterations: int, tol: float) -> ShallowResult:
        initial = self._initial(network, weight)
        reason = f"{iterations} iterations were done"
        for k in range(iterations if self.model.units else 0):
            before = self.history[-1].objective
            try:
                y = self._solve(lambda G: lipschitz_program(self.model, weight, self.p, G)[0])
            except SolveFailed as error:
                if k == 0:
                    raise
                reason = f"the solver failed; the last good weights are kept: {error}"
                break
            self._move("weights", weight, self._unpack(y), self.p)
            self._update_multipliers(weight)
            if before - self.history[-1].objective <= tol * before:
                reason = f"an iteration gained less than {tol:g} of the objective"
                break
            if time.perf_counter() > self.deadline:
                reason = "the time limit was reached"
                break
        return self._result(initial, weight, reason)

    def weight_decay(self, network: Network, weight: float) -> ShallowResult:
        model = self.model
        squares = sum(float((w**2).sum()) for w in (*network.weights, network.layers[0].bias))
        loss = model.loss(model.V)
        initial = ShallowStep("start", loss, 0.5 * squares, loss + 0.5 * weight * squares, 0.0)
        self.history.append(initial)
        norms = float(np.linalg.norm(model.V, axis=1).sum())  # at most 1/2 sum of squares: the best rescaling
        self._record("start", loss, norms, weight, True)
        if model.units:
            y = self._solve(lambda G: weight_decay_program(model, weight, G)[0])
            target, base = self._unpack(y), self.V
            for share in _SHRINK:
                V = base + share * (target - base)
                loss, norms = model.loss(V), float(np.linalg.norm(V, axis=1).sum())
                if loss + weight * norms <= self.history[-1].objective:
                    self.V = V
                    self._record("weights", loss, norms, weight, True)
                    break
            else:
                self._reject("weights")
        nu = np.sqrt(np.linalg.norm(self.V, axis=1))
        return self._result(initial, weight, "the cone program was solved", nu)

    def _initial(self, network: Network, weight: float) -> ShallowStep:
        """The given net's objective; then the same with idle units at zero, where the steps start."""
        loss, certificate = self.model.loss(self.V), prove_lipschitz(network)
        rho = certificate.bound**2
        initial = ShallowStep("start", loss, rho, loss + weight * rho, self._seconds())
        self.history.append(initial)
        if self.model.units:
            self.p = self._inverse_multipliers(self.V, certificate, self.model.magnitudes)
            self._record("multipliers", loss, min(rho, self._rho(self.V, self.p)), weight, True)
            if not np.isfinite(self._rho(self.V, self.p)):
                raise SolveFailed("LipSDP gave no usable multipliers for the network; scale its weights.")
        return initial

    def _inverse_multipliers(
        self, V: np.ndarray, certificate: Certificate, magnitudes: np.ndarray
    ) -> np.ndarray:
        """p_j = nu_j^2 / t_j for the units scaled to a_j = s_j.

        With weights 2^-k W the LMI has T' where that of W has 4^k1 T', k1 the output layer's power.
        Units that do not see the input may have p_j = 0; a little more keeps the next program strict.
        """
        powers = certificate.witness.layer_pow2
        t = np.array(certificate.witness.multipliers[0])[self.model.live]
        t = np.ldexp(t, 2 * powers[1]) if powers else t
        moving = V[:, :-1].any(axis=1) & (t > 0)
        p = np.where(moving, magnitudes**2 / np.where(moving, t, 1.0), 0.0)
        return np.where(moving, p, 1e-6 * max(2.0 - float(p.sum()), 0.0) / p.size)

    def _best_multipliers(self, V: np.ndarray) -> np.ndarray:
        """p by LipSDP for the weights V, with a_j = s_j."""
        ones = np.ones(self.model.units)
        return self._inverse_multipliers(V, prove_lipschitz(self.model.network(V, ones)), ones)

    def _rho(self, V: np.ndarray, p: np.ndarray) -> float:
        return penalty_rho(V, self.model.signs, p)

    def _update_multipliers(self, weight: float) -> None:
        """The best multipliers for the present weights, by LipSDP; kept only where they are better."""
        loss, old = self.model.loss(self.V), self._rho(self.V, self.p)
        p = self._best_multipliers(self.V)
        new = self._rho(self.V, p)
        if new < old:
            self.p = p
        self._record("multipliers", loss, min(new, old), weight, new < old)

    def _move(self, stage: str, weight: float, V: np.ndarray, p: np.ndarray) -> None:
        """Take the longest listed step towards (V, p) at which the true objective does not rise."""
        base, inverse = self.V, self.p
        for share in _SHRINK:
            V_new, p_new = base + share * (V - base), inverse + share * (p - inverse)
            loss, rho = self.model.loss(V_new), self._rho(V_new, p_new)
            if loss + weight * rho <= self.history[-1].objective:
                self.V, self.p = V_new, p_new
                self._record(stage, loss, rho, weight, True)
                return
        self._reject(stage)

    def _solve(self, program: Any) -> np.ndarray:
        left = None if np.isinf(self.deadline) else max(self.deadline - time.perf_counter(), 1e-3)
        solution = solve_with_rows(
            program,
            self.G,
            self.V.ravel(),
            self.solver,
            start=self.working_set,
            time_limit=left,
            progress=self.progress,
        )
        assert solution.y is not None
        return solution.y

    def _unpack(self, y: np.ndarray) -> np.ndarray:
        return y[: self.V.size].reshape(self.V.shape)

    def _certificate(self, network: Network, magnitudes: np.ndarray | None) -> Certificate:
        """The better of LipSDP's and, for a Lipschitz penalty, that of the multipliers in hand."""
        certificate = prove_lipschitz(network)
        rho = self._rho(self.V, self.p)
        if magnitudes is not None or not (np.isfinite(rho) and (self.p > 0).all()):
            return certificate
        t = np.zeros(self.model.hidden)
        t[self.model.live] = self.model.magnitudes**2 / self.p
        witness = Witness("lipsdp", rho, (t,), produced_by="convex_shallow")
        with contextlib.suppress(NotCertified):
            certificate = min(certificate, verify(network, witness), key=lambda c: c.bound)
        return certificate

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _record(self, stage: str, loss: float, penalty: float, weight: float, accepted: bool) -> None:
        step = ShallowStep(stage, loss, penalty, loss + weight * penalty, self._seconds(), accepted)
        self.history.append(step)

    def _reject(self, stage: str) -> None:
        last = self.history[-1]
        self.history.append(dataclasses.replace(last, stage=stage, seconds=self._seconds(), accepted=False))

    def _result(
        self, initial: ShallowStep, weight: float, reason: str, magnitudes: np.ndarray | None = None
    ) -> ShallowResult:
        network = self.model.network(self.V, magnitudes)
        return ShallowResult(
            network=network,
            objective=self.history[-1].objective,
            initial_objective=initial.objective,
            certificate=self._certificate(network, magnitudes),
            history=tuple(self.history),
            reason=reason,
            seconds=self._seconds(),
        )


def _check(
    lipschitz: float | None,
    weight_decay: float | None,
    multipliers: str,
    working_set: float | None,
    max_iterations: int,
    tol: float,
) -> None:
    if (lipschitz is None) == (weight_decay is None):
        raise OptionError("give exactly one of lipschitz= and weight_decay=, the weight of the penalty.")
    for name, value in (("lipschitz", lipschitz), ("weight_decay", weight_decay)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise OptionError(f"{name} is {value!r}; expected a finite number > 0.")
    if multipliers not in ("joint", "alternating"):
        raise OptionError(f"multipliers is {multipliers!r}; expected 'joint' or 'alternating'.")
    if working_set is not None and not 0 < working_set <= 1:
        raise OptionError(f"working_set is {working_set!r}; expected a share in (0, 1], or None.")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise OptionError(f"max_iterations is {max_iterations!r}; expected an integer >= 1.")
    if not 0 <= tol < 1:
        raise OptionError(f"tol is {tol!r}; expected a number in [0, 1).")
