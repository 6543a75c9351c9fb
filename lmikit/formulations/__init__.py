"""Formulations: theorems that turn a network into an SDP and its solution into a witness."""

from ._base import AbstractFormulation
from .lipsdp import JointLipSDP

__all__ = ["AbstractFormulation", "JointLipSDP"]
