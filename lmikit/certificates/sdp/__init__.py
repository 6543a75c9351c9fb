"""Proofs of semidefinite programs: bounds on the optimum, infeasibility, unboundedness."""

from . import _check as _check  # registers its checker
from ._certificate import SDPCertificate, verify_sdp
from ._records import DualSide, PrimalSide, SDPWitness, digest

__all__ = ["DualSide", "PrimalSide", "SDPCertificate", "SDPWitness", "digest", "verify_sdp"]
