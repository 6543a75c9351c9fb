"""LMIs for control: analysis of linear systems, with results that are proven for the exact float data."""

from ..systems import Feedback, System, as_system
from ._norms import h2_norm, h_infinity_norm
from ._passivity import passivity
from ._regions import Region, disc, half_plane, sector
from ._result import ControlResult
from ._stability import lyapunov, poles

__all__ = [
    "ControlResult",
    "Feedback",
    "Region",
    "System",
    "as_system",
    "disc",
    "h2_norm",
    "h_infinity_norm",
    "half_plane",
    "lyapunov",
    "passivity",
    "poles",
    "sector",
]
