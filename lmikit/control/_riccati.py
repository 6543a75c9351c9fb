"""Norms and Riccati equations in floating point: proposals only.

Discrete systems are taken to continuous ones by z = (1 + s)/(1 - s), which keeps the gain at
corresponding points, and every matrix P of a dissipation inequality.
"""

import dataclasses
import math
import warnings

import numpy as np
import scipy.linalg

from ..systems import System

__all__ = ["Peak", "continuous", "crossings", "frequency_witness", "h_infinity_peak", "riccati"]


def continuous(system: System) -> System:
    """The continuous system with the same values at z = (1 + s)/(1 - s); A without eigenvalue -1."""
    if not system.discrete:
        return system
    eye = np.eye(system.states)
    inverse = np.linalg.inv(system.A + eye)
    root = math.sqrt(2.0)
    return System(
        inverse @ (system.A - eye),
        root * inverse @ system.B,
        root * system.C @ inverse,
        system.D - system.C @ inverse @ system.B,
    )


def riccati(system: System, Q: np.ndarray, S: np.ndarray, R: np.ndarray) -> np.ndarray | None:
    """P with A'P + P A + Q + (P B + S) R^-1 (P B + S)' = 0 and a stable closed loop, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            P = scipy.linalg.solve_continuous_are(system.A, system.B, Q, -R, s=S)
    except (np.linalg.LinAlgError, ValueError):
        return None
    return np.asarray((P + P.T) / 2) if np.isfinite(P).all() else None


def crossings(system: System, Q: np.ndarray, S: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Frequencies w >= 0 where the Hamiltonian of the Riccati equation has eigenvalues near j w, sorted."""
    inverse = np.linalg.inv(R)
    A = system.A + system.B @ inverse @ S.T
    G, H = system.B @ inverse @ system.B.T, Q + S @ inverse @ S.T
    values = np.linalg.eigvals(np.block([[A, G], [-H, -A.T]]))
    scale = 1e-8 * (1.0 + np.abs(values))
    near = np.abs(values.real) <= scale
    return np.unique(np.abs(values.imag[near]))


@dataclasses.dataclass(frozen=True)
class Peak:
    """The largest gain found, at a frequency of the continuous system."""

    gain: float
    frequency: float


def _gain(system: System, frequency: float) -> float:
    return float(np.linalg.norm(system.response(frequency), 2))


def h_infinity_peak(system: System, steps: int = 30) -> Peak:
    """Bruinsma and Steinbuch's iteration (Syst. Control Lett. 14, 1990) on a stable continuous system."""
    if not (system.inputs and system.outputs):
        return Peak(0.0, 0.0)
    values = np.linalg.eigvals(system.A) if system.states else np.zeros(1)
    trial = np.unique(np.concatenate([[0.0], np.abs(values.imag), np.abs(values)]))
    best = max((Peak(_gain(system, w), w) for w in trial.tolist()), key=lambda p: p.gain)
    top = float(np.linalg.norm(system.D, 2))
    if top >= best.gain:
        best = Peak(top, 1e7 * (1.0 + float(np.abs(values).max())))
    for _ in range(steps):
        level = best.gain * (1.0 + 1e-9)
        R = level**2 * np.eye(system.inputs) - system.D.T @ system.D
        if level == 0.0 or not system.states or np.linalg.eigvalsh(R).min() <= 0.0:
            break
        w = crossings(system, system.C.T @ system.C, system.C.T @ system.D, R)
        middles = (w[1:] + w[:-1]) / 2
        found = [Peak(_gain(system, f), f) for f in (*middles.tolist(), *w.tolist())]
        better = max(found, key=lambda p: p.gain, default=best)
        if better.gain <= level:
            best = better if better.gain > best.gain else best
            break
        best = better
    return best


def frequency_witness(system: System, frequency: float, u: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a frequency-domain witness: frequency, u, and the state's response in floating point.

    `frequency` is that of the continuous system: w of s = j w, or t of z = (1 + j t)/(1 - j t).
    """
    s = (1 + 1j * frequency) / (1 - 1j * frequency) if system.discrete else 1j * frequency
    x = np.linalg.solve(s * np.eye(system.states) - system.A, system.B @ u) if system.states else np.zeros(0)
    return {
        "frequency": np.array([[frequency]]),
        "u": np.stack([u.real, u.imag])[:, :, None],
        "x": np.stack([x.real, x.imag])[:, :, None],
    }
