"""Quadratic facts about one neuron, of which a proof at a point is made; each kind is one class.

Let v be a neuron's preactivation and w = phi(v). A term is an inequality g(v, w) >= 0 or an equality
g(v, w) = 0 that holds for every x of the region, g quadratic:

    g = vv v^2 + vw v w + ww w^2 + v v + w w + one.

The Lagrangian of the margin subtracts multiplier * g, with a multiplier >= 0 for inequalities and of
either sign for equalities. Coefficients are given as sums of products of float64 numbers and meant
exactly, so that `verify` encloses them and the checker computes them in integers, each by its own code,
from this one description. A new kind is a file with one class and a call of `register_term`.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ...claims import AbstractRegion
from ...network import Layer, Network

__all__ = ["COEFFICIENTS", "AbstractTerm", "Coefficients", "Site", "register_term", "term_of_kind"]

COEFFICIENTS = ("vv", "vw", "ww", "v", "w", "one")
Monomial = tuple[np.ndarray, ...]
Coefficients = Mapping[str, tuple[Monomial, ...]]  # name -> sum of products of (n_k,) float64 arrays
Parameters = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """Hidden layer `index` (0 for the first) of a network whose inputs are in `region`."""

    network: Network
    index: int
    region: AbstractRegion

    @property
    def layer(self) -> Layer:
        """The layer of which the neurons are."""
        return self.network.layers[self.index]

    @property
    def neurons(self) -> int:
        """n_k."""
        return self.layer.linear.shape[0]


class AbstractTerm(abc.ABC):
    """One kind of term; `parameters` names the arrays (n_k,) that it takes beside its multipliers."""

    kind: ClassVar[str]
    equality: ClassVar[bool]
    parameters: ClassVar[tuple[str, ...]] = ()
    regional: ClassVar[bool] = True  # False: g holds for every v, so that a wider region keeps it

    @abc.abstractmethod
    def fault(self, site: Site, parameters: Parameters, used: np.ndarray) -> str:
        """Why the term is not proven for the neurons in `used` (n_k,) bool; the empty string if it is."""

    @abc.abstractmethod
    def coefficients(self, site: Site, parameters: Parameters) -> Coefficients:
        """g's coefficients by name; those that are absent are 0. Called where `fault` finds nothing."""


_TERMS: dict[str, AbstractTerm] = {}


def register_term(term: AbstractTerm) -> None:
    """Announce a kind of term to `verify_point` and to the checker."""
    _TERMS[term.kind] = term


def term_of_kind(kind: str) -> AbstractTerm | None:
    """The term of that kind, or None."""
    return _TERMS.get(kind)
