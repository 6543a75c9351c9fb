"""Rigorous bounds on a region: interval and linear (CROWN) enclosures of every preactivation."""

from ._intervals import LocalIntervals, LocalSlopes, crown_margin, local_intervals

__all__ = ["LocalIntervals", "LocalSlopes", "crown_margin", "local_intervals"]
