"""The sketched penalties of all layers at one step: what they do to the weights and to tau."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formulations.rs_lmi import sketched_penalty
from ..sketching import as_operator
from ._callback import Arrays
from ._rs_lmi_options import RSLMIOptions
from ._rs_lmi_taus import TauState

__all__ = ["Pulls", "sketched_pulls"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pulls:
    """An array per W_k, d/dtau_k of price_k [tau_k + alpha_k P_k], and max(lambda_max, 0)/tau_k per layer."""

    pulls: Arrays
    tau_gradients: np.ndarray
    violation: np.ndarray


def sketched_pulls(
    maps: Sequence[np.ndarray], taus: TauState, options: RSLMIOptions, step: int, rate: float | None = None
) -> Pulls:
    """`every` times the gradients of price_k alpha_k P_k in W_k, at sketches that (seed, step, k) determines.

    With a `rate`, steps instead: rate times that, at most the step that ends a small violation at once.
    """
    tau = taus.tau
    tau_gradients, violation = np.ones_like(tau), np.zeros_like(tau)
    pulls: list[np.ndarray] = []
    for k, w in enumerate(maps):
        flip = w.shape[1] > w.shape[0]
        a = w.T if flip else w
        m = min(options.m, a.shape[1])
        projection = options.sketch.draw(as_operator(a), m, seed=options.seed, block=step * tau.size + k)
        term = sketched_penalty(a, w.dtype.type(tau[k]), projection, options.penalty)
        weight = float(taus.price[k] * taus.alpha[k])
        size, top = options.every * weight, max(float(term.eigenvalues[-1]), 0.0)
        if rate is not None:
            size = min(rate * size, _largest_step(tau[k] + top, projection.matrix))
        left = term.left * w.dtype.type(size)
        pulls.append(term.right @ left.T if flip else left @ term.right.T)
        tau_gradients[k] = taus.price[k] + weight * float(term.tau_gradient)
        violation[k] = top / tau[k]
    return Pulls(tuple(pulls), tau_gradients, violation)


def _largest_step(square: float, sketch: Any) -> float:
    """A step on P = sum (lambda)_+^2 that takes at most half of a singular value, and all of a small excess.

    d sigma = step 4 sigma (sigma^2 - tau) for orthonormal S; in general |S|^4 times it, at most.
    """
    norm = float(np.abs(sketch.T @ sketch).sum(axis=0).max())
    return 0.125 / (square * norm * norm)
