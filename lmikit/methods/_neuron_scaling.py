"""`NeuronScaling`: a multiplier per neuron by ascent from `LayerScaling`, without an SDP."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from .._errors import OptionError
from ._ascent import minimised
from ._closed_form import better, closed_form
from ._layer_scaling import layer_scaled
from ._proposal import AbstractChainMethod, Run
from ._recursion import EliminatedChain, Evaluation
from ._relative import RelativePoint, evaluate_relative, relative_gradient, relative_point

__all__ = ["NeuronScaling", "neuron_scaled"]

_SMALLEST_THETA = -9.0  # keeps the multipliers strictly feasible by more than rounding
_WIDEST_SHAPE = 12.0  # |log| of a neuron's share relative to the start


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronScaling(AbstractChainMethod):
    """All multipliers Lambda > 0 of LipSDP by first-order ascent, strictly feasible at every step.

    ||f(x) - f(x')||^2 <= rho ||x - x'||^2 with rho = lambda_max(W_L X_L^-1 W_L'), minimised over one
    Lambda_i > 0 per neuron: the feasible set is LipSDP-Neuron's, so the bound is at or above the
    optimum of that SDP (Fazlyab et al., NeurIPS 2019, Theorem 2); how near is not bounded. It
    starts from LayerScaling and keeps the best point, so the bound is never above that one.
    `tolerance`: relative decrease of log(rho) at which it stops. Raises OptionError for a
    tolerance or an iteration limit that is not positive. Cost per step: O(sum n_k^3) time,
    O(sum n_k^2) memory. Assumed, not checked: the slopes hold globally.
    """

    name: ClassVar[str] = "neuron-scaling"
    tolerance: float = 1e-6
    max_iterations: int = 300

    def __post_init__(self) -> None:
        if not self.tolerance > 0.0 or self.max_iterations < 1:
            raise OptionError(
                f"tolerance={self.tolerance!r}, max_iterations={self.max_iterations!r}; expected "
                "positive numbers."
            )

    def _improved(self, chain: EliminatedChain, fast: Evaluation, run: Run) -> Evaluation:
        best = closed_form(chain, fast, run)
        best = layer_scaled(chain, best, run, 1e-5, self.max_iterations)
        return neuron_scaled(chain, best, run, self.tolerance, self.max_iterations)


def neuron_scaled(
    chain: EliminatedChain, start: Evaluation, run: Run, tolerance: float, max_iterations: int
) -> Evaluation:
    """The best of `start` and the ascent on all theta and shapes from it."""
    point = relative_point(chain, start, _SMALLEST_THETA)
    if point is None or run.over:
        return start
    origin, layers = point.shapes, chain.hidden_layers
    ends = np.cumsum([layers, *(shape.size for shape in origin)])

    def at(x: np.ndarray) -> RelativePoint | None:
        shares = np.split(x[layers:], ends[1:-1] - layers)
        shapes = [shape * np.exp(share) for shape, share in zip(origin, shares, strict=True)]
        return evaluate_relative(chain, x[:layers], shapes)

    def slope(p: RelativePoint) -> np.ndarray:
        d_theta, d_shape = relative_gradient(chain, p)
        return np.concatenate([d_theta, *d_shape])

    x = np.concatenate([point.theta, np.zeros(int(ends[-1]) - layers)])
    bounds = [(_SMALLEST_THETA, math.log(1e3))] * layers
    bounds += [(-_WIDEST_SHAPE, _WIDEST_SHAPE)] * (x.size - layers)
    found = minimised(at, slope, point, x, bounds, run, tolerance, max_iterations)
    return better(start, found.at)
