"""Torus bounds in floating point: what certificates.torus proves afterwards."""

from ._exchange import exchanged
from ._fast import fast_torus
from ._headed import headed

__all__ = ["exchanged", "fast_torus", "headed"]
