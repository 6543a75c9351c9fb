"""Torus bounds in floating point: what certificates.torus proves afterwards."""

from ._fast import fast_torus

__all__ = ["fast_torus"]
