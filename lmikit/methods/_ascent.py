"""L-BFGS over points of `_relative`: keeps the best point seen, obeys a deadline, reports progress."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy

from ._proposal import Run
from ._relative import RelativePoint

__all__ = ["minimised"]

_SPOILT = 1e3  # added to log(rho) of the start where a point cannot be evaluated


def minimised(
    point_at: Callable[[np.ndarray], RelativePoint | None],
    gradient: Callable[[RelativePoint], np.ndarray],
    start: RelativePoint,
    x: np.ndarray,
    bounds: Sequence[tuple[float, float]],
    run: Run,
    tolerance: float,
    max_iterations: int,
) -> RelativePoint:
    """The point of least objective among those visited from `start`, which lies at x."""
    best = start

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        point = point_at(x)
        if point is None:
            return start.objective + _SPOILT, np.zeros(x.shape)
        if point.objective < best.objective:
            best = point
        return point.objective - start.objective, gradient(point)

    def after_step(_: np.ndarray) -> None:
        run.report(math.sqrt(best.at.rho), max_iterations)
        if run.over:
            raise StopIteration

    scipy.optimize.minimize(
        objective,
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=after_step,
        options={"maxiter": max_iterations, "maxcor": 30, "ftol": tolerance, "gtol": 1e-9},
    )
    return best
