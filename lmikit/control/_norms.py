"""H-infinity and H2 norms, proven from both sides."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from ..certificates.control import H2Norm, HInfinityNorm
from ..systems import System
from ._result import ControlResult, Proposal, attempt, undecided
from ._riccati import Peak, continuous, frequency_witness, h_infinity_peak, riccati
from ._stability import as_subject, lyapunov, rounded

__all__ = ["h2_norm", "h_infinity_norm", "is_stable", "unstable"]

_SLACKS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def unstable(system: Any, what: str, started: float) -> ControlResult:
    """The norm is infinite, if that is what can be proven."""
    result = lyapunov(system)
    seconds = time.perf_counter() - started
    if result.verdict == "refuted":
        reason = f"the system is proven not to be stable: it has no {what} norm"
        return ControlResult("refuted", -math.inf, math.inf, result.certificate, math.inf, (reason,), seconds)
    return undecided(("stability is not decided", *result.reasons), started, math.nan)


def is_stable(system: System) -> bool:
    values = np.linalg.eigvals(system.A) if system.states else np.zeros(0)
    return bool((np.abs(values) < 1.0).all() if system.discrete else (values.real < 0.0).all())


def h_infinity_norm(system: Any) -> ControlResult:
    """Prove lower <= ||G||_inf <= upper: the largest gain over all frequencies, and from x(0) = 0 in L2.

    Continuous or discrete; `system` is what `as_system` takes, or a Feedback. The upper bound is the
    bounded real lemma with the P of the result, the lower one a response at one frequency, each proven
    for the exact data. Refuted: the system is proven to be unstable. Raises InputError.
    Source: Boyd et al., Linear Matrix Inequalities in System and Control Theory (1994), section 6.3.2.
    """
    started, reasons = time.perf_counter(), list[str]()
    subject = as_subject(system)
    plant = rounded(subject)
    if not is_stable(plant):
        return unstable(subject, "H-infinity", started)
    smooth = continuous(plant)
    peak = h_infinity_peak(smooth)
    certificate = attempt(subject, _h_infinity_proposals(plant, smooth, peak), reasons)
    if certificate is None:
        return undecided(reasons, started, peak.gain)
    assert isinstance(certificate.claim, HInfinityNorm)
    lower, upper = certificate.claim.lower, certificate.claim.upper
    return ControlResult("proven", lower, upper, certificate, peak.gain, (), time.perf_counter() - started)


def _h_infinity_proposals(plant: System, smooth: System, peak: Peak) -> Iterator[Proposal]:
    u = np.zeros(plant.inputs, dtype=complex)
    if plant.inputs and plant.outputs:
        u = np.linalg.svd(smooth.response(peak.frequency))[2][0].conj()
    elif plant.inputs:
        u[0] = 1.0
    lowest = frequency_witness(plant, peak.frequency, u)
    reached = (
        float(np.linalg.norm(smooth.response(peak.frequency), 2)) if smooth.outputs and smooth.inputs else 0.0
    )
    state = System(smooth.A, smooth.B, np.eye(plant.states))
    reach = h_infinity_peak(state).gain or 1.0
    for slack in _SLACKS:
        upper = max(peak.gain * (1.0 + slack), slack)
        room = upper**2 - peak.gain**2  # half of it for the inputs, a quarter for the states
        P = bounded_real_matrix(smooth, math.sqrt(peak.gain**2 + room / 2), room / (4.0 * reach**2))
        if P is not None:
            lower = reached * (1.0 - min(slack, 1e-7) * 1e-2 - 1e-13)
            yield HInfinityNorm(lower if lower > 1e-150 else 0.0, upper), {"P": P, **lowest}


def bounded_real_matrix(smooth: System, gain: float, room: float) -> np.ndarray | None:
    """P of the bounded real Riccati equation of a continuous system, with `room` I more than C'C."""
    n = smooth.states
    if n == 0:
        return np.zeros((0, 0))
    Q = smooth.C.T @ smooth.C + room * np.eye(n)
    R = gain**2 * np.eye(smooth.inputs) - smooth.D.T @ smooth.D
    if not smooth.inputs:
        P = scipy.linalg.solve_continuous_lyapunov(smooth.A.T, -Q)
        return np.asarray((P + P.T) / 2)
    return riccati(smooth, Q, smooth.C.T @ smooth.D, R)


def h2_norm(system: Any) -> ControlResult:
    """Prove lower <= ||G||_2 <= upper, the root of tr(B'W B) (+ tr(D'D), discrete), W the Gramian.

    D must be 0 in continuous time, else InputError. Both bounds are proven by Lyapunov inequalities around
    the Gramian. Refuted: the system is proven to be unstable.
    Source: Boyd et al. (1994), section 6.3.3.
    """
    started, reasons = time.perf_counter(), list[str]()
    subject = as_subject(system)
    plant = rounded(subject)
    if not is_stable(plant):
        return unstable(subject, "H2", started)
    estimate = math.sqrt(max(_h2_square(plant, _gramian(plant, plant.C.T @ plant.C)), 0.0))
    certificate = attempt(subject, _h2_proposals(plant), reasons)
    if certificate is None:
        return undecided(reasons, started, estimate)
    assert isinstance(certificate.claim, H2Norm)
    lower, upper = certificate.claim.lower, certificate.claim.upper
    return ControlResult("proven", lower, upper, certificate, estimate, (), time.perf_counter() - started)


def _gramian(plant: System, Q: np.ndarray) -> np.ndarray:
    if not plant.states:
        return np.zeros((0, 0))
    if plant.discrete:
        P = scipy.linalg.solve_discrete_lyapunov(plant.A.T, Q)
    else:
        P = scipy.linalg.solve_continuous_lyapunov(plant.A.T, -Q)
    return np.asarray((P + P.T) / 2)


def _h2_square(plant: System, P: np.ndarray) -> float:
    extra = float((plant.D**2).sum()) if plant.discrete else 0.0
    return float(np.einsum("ij,ik,kj->", plant.B, P, plant.B)) + extra


def _h2_proposals(plant: System) -> Iterator[Proposal]:
    Q, eye = plant.C.T @ plant.C, np.eye(plant.states)
    scale = max(float(np.abs(Q).max(initial=0.0)), 1e-300)
    for share in (1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5):
        high, low = (_gramian(plant, Q + sign * share * scale * eye) for sign in (1.0, -1.0))
        top, bottom = (_h2_square(plant, P) for P in (high, low))
        upper = math.sqrt(max(top, 0.0)) * (1.0 + 1e-13)
        lower = math.sqrt(max(bottom, 0.0)) * (1.0 - 1e-13)
        yield H2Norm(lower, upper), {"P": high, "Q": low}
