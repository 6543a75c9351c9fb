"""Integral quadratic constraints, static ones: classes of nonlinearities, supply rates, one LMI."""

from ._constraint import AbstractQuadraticConstraint, QuadraticTerms, largest_violation, terms_from_matrices
from ._dissipation import Dissipation, Placed
from ._groups import GroupSort, Householder, MaxMin
from ._slopes import NormBounded, SectorBounded, SlopeRestricted, check_multipliers
from ._supply import AbstractSupply, InputPassivity, L2Gain, OutputPassivity, SupplyForm, WeightedGain

__all__ = [
    "AbstractQuadraticConstraint",
    "AbstractSupply",
    "Dissipation",
    "GroupSort",
    "Householder",
    "InputPassivity",
    "L2Gain",
    "MaxMin",
    "NormBounded",
    "OutputPassivity",
    "Placed",
    "QuadraticTerms",
    "SectorBounded",
    "SlopeRestricted",
    "SupplyForm",
    "WeightedGain",
    "check_multipliers",
    "largest_violation",
    "terms_from_matrices",
]
