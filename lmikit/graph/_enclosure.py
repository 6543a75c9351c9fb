"""Matrices with a radius per entry, for sums and products whose entries are no floats.

u = 2**-53. fl(A B) with k products per entry is within k u / (1 - k u) |A||B| + k 2**-1074 of A B in any
order of summation, with or without fused multiply-add (Higham, Accuracy and Stability, section 3.1); a sum
of two floats is within u of itself, and exact where one of them is 0. Radii are computed in floating point
too: |A||B| is low by the same relative k u at most, so that the factors k + 8 for k and 1 + 2**-20 at the
end cover it as long as k < 2**30.
"""

import dataclasses

import numpy as np

__all__ = ["EnclosedMatrix"]

_U = 2.0**-53
_OUTWARD = 1.0 + 2.0**-20
_UNDERFLOW = 2.0**-1060


@dataclasses.dataclass(frozen=True, eq=False)
class EnclosedMatrix:
    """All matrices X with |X - mid| <= rad; `rad` None means exactly `mid`.

    `pick`: `mid` is exactly the matrix with ones at (pick[j], j) and zeros elsewhere, or None.
    """

    mid: np.ndarray
    rad: np.ndarray | None = None
    pick: np.ndarray | None = None

    @classmethod
    def selection(cls, rows: int, pick: np.ndarray) -> "EnclosedMatrix":
        """Ones at (pick[j], j)."""
        mid = np.zeros((rows, pick.size))
        mid[pick, np.arange(pick.size)] = 1.0
        return cls(mid, None, pick)

    @property
    def T(self) -> "EnclosedMatrix":
        return EnclosedMatrix(self.mid.T, None if self.rad is None else self.rad.T)

    def __add__(self, other: "EnclosedMatrix") -> "EnclosedMatrix":
        mid = self.mid + other.mid
        both = (self.mid != 0.0) & (other.mid != 0.0)
        rounding = np.where(both, _U * _OUTWARD * np.abs(mid), 0.0) if both.any() else None
        return EnclosedMatrix(mid, _total(self.rad, other.rad, rounding))

    def __neg__(self) -> "EnclosedMatrix":
        return EnclosedMatrix(-self.mid, self.rad)

    def __matmul__(self, other: "EnclosedMatrix") -> "EnclosedMatrix":
        if other.pick is not None and self.rad is None:
            return EnclosedMatrix(self.mid[:, other.pick])
        if other.pick is not None:
            assert self.rad is not None
            return EnclosedMatrix(self.mid[:, other.pick], self.rad[:, other.pick])
        a, b = np.abs(self.mid), np.abs(other.mid)
        rounding = None
        if not (_moves(self) or (_moves(other.T))):
            k = float(self.mid.shape[1])
            rounding = (k + 8.0) * _U * _OUTWARD * (a @ b) + k * _UNDERFLOW
        spread = [None if other.rad is None else a @ other.rad, None if self.rad is None else self.rad @ b]
        if self.rad is not None and other.rad is not None:
            spread.append(self.rad @ other.rad)
        return EnclosedMatrix(self.mid @ other.mid, _total(rounding, *spread))

    def rows_times(self, factors: np.ndarray, error: np.ndarray | None = None) -> "EnclosedMatrix":
        """diag(f) X for all f with |f - factors| <= error (None: exactly)."""
        f = factors[:, None]
        mid = f * self.mid
        exact = bool(np.isin(factors, (-1.0, 0.0, 1.0)).all())
        rounding = None if exact else np.where(mid != 0.0, _U * _OUTWARD * np.abs(mid), 0.0) + _UNDERFLOW
        spread = [None if self.rad is None else np.abs(f) * self.rad]
        if error is not None:
            size = np.abs(self.mid) if self.rad is None else np.abs(self.mid) + self.rad
            spread.append(error[:, None] * size)
        return EnclosedMatrix(mid, _total(rounding, *spread))

    def rows(self, indices: np.ndarray) -> "EnclosedMatrix":
        """The rows with these indices."""
        return EnclosedMatrix(self.mid[indices], None if self.rad is None else self.rad[indices])

    def symmetric(self) -> "EnclosedMatrix":
        """The same for a matrix that is symmetric in exact arithmetic: mid and rad made so."""
        mid = np.tril(self.mid) + np.tril(self.mid, -1).T
        if self.rad is None:
            return EnclosedMatrix(mid)
        # an exact entry is within either radius of either computed entry: take the one of mid's triangle
        return EnclosedMatrix(mid, np.tril(self.rad) + np.tril(self.rad, -1).T)


def _moves(a: EnclosedMatrix) -> bool:
    """Whether A has no radius, entries 0 or +-1 and at most one of them per row: A B is then exact."""
    if a.rad is not None:
        return False
    nonzero = a.mid != 0.0
    return bool(nonzero.sum(axis=1).max(initial=0) <= 1 and (np.abs(a.mid[nonzero]) == 1.0).all())


def _total(*parts: np.ndarray | None) -> np.ndarray | None:
    given = [p for p in parts if p is not None]
    if not given:
        return None
    result = given[0]
    for p in given[1:]:
        result = result + p
    return np.asarray(result * _OUTWARD)
