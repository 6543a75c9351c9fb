"""The one room that turns a `Witness` into a `Certificate`, and the independent checker of its files."""

from . import _check as _check  # registers its checker
from . import cells as cells  # registers its checker
from . import control as control  # registers its checker
from . import graph as graph  # registers its checker
from . import local as local  # registers its checker
from . import point as point  # registers its checker
from . import torus as torus  # registers its checker
from ._certificate import Certificate, verify
from ._float_environment import require_ieee as require_ieee
from ._kinds import AbstractCertificate, AbstractLipschitzCertificate, CheckResult, check
from ._kinds import format_of as format_of
from ._rows import rows_proven as rows_proven
from .sdp import DualSide, PrimalSide, SDPCertificate, SDPWitness, verify_sdp

__all__ = [
    "AbstractCertificate",
    "AbstractLipschitzCertificate",
    "Certificate",
    "CheckResult",
    "DualSide",
    "PrimalSide",
    "SDPCertificate",
    "SDPWitness",
    "check",
    "verify",
    "verify_sdp",
]
