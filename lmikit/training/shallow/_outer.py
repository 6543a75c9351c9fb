"""The convex program of the other layer: output weights and multipliers with the hidden layer kept.

With the hidden layer h(X) kept, f(X) = h(X) A + 1 c' is linear in the output weights A (n, m), and the LipSDP
inequality [[rho I, U~'T, 0], [T U~, 2T, A], [0, A', I]] >= 0 is linear in (A, T, rho) jointly: no pattern
has to be kept, and directions (signs, for one output) may change.
"""

import dataclasses

import numpy as np

from ._cones import ArrowCone
from ._fits import OuterFit
from ._interior import interior_point
from ._model import ShallowModel
from ._tasks import Joint, Point

__all__ = ["free_outputs"]


def free_outputs(
    task: Joint, model: ShallowModel, point: Point, time_limit: float | None = None
) -> tuple[ShallowModel, Point, float]:
    """The model with the best output weights for the hidden layer of `point`, its point, the gap."""
    p = task.inside(model, point)
    root = np.sqrt(p)  # units scaled so that T begins as the identity
    U, (n, m), d = point.V / root[:, None], model.S.shape, model.inputs
    rho = 1.1 * task.penalty(model, Point(point.V, p)) + 1e-6
    x = np.concatenate([(model.S * root[:, None]).ravel(), [rho], np.ones(n)])
    linear = np.zeros(x.size)
    linear[n * m] = task.weight
    fit = OuterFit(model.fitted, np.maximum(model.X @ U.T, 0.0), m)
    cone = ArrowCone(U[:, :-1], (d, m), m, outer=True)
    found = interior_point(fit, linear, [cone], x, time_limit=time_limit)
    A, t = found.x[: n * m].reshape(n, m), np.maximum(found.x[n * m + 1 :], 1e-300)
    nu = np.linalg.norm(A, axis=1)
    S = np.where(nu[:, None] > 0, A / np.maximum(nu, 1e-300)[:, None], model.S)
    freed = dataclasses.replace(model, S=S, V=nu[:, None] * U, magnitudes=nu)
    return freed, Point(freed.V, nu**2 / t), found.gap
