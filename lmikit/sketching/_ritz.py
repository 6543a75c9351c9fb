"""Rayleigh-Ritz values: what a sketched LMI says about the norm of a layer. Estimates from below."""

import dataclasses
from typing import Any

import numpy as np

from .._arrays import ArrayModule
from .._errors import OptionError
from ._operators import AbstractOperator
from ._projection import AbstractProjection
from ._sketches import AbstractSketch, Gaussian, check_size, orthonormal_columns
from ._threads import threads_for
from ._types import Estimate

__all__ = ["NestedEstimate", "largest_pencil_value", "nested_estimate", "sketched_estimate"]


def largest_pencil_value(operator: AbstractOperator, projection: AbstractProjection) -> float:
    """lambda_max(S'W'W S, S'S) on the range of S: the smallest tau with S'(tau I - W'W)S >= 0.

    At most sigma_max(W)^2 in exact arithmetic, by Rayleigh-Ritz, and equal to it where range(S)
    holds a top right singular vector. Directions of S below rounding are dropped. S is orthonormalised
    first; forming the pencil would square its condition number.
    """
    xp = operator.am.xp
    s = projection.matrix
    with threads_for(operator.am, 20.0 * s.shape[0] * s.shape[1] ** 2):
        r = xp.linalg.qr(s, mode="r")
        _, values, vt = xp.linalg.svd(r)
    host = operator.am.to_numpy(values)
    eps = float(np.finfo(np.dtype(s.dtype)).eps)
    keep = int(np.count_nonzero(host > max(s.shape) * eps * host[0]))
    return _top(operator, (projection.after(operator) @ vt[:keep].T) / values[:keep])


def _top(operator: AbstractOperator, t: Any) -> float:
    """lambda_max(t't) in float64."""
    t = t.astype(np.float64, copy=False)
    with threads_for(operator.am, 4.0 * t.shape[0] * t.shape[1] ** 2):
        return max(0.0, float(operator.am.eigvalsh(t.T @ t)[-1]))


def sketched_estimate(
    operator: AbstractOperator, m: int, sketch: AbstractSketch | None = None, *, seed: int = 0
) -> Estimate:
    """tau_sketch = lambda_max(S'W'WS, S'S), an estimate of sigma_max(W)^2 from below.

    Shapes: W (out, n), S (n, m), 1 <= m <= n. It tests a subspace only: with m = 8 of 512 on a
    Gaussian layer the norm it implies is 42 % too low. Raises OptionError for m outside 1..n.
    """
    sketch = sketch or Gaussian()
    projection = sketch.draw(operator, m, seed=seed)
    value = largest_pencil_value(operator, projection)
    return Estimate(value, "squared spectral norm", sketch.name, seed, projection.matvecs + m)


@dataclasses.dataclass(frozen=True)
class NestedEstimate:
    """Estimates over nested subspaces: `sizes` (growing m) and `values` (never falling).

    `settled` says that the last growth changed the value by less than `rtol` relatively. That is
    no statement about the distance to the norm.
    """

    estimate: Estimate
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    rtol: float
    settled: bool


def nested_estimate(
    operator: AbstractOperator,
    sketch: AbstractSketch | None = None,
    *,
    m: int = 8,
    m_max: int | None = None,
    rtol: float = 1e-2,
    seed: int = 0,
) -> NestedEstimate:
    """Doubles the sketch, appending independent blocks, until the estimate settles to rtol.

    range(S_1) in range(S_2) in ...: the estimates never fall, and each growth costs products with the new
    columns only. Raises OptionError for sizes outside 1..n and rtol <= 0.
    """
    n = operator.shape[1]
    sketch, m_max = sketch or Gaussian(), n if m_max is None else m_max
    check_size(m, n)
    check_size(m_max, n)
    if not rtol > 0:
        raise OptionError(f"rtol is {rtol!r}; expected a positive number.")
    xp, matvecs = operator.am.xp, 0
    basis, image = None, None
    sizes: list[int] = []
    values: list[float] = []
    while True:
        size = min(m, m_max) if basis is None else min(2 * basis.shape[1], m_max)
        projection = sketch.draw(operator, size - (sizes[-1] if sizes else 0), seed=seed, block=len(sizes))
        fresh = _orthogonal_to(operator.am, basis, projection.matrix)
        matvecs += projection.matvecs + size - (sizes[-1] if sizes else 0)
        basis = fresh if basis is None else xp.concatenate([basis, fresh], axis=1)
        product = operator.matmat(fresh)
        image = product if image is None else xp.concatenate([image, product], axis=1)
        sizes.append(size)
        values.append(max([_top(operator, image), *values[-1:]]))
        settled = len(values) > 1 and values[-1] - values[-2] <= rtol * values[-1]
        if settled or size >= m_max:
            estimate = Estimate(values[-1], "squared spectral norm", f"nested {sketch.name}", seed, matvecs)
            return NestedEstimate(estimate, tuple(sizes), tuple(values), rtol, settled or size == n)


def _orthogonal_to(am: ArrayModule, basis: Any | None, s: Any) -> Any:
    """An orthonormal basis of the part of s outside `basis`; two passes keep it orthogonal to rounding."""
    for _ in range(2):
        if basis is not None:
            s = s - basis @ (basis.T @ s)
        s = orthonormal_columns(am, s)
    return s
