"""ECLipsE: the block-tridiagonal LMI by forward elimination, one small SDP per layer.

With X_0 = I and Lambda_k per neuron, eliminating layer after layer leaves

    X_k = Lambda_k - 1/4 Lambda_k S W X^ ^-1 W'S Lambda_k,   X^ = X_{k-1} + W'Pi Lambda_k W,

and the joint LMI holds with F exactly when every X^ > 0 and X_L >= F W_L'W_L. Layer k chooses its
Lambda_k by the largest c with X_k >= c B_k. Only G = W X_{k-1}^-1 W' enters: this is LipSDP for the
network u -> R phi(H u) with one hidden layer, G = H H', B_k = R'R. The greedy choice is
B_k = W_k'W_k. Where multipliers T of the later layers are at hand, B_k can be what those layers ask
for (`asked_by_next`), and then the bound that (T_1, ..., T_L) shows can only improve.
"""

import dataclasses
import functools
from typing import ClassVar, Literal

import numpy as np
import scipy.linalg

from .._witness import Witness
from ..lmi import SDP, Solution
from ..network import Network, Slopes
from ._base import AbstractFormulation
from .lipsdp import JointLipSDP
from .loop_transform import LoopLipSDP

__all__ = ["EclipseStep", "asked_by_next"]

_RANK = 1e-14  # eigenvalues of G and B below this share of the largest are rounding


@dataclasses.dataclass(frozen=True, eq=False)
class EclipseStep(AbstractFormulation):
    """max c with X_k >= c B for one layer: gram G (n, n) and criterion B (n, n) PSD, slopes (n,).

    Both are divided by their norms, `units`. With G = 0 or B = 0 the problem is unbounded.
    """

    gram: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    criterion: np.ndarray
    multipliers: Literal["neuron", "layer"] = "neuron"
    theorem: ClassVar[str] = (
        "Xu, Sivaranjani, ECLipsE, NeurIPS 2024, Theorem 1 (elimination) and its layer problem, here for any "
        "slopes and any criterion; assumes slopes of each neuron in [alpha, beta] globally, any biases."
    )

    @functools.cached_property
    def units(self) -> tuple[float, float]:
        """(|G|, |B|), spectral."""
        top = [float(np.linalg.eigvalsh(M)[-1]) for M in (self.gram, self.criterion)]
        return top[0], top[1]

    @functools.cached_property
    def outgoing(self) -> np.ndarray:
        """R (rank, n) with R'R = B."""
        return _factor(self.criterion).T

    @functools.cached_property
    def inner(self) -> JointLipSDP | LoopLipSDP:
        """LipSDP of u -> R phi(H u), both factors of norm 1."""
        H = _factor(self.gram) / np.sqrt(self.units[0])
        R = self.outgoing / np.sqrt(self.units[1])
        network = Network.from_arrays([H, R], activation=Slopes(self.alpha, self.beta))
        if (self.alpha == self.beta).any():
            return LoopLipSDP(network, self.multipliers, centred=False)
        return JointLipSDP(network, self.multipliers)

    def sdp(self) -> SDP:
        """LipSDP of the inner network; minimise -F, c = F / (|G| |B|)."""
        return self.inner.sdp()

    def witness(self, solution: Solution) -> Witness:
        """The witness of the inner network."""
        return self.inner.witness(solution)

    def reciprocals(self, solution: Solution) -> np.ndarray:
        """d = 1/Lambda (n,) for the given G; a multiplier that came out <= 0 becomes a tiny one."""
        witness = self.witness(solution)
        Lambda = 2.0 / witness.rho * witness.multipliers[0]
        Lambda = np.maximum(Lambda, 1e-12 * max(float(Lambda.max()), 1e-300))
        return np.asarray(self.units[0] / Lambda)

    def level(self, solution: Solution) -> float:
        """c, as the solver sees it."""
        return 1.0 / (self.witness(solution).rho * self.units[0] * self.units[1])


def asked_by_next(
    B: np.ndarray, W: np.ndarray, alpha: np.ndarray, beta: np.ndarray, T: np.ndarray
) -> np.ndarray:
    """What a layer and those behind it ask of X: X >= c W'[r^2 L + c0 (B + B (L - B)^-1 B) c0] W.

    B (n, n) is what is asked behind the layer, L = 2 T its multipliers in the normalisation with the
    identity on the output, c0 and r the centre and radius of its slopes: the backward elimination of
    the LMI, arranged without differences. Raises LinAlgError where L - B is not positive definite.
    """
    Lambda, centre, radius = 2.0 * T, 0.5 * (alpha + beta), 0.5 * (beta - alpha)
    factor = scipy.linalg.cholesky(np.diag(Lambda) - B, lower=True)
    half = scipy.linalg.solve_triangular(factor, B, lower=True)
    inside = centre[:, None] * (B + half.T @ half) * centre + np.diag(radius**2 * Lambda)
    result = W.T @ inside @ W
    return np.asarray(0.5 * (result + result.T))


def _factor(M: np.ndarray) -> np.ndarray:
    """H (n, rank) with H H' = M."""
    values, vectors = np.linalg.eigh(M)
    kept = values > _RANK * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
