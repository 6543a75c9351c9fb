"""Constants of the terms of curved activations, from samples: proposals that `certificates.point` proves.

The extremes over all v of (phi(v) - phi(p)) / (v - p) and (phi(v) - phi(p) - phi'(p)(v - p)) / (v - p)**2
are found on a grid, then on a finer one around the best point, and widened by some room, without
which a touching point could not be proven. What the proof refuses gets more room once or twice; what it
still refuses is left out (`proven` False).
"""

import dataclasses

import numpy as np

from ..certificates.point import CURVE_TERMS, curve_of
from ..network import Activation

__all__ = ["ProposedTerm", "curve_range", "slopes_at", "supporting_lines", "touching_parabolas"]

_ROOMS = (1e-7, 1e-5, 1e-3)
_POINTS, _FINE = 1200, 200
_NEAR = 1e-3  # below this distance quotients of floats say nothing; derivatives stand in
_SLACK = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class ProposedTerm:
    """One kind of term for the neurons of a layer with its parameters, and where it is proven."""

    kind: str
    parameters: dict[str, np.ndarray]
    proven: np.ndarray


def _quotients(activation: Activation, p: np.ndarray, v: np.ndarray, order: int) -> np.ndarray:
    """The quotient of that order for v (n, K) around p (n,); near p a derivative at p."""
    h = v - p[:, None]
    near = np.abs(h) < _NEAR
    rise = activation(v) - activation(p)[:, None]
    if order == 2:
        rise = rise - np.nan_to_num(activation.derivative(p))[:, None] * h
        left, right = activation.derivative(p - _NEAR), activation.derivative(p + _NEAR)
        limit = np.nan_to_num((right - left) / (4.0 * _NEAR))
    else:
        limit = np.nan_to_num(activation.derivative(p))  # NaN at a kink, whose sides are sampled
    return np.asarray(np.where(near, limit[:, None], rise / np.where(near, 1.0, h) ** order))


def _extremes(activation: Activation, p: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest quotient over all v, nearly."""
    curve = curve_of(activation)
    far = 2.0 * np.abs(p)[:, None] + curve.reach
    share = np.linspace(-1.0, 1.0, _POINTS // 2) ** 3
    v = np.sort(np.hstack([p[:, None] + far * share, np.tile(curve.reach * share, (p.size, 1))]), axis=1)
    found = []
    for sign in (-1.0, 1.0):
        q = sign * _quotients(activation, p, v, order)
        best = q.argmax(axis=1)
        rows = np.arange(p.size)
        lo, hi = v[rows, np.maximum(best - 1, 0)], v[rows, np.minimum(best + 1, _POINTS - 1)]
        fine = lo[:, None] + np.linspace(0.0, 1.0, _FINE) * (hi - lo)[:, None]
        peak = np.maximum(q.max(axis=1), (sign * _quotients(activation, p, fine, order)).max(axis=1))
        if order == 1:  # quotients tend to the limits of phi' at infinity
            peak = np.maximum(peak, max(sign * curve.limits[0], sign * curve.limits[1]))
        found.append(sign * peak)
    return found[0], found[1]


def slopes_at(activation: Activation, p: np.ndarray, whole: bool = False) -> ProposedTerm:
    """The chord at p with the slopes there, or with those of the activation everywhere (`whole`)."""
    if whole:
        low, high = activation.slopes_for(p.size, "the chord")
    else:
        low, high = _extremes(activation, p, 1)
    value = activation(p)
    parameters: dict[str, np.ndarray] = {}
    proven = np.zeros(p.size, dtype=bool)
    for room in _ROOMS:
        tried = {
            "point": p,
            "value": value,
            "low": low - room,
            "high": high + room,
            "slack": np.full(p.size, _SLACK) * (1.0 + np.abs(value)),
        }
        proven, parameters = _kept("curve_chord", activation, parameters, tried, proven)
    return ProposedTerm("curve_chord", parameters, proven)


def touching_parabolas(activation: Activation, p: np.ndarray) -> list[ProposedTerm]:
    """The parabolas above and below that touch at p."""
    value, slope = activation(p), activation.derivative(p)
    slope = np.where(np.isfinite(slope), slope, 0.0)
    low, high = _extremes(activation, p, 2)
    result = []
    for kind, sign, needed in (("curve_above", 1.0, high), ("curve_below", -1.0, -low)):
        parameters: dict[str, np.ndarray] = {}
        proven = np.zeros(p.size, dtype=bool)
        for room in _ROOMS:
            tried = {
                "point": p,
                "value": value + sign * _SLACK * (1.0 + np.abs(value)),
                "slope": slope,
                "curvature": np.maximum(np.nan_to_num(needed), 0.0) * (1.0 + room) + room,
            }
            proven, parameters = _kept(kind, activation, parameters, tried, proven)
        result.append(ProposedTerm(kind, parameters, proven))
    return result


def curve_range(activation: Activation, neurons: int) -> ProposedTerm | None:
    """The range, where it is finite."""
    span = curve_of(activation).span
    if span is None:
        return None
    parameters = {"low": np.full(neurons, span[0]), "high": np.full(neurons, span[1])}
    return ProposedTerm("curve_range", parameters, np.ones(neurons, dtype=bool))


def supporting_lines(activation: Activation, neurons: int) -> list[ProposedTerm]:
    """phi(v) >= g v + constant for both limits g of phi', where phi has no finite range."""
    curve = curve_of(activation)
    if curve.span is not None:
        return []
    v = np.linspace(-1.0, 1.0, 20001) ** 3 * curve.reach
    result = []
    for slope in curve.limits:
        least = float((activation(v) - slope * v).min())
        parameters = {
            "point": np.zeros(neurons),
            "value": np.full(neurons, least - 1e-6),
            "slope": np.full(neurons, slope),
            "curvature": np.full(neurons, 1e-9),
        }
        proven = CURVE_TERMS["curve_below"].proven(activation, parameters)
        result.append(ProposedTerm("curve_below", parameters, proven))
    return result


def _kept(
    kind: str,
    activation: Activation,
    old: dict[str, np.ndarray],
    tried: dict[str, np.ndarray],
    proven: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Parameters of the first room with which a neuron is proven."""
    if old:
        tried = {name: np.where(proven, old[name], values) for name, values in tried.items()}
    if proven.all():
        return proven, tried
    return CURVE_TERMS[kind].proven(activation, tried), tried
