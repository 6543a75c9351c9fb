"""LMI regions of the complex plane: L + z M + conj(z) M' < 0."""

import dataclasses
import math

import numpy as np
import scipy.linalg

from .._convert import as_number, floats
from .._errors import InputError

__all__ = ["Region", "disc", "half_plane", "sector"]


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """{z : L + z M + conj(z) M' negative definite}, L symmetric (k, k), M (k, k): convex, real-symmetric.

    `a & b` is the intersection. Raises InputError where L is not symmetric or the shapes differ.
    Source: Chilali and Gahinet, IEEE Trans. Automat. Control 41 (1996), Definition 2.1.
    """

    L: np.ndarray
    M: np.ndarray

    def __post_init__(self) -> None:
        L, M = floats("L", self.L), floats("M", self.M)
        if L.ndim != 2 or L.shape != L.T.shape or L.shape != M.shape or not np.array_equal(L, L.T):
            raise InputError(
                f"L has shape {L.shape} and M {M.shape}; expected a symmetric L and an M of its shape."
            )
        object.__setattr__(self, "L", L)
        object.__setattr__(self, "M", M)

    def __and__(self, other: "Region") -> "Region":
        return Region(scipy.linalg.block_diag(self.L, other.L), scipy.linalg.block_diag(self.M, other.M))

    def matrix(self, z: complex) -> np.ndarray:
        """L + z M + conj(z) M', Hermitian, in floating point."""
        return np.asarray(self.L + z * self.M + np.conj(z) * self.M.T)


def half_plane(rate: float = 0.0) -> Region:
    """Re z < -rate."""
    return Region([[2.0 * as_number("rate", rate)]], [[1.0]])  # type: ignore[arg-type]


def disc(center: float = 0.0, radius: float = 1.0) -> Region:
    """|z - center| < radius, center real."""
    c, r = as_number("center", center), as_number("radius", radius)
    if not r > 0.0:
        raise InputError(f"radius is {r!r}; expected a number > 0.")
    return Region([[-r, -c], [-c, -r]], [[0.0, 1.0], [0.0, 0.0]])  # type: ignore[arg-type]


def sector(angle: float) -> Region:
    """|Im z| < tan(angle) |Re z|, Re z < 0: damping of at least cos(angle), 0 < angle < pi/2 in radians.

    The region is that of the floats sin(angle) and cos(angle), which the certificate holds.
    """
    a = as_number("angle", angle)
    if not 0.0 < a < math.pi / 2:
        raise InputError(f"angle is {a!r}; expected radians in (0, pi/2).")
    s, c = math.sin(a), math.cos(a)
    return Region(np.zeros((2, 2)), [[s, c], [-c, s]])  # type: ignore[arg-type]
