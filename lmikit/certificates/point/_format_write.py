"""The text of a file of format "lmikit-point-cert" (docs/point_certificate_format.md)."""

import json
from typing import TYPE_CHECKING, Any

from ...claims import AbstractRegion, PointClaim
from .._strict_json import array_out, tool_version
from ._witness import MultiplierGroup, TermMultipliers

if TYPE_CHECKING:
    from ._certificate import PointCertificate

__all__ = ["FORMAT", "VERSION", "VERSION_2", "render_point"]

FORMAT, VERSION = "lmikit-point-cert", 1
VERSION_2 = 2  # for claims about float inferences and for rows that an enclosure proves


def render_point(certificate: "PointCertificate") -> str:
    """The JSON text of a point certificate."""
    witness = certificate.witness
    second = certificate.claim.semantics != "real" or bool(witness.enclosed)
    data = {
        "format": FORMAT,
        "version": VERSION_2 if second else VERSION,
        "claim": _claim(certificate.claim, second),
        "network": {"digest": certificate.network_digest},
        "groups": [_group(group) for group in witness.groups],
        **({"enclosed": list(witness.enclosed)} if second else {}),
        "tool": {"name": "lmikit", "version": tool_version(), "produced_by": certificate.produced_by},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _claim(claim: PointClaim, second: bool) -> dict[str, Any]:
    own = {"semantics": claim.semantics} if second else {}
    return {
        "kind": claim.kind,
        **own,
        "statement": claim.sentence,
        "region": _region(claim.region),
        "shape": list(claim.rows.shape),
        "rows": array_out(claim.rows.ravel()),
        "offsets": array_out(claim.offsets),
        "lower": array_out(claim.lower),
    }


def _region(region: AbstractRegion) -> dict[str, Any]:
    ball, box = region.ball, region.box
    return {
        "kind": region.kind,
        "dim": region.dim,
        "x0": None if ball is None else array_out(ball.x0),
        "radius": None if ball is None else ball.radius.hex(),
        "lower": None if box is None else array_out(box.lower),
        "upper": None if box is None else array_out(box.upper),
    }


def _group(group: MultiplierGroup) -> dict[str, Any]:
    return {
        "rows": list(group.rows),
        "scales": array_out(group.scales),
        "mu": group.mu.hex(),
        "tau": array_out(group.tau) if group.tau.size else None,
        "layers": [[_term(item) for item in layer] for layer in group.layers],
    }


def _term(item: TermMultipliers) -> dict[str, Any]:
    return {
        "term": item.kind,
        "size": int(item.values.size),
        "multipliers": array_out(item.values),
        "parameters": {name: array_out(values) for name, values in sorted(item.parameters.items())},
    }
