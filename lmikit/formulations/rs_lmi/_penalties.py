"""Penalties P(W, tau; S) = sum_i phi(lambda_i(S'(W'W - tau I)S)) of the sketched LMI, with gradients."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..._eigen import eigenpairs
from ..._errors import InputError, OptionError
from ...sketching import AbstractProjection

__all__ = [
    "PENALTIES",
    "AbstractPenalty",
    "Hinge",
    "LogDet",
    "Objective",
    "PenaltyTerm",
    "SoftplusPenalty",
    "SquaredHinge",
    "objective",
    "sketched_penalty",
    "spectrum",
]


@dataclasses.dataclass(frozen=True)
class AbstractPenalty(abc.ABC):
    """phi on the eigenvalues; `exact` says that phi(x) = 0 exactly for x <= 0.

    Law: `derivative` is the derivative of `value` wherever it exists.
    """

    name: ClassVar[str]
    exact: ClassVar[bool]

    @abc.abstractmethod
    def value(self, xp: Any, x: Any) -> Any:
        """phi(x), entry by entry."""

    @abc.abstractmethod
    def derivative(self, xp: Any, x: Any) -> Any:
        """phi'(x), entry by entry; a subgradient where phi has a kink."""


@dataclasses.dataclass(frozen=True)
class SoftplusPenalty(AbstractPenalty):
    """phi(x) = log(1 + exp(sharpness x)) / sharpness: smooth and positive everywhere."""

    sharpness: float = 10.0
    name: ClassVar[str] = "softplus"
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.sharpness) and self.sharpness > 0):
            raise OptionError(f"sharpness is {self.sharpness!r}; expected a positive number.")

    def value(self, xp: Any, x: Any) -> Any:
        return xp.logaddexp(self.sharpness * x, 0.0) / self.sharpness

    def derivative(self, xp: Any, x: Any) -> Any:
        return 0.5 * (1.0 + xp.tanh(0.5 * self.sharpness * x))


@dataclasses.dataclass(frozen=True)
class SquaredHinge(AbstractPenalty):
    """phi(x) = max(x, 0)^2: once differentiable, zero exactly when the sketched LMI holds."""

    name: ClassVar[str] = "squared_hinge"
    exact: ClassVar[bool] = True

    def value(self, xp: Any, x: Any) -> Any:
        return xp.maximum(x, 0.0) ** 2

    def derivative(self, xp: Any, x: Any) -> Any:
        return 2.0 * xp.maximum(x, 0.0)


@dataclasses.dataclass(frozen=True)
class Hinge(AbstractPenalty):
    """phi(x) = max(x, 0), the exact penalty: a finite weight suffices, at the price of a kink at 0."""

    name: ClassVar[str] = "hinge"
    exact: ClassVar[bool] = True

    def value(self, xp: Any, x: Any) -> Any:
        return xp.maximum(x, 0.0)

    def derivative(self, xp: Any, x: Any) -> Any:
        return (x > 0.0).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class LogDet(AbstractPenalty):
    """phi(x) = -log(-x): the barrier -log det S'(tau I - W'W)S, infinite unless the LMI holds strictly."""

    name: ClassVar[str] = "log_det"
    exact: ClassVar[bool] = False

    def value(self, xp: Any, x: Any) -> Any:
        return xp.where(x < 0.0, -xp.log(xp.where(x < 0.0, -x, 1.0)), xp.inf)

    def derivative(self, xp: Any, x: Any) -> Any:
        return xp.where(x < 0.0, -1.0 / xp.where(x < 0.0, x, -1.0), xp.inf)


PENALTIES: dict[str, type[AbstractPenalty]] = {
    p.name: p for p in (SoftplusPenalty, SquaredHinge, Hinge, LogDet)
}


@dataclasses.dataclass(frozen=True, eq=False)
class PenaltyTerm:
    """P(W, tau; S), dP/dtau, and dP/dW = left @ right' with left (out, m), right (n, m).

    Scalars stay on the device of W; `weight_gradient` forms the dense gradient; `eigenvalues` (m,)
    are those of S'(W'W - tau I)S, ascending.
    """

    value: Any
    tau_gradient: Any
    left: Any
    right: Any
    eigenvalues: Any

    @property
    def weight_gradient(self) -> Any:
        """dP/dW, shape (out, n)."""
        return self.left @ self.right.T


def sketched_penalty(
    weight: Any, tau: Any, projection: AbstractProjection, penalty: AbstractPenalty | None = None
) -> PenaltyTerm:
    """P = sum_i phi(lambda_i(H)), H = S'(W'W - tau I)S = V diag(lambda) V'.

    dP/dW = 2 W S V diag(phi'(lambda)) V'S' and dP/dtau = -tr(V diag(phi'(lambda)) V'S'S), in
    O(out n m + n m^2 + m^3). W (out, n) an array of the projection's module, tau a number.
    Raises InputError for shapes that do not fit. Not checked: that W is finite.
    """
    if weight.ndim != 2 or weight.shape[1] != projection.shape[0]:
        raise InputError(
            f"W has shape {weight.shape}; expected (*, {projection.shape[0]}), the rows of the sketch."
        )
    xp, s = projection.am.xp, projection.matrix.astype(weight.dtype, copy=False)
    image, penalty = weight @ s, penalty or SquaredHinge()
    values, vectors, norms = spectrum(image, tau, s.T @ s, xp)
    slope = penalty.derivative(xp, values)
    left = (2.0 * slope) * (image @ vectors)
    return PenaltyTerm(penalty.value(xp, values).sum(), -(slope * norms).sum(), left, s @ vectors, values)


def spectrum(image: Any, tau: Any, metric: Any = None, xp: Any = np) -> tuple[Any, Any, Any]:
    """(lambda, V, diag(V'S'S V)) of S'(W'W - tau I)S from the image W S and the metric S'S (None: I)."""
    h = image.T @ image  # symmetric to the bit where BLAS is told that both factors are one array
    if metric is not None:
        h = h - tau * metric
        h = 0.5 * (h + h.T)
    values, vectors = eigenpairs(h) if xp is np else xp.linalg.eigh(h)
    if metric is None:
        return values - values.dtype.type(tau), vectors, values.dtype.type(1.0)
    return values, vectors, (vectors * (metric @ vectors)).sum(axis=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """sum_k tau_k + alpha_k P_k and its gradients: dense in each W_k, (L + 1,) in tau."""

    value: Any
    weight_gradients: tuple[Any, ...]
    tau_gradients: Any
    terms: tuple[PenaltyTerm, ...]


def objective(
    weights: Sequence[Any],
    taus: Sequence[Any],
    projections: Sequence[AbstractProjection],
    alphas: Sequence[float],
    penalty: AbstractPenalty | None = None,
) -> Objective:
    """The regulariser of RS-LMI training (arXiv 2506.23977): sum_k [tau_k + alpha_k P_k(W_k, tau_k; S_k)].

    One entry per layer in each list. Raises InputError where their lengths differ.
    """
    if not len(weights) == len(taus) == len(projections) == len(alphas) or not weights:
        raise InputError(
            f"got {len(weights)} weights, {len(taus)} taus, {len(projections)} projections and {len(alphas)} "
            "alphas; expected one of each per layer."
        )
    terms = tuple(
        sketched_penalty(w, t, s, penalty) for w, t, s in zip(weights, taus, projections, strict=True)
    )
    xp = projections[0].am.xp
    value = sum(t + a * term.value for t, a, term in zip(taus, alphas, terms, strict=True))
    tau_gradients = xp.stack(
        [1.0 + a * xp.asarray(term.tau_gradient) for a, term in zip(alphas, terms, strict=True)]
    )
    gradients = tuple(a * term.weight_gradient for a, term in zip(alphas, terms, strict=True))
    return Objective(value, gradients, tau_gradients, terms)
