"""The second job of `lmikit demo`: which of the test digits are safe, and how far."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import plots
from .._points_table import certify_points
from ..attacks import attack_margins
from ..certificates import check
from ..claims import Ball
from ..network import Network

__all__ = ["safe_digits"]

_RADII = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)


def _attacked(network: Network, X: np.ndarray, y: np.ndarray) -> dict[float, float]:
    """Accuracy under attack per radius: an estimate from above."""
    outputs = network.output_dim
    others = np.array([[j for j in range(outputs) if j != label] for label in y])
    rows = np.eye(outputs)[y][:, None, :] - np.eye(outputs)[others]
    zero = np.zeros(rows.shape[:2])
    return {
        r: float((attack_margins(network, [Ball(x, r) for x in X], rows, zero).margins > 0.0).mean())
        for r in _RADII
    }


def safe_digits(
    network: Network, X: np.ndarray, y: np.ndarray, folder: pathlib.Path, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Radii of the digits X (n, 64), a picture, one certificate checked; (data, whether all went well)."""
    say(f"\nIs this digit safe? The largest provable l2 radius of {len(X)} test digits ...")
    table = certify_points(network, X, y, folder=folder / "points")
    proven = [r for r in table.results if r.certificate is not None]
    attacked = _attacked(network, X, y)
    picture = folder / "robust.png"
    plots.accuracy_against_radius(table, picture, attacked)
    good = bool(proven)
    for result in proven[:1]:
        assert result.certificate is not None
        answer = check(result.certificate, network, exact=True)
        verdict = "accepted" if answer else answer.reason
        say(f"  radius {result.radius:.4g} of the first, checked in exact integers: {verdict}")
        good = bool(answer)
    for radius in _RADII:
        certified = float(table.certified_at(radius)[0])
        good = good and certified <= attacked[radius]
        say(f"  within {radius:<5g} certified accuracy {certified:.3f}, under attack {attacked[radius]:.3f}")
    say(f"Certificates: {folder / 'points'}\nPicture: {picture}")
    data = {
        "clean": table.clean_accuracy,
        "radii": list(_RADII),
        "certified": [float(v) for v in table.certified_at(_RADII)],
        "attacked": [attacked[r] for r in _RADII],
    }
    return data, good
