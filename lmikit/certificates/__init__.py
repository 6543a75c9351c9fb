"""The one room that turns a `Witness` into a `Certificate`, and the independent checker of its files."""

from ._certificate import Certificate, verify

__all__ = ["Certificate", "verify"]
