"""`Witness`: what every method proposes and what `certificates.verify` proves. Data only.

Conventions (one for the whole project). For a chain with weights W_0..W_L, hidden layers
k = 1..L, slopes [alpha, beta] per neuron and diagonal multipliers T_k >= 0:

    M(rho, T) = rho E_0'E_0 - Y'Y + 2 V'Pi T V - V'S T J - J'T S V + 2 J'T J >= 0,

S = diag(alpha + beta), Pi = diag(alpha beta); then ||f(x) - f(x')|| <= sqrt(rho) ||x - x'||
(Fazlyab et al., NeurIPS 2019, with diagonal multipliers only).
"""

import dataclasses
from typing import Literal

import numpy as np

from ._convert import floats
from ._errors import InputError

__all__ = ["Witness"]


def _frozen(values: object) -> np.ndarray:
    return floats("multipliers", values, finite=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Witness:
    """A proposal (rho, multipliers) for the network with weights 2**-layer_pow2[k] * W_k.

    kind "lipsdp": `multipliers[k]` is the diagonal of T_{k+1}, one array of shape (n_{k+1},)
    per hidden layer, in the normalisation with rho on the input block and the identity on
    the output. kind "layerwise": `multipliers[k]` is the array [tau_k], one per linear map,
    tau_k I - W_k'W_k >= 0, and rho is the product of all tau_k and slope gains squared.

    Scaling a layer by a power of two leaves slopes alone, so the claim for the original
    weights is L = 2**sum(layer_pow2) * sqrt(rho). An empty `layer_pow2` means all zeros.
    `optimum_at_least` is the solver's own (unproven) lower bound on the best L that any
    witness of this kind can show; `produced_by` says what made the proposal.
    """

    kind: Literal["lipsdp", "layerwise"]
    rho: float
    multipliers: tuple[np.ndarray, ...]
    layer_pow2: tuple[int, ...] = ()
    produced_by: str = ""
    optimum_at_least: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("lipsdp", "layerwise"):
            raise InputError(f"witness kind is {self.kind!r}; expected 'lipsdp' or 'layerwise'.")
        arrays = tuple(_frozen(t) for t in self.multipliers)
        for k, t in enumerate(arrays):
            if t.ndim != 1:
                raise InputError(
                    f"multipliers[{k}] has shape {t.shape}; expected one dimension, the diagonal "
                    "of T. Coupled (non-diagonal) multipliers are invalid for increments "
                    "(Pauli et al., IEEE L-CSS 2022): f(x) = relu(x) - relu(x - 1) is a "
                    "counterexample."
                )
        object.__setattr__(self, "multipliers", arrays)
        object.__setattr__(self, "rho", float(self.rho))
        object.__setattr__(self, "layer_pow2", tuple(int(p) for p in self.layer_pow2))
