"""`BallMatrix`: matrices known up to a radius per entry, with the operations of `ExactMatrix`.

Product of (n, k) and (k, p): |fl(a b) - a' b'| <= gamma_k |a||b| + |a| rb + ra |b| + ra rb, in any order of
summation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.5), plus k 2**-1074 of
underflow where a term can be nonzero. Sums of radii are covered by SAFE.
"""

import numpy as np

from ..sdp._enclosure import SAFE, gamma

__all__ = ["BallMatrix"]

_U = 2.0**-53
_TINY = 2.0**-1000


class BallMatrix:
    """Every real matrix within `rad` of `mid`, entry by entry; two-dimensional."""

    def __init__(self, mid: np.ndarray, rad: np.ndarray) -> None:
        self.mid, self.rad = mid, rad

    @classmethod
    def of(cls, floats: np.ndarray) -> "BallMatrix":
        """Exactly these floats."""
        return cls(floats, np.zeros_like(floats))

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.mid.shape[0]), int(self.mid.shape[1])

    @property
    def T(self) -> "BallMatrix":
        return BallMatrix(self.mid.T, self.rad.T)

    def __add__(self, other: "BallMatrix") -> "BallMatrix":
        mid = self.mid + other.mid
        one_is_zero = (self.mid == 0) | (other.mid == 0)  # then the sum of the midpoints is exact
        return BallMatrix(mid, (self.rad + other.rad + np.where(one_is_zero, 0.0, _U * np.abs(mid))) * SAFE)

    def __neg__(self) -> "BallMatrix":
        return BallMatrix(-self.mid, self.rad)

    def __sub__(self, other: "BallMatrix") -> "BallMatrix":
        return self + -other

    def __matmul__(self, other: "BallMatrix") -> "BallMatrix":
        a, b = np.abs(self.mid), np.abs(other.mid)
        k = self.shape[1]
        rad = gamma(k + 2) * (a @ b) + a @ other.rad + self.rad @ b + self.rad @ other.rad
        live_a, live_b = (a != 0) | (self.rad != 0), (b != 0) | (other.rad != 0)
        terms = live_a.astype(np.float64) @ live_b.astype(np.float64)
        return BallMatrix(self.mid @ other.mid, rad * SAFE + terms * _TINY)
