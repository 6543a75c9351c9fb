"""Constraints per neuron and of whole blocks: slopes, sectors, norms."""

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError, OptionError
from ._constraint import AbstractQuadraticConstraint, QuadraticTerms

__all__ = ["NormBounded", "SectorBounded", "SlopeRestricted", "check_multipliers"]


def check_multipliers(multipliers: str) -> None:
    """Raises OptionError unless `multipliers` is "neuron" or "layer"; coupled ones are unsound."""
    if multipliers not in ("neuron", "layer"):
        raise OptionError(
            f"multipliers is {multipliers!r}; expected 'neuron' or 'layer'. Coupled multipliers "
            "(LipSDP-Network) are invalid for increments: Pauli et al., IEEE L-CSS 2022, and "
            "f(x) = relu(x) - relu(x - 1), for which they show a Lipschitz constant of 0 where it is 1."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractSlopeConstraint(AbstractQuadraticConstraint):
    """(w_i - alpha_i v_i)(w_i - beta_i v_i) <= 0 per neuron; alpha, beta (n,), finite.

    `multipliers`: one per neuron, or one for all of them ("layer").
    """

    alpha: Any
    beta: Any
    multipliers: Literal["neuron", "layer"] = "neuron"

    def __post_init__(self) -> None:
        check_multipliers(self.multipliers)
        alpha, beta = (np.atleast_1d(np.array(s, dtype=np.float64)) for s in (self.alpha, self.beta))
        if alpha.ndim != 1 or alpha.shape != beta.shape or not np.isfinite([alpha, beta]).all():
            raise InputError(
                f"alpha and beta have shapes {alpha.shape} and {beta.shape}; expected two finite vectors of "
                "one length, an entry per neuron."
            )
        if (alpha > beta).any():
            raise InputError("alpha > beta for some neuron; expected alpha <= beta.")
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "beta", beta)

    @property
    def channels(self) -> tuple[int, int]:
        return self.alpha.size, self.alpha.size

    def terms(self) -> QuadraticTerms:
        n = self.alpha.size
        identity = sp.eye_array(n, format="csc")
        E = identity if self.multipliers == "neuron" else sp.csc_array(np.ones((n, min(n, 1))))
        Pv, Qv = (_diagonal(-slope) for slope in (self.alpha, self.beta))
        return QuadraticTerms(Pv, identity, Qv, identity, E, np.ones(E.shape[1], dtype=bool))


def _diagonal(values: np.ndarray) -> sp.csc_array:
    """diag(values) without stored zeros."""
    at = np.flatnonzero(values)
    pointers = np.concatenate([[0], np.cumsum(values != 0.0)])
    return sp.csc_array((values[at], at, pointers), (values.size, values.size))


@dataclasses.dataclass(frozen=True, eq=False)
class SlopeRestricted(AbstractSlopeConstraint):
    """alpha_i <= (phi_i(a) - phi_i(b)) / (a - b) <= beta_i per neuron; alpha, beta (n,), finite.

    `multipliers`: one per neuron, or one for all of them ("layer").
    """

    obligation: ClassVar[str] = (
        "lam_i (dw_i - alpha_i dv_i)(dw_i - beta_i dv_i) <= 0 for lam_i >= 0: the two factors have opposite "
        "signs when the difference quotient lies in [alpha_i, beta_i] (Fazlyab et al., NeurIPS 2019, Lemma 1 "
        "with diagonal multipliers)."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class SectorBounded(AbstractSlopeConstraint):
    """alpha_i v^2 <= v phi_i(v) <= beta_i v^2 around the equilibrium v = 0, w = 0; not incremental."""

    incremental: ClassVar[bool] = False
    obligation: ClassVar[str] = (
        "lam_i (w_i - alpha_i v_i)(w_i - beta_i v_i) <= 0 for lam_i >= 0, with v, w measured from the "
        "equilibrium: the sector condition."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class NormBounded(AbstractQuadraticConstraint):
    """|dw| <= gain |dv| in the Euclidean norm, for any map from n_v to n_w channels; one multiplier."""

    gain: float
    n_v: int
    n_w: int
    obligation: ClassVar[str] = "lam (|dw|^2 - gain^2 |dv|^2) <= 0 for lam >= 0: the definition."

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and self.gain >= 0.0):
            raise InputError(f"gain is {self.gain!r}; expected a finite number, at least 0.")
        if min(self.n_v, self.n_w) < 1:
            raise InputError(f"channels are {self.channels}; expected at least one of each.")

    @property
    def channels(self) -> tuple[int, int]:
        return self.n_v, self.n_w

    def terms(self) -> QuadraticTerms:
        v = sp.hstack([sp.eye_array(self.n_v), sp.csc_array((self.n_v, self.n_w))], format="csc")
        w = sp.hstack([sp.csc_array((self.n_w, self.n_v)), sp.eye_array(self.n_w)], format="csc")
        E = np.concatenate([np.full(self.n_v, -(self.gain**2)), np.ones(self.n_w)])[:, None]
        return QuadraticTerms(v, w, v, w, sp.csc_array(E), np.array([True]))
