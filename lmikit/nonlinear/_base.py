"""The contract of a nonlinearity on groups of channels, and the quadratic form that it satisfies.

Every pair of inputs of one group gives increments (dv, dw) with

    |N'dw| <= |N'dv|   and   B'(dw - dv) = 0,

N and B matrices of floats, taken as they are. Hence, for lam >= 0 and any matrices nu, mu,

    sigma = lam (|N'dw|^2 - |N'dv|^2) + (B'(dw - dv))'nu B'dv + (B'(dw - dv))'mu B'dw <= 0.

With N = I and B = (1, .., 1)' for sorting these are the multipliers of Pauli, Wang, Manchester,
Allgoewer, "Novel quadratic constraints for extending LipSDP beyond slope-restricted activations",
ICLR 2024, Lemma 2 (T = lam I + gamma B B' there is nu = mu = gamma here).
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from .._errors import InputError

__all__ = ["AbstractGroups"]


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractGroups(abc.ABC):
    """A function on consecutive groups of `group_size` channels, 1-Lipschitz in l2.

    Arrays of channels have shape (n,) or (n, k), k independent columns, n a multiple of group_size.
    Laws: the inequality and the identity of this file with zero tolerance for real arithmetic; `jvp`
    and `vjp` are adjoint and agree with difference quotients away from kinks.
    """

    name: ClassVar[str]

    @property
    @abc.abstractmethod
    def group_size(self) -> int:
        """g, channels per group."""

    @property
    @abc.abstractmethod
    def norm_directions(self) -> np.ndarray:
        """N (g, d)."""

    @property
    @abc.abstractmethod
    def identities(self) -> np.ndarray:
        """B (g, k), columns in which output and input agree."""

    @abc.abstractmethod
    def __call__(self, v: np.ndarray) -> np.ndarray:
        """phi(v)."""

    @abc.abstractmethod
    def jvp(self, v: np.ndarray, dv: np.ndarray) -> np.ndarray:
        """phi'(v) dv, one of the one-sided derivatives at kinks."""

    @abc.abstractmethod
    def vjp(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        """phi'(v)'u."""

    @abc.abstractmethod
    def distance_to_kinks(self, v: np.ndarray) -> np.ndarray:
        """Per column, a change of every channel that is smaller than this meets no kink; v (n, k) -> (k,)."""

    @abc.abstractmethod
    def parameters(self) -> dict[str, object]:
        """The fields by name, numbers or lists of numbers."""

    @property
    def multipliers_per_group(self) -> int:
        """1 + 2 p: lam, then nu and mu on the p = k (k + 1) / 2 pairs of identities."""
        k = self.identities.shape[1]
        return 1 + k * (k + 1)

    def groups(self, channels: int, where: str = "nonlinearity") -> int:
        """The number of groups; raises InputError where they do not fill the channels."""
        if channels % self.group_size:
            raise InputError(
                f"{where}: {channels} channels do not split into groups of {self.group_size}; expected a "
                "multiple."
            )
        return channels // self.group_size

    def _grouped(self, v: np.ndarray) -> np.ndarray:
        """(groups, g, ...)."""
        return v.reshape(self.groups(v.shape[0]), self.group_size, *v.shape[1:])
