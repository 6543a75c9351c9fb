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
import scipy.sparse.linalg

from .._errors import InputError
from .._witness import Witness
from ..lmi import SDP, Solution
from ._chain import AbstractChainFormulation, chain_slopes
from ._fractional import LinearFractional, linear_fractional
from ._linear_neurons import finite_multipliers
from ._point import positive_theta
from .iqc import Dissipation, SlopeRestricted

__all__ = ["LoopLipSDP", "loop_transform", "undo_loop_transform"]


def loop_transform(form: LinearFractional, C: Any, R: Any, S: Any = None) -> LinearFractional:
    """The form of v' = S v, u = psi(v') after substituting w = C v + R u.

    C (n_w, n_v), R (n_w, n_u), S (n_u, n_v), default the identity; a vector stands for a diagonal.
    Raises InputError where I - N_vw C is singular (an ill-posed implicit network).
    """
    C, R = (sp.diags_array(M) if np.ndim(M) == 1 else sp.csc_array(M) for M in (C, R))
    n_v = form.N_vx.shape[0]
    CK = sp.csc_array(sp.eye_array(n_v) - form.N_vw @ C)
    try:
        solve = scipy.sparse.linalg.splu(CK, permc_spec="NATURAL", diag_pivot_thresh=0.0).solve
    except RuntimeError as error:
        raise InputError("I - N_vw C is singular: the substitution makes the loop ill-posed.") from error

    def apply(M: Any) -> sp.csr_array:
        dense = solve(sp.csc_array(M).toarray()) if min(M.shape) else np.zeros(M.shape)
        if not np.isfinite(dense).all():
            raise InputError("I - N_vw C is singular: the substitution makes the loop ill-posed.")
        return sp.csr_array(dense)

    Kx, Ku = apply(form.N_vx), apply(sp.csc_array(form.N_vw @ R))
    N_yx = form.N_yx + form.N_yw @ (C @ Kx)
    N_yw = form.N_yw @ (R + C @ Ku)
    if S is not None:
        S = sp.csr_array(S)
        Kx, Ku = S @ Kx, S @ Ku
    return dataclasses.replace(
        form, N_vx=sp.csr_array(Kx), N_vw=sp.csr_array(Ku), N_yx=sp.csr_array(N_yx), N_yw=sp.csr_array(N_yw)
    )


def undo_loop_transform(form: LinearFractional, C: np.ndarray, R: np.ndarray) -> LinearFractional:
    """The form before `loop_transform` with diagonals C and R (n,), R without zeros.

    u = R^{-1}(w - C v): again a loop transformation, by -C/R and 1/R.
    """
    if (R == 0).any():
        raise InputError("R has a zero: that channel is gone and cannot be brought back.")
    return loop_transform(form, -C / R, 1.0 / R)


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

    def transformed(self) -> tuple[LinearFractional, np.ndarray, np.ndarray, np.ndarray]:
        """(form with the nonlinear channels only, their alpha, beta, indices of those neurons)."""
        alpha, beta = chain_slopes(self.network)
        nonlinear = np.flatnonzero(alpha < beta)
        if self.centred:
            C, R = 0.5 * (alpha + beta), 0.5 * (beta - alpha)
            low, high = -np.ones(nonlinear.size), np.ones(nonlinear.size)
        else:
            C, R = np.where(alpha < beta, 0.0, alpha), np.ones(alpha.size)
            low, high = alpha[nonlinear], beta[nonlinear]
        select = sp.eye_array(alpha.size, format="csr")[nonlinear]
        form = loop_transform(linear_fractional(self.network), C, sp.diags_array(R) @ select.T, select)
        return form, low, high, nonlinear

    @property
    def _scale(self) -> np.ndarray:
        """R of the nonlinear neurons: T = Lambda / (2 R^2) per unit of 1/F."""
        alpha, beta = chain_slopes(self.network)
        nonlinear = alpha < beta
        return 0.5 * (beta - alpha)[nonlinear] if self.centred else np.ones(int(nonlinear.sum()))

    def _kept_incidence(self) -> sp.csc_array:
        alpha, beta = chain_slopes(self.network)
        rows = sp.csr_array(self.incidence)[np.flatnonzero(alpha < beta)]
        used = np.flatnonzero(abs(rows).sum(axis=0))
        # per layer, one T serves all its neurons, so that Lambda_i = R_i^2 times the layer's variable
        return sp.csc_array(rows[:, used])

    def sdp(self) -> SDP:
        """Minimise -F; variables (Lambda, F)."""
        form, low, high, _ = self.transformed()
        problem = Dissipation(form, [SlopeRestricted(low, high)])
        full = problem.sdp()
        if self.multipliers == "neuron":
            return full
        block = full.lmis[0]
        tie = sp.block_diag(
            [sp.diags_array(self._scale**2) @ self._kept_incidence(), sp.eye_array(1)], format="csc"
        )
        tied = dataclasses.replace(block, E=sp.csc_array(block.E @ tie))
        k = tie.shape[1]
        G = sp.csc_array((np.full(k - 1, -1.0), (np.arange(k - 1), np.arange(k - 1))), shape=(k - 1, k))
        return SDP(np.append(np.zeros(k - 1), -1.0), (tied,), G=G, h=np.zeros(k - 1))

    def witness(self, solution: Solution) -> Witness:
        """rho = 1/F, T = rho Lambda / (2 R^2); linear neurons get a finite multiplier at a slightly larger rho."""
        y = positive_theta(solution)
        per_neuron = (
            y[:-1] / self._scale**2 if self.multipliers == "neuron" else self._kept_incidence() @ y[:-1]
        )
        rho = 1.0 / y[-1]
        T = np.zeros(self.network.hidden_neurons)
        alpha, beta = chain_slopes(self.network)
        T[alpha < beta] = 0.5 * rho * per_neuron
        if (alpha == beta).any():
            rho, T = finite_multipliers(self.network, rho, T)
        return self.propose(rho, T, solution)
