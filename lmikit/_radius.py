"""Certified radii of classifiers from proven Lipschitz bounds, one bound per pair of classes.

Class i is predicted at x with margin f_i(x) - f_j(x) over class j. If |f_i - f_j| has Lipschitz
constant at most L_ij (`_pairwise`), then no x' with ||x' - x||_2 < (f_i(x) - f_j(x)) / L_ij makes j win.
"""

import dataclasses
from typing import Any

import numpy as np

from ._convert import as_number, floats
from ._errors import InputError
from ._pairwise import PairwiseBounds, pair_matrix, require_l2
from .certificates import AbstractLipschitzCertificate, require_ieee

__all__ = ["CertifiedAccuracy", "certified_accuracy", "certified_radius"]


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedAccuracy:
    """How much of a data set is classified rightly and provably stays so.

    `radii` (n,) are certified l2 radii, 0 where the prediction is wrong or tied. `certified` holds
    for each of `epsilons` the fraction of samples with radius > epsilon; `accuracy` is the
    fraction that is predicted rightly.
    """

    accuracy: float
    epsilons: np.ndarray
    certified: np.ndarray
    radii: np.ndarray

    def __str__(self) -> str:
        lines = [f"accuracy {self.accuracy:.4f}, median certified radius {np.median(self.radii):.4g}"]
        lines += [
            f"  within l2 distance {eps:<10.4g} certified accuracy {value:.4f}"
            for eps, value in zip(self.epsilons, self.certified, strict=True)
        ]
        return "\n".join(lines)


def certified_radius(
    bounds: PairwiseBounds | AbstractLipschitzCertificate, logits: Any, *, logit_error: float = 0.0
) -> np.ndarray:
    """r >= 0 such that the prediction is the same for all ||x' - x||_2 < r; logits (n, m) or (m,).

    r = min_j (f_i - f_j) / L_ij for the largest logit i, rounded downwards; 0 where it is tied. With a
    certificate L_ij = sqrt(2) L, or |f| / L for a single output whose sign is the class; pairwise
    bounds are never worse. `logits` are taken as the exact values f(x) of the network in real
    arithmetic: give `logit_error` >= the absolute error of each where they are computed.

    Raises InputError for logits that do not fit, NaN, infinity and numbers that float64 does not
    hold, NotCertified where this thread's floating-point environment is not IEEE 754's default.
    """
    outputs = _outputs(bounds)
    if isinstance(logits, (PairwiseBounds, AbstractLipschitzCertificate)):
        raise InputError(f"logits is a {type(logits).__name__}; expected numbers: pass (bounds, logits).")
    values = floats("logits", logits)
    if values.ndim not in (1, 2) or values.shape[-1] != outputs:
        raise InputError(f"logits have shape {values.shape}; expected (n, {outputs}) or ({outputs},).")
    logit_error = as_number("logit_error", logit_error)
    if logit_error < 0.0:
        raise InputError(f"logit_error is {logit_error}; expected a finite number, zero or more.")
    require_ieee()
    rows = np.atleast_2d(values)
    if outputs == 1:
        margins, lipschitz_bounds = np.abs(rows), np.array([[_bound(bounds)]])
        error = logit_error
    else:
        winner = rows.argmax(axis=1)
        margins = _down(rows[np.arange(len(rows)), winner][:, None] - rows)
        lipschitz_bounds = pair_matrix(bounds)[winner]
        others = np.arange(outputs)[None, :] != winner[:, None]
        margins = np.where(others, margins, np.inf)
        error = 2.0 * logit_error
    if error:
        margins = _down(margins - error)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        radii = np.where(lipschitz_bounds > 0.0, _down(margins / lipschitz_bounds), np.inf)
    radii = np.where(margins > 0.0, np.maximum(radii, 0.0), 0.0).min(axis=1)
    return np.asarray(radii[0] if values.ndim == 1 else radii)


def certified_accuracy(
    bounds: PairwiseBounds | AbstractLipschitzCertificate,
    logits: Any,
    labels: Any,
    epsilons: Any = (0.0,),
    *,
    logit_error: float = 0.0,
) -> CertifiedAccuracy:
    """The fraction of samples that are right and provably keep their class within each epsilon.

    `logits` (n, m), `labels` (n,) class indices, `epsilons` l2 distances; for one output the class is
    1 where the logit is positive. See `certified_radius` for what is assumed of the logits.
    """
    radii = np.atleast_1d(certified_radius(bounds, logits, logit_error=logit_error))
    rows, given = np.atleast_2d(floats("logits", logits)), np.asarray(labels)
    if np.ma.isMaskedArray(labels):
        raise InputError("labels is a masked array; expected plain class indices.")
    if given.shape != (len(rows),) or given.dtype.kind not in "iub" or not len(rows):
        raise InputError(f"labels have shape {given.shape}; expected ({len(rows)},) class indices.")
    distances = np.atleast_1d(floats("epsilons", epsilons))
    if not (distances >= 0.0).all():
        raise InputError(f"epsilons are {distances}; expected distances, zero or more.")
    predicted = rows.argmax(axis=1) if rows.shape[1] > 1 else (rows[:, 0] > 0.0).astype(int)
    right = predicted == given
    radii = np.where(right, radii, 0.0)
    certified = (radii[None, :] > distances[:, None]).mean(axis=1)
    return CertifiedAccuracy(float(right.mean()), distances, certified, radii)


def _down(value: Any) -> Any:
    return np.nextafter(value, -np.inf)


def _outputs(bounds: Any) -> int:
    if isinstance(bounds, PairwiseBounds):
        return int(bounds.bounds.shape[0])
    if isinstance(bounds, AbstractLipschitzCertificate):
        require_l2(bounds)
        return bounds.outputs
    raise InputError(
        f"bounds is a {type(bounds).__name__}; expected PairwiseBounds or a Certificate, then the logits."
    )


def _bound(bounds: Any) -> float:
    return float(bounds.bound)
