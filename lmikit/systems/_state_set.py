"""`StateSet`: a box, cut by half-spaces and by an ellipsoid."""

import dataclasses
from typing import Any

import numpy as np

from .._convert import floats
from .._errors import InputError

__all__ = ["StateSet"]

_ROOM = 1e-9  # by which the box around an ellipsoid is wider, as a share


@dataclasses.dataclass(frozen=True, eq=False)
class StateSet:
    """{x : lower <= x <= upper, rows x <= offsets, |shape x - shift|_2 <= 1}, exactly as the floats say.

    lower and upper (n,), rows (p, n), offsets (p,), shape (n, n), shift (n,). A shape of zeros with the
    shift 0 stands for no ellipsoid. Raises InputError.
    """

    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray = None  # type: ignore[assignment]
    offsets: np.ndarray = None  # type: ignore[assignment]
    shape: np.ndarray = None  # type: ignore[assignment]
    shift: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = np.size(self.lower)
        defaults = {"rows": (0, n), "offsets": (0,), "shape": (n, n), "shift": (n,)}
        for name in ("lower", "upper", *defaults):
            given = getattr(self, name)
            object.__setattr__(self, name, floats(name, np.zeros(defaults[name]) if given is None else given))
        expected = {"lower": (n,), "upper": (n,), **defaults, "rows": (self.offsets.size, n)}
        expected["offsets"] = (self.offsets.size,)
        found = {name: getattr(self, name).shape for name in expected}
        if found != expected or n == 0:
            raise InputError(f"the set has arrays of shapes {found}; expected {expected}, n >= 1.")
        if (self.lower > self.upper).any():
            raise InputError("the set has lower > upper in some entry; expected lower <= upper.")
        if self.shift.any() and not self.round:
            raise InputError("shift is given without a shape; expected both, or none.")

    @classmethod
    def ellipsoid(cls, P: Any, center: Any = None) -> "StateSet":
        """(x - center)'P(x - center) <= 1, P > 0, with P's rounded Cholesky factor, in a box around it."""
        matrix = floats("P", P)
        n = matrix.shape[0] if matrix.ndim == 2 else 0
        middle = floats("center", np.zeros(n) if center is None else center)
        if matrix.shape != (n, n) or middle.shape != (n,) or not np.array_equal(matrix, matrix.T):
            raise InputError(f"P has shape {matrix.shape}; expected a symmetric matrix, and center ({n},).")
        try:
            shape = np.linalg.cholesky(matrix).T
            half = np.sqrt(np.diagonal(np.linalg.inv(matrix)))
        except np.linalg.LinAlgError as error:
            raise InputError("P is not positive definite in floating point; expected P > 0.") from error
        reach = half * (1.0 + _ROOM) + _ROOM * np.abs(middle)
        return cls(middle - reach, middle + reach, shape=shape, shift=shape @ middle)

    @property
    def dim(self) -> int:
        """n."""
        return int(self.lower.size)

    @property
    def round(self) -> bool:
        """Whether there is an ellipsoid."""
        return bool(self.shape.any())

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Whether points (..., n) lie in the set, in floating point."""
        inside = ((self.lower <= x) & (x <= self.upper)).all(axis=-1)
        inside &= (x @ self.rows.T <= self.offsets).all(axis=-1)
        return np.asarray(inside & (((x @ self.shape.T - self.shift) ** 2).sum(axis=-1) <= 1.0))

    def __repr__(self) -> str:
        parts = f"{self.dim} coordinates, {self.offsets.size} half-spaces"
        return f"<StateSet: {parts}{', an ellipsoid' if self.round else ''}>"
