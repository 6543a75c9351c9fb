"""Absolute stability: the largest sector for which a criterion is proven."""

import math
import time
from typing import Any

import numpy as np

from .._errors import InputError
from ..certificates.control import ControlCertificate
from ..solvers import AbstractSolver
from ..systems import Feedback, Sector, SlopeRestricted, System, UncertainLoop, as_system
from ._norms import is_stable
from ._passivity import least_real_part
from ._result import ControlResult, attempt, undecided
from ._riccati import continuous
from ._stability import lyapunov
from ._uncertainty import robust_proposals

__all__ = ["absolute_stability", "sector_loop"]

_SLACKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
Criterion = tuple[bool, int, bool]  # popov, taps, odd


def absolute_stability(
    system: Any,
    popov: bool = False,
    solver: AbstractSolver | None = None,
    taps: int = 0,
    odd: bool = False,
) -> ControlResult:
    """The largest k for which x' = A x - B phi(C x) is proven stable for every phi in the sector [0, k].

    One input and one output. The circle criterion, for phi(y, t); with `popov` that of Popov, for phi(y)
    in continuous time and D = 0; with `taps` >= 1 that of Zames and Falb in discrete time, by multipliers
    with so many steps of memory, for phi(y) with slopes in [0, k], `odd` or not. `lower` is the largest k
    proven: its certificate is for `sector_loop` with the same arguments. `upper` is a k for which
    phi(y) = k y is proven to be unstable, by `lyapunov` of that feedback (inf: none found, or D is not 0).
    `estimate` is the criterion's limit in floating point. Raises InputError.
    Source: Khalil, Nonlinear Systems (2002), Theorems 7.1 and 7.3; Carrasco, Heath, Zhang, Ahmad, Wang, IEEE
    Trans. Automat. Control 65 (2020).
    """
    started, reasons = time.perf_counter(), list[str]()
    plant = as_system(system)
    if (plant.inputs, plant.outputs) != (1, 1):
        raise InputError("absolute_stability takes a system with one input and one output.")
    if popov and (plant.discrete or plant.D.any()):
        raise InputError("Popov's criterion is for continuous time and D = 0.")
    if taps < 0 or (taps and not plant.discrete):
        raise InputError(f"taps is {taps!r}; expected an integer >= 0, and discrete time where it is not 0.")
    estimate = _circle(plant) if not popov and not taps and is_stable(plant) else math.nan
    if math.isfinite(estimate):
        tries = [estimate * (1.0 - slack) for slack in _SLACKS]
        proofs = ((k, _proven(plant, k, (popov, taps, odd), solver, reasons)) for k in tries)
        lower, certificate = next((p for p in proofs if p[1] is not None), (0.0, None))
    else:
        lower, estimate, certificate = _largest(plant, (popov, taps, odd), solver)
    if certificate is None:
        return undecided(reasons or ["nothing is proven for small sectors."], started, estimate)
    upper = _unstable(plant)
    seconds = time.perf_counter() - started
    return ControlResult("proven", lower, upper, certificate, estimate, (), seconds)


def sector_loop(
    system: Any, k: float, popov: bool = False, taps: int = 0, odd: bool = False
) -> UncertainLoop:
    """x' = A x - B phi(y), y = C x - D phi(y), phi in the sector [0, k], time-invariant with `popov`.

    With `taps` >= 1: phi with slopes in [0, k], `odd` or not.
    """
    S = as_system(system)
    block = SlopeRestricted(0.0, k, odd) if taps else Sector(0.0, k, popov)  # type: ignore[arg-type]
    return UncertainLoop(System(S.A, -S.B, S.C, -S.D, S.dt), (block,))


def _unstable(plant: System) -> float:
    """A constant gain, about the least, with which the loop is proven to be unstable; inf: none found."""
    if plant.D.any() or plant.states == 0:
        return math.inf

    def excess(k: float) -> float:
        poles = np.linalg.eigvals(plant.A - k * plant.B @ plant.C)
        return float(np.abs(poles).max()) - 1.0 if plant.discrete else float(poles.real.max())

    grid = [0.0, *(2.0 ** (k / 8.0) for k in range(-160, 161))]
    place = next((i for i, k in enumerate(grid) if excess(k) > 0.0), 0)
    if not place:
        return math.inf
    low, high = grid[place - 1], grid[place]
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if excess(middle) > 0.0 else (middle, high)
    for slack in _SLACKS:
        k = high * (1.0 + slack)
        if lyapunov(Feedback.of_gain(plant, np.array([[-k]]), (0,), (0,))).verdict == "refuted":
            return k
    return math.inf


def _circle(plant: System) -> float:
    """The limit of the circle criterion, 1/k + G positive real, by frequencies; cut at 2^40."""
    least = least_real_part(continuous(plant))[0]
    return -1.0 / least if least < -(2.0**-40) else 2.0**40


def _proven(
    plant: System, k: float, criterion: Criterion, solver: AbstractSolver | None, reasons: list[str]
) -> ControlCertificate | None:
    loop = sector_loop(plant, k, *criterion)
    return attempt(loop, robust_proposals(loop, 1.0, (0.0,), criterion[1], solver), reasons)


def _largest(
    plant: System, criterion: Criterion, solver: AbstractSolver | None
) -> tuple[float, float, ControlCertificate | None]:
    """(the largest k proven, the least k found for which it failed, the proof), by bisection up to 2^40."""
    found: dict[float, ControlCertificate] = {}

    def holds(k: float) -> bool:
        certificate = _proven(plant, k, criterion, solver, [])
        if certificate is not None:
            found[k] = certificate
        return certificate is not None

    low, high = 0.0, 1.0
    while holds(high) and high < 2.0**40:
        low, high = high, 4.0 * high
    while low == 0.0 and high > 2.0**-40:
        if holds(high / 4.0):
            low = high / 4.0
        else:
            high /= 4.0
    for _ in range(32 if low else 0):
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
        if high - low <= 1e-7 * high:
            break
    return low, high, found.get(low)
