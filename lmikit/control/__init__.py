"""LMIs for control: analysis of linear systems, with results that are proven for the exact float data."""

from ..systems import Feedback, System, as_system
from ._norms import h2_norm, h_infinity_norm
from ._passivity import passivity
from ._regions import Region, disc, half_plane, sector
from ._result import ControlResult
from ._stability import lyapunov, poles
from ._synthesis import Design, h2_feedback, h_infinity_feedback, lqr

__all__ = [
    "ControlResult",
    "Design",
    "Feedback",
    "Region",
    "System",
    "as_system",
    "disc",
    "h2_feedback",
    "h2_norm",
    "h_infinity_feedback",
    "h_infinity_norm",
    "half_plane",
    "lqr",
    "lyapunov",
    "passivity",
    "poles",
    "sector",
]
