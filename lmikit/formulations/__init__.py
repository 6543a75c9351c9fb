"""Formulations: theorems that turn a network into an SDP and its solution into a witness."""

from . import iqc
from ._base import AbstractFormulation
from .balanced import BalancedLipSDP
from .chordal import ChordalLipSDP
from .lipsdp import JointLipSDP
from .loop_transform import LoopLipSDP, loop_transform, undo_loop_transform

__all__ = [
    "AbstractFormulation",
    "BalancedLipSDP",
    "ChordalLipSDP",
    "JointLipSDP",
    "LoopLipSDP",
    "iqc",
    "loop_transform",
    "undo_loop_transform",
]
