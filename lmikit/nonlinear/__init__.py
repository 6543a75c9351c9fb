"""Nonlinearities that act on groups of channels: sorting, (max, min) pairs, reflections."""

from ._base import AbstractGroups
from ._groups import MaxMinPairs, Reflect, SortGroups

__all__ = ["AbstractGroups", "MaxMinPairs", "Reflect", "SortGroups"]
