"""Formulations: theorems that turn a network into an SDP and its solution into a witness."""

from . import iqc, rs_lmi
from ._base import AbstractFormulation
from ._start import norm_product_witness, uniform_witness
from .balanced import BalancedLipSDP
from .chordal import ChordalLipSDP
from .eclipse import EclipseStep, asked_by_next
from .lipsdp import JointLipSDP
from .loop_transform import LoopLipSDP, loop_transform, substitute, undo_loop_transform

__all__ = [
    "AbstractFormulation",
    "BalancedLipSDP",
    "ChordalLipSDP",
    "EclipseStep",
    "JointLipSDP",
    "LoopLipSDP",
    "asked_by_next",
    "iqc",
    "loop_transform",
    "norm_product_witness",
    "rs_lmi",
    "substitute",
    "undo_loop_transform",
    "uniform_witness",
]
