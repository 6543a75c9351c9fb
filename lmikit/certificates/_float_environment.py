"""The floating-point environment that every proof of this room requires (see `lmikit._ieee`)."""

from .._ieee import environment_fault, kernel_fault, require_ieee

__all__ = ["environment_fault", "kernel_fault", "require_ieee"]
