"""Sorting, (max, min) pairs and reflections."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from .._errors import InputError
from ._base import AbstractGroups

__all__ = ["MaxMinPairs", "Reflect", "SortGroups"]


@dataclasses.dataclass(frozen=True, eq=False)
class SortGroups(AbstractGroups):
    """Sorts consecutive groups of `size` channels in ascending order.

    1-Lipschitz (the rearrangement inequality) and sum-preserving: N = I, B = (1, .., 1)'.
    Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019.
    """

    size: int = 2
    name: ClassVar[str] = "sort_groups"

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise InputError(f"SortGroups: size is {self.size!r}; expected an integer, at least 1.")

    @property
    def group_size(self) -> int:
        return self.size

    @property
    def norm_directions(self) -> np.ndarray:
        return np.eye(self.size)

    @property
    def identities(self) -> np.ndarray:
        return np.ones((self.size, 1))

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return np.sort(self._grouped(v), axis=1).reshape(v.shape)

    def _order(self, v: np.ndarray) -> np.ndarray:
        return np.argsort(self._grouped(v), axis=1, kind="stable")

    def jvp(self, v: np.ndarray, dv: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self._grouped(dv), self._order(v), axis=1).reshape(dv.shape)

    def vjp(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        result = np.empty_like(self._grouped(u))
        np.put_along_axis(result, self._order(v), self._grouped(u), axis=1)
        return result.reshape(u.shape)

    def distance_to_kinks(self, v: np.ndarray) -> np.ndarray:
        gaps = np.diff(np.sort(self._grouped(v), axis=1), axis=1)
        return np.asarray(0.5 * gaps.min(axis=(0, 1), initial=np.inf))

    def parameters(self) -> dict[str, object]:
        return {"size": self.size}


@dataclasses.dataclass(frozen=True, eq=False)
class Reflect(AbstractGroups):
    """w = v - u (u'v - |u'v|) / (u'u) per group of len(direction) channels: the Householder activation.

    `direction` u (g,), any finite vector but 0; it need not have norm 1. Where u'v < 0 the group is
    reflected at the plane orthogonal to u. Then u'w = |u'v|, and w - v is a multiple of u: N = u / a
    and B has the columns (u_p e_i - u_i e_p) / a, p the largest entry and a the power of two that
    brings it near 1. Singla, Singla, Feizi, "Improved deterministic l2 robustness on CIFAR-10 and
    CIFAR-100", ICLR 2022.
    """

    direction: Any
    name: ClassVar[str] = "reflect"

    def __post_init__(self) -> None:
        try:
            u = np.array(self.direction, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise InputError(f"Reflect: direction cannot be read as numbers ({error}).") from error
        if u.size < 2 or not np.isfinite(u).all() or not u.any():
            raise InputError(f"Reflect: direction is {u}; expected at least two finite numbers, not all 0.")
        scaled = np.ldexp(u, -int(np.frexp(np.abs(u).max())[1]))
        if not np.array_equal(scaled == 0.0, u == 0.0):
            raise InputError("Reflect: the entries of direction span more than the range of float64.")
        scaled.setflags(write=False)
        object.__setattr__(self, "direction", scaled)

    @property
    def group_size(self) -> int:
        return int(self.direction.size)

    @property
    def norm_directions(self) -> np.ndarray:
        return np.asarray(self.direction[:, None])

    @property
    def identities(self) -> np.ndarray:
        u = self.direction
        p = int(np.argmax(np.abs(u)))
        others = np.array([i for i in range(u.size) if i != p])
        B = np.zeros((u.size, u.size - 1))
        B[others, np.arange(others.size)] = u[p]
        B[p] = -u[others]
        return B

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return self._moved(v, np.minimum(self._along(v), 0.0), v)

    def _along(self, v: np.ndarray) -> np.ndarray:
        """u'v per group, (groups, 1, ...)."""
        return np.asarray(np.tensordot(self._grouped(v), self.direction, axes=(1, 0)))[:, None]

    def _moved(self, v: np.ndarray, length: np.ndarray, onto: np.ndarray) -> np.ndarray:
        """onto - 2 u length / u'u."""
        u = self.direction.reshape(1, -1, *(1,) * (v.ndim - 1))
        step = 2.0 / float(self.direction @ self.direction) * length
        return np.asarray(self._grouped(onto) - u * step).reshape(v.shape)

    def jvp(self, v: np.ndarray, dv: np.ndarray) -> np.ndarray:
        return self._moved(v, np.where(self._along(v) < 0.0, self._along(dv), 0.0), dv)

    def vjp(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return self.jvp(v, u)  # every branch is symmetric

    def distance_to_kinks(self, v: np.ndarray) -> np.ndarray:
        along = np.abs(self._along(v)) / float(np.abs(self.direction).sum())
        return np.asarray(along.min(axis=(0, 1), initial=np.inf))

    def parameters(self) -> dict[str, object]:
        return {"direction": [float(x) for x in self.direction]}


@dataclasses.dataclass(frozen=True, eq=False)
class MaxMinPairs(AbstractGroups):
    """(max, min) of consecutive pairs: the reflection with u = (1, -1)."""

    name: ClassVar[str] = "maxmin"
    _reflect: ClassVar[Reflect] = Reflect((1.0, -1.0))

    @property
    def group_size(self) -> int:
        return 2

    @property
    def norm_directions(self) -> np.ndarray:
        return self._reflect.norm_directions

    @property
    def identities(self) -> np.ndarray:
        return self._reflect.identities

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return np.sort(self._grouped(v), axis=1)[:, ::-1].reshape(v.shape)

    def jvp(self, v: np.ndarray, dv: np.ndarray) -> np.ndarray:
        return self._reflect.jvp(v, dv)

    def vjp(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return self._reflect.jvp(v, u)

    def distance_to_kinks(self, v: np.ndarray) -> np.ndarray:
        return self._reflect.distance_to_kinks(v)

    def parameters(self) -> dict[str, object]:
        return {}
