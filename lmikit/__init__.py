"""lmikit: Lipschitz bounds of neural networks that are tight, fast and proven."""

from ._errors import BackendMissing, InputError, LmikitError, NotCertified, OptionError, SolveFailed
from ._progress import Progress
from ._witness import Witness
from .network import Network

__all__ = [
    "BackendMissing",
    "InputError",
    "LmikitError",
    "Network",
    "NotCertified",
    "OptionError",
    "Progress",
    "SolveFailed",
    "Witness",
]
