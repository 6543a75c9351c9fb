"""Rows that CROWN's linear bounds prove on the region, without multipliers; recomputed, never believed."""

import numpy as np

from ...claims import PointClaim
from ...network import Network
from ._interval_terms import proven_intervals

__all__ = ["enclosed_bounds", "enclosed_fault"]

_ROOM = 1e-9  # for a checker whose BLAS adds in another order


def enclosed_fault(claim: PointClaim, rows: tuple[int, ...]) -> str:
    """Why these rows of the claim cannot be proven so; the empty string if they may."""
    if rows and claim.kind != "margin":
        return "a claim of radius is strict inside the ball; an enclosure proves margins only"
    if not all(0 <= r < len(claim.rows) for r in rows):
        return f"the enclosed rows are {rows}; the claim has {len(claim.rows)}"
    return ""


def enclosed_bounds(
    network: Network, claim: PointClaim, rows: tuple[int, ...], *, spare: bool = False
) -> np.ndarray:
    """Numbers at or below rows[r] . f(x) + offsets[r] on the region, for the rows that are named.

    `spare` takes off what another order of the sums may change. Raises InputError (an activation
    without proven values), NotCertified.
    """
    chosen = list(rows)
    bounds = proven_intervals(network, claim.region)
    found = bounds.margins(claim.rows[chosen])
    if spare:
        reach = np.maximum(np.abs(bounds.lower[-1]), np.abs(bounds.upper[-1]))
        found = found - _ROOM * (np.abs(found) + np.abs(claim.rows[chosen]) @ reach)
    return np.asarray(np.nextafter(np.nextafter(found, -np.inf) + claim.offsets[chosen], -np.inf))
