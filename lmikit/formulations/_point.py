"""What a solver's answer is worth to a formulation."""

import math

import numpy as np

from .._errors import SolveFailed
from ..lmi import Solution

__all__ = ["lowest_gain", "positive_theta", "usable_point"]


def usable_point(solution: Solution) -> np.ndarray:
    """`solution.y`, or SolveFailed where its status gives no point; inaccurate points pass."""
    who = solution.solver or "the solver"
    if not solution.status.has_point or solution.y is None:
        native = f" ({solution.native_status})" if solution.native_status else ""
        raise SolveFailed(f"{who} ended {solution.status.name}{native}: {solution.status.value}.")
    if not np.isfinite(solution.y).all():
        raise SolveFailed(f"{who} returned NaN or infinity; rescale the data or use another solver.")
    return solution.y


def positive_theta(solution: Solution) -> np.ndarray:
    """`usable_point` whose last entry, F, is positive; anything else bounds nothing."""
    y = usable_point(solution)
    if not y[-1] > 0.0:
        raise SolveFailed(
            f"the point of {solution.solver or 'the solver'} has F = {y[-1]:.3g}, which bounds nothing; "
            "expected F > 0. Tighten the tolerance or use another solver."
        )
    return y


def lowest_gain(bound_on_objective: float) -> float | None:
    """F^(-1/2) at the dual bound on -F, below which the solver sees no point (unproven), or None."""
    if not math.isfinite(bound_on_objective) or bound_on_objective >= 0.0:
        return None
    return 1.0 / math.sqrt(-bound_on_objective)
