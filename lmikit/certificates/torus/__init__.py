"""Certificates of convolutional networks on a torus: channel-tied multipliers, one matrix per frequency."""

from . import _check as _check  # registers its checker
from ._certificate import TorusCertificate, verify_torus
from ._format import FORMAT as FORMAT

__all__ = ["TorusCertificate", "verify_torus"]
