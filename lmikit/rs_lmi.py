"""RS-LMI in one place: sketched taus, blocks, penalties, slopes; `lmikit.methods.RSLMI` gives bounds."""

from .formulations.rs_lmi import *  # noqa: F403
from .formulations.rs_lmi import __all__ as __all__
