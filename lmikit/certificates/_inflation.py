"""The least multiple of rho at which a lifted matrix is proven positive semidefinite."""

import math
from collections.abc import Callable

import numpy as np

from ._lifted import Lifted
from ._repair import HEADROOM
from ._verified_cholesky import Verdict, equilibrate, verified_cholesky

__all__ = ["inflated"]

_INFLATIONS = (0.0, *(float(f"1e-{k}") for k in range(15, 0, -1)), 1.0, 10.0)


def inflated(lifted: Lifted, least: float) -> tuple[float, float] | None:
    """(rho, shift) with the lifted matrix proven at rho, the least multiple of `least` found."""
    if not math.isfinite(least):
        return None

    def proven(inflation: float) -> Verdict:
        return verified_cholesky(lifted.at(least * (1.0 + inflation)), HEADROOM)

    for inflation in _expected_inflations(lifted, least):
        verdict = proven(inflation)
        if verdict.ok:
            return least * (1.0 + inflation), verdict.shift
    margin = 0.0  # of the proof that failed last; much less than that is not worth a try
    for k, inflation in enumerate(_INFLATIONS):
        if 0.0 < inflation < 0.1 * margin:
            continue
        verdict = proven(inflation)
        margin = 0.0 if math.isnan(verdict.shift) else verdict.shift
        if verdict.ok:
            if inflation > 1e-11:
                inflation, verdict = _bisected(proven, _INFLATIONS[k - 1], inflation, verdict)
            return least * (1.0 + inflation), verdict.shift
    return None


def _expected_inflations(lifted: Lifted, least: float) -> tuple[float, ...]:
    """What the rounding margins alone ask for: that of the input block, then that of every block.

    `least` is where the Schur complement vanishes, so that the proof fails below and rarely above: one
    factorisation in place of a search. Nothing where the margin is not small.
    """
    with np.errstate(all="ignore"):
        b = equilibrate(lifted.at(least), HEADROOM)
    if isinstance(b, str):
        return ()
    diagonals = [d if d.ndim == 1 else np.diagonal(d) for d in b.diagonal]
    margins = [float(((d - s) / d).max()) for d, s in zip(diagonals, b.shifted, strict=True)]
    if len(margins) == 2:  # one linear map: both margins count
        return (1.02 * sum(margins) + 1e-13,) if sum(margins) < 1e-6 else ()
    found = (1.02 * margins[0] + 1e-13, 1.02 * (margins[0] + max(margins[1:])) + 1e-13)
    return tuple(e for e in found if e < 1e-6)


def _bisected(
    proven: Callable[[float], Verdict], failed: float, passed: float, verdict: Verdict
) -> tuple[float, Verdict]:
    for _ in range(4):
        middle = math.sqrt(max(failed, 1e-16) * passed)
        attempt = proven(middle)
        if attempt.ok:
            passed, verdict = middle, attempt
        else:
            failed = middle
    return passed, verdict
