"""LMIs for control: analysis of linear systems, with results that are proven for the exact float data."""

from ..systems import (
    Delay,
    Feedback,
    NetworkLoop,
    NormBlock,
    RepeatedGain,
    Sector,
    SlopeRestricted,
    StateSet,
    System,
    UncertainLoop,
    as_system,
)
from ._absolute import absolute_stability, sector_loop
from ._loop_file import load_loop
from ._network_loops import AttractionResult, loop_gain, region_of_attraction
from ._norms import h2_norm, h_infinity_norm
from ._passivity import passivity
from ._reach import ReachResult, reach_sets
from ._regions import Region, disc, half_plane, sector
from ._result import ControlResult
from ._stability import lyapunov, poles
from ._synthesis import Design, h2_feedback, h_infinity_feedback, lqr
from ._uncertainty import robust_gain

__all__ = [
    "AttractionResult",
    "ControlResult",
    "Delay",
    "Design",
    "Feedback",
    "NetworkLoop",
    "NormBlock",
    "ReachResult",
    "Region",
    "RepeatedGain",
    "Sector",
    "SlopeRestricted",
    "StateSet",
    "System",
    "UncertainLoop",
    "absolute_stability",
    "as_system",
    "disc",
    "h2_feedback",
    "h2_norm",
    "h_infinity_feedback",
    "h_infinity_norm",
    "half_plane",
    "load_loop",
    "loop_gain",
    "lqr",
    "lyapunov",
    "passivity",
    "poles",
    "reach_sets",
    "region_of_attraction",
    "robust_gain",
    "sector",
    "sector_loop",
]
