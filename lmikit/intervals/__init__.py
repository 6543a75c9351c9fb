"""Rigorous bounds on a region: interval and linear (CROWN) enclosures of every preactivation."""

from ._inference import FORMATS, FloatFormat, rounding_bound
from ._intervals import LocalIntervals, LocalSlopes, crown_margin, local_intervals

__all__ = [
    "FORMATS",
    "FloatFormat",
    "LocalIntervals",
    "LocalSlopes",
    "crown_margin",
    "local_intervals",
    "rounding_bound",
]
