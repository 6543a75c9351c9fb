"""Rigorous bounds on a region: interval and linear (CROWN) enclosures of every preactivation."""

from ._batch import CrownOnBoxes
from ._elementary import decaying_exp
from ._enclosure import Enclosure
from ._functions import profile_of
from ._inference import FORMATS, FloatFormat, rounding_bound
from ._intervals import LocalIntervals, LocalSlopes, crown_margin, local_intervals
from ._profile import Profile
from ._rounding import norm_above

__all__ = [
    "FORMATS",
    "CrownOnBoxes",
    "Enclosure",
    "FloatFormat",
    "LocalIntervals",
    "LocalSlopes",
    "Profile",
    "crown_margin",
    "decaying_exp",
    "local_intervals",
    "norm_above",
    "profile_of",
    "rounding_bound",
]
