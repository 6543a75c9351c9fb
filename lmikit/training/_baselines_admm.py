"""ADMM for Lipschitz-regularised training with fixed multipliers (Pauli et al. 2022), one hidden layer.

minimise loss(theta) + weight rho over theta = (W_0, W_1) and the biases, subject to

    [[rho I, W_0'T, 0], [T W_0, 2T, W_1'], [0, W_1, I]] >= 0        T fixed,

by splitting theta = Z: gradient steps on loss + mu/2 ||theta - Z + U||^2, an SDP for (rho, Z), and
U += theta - Z. The loss is not convex: nothing is claimed about convergence; residuals are reported.
P. Pauli, A. Koch, J. Berberich, P. Kohler, F. Allgoewer, "Training robust neural networks using
Lipschitz bounds", IEEE Control Systems Letters 6 (2022), section III.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.linalg

from .._errors import InputError, OptionError, SolveFailed
from .._progress import Progress, ProgressCallback
from .._proving import least_proven
from ..lmi import Problem, block, sum_squares
from ..methods import LipSDP
from ..network import Network
from ..solvers import AbstractSolver, Clarabel
from ._callback import LossAndGrad, Weights, as_weights, distance, evaluate
from ._optimisers import Adam
from ._penalties import Penalised, Penalty
from ._sgd import sgd

__all__ = ["ADMMResult", "ADMMStep", "admm_pauli"]


@dataclasses.dataclass(frozen=True)
class ADMMStep:
    """One iteration: ||theta - Z||, mu ||Z - Z_old||, and at Z the loss, rho (fixed T) and objective."""

    primal_residual: float
    dual_residual: float
    loss: float
    rho: float
    objective: float


@dataclasses.dataclass(frozen=True, eq=False)
class ADMMResult:
    """The weights with the least objective among the given ones and the iterates Z, and the history."""

    weights: Weights
    objective: float
    history: tuple[ADMMStep, ...]
    reason: str


def admm_pauli(
    loss_and_grad: LossAndGrad,
    weights: Weights,
    *,
    lipschitz: float,
    mu: float = 1.0,
    iterations: int = 20,
    inner_steps: int = 100,
    learning_rate: float = 5e-3,
    tol: float = 1e-3,
    solver: AbstractSolver | None = None,
    progress: ProgressCallback | None = None,
) -> ADMMResult:
    """Lipschitz-regularised training of [W_0, b_0, W_1, b_1] by ADMM, multipliers fixed by LipSDP.

    minimise loss + lipschitz * rho; ReLU after the first layer is assumed, not checked. It stops when
    both residuals are below `tol` times the norm of theta, or after `iterations`. `solver` None is
    Clarabel at tolerance 1e-6.

    Raises InputError unless the weights are those of one hidden layer, TrainingDiverged with the state
    of the gradient steps, SolveFailed.
    """
    if not (np.isfinite(lipschitz) and lipschitz > 0 and np.isfinite(mu) and mu > 0):
        raise OptionError(f"lipschitz={lipschitz}, mu={mu}; expected finite numbers > 0.")
    theta = list(as_weights(weights))
    if len(theta) != 4 or theta[0].ndim != 2 or theta[2].ndim != 2:
        raise InputError(
            f"weights has {len(theta)} arrays; expected [W_0, b_0, W_1, b_1] of one hidden layer."
        )
    t = _multipliers(Network.from_arrays(theta[0::2], theta[1::2], activation="relu"))
    step = _sdp_step(t, theta, lipschitz, mu, solver or Clarabel(tol=1e-6, chordal=True))
    Z, dual = [theta[0].copy(), theta[2].copy()], [np.zeros_like(theta[0]), np.zeros_like(theta[2])]
    loss, rho = evaluate(loss_and_grad, theta)[0], _rho(Z, t)
    best, history, reason = (loss + lipschitz * rho, theta), [], f"{iterations} iterations were done"
    for k in range(iterations):
        # without `seek`: minibatches go on from where the iteration before left them
        pulled = Penalised(loss_and_grad, _pull(Z, dual, mu))
        theta = sgd(
            pulled.__call__, theta, steps=inner_steps, optimiser=Adam(learning_rate=learning_rate)
        ).weights
        old, Z = Z, step([theta[0] + dual[0], theta[2] + dual[1]])
        dual = [u + w - z for u, w, z in zip(dual, theta[0::2], Z, strict=True)]
        candidate = [Z[0], theta[1], Z[1], theta[3]]
        loss, rho = evaluate(loss_and_grad, candidate)[0], _rho(Z, t)
        primal, moved = distance(theta[0::2], Z), mu * distance(Z, old)
        history.append(ADMMStep(primal, moved, loss, rho, loss + lipschitz * rho))
        if history[-1].objective < best[0]:
            best = (history[-1].objective, candidate)
        if progress is not None:
            progress(Progress("admm_pauli", k + 1, iterations, history[-1].objective))
        if max(primal, moved) <= tol * distance(theta[0::2]):
            reason = f"both residuals are below {tol:g} of the norm of the weights"
            break
    return ADMMResult([w.copy() for w in best[1]], best[0], tuple(history), reason)


def _multipliers(network: Network) -> np.ndarray:
    """T of LipSDP for the given network; a neuron that LipSDP did not need gets one that hardly counts."""
    witness = least_proven(network, LipSDP()).witness
    t = np.array(witness.multipliers[0])
    t = np.ldexp(t, 2 * witness.layer_pow2[1]) if witness.layer_pow2 else t
    least = 0.5 * (network.weights[1] ** 2).sum(axis=0)  # 2T >= W_1'W_1 needs t_j above this
    return np.where(t > least, t, 1e3 * (least + least.mean() + 1e-12))


def _rho(Z: Weights, t: np.ndarray) -> float:
    """The least rho for which (W_0, W_1) fulfil the LMI, infinite where 2T - W_1'W_1 is not PD."""
    S = np.diag(2.0 * t) - Z[1].T @ Z[1]
    try:
        factor = scipy.linalg.cho_factor(S, lower=True)
    except scipy.linalg.LinAlgError:
        return np.inf
    TW = t[:, None] * Z[0]
    return float(max(scipy.linalg.eigvalsh(TW.T @ scipy.linalg.cho_solve(factor, TW))[-1], 0.0))


def _pull(Z: Weights, dual: Weights, mu: float) -> Penalty:
    """mu/2 ||theta - Z + U||^2 on the two matrices."""

    def pulled(weights: Sequence[np.ndarray]) -> tuple[float, Mapping[int, np.ndarray]]:
        errors = {k: weights[k] - z + u for k, z, u in zip((0, 2), Z, dual, strict=True)}
        value = sum(0.5 * mu * float(np.vdot(e, e)) for e in errors.values())
        return value, {k: mu * e for k, e in errors.items()}

    return pulled


def _sdp_step(
    t: np.ndarray, theta: Weights, weight: float, mu: float, solver: AbstractSolver
) -> Callable[[Weights], Weights]:
    """C -> argmin weight rho + mu/2 ||Z - C||^2 over the LMI; compiled anew for each C, a linear term."""
    (hidden, inputs), outputs, problem = theta[0].shape, len(theta[2]), Problem()
    # in terms of T^1/2 W_0 and W_1 T^-1/2 the block of T is 2 I: better scaled, the same LMI
    root = np.sqrt(t)
    first, outer = problem.matrix(hidden, inputs, "W0"), problem.matrix(outputs, hidden, "W1")
    rho, scaled, last = problem.scalar("rho"), np.diag(root) @ first, outer @ np.diag(1.0 / root)
    rows = [
        [rho * np.eye(inputs), scaled.T, 0],
        [scaled, 2.0 * np.eye(hidden), last.T],
        [0, last, np.eye(outputs)],
    ]
    problem.add(block(rows) >> 0, name="Lipschitz")

    def step(C: Weights) -> Weights:
        problem.minimise(weight * rho + (0.5 * mu) * (sum_squares(first - C[0]) + sum_squares(outer - C[1])))
        solution = solver.solve(problem.compile())
        if solution.y is None or not solution.status.has_point:
            raise SolveFailed(
                f"the SDP step ended with {solution.status.name} ({solution.native_status}); change mu, "
                "or scale the data."
            )
        values = problem.read(solution)
        return [np.array(values["W0"]), np.array(values["W1"])]

    return step
