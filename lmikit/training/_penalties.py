"""Penalties on weights for any loss: they keep bounds of the network tight, so that proofs follow."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .._errors import InputError, OptionError
from ..formulations.rs_lmi import SquaredHinge
from ..maps import Convolution2d
from ._callback import Arrays, LossAndGrad, Stepped, Weights
from ._pairwise_gains import top_direction
from ._rs_lmi_options import RSLMIOptions
from ._rs_lmi_penalties import first_sketches, sketched_pulls
from ._rs_lmi_taus import TauState
from ._sketched_maps import SketchedMap

__all__ = ["Penalised", "with_norm_penalty", "with_sketched_penalty", "with_weight_decay"]

Penalty = Callable[[Sequence[np.ndarray]], tuple[float, Mapping[int, np.ndarray]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Penalised:
    """The callback plus `penalty`: weights -> (value, what it adds to the gradients, by index)."""

    loss_and_grad: LossAndGrad
    penalty: Penalty

    def seek(self, step: int) -> None:
        if isinstance(self.loss_and_grad, Stepped):
            self.loss_and_grad.seek(step)

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, Weights]:
        loss, gradients = self.loss_and_grad(weights)
        value, pulls = self.penalty(weights)
        result = [np.asarray(g) for g in gradients]
        for k, pull in pulls.items():
            result[k] = result[k] + pull
        return loss + value, result


def with_weight_decay(
    loss_and_grad: LossAndGrad, weight: float, arrays: tuple[int, ...] | None = None
) -> LossAndGrad:
    """The callback plus weight/2 sum ||w_k||^2 over the arrays with these indices (None: all)."""
    if not (np.isfinite(weight) and weight >= 0):
        raise OptionError(f"weight is {weight}; expected a finite number >= 0.")

    def decay(weights: Sequence[np.ndarray]) -> tuple[float, Mapping[int, np.ndarray]]:
        chosen = {k: weights[k] for k in (range(len(weights)) if arrays is None else arrays)}
        value = sum(0.5 * float(weight) * float(np.vdot(w, w)) for w in chosen.values())
        return value, {k: w.dtype.type(weight) * w for k, w in chosen.items()}

    return Penalised(loss_and_grad, decay)


def with_norm_penalty(loss_and_grad: LossAndGrad, weight: float, *, last: float = 0.1) -> LossAndGrad:
    """The callback plus weight (sum_k |W_k|_2^2 + last |W_L|_F^2), k over all matrices but the last, W_L.

    The margin problem of `certify_point` is relaxed neuron by neuron, and loses what products of layer
    norms lose beside the true gain: a weight of 1e-2 costs a classifier of MNIST no accuracy. Spectral norms
    and their gradients are exact to rounding at each step. Raises OptionError for negative weights, and
    InputError from the call where no array is a matrix.
    """
    if not (np.isfinite(weight) and weight >= 0.0 and np.isfinite(last) and last >= 0.0):
        raise OptionError(f"weight={weight!r}, last={last!r}; expected finite numbers, zero or more.")

    def norms(weights: Sequence[np.ndarray]) -> tuple[float, Mapping[int, np.ndarray]]:
        *hidden, end = [k for k, w in enumerate(weights) if w.ndim == 2] or [-1]
        if end < 0:
            raise InputError("weights holds no matrix; expected [W0, b0, W1, b1, ...].")
        tops = {k: top_direction(weights[k]) for k in hidden}
        value = weight * (
            sum(s**2 for s, _ in tops.values()) + last * float(np.vdot(weights[end], weights[end]))
        )
        pulls = {k: uv * uv.dtype.type(2.0 * weight * sigma) for k, (sigma, uv) in tops.items()}
        return value, {**pulls, end: weights[end] * weights[end].dtype.type(2.0 * weight * last)}

    return Penalised(loss_and_grad, norms)


def with_sketched_penalty(
    loss_and_grad: LossAndGrad,
    norms: Mapping[int, float],
    convolutions: Mapping[int, Convolution2d] | None = None,
    *,
    weight: float = 10.0,
    m: int = 8,
    seed: int = 0,
) -> LossAndGrad:
    """The callback plus weight sum_k sum_i max(lambda_i(S_k'(W_k'W_k - tau_k I)S_k), 0)^2, tau_k = norms_k^2.

    The sketched LMIs of `rs_lmi` for networks that are no chains, residual ones for instance: `norms` names
    the arrays that are penalised and the norm that each may have, `convolutions` those that are kernels, with
    the geometry of the layer. A kernel meets m images, as columns of S_k; no matrix is formed. The S_k
    are kept from call to call and refined by subspace iteration, so that a resumed run repeats an
    uninterrupted one only up to that. Raises OptionError, and InputError from the call for arrays that do not
    fit.
    """
    if not norms or not all(0.0 < norm < math.inf for norm in norms.values()):
        raise OptionError(f"norms is {dict(norms)!r}; expected positive numbers by index, at least one.")
    geometry = dict(convolutions or {})
    if not set(geometry) <= set(norms):
        raise OptionError(f"convolutions names {sorted(geometry)}; expected indices that norms has.")
    options = RSLMIOptions(m=m, alpha=weight, alpha_max=max(weight, 1e5), seed=seed)
    return Penalised(loss_and_grad, _Sketched(dict(norms), geometry, options))


class _Sketched:
    """What changes from call to call: the sketches, and how many calls there were."""

    def __init__(
        self, norms: dict[int, float], geometry: dict[int, Convolution2d], options: RSLMIOptions
    ) -> None:
        self._indices, self._geometry, self._options = list(norms), geometry, options
        squares = np.array([norm**2 for norm in norms.values()])
        self._taus = TauState.initial(squares, options, math.nan)
        self._taus.price = np.ones_like(squares)
        self._maps: list[SketchedMap] = []
        self._sketches: Arrays = ()
        self._calls = 0

    def __call__(self, weights: Sequence[np.ndarray]) -> tuple[float, Mapping[int, np.ndarray]]:
        chosen = [np.asarray(weights[i]) for i in self._indices]
        if not self._maps:
            self._maps = [self._map(i, w) for i, w in zip(self._indices, chosen, strict=True)]
            self._sketches = first_sketches(self._maps, chosen, self._options)
        found = sketched_pulls(self._maps, chosen, self._sketches, self._taus, self._options, self._calls)
        self._sketches, self._calls = found.sketches, self._calls + 1
        values = sum(float(SquaredHinge().value(np, v).sum()) for v in found.eigenvalues)
        pulls = zip(self._indices, found.pulls, strict=True)
        return self._options.alpha * values, {i: pull for i, pull in pulls if pull is not None}

    def _map(self, i: int, w: np.ndarray) -> SketchedMap:
        like = self._geometry.get(i)
        if (w.ndim != 2) if like is None else (like.kernel.shape != w.shape):
            raise InputError(
                f"weights[{i}] has shape {w.shape}; expected a matrix, or a kernel whose Convolution2d is "
                "convolutions[i]."
            )
        return SketchedMap.of(w.shape, like)
