"""Loop transformation: w = C v + R u, u = psi(S v), folded into the linear fractional form.

With K = (I - N_vw C)^{-1}:

    v = K N_vx x + K N_vw R u,   y = (N_yx + N_yw C K N_vx) x + N_yw (I + C K N_vw) R u.

For slopes in [alpha, beta], C = diag((alpha + beta)/2) and R = diag((beta - alpha)/2) leave slopes in
[-1, 1]; a linear neuron (alpha = beta) has R = 0 and its channel goes, exactly. LipSDP becomes the
D-scaled gain test [A B; C~ D]' diag(I, Lambda) [A B; C~ D] <= diag(rho I, Lambda), with
Lambda_i = 2 T_i R_i^2.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from .._witness import Witness
from ..lmi import SDP, Solution
from ..network import LinearFractional, linear_fractional
from ._chain import AbstractChainFormulation, chain_slopes
from ._linear_neurons import finite_multipliers
from ._point import positive_theta
from .iqc import Dissipation, SlopeRestricted

__all__ = ["LoopLipSDP", "loop_transform", "substitute", "undo_loop_transform"]


def loop_transform(form: LinearFractional, C: np.ndarray, R: np.ndarray) -> LinearFractional:
    """The form of u with w_i = C_i v_i + R_i u_i, R_i >= 0; channels with R_i = 0 are gone.

    C, R (N,). The slopes of u_i lie in [(alpha_i - C_i)/R_i, (beta_i - C_i)/R_i]. Raises InputError for
    R_i < 0, for R_i = 0 unless alpha_i = beta_i = C_i, and where I - N_vw C is singular.
    """
    C, R = np.asarray(C, dtype=np.float64), np.asarray(R, dtype=np.float64)
    kept = R > 0.0
    if (R < 0.0).any() or ((form.alpha[~kept] != C[~kept]) | (form.beta[~kept] != C[~kept])).any():
        raise InputError("R_i must be positive, or zero where alpha_i = beta_i = C_i.")
    select = sp.eye_array(C.size, format="csr")[np.flatnonzero(kept)]
    alpha, beta = ((slope - C)[kept] / R[kept] for slope in (form.alpha, form.beta))
    return substitute(form, sp.diags_array(C), sp.diags_array(R) @ select.T, select, (alpha, beta))


def undo_loop_transform(form: LinearFractional, C: np.ndarray, R: np.ndarray) -> LinearFractional:
    """The form before `loop_transform` with C and R (N,), R > 0: u = R^{-1}(w - C v), the same again."""
    if (np.asarray(R) <= 0.0).any():
        raise InputError(
            "R has an entry <= 0; expected positive ones: a channel that is gone cannot come back."
        )
    return loop_transform(form, -np.asarray(C) / R, 1.0 / np.asarray(R))


def substitute(
    form: LinearFractional, C: Any, R: Any, S: Any, slopes: tuple[np.ndarray, np.ndarray]
) -> LinearFractional:
    """The form of w = C v + R u, u = psi(S v), psi of the given slopes (alpha, beta), each (n_u,).

    C (N, N), R (N, n_u), S (n_u, N), any matrices: Householder and MaxMin groups become scalar
    neurons in this way (`iqc.Householder.rewriting`). Raises InputError where I - N_vw C is singular.
    """
    C, R, S = (sp.csr_array(M) for M in (C, R, S))
    Kx, Ku = _solved(sp.eye_array(form.neurons) - form.N_vw @ C, form.N_vx, form.N_vw @ R)
    return LinearFractional(
        S @ Kx, S @ Ku, form.N_yx + form.N_yw @ (C @ Kx), form.N_yw @ (R + C @ Ku), *slopes
    )


def _solved(system: sp.sparray, *right: sp.csr_array) -> list[sp.csr_array]:
    """system^{-1} times each; for a chain the system is unit lower triangular."""
    from scipy.sparse.linalg import splu  # here, because it is slow to import and seldom needed

    message = "I - N_vw C is singular: the substitution makes the loop ill-posed; choose another C."
    if not system.shape[0]:
        return list(right)
    try:
        factor = splu(sp.csc_array(system))
    except RuntimeError as error:
        raise InputError(message) from error
    found = [factor.solve(r.toarray()) if r.shape[1] else np.zeros(r.shape) for r in right]
    if not all(np.isfinite(f).all() for f in found):
        raise InputError(message)
    return [sp.csr_array(f) for f in found]


@dataclasses.dataclass(frozen=True, eq=False)
class LoopLipSDP(AbstractChainFormulation):
    """LipSDP after the loop transformation; exact for linear neurons (alpha = beta), which it eliminates.

    `centred`: C = (alpha + beta)/2 for every neuron, slopes [-1, 1] (a dense form). Otherwise only
    linear neurons are substituted, the rest keep their slopes and their sparsity. y = (Lambda, F), one
    Lambda per neuron with alpha < beta, in order (or per layer that has one).
    """

    centred: bool = True
    theorem: ClassVar[str] = (
        "Fazlyab, Robey, Hassani, Morari, Pappas, NeurIPS 2019, Theorem 2 with diagonal multipliers, after a "
        "loop transformation (Desoer, Vidyasagar, Feedback Systems, 1975, section III.6); assumes slopes of "
        "each neuron in [alpha, beta] globally, any biases."
    )

    def transformed(self) -> LinearFractional:
        """The form with the nonlinear channels only."""
        form = linear_fractional(self.network)
        if self.centred:
            return loop_transform(form, 0.5 * (form.alpha + form.beta), 0.5 * (form.beta - form.alpha))
        return form.without_linear_neurons()

    def _kept(self) -> np.ndarray:
        alpha, beta = chain_slopes(self.network)
        return np.flatnonzero(alpha < beta)

    def _scale(self) -> np.ndarray:
        """R of the nonlinear neurons: 2 T = rho Lambda / R^2."""
        alpha, beta = chain_slopes(self.network)
        kept = self._kept()
        return 0.5 * (beta - alpha)[kept] if self.centred else np.ones(kept.size)

    def _kept_incidence(self) -> sp.csc_array:
        rows = sp.csr_array(self.incidence)[self._kept()]
        return sp.csc_array(rows[:, np.flatnonzero(abs(rows).sum(axis=0))])

    def sdp(self) -> SDP:
        """Minimise -F; variables (Lambda, F)."""
        form = self.transformed()
        problem = Dissipation(form, [SlopeRestricted(form.alpha, form.beta)])
        if self.multipliers == "neuron":
            return problem.sdp()
        shared = sp.diags_array(self._scale() ** 2) @ self._kept_incidence()  # one T: Lambda = R^2 times it
        return problem.sdp(np.ones(shared.shape[1], dtype=bool), shared)

    def witness(self, solution: Solution) -> Witness:
        """rho = 1/F, T = rho Lambda / (2 R^2); linear neurons get a finite T at a slightly larger rho."""
        y = positive_theta(solution)
        neuron = self.multipliers == "neuron"
        per_neuron = y[:-1] / self._scale() ** 2 if neuron else self._kept_incidence() @ y[:-1]
        rho, T = 1.0 / y[-1], np.zeros(self.network.hidden_neurons)
        T[self._kept()] = 0.5 * rho * per_neuron
        if self._kept().size < T.size:
            rho, T = finite_multipliers(self.network, rho, T)
        return self.propose(rho, T, solution)

    def point(self, witness: Witness, shrink: float = 1.0) -> np.ndarray:
        """y with F = shrink / rho from a witness of the whole chain, of which it is a restriction.

        On w = alpha v, as linear neurons have it, the chain's LMI is this one: feasible stays feasible.
        """
        kept = self._kept()
        T = self.multipliers_of(witness) * self.tilt(shrink)
        if self.multipliers == "neuron":
            T = T[kept] * self._scale() ** 2
        else:
            T = T[np.flatnonzero(abs(sp.csr_array(self.incidence)[kept]).sum(axis=0))]
        return np.append(2.0 / witness.rho * T, shrink / witness.rho)
