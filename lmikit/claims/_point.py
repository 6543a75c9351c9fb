"""The claim of a certificate at a point; its sentence is written here and nowhere else."""

import dataclasses
from typing import Any, Literal

import numpy as np

from .._convert import floats
from .._errors import InputError
from ._region import AbstractRegion

__all__ = ["SEMANTICS", "PointClaim"]

_FLOAT = (
    "of every {0} inference of these float weights; input, weights and biases rounded to {0} first, sums in "
    "any order, fused or not, in {0} or a wider format, no overflow; rows applied to the outputs exactly"
)
SEMANTICS = {
    "real": "of the real-arithmetic function defined by these float weights; not of a float inference",
    **{name: _FLOAT.format(name) for name in ("float16", "bfloat16", "float32", "float64")},
}


def _frozen(name: str, values: Any, ndim: int) -> np.ndarray:
    array = floats(name, values)
    if array.ndim != ndim:
        raise InputError(f"{name} has shape {array.shape}; expected {ndim} dimensions.")
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class PointClaim:
    """For every x of `region` and every row r: rows[r] . f(x) + offsets[r] >= lower[r].

    `rows` (R, m) are linear functionals of the outputs, e_y - e_j for the class y; `offsets` (R,).
    kind "margin" is that sentence. kind "radius" has lower = 0 and a ball, and says more: the
    inequality is strict wherever ||x - x0||_2 < radius, so that the class does not change there.
    Rows are meant exactly, as rational combinations of the outputs. `semantics` "real" is about the
    real function of the weights; "float16", "bfloat16", "float32" and "float64" are about every
    forward pass in that format, f(x) being what it computes (kind "margin" only). Raises
    InputError for shapes that do not fit and semantics that are not known.
    """

    region: AbstractRegion
    rows: np.ndarray
    lower: np.ndarray
    offsets: np.ndarray
    kind: Literal["margin", "radius"] = "margin"
    semantics: str = "real"

    def __post_init__(self) -> None:
        if not isinstance(self.region, AbstractRegion):
            raise InputError(f"region is a {type(self.region).__name__}; expected a Ball, Box or BallAndBox.")
        for label, ndim in (("rows", 2), ("lower", 1), ("offsets", 1)):
            object.__setattr__(self, label, _frozen(label, getattr(self, label), ndim))
        count = len(self.rows)
        if not count or self.lower.shape != (count,) or self.offsets.shape != (count,):
            raise InputError(
                f"rows has shape {self.rows.shape}, lower {self.lower.shape}, offsets {self.offsets.shape}; "
                "expected (R, m), (R,), (R,) with R >= 1."
            )
        if self.kind not in ("margin", "radius"):
            raise InputError(f"the kind of claim is {self.kind!r}; expected 'margin' or 'radius'.")
        if self.kind == "radius" and (self.region.ball is None or self.lower.any()):
            raise InputError("a claim of kind 'radius' has a ball as its region and lower = 0.")
        if self.semantics not in SEMANTICS:
            raise InputError(f"semantics is {self.semantics!r}; expected one of {', '.join(SEMANTICS)}.")
        if self.kind == "radius" and self.semantics != "real":
            raise InputError("a claim of kind 'radius' is about the real function; claim a margin on a ball.")

    @property
    def sentence(self) -> str:
        """What is claimed, in words and symbols."""
        where = self.region.describe()
        if self.kind == "radius":
            assert self.region.ball is not None
            inside = where.replace("||_2 <=", "||_2 <", 1)
            what = f"for every x with {inside}: rows[r].f(x) + offsets[r] > 0 for every row r"
        else:
            what = f"for every x with {where}: rows[r].f(x) + offsets[r] >= lower[r] for every row r"
        return f"{what}, {SEMANTICS[self.semantics]}"

    def with_lower(self, lower: np.ndarray) -> "PointClaim":
        """The same claim with other lower bounds."""
        return dataclasses.replace(self, lower=lower)
