"""The barrier on the output's matrix, its weights, and Newton's step for it by conjugate gradients.

rho is put in (one equation), and Newton's equations for Lambda, as many as there are neurons, are solved in
relative steps, left when a product no longer pays (Nash, Sofer, Oper. Res. Lett. 1990), preconditioned by a
diagonal and the barrier's own part: a product with the Hessian is one solve with the factor of the point.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ..formulations.graph._output_gain import GainPoint
from ._proposal import Run

__all__ = ["NewtonStep", "OutputBarrier", "newton_step"]

_PRODUCTS = 100  # of one Newton step at most
_DAMPING = 1e-6  # of relative steps, per output: neurons without influence stay
_MOST_OUTPUTS = 32  # for whose barrier the preconditioner has its part of rank m (m + 1) / 2
_FLOOR = 1e-8  # of the preconditioner's diagonal, relative to its largest entry


@dataclasses.dataclass(frozen=True, eq=False)
class OutputBarrier:
    """The barrier at the rho that is best for t, and its weights P = (rho I - Q)^-1 and B^-1."""

    weight: np.ndarray
    value: float
    outputs: int

    @classmethod
    def of(cls, point: GainPoint, t: float) -> "OutputBarrier":
        m = point.gain.form.graph.output_dim
        values, vectors = np.linalg.eigh(point.gram[:m, :m])
        gaps = values[-1] - values
        low, high = 1.0 / t, m / t  # of rho - lambda_max: tr P = t
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if (1.0 / (middle + gaps)).sum() > t else (low, middle)
        rest = high + gaps
        value = t * (values[-1] + high) - float(np.log(rest).sum())
        weight = np.zeros(point.gram.shape)
        weight[:m, :m] = (vectors / rest) @ vectors.T
        if len(weight) > m:
            watched = point.gram[m:, m:]
            value += float(np.linalg.slogdet(watched)[1])
            weight[m:, m:] = np.linalg.inv(watched)
        return cls(0.5 * (weight + weight.T), value, m)


@dataclasses.dataclass(frozen=True, eq=False)
class NewtonStep:
    """The relative step, minus its slope, and the weights of the barrier after it, to first order."""

    relative: np.ndarray
    decrement: float
    weight: np.ndarray


def newton_step(
    point: GainPoint, barrier: OutputBarrier, x: np.ndarray, forcing: float, run: Run
) -> NewtonStep:
    """By conjugate gradients, until a product gains less than the share `forcing` of what is reached."""
    m, weight = barrier.outputs, barrier.weight
    slope = point.gradient(weight) * x
    square = np.zeros_like(weight)
    square[:m, :m] = weight[:m, :m] @ weight[:m, :m]
    flat, size = point.gradient(square) * x, float(np.trace(square))

    def turned(d: np.ndarray) -> np.ndarray:
        """How the weights change but for what rho moves."""
        inner = weight @ point.derivative(d) @ weight
        inner[:m, m:], inner[m:, :m] = 0.0, 0.0
        inner[m:, m:] *= -1.0
        return np.asarray(inner)

    def product(s: np.ndarray) -> np.ndarray:
        inner = turned(s * x)
        bent = point.curvature(weight, s * x) + point.gradient(inner)
        return np.asarray(bent * x - (np.trace(inner[:m, :m]) / size) * flat + _DAMPING * m * s)

    approximate = _preconditioner(point, weight, m, x)
    step, residual = np.zeros_like(x), -slope
    direction = approximate(residual)
    left, model = float(residual @ direction), 0.0
    for k in range(1, _PRODUCTS + 1):
        if left == 0.0 or run.over:
            break
        image = product(direction)
        bend = float(direction @ image)
        if not bend > 0.0:
            break
        length = left / bend
        step += length * direction
        residual -= length * image
        fallen, model = model, 0.5 * float(step @ (slope - residual))
        if not model < 0.0 or k * (1.0 - fallen / model) <= forcing:
            break
        near = approximate(residual)
        before, left = left, float(residual @ near)
        direction = near + (left / before) * direction
    turn = turned(step * x)
    turn -= (np.trace(turn[:m, :m]) / size) * square
    return NewtonStep(step, -float(slope @ step), weight + turn)


def _preconditioner(
    point: GainPoint, weight: np.ndarray, m: int, x: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The inverse of D + G G': a diagonal in place of the curvature's part, and that of the barrier on Q.

    <P Q'[D] P, Q'[D]> = ||L'Q'[D] L||_F^2 for P = L L' is of rank m (m + 1) / 2, and large near the end.
    """
    diagonal = point.curvature_diagonal(weight) * x**2
    diagonal += _FLOOR * float(diagonal.max()) + _DAMPING * m
    if m > _MOST_OUTPUTS:
        return lambda r: np.asarray(r / diagonal)
    values, vectors = np.linalg.eigh(weight[:m, :m])
    columns = point.derivative_columns(vectors * np.sqrt(np.maximum(values, 0.0))) * x[:, None]
    scaled = columns / diagonal[:, None]
    core = scipy.linalg.cho_factor(np.eye(columns.shape[1]) + columns.T @ scaled)

    def apply(r: np.ndarray) -> np.ndarray:
        return np.asarray(r / diagonal - scaled @ scipy.linalg.cho_solve(core, scaled.T @ r))

    return apply
