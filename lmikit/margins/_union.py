"""What several proposals prove together: per row the best of them, CROWN's bounds being one."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from .._errors import InputError, NotCertified
from ..certificates.point import PointWitness, point_digest, proven_intervals
from ..claims import AbstractRegion, PointClaim
from ..network import Network

__all__ = ["united", "with_enclosures"]

_log = logging.getLogger("lmikit")
_LOST = 1e-8  # what the proof takes off an enclosure, as a share, and more


def united(witnesses: Sequence[PointWitness]) -> PointWitness | None:
    """One witness for a claim of margins: every row served by that witness whose bound is best."""
    if len(witnesses) < 2:
        return witnesses[0] if witnesses else None
    lowers = np.stack([w.claim.lower for w in witnesses])
    best = lowers.argmax(axis=0)
    groups, enclosed, names = [], [], []
    for k, witness in enumerate(witnesses):
        own = {int(r) for r in np.flatnonzero(best == k)}
        for group in witness.groups:
            kept = [i for i, r in enumerate(group.rows) if r in own]
            if kept:
                rows = tuple(group.rows[i] for i in kept)
                groups.append(dataclasses.replace(group, rows=rows, scales=group.scales[kept]))
        enclosed += [r for r in witness.enclosed if r in own]
        if own:
            names.append(witness.produced_by)
    claim = witnesses[0].claim.with_lower(lowers.max(axis=0))
    return PointWitness(witnesses[0].digest, claim, tuple(groups), " and ".join(names), tuple(enclosed))


def with_enclosures(
    network: Network,
    region: AbstractRegion,
    rows: np.ndarray,
    offsets: np.ndarray,
    witness: PointWitness | None,
    target: float,
) -> PointWitness | None:
    """`witness`, or where it leaves rows open the union with what CROWN proves: never less than CROWN."""
    if witness is not None and witness.claim.lower.min() > target:
        return witness
    try:
        crown = proven_intervals(network, region).margins(rows) + offsets
    except (InputError, NotCertified) as error:
        _log.info("no enclosures beside the multipliers: %s", error)
        return witness
    if not np.isfinite(crown).all():
        return witness
    lower = crown - _LOST * (1e-3 + np.abs(crown))
    claim = PointClaim(region, rows, lower, offsets)
    alone = PointWitness(point_digest(network), claim, (), "CROWN", tuple(range(len(rows))))
    return alone if witness is None else united([witness, alone])
