"""Lipschitz bounds on a region: slopes proven there, by enclosures that every check computes again."""

from ._certificate import LocalCertificate, narrowed, verify_local, with_slopes
from ._check import check_local as check_local  # registers the checker

__all__ = ["LocalCertificate", "narrowed", "verify_local", "with_slopes"]
