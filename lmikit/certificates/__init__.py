"""The one room that turns a `Witness` into a `Certificate`, and the independent checker of its files."""

from ._certificate import Certificate, verify
from ._check import CheckResult, check

__all__ = ["Certificate", "CheckResult", "check", "verify"]
