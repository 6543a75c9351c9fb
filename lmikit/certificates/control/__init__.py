"""Proofs about linear systems: the matrices of a claim are built from the system, not read from a file."""

from ._certificate import ControlCertificate, verify_control
from ._claims import AbstractControlClaim
from ._loops import LoopGain, RegionOfAttraction
from ._norms import H2Norm, HInfinityNorm, NotPassive, Passive
from ._reach import ReachSets
from ._stability import Lyapunov, NoCommonLyapunov, PoleOutside, PolesInRegion
from ._uncertainty import RobustGain, RobustGainWithMemory

__all__ = [
    "AbstractControlClaim",
    "ControlCertificate",
    "H2Norm",
    "HInfinityNorm",
    "LoopGain",
    "Lyapunov",
    "NoCommonLyapunov",
    "NotPassive",
    "Passive",
    "PoleOutside",
    "PolesInRegion",
    "ReachSets",
    "RegionOfAttraction",
    "RobustGain",
    "RobustGainWithMemory",
    "verify_control",
]
