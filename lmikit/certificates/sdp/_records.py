"""What is claimed of an SDP, what carries the proof, and the hash of the problem's data."""

import dataclasses
import hashlib
from fractions import Fraction

import numpy as np

from ...lmi import SDP
from ...lmi._svec import SvecOrder, svec_pairs
from ._data import exact_entries

__all__ = [
    "FORMAT",
    "STATUSES",
    "VERSION",
    "Drop",
    "DualSide",
    "PrimalSide",
    "SDPWitness",
    "digest",
    "statement",
]

FORMAT, VERSION = "lmikit-sdp-cert", 1
STATUSES = ("optimum", "feasible", "infeasible", "unbounded", "bounded")

Drop = dict[int, dict[int, Fraction]]
"""Dependent equations: row i equals the sum of coefficient * row j, j not dropped."""


@dataclasses.dataclass(frozen=True, eq=False)
class PrimalSide:
    """A point y (m,) near a feasible one, and the equalities A y = b that follow from others."""

    y: np.ndarray
    drop: Drop = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class DualSide:
    """Multipliers near feasible ones: X_k (r_k, r_k) on the face V_k (D_k, r_k; None: all), z, s, v.

    u (m,) is where the quadratic part is linearised (None without H). `metric`, "plain" or
    "scaled", is how the correction to exact stationarity is measured; "paid" corrects nothing and pays
    for the defect with the bounds |y_i| <= B_i.
    """

    X: tuple[np.ndarray, ...]
    z: np.ndarray
    s: tuple[np.ndarray, ...]
    v: np.ndarray
    u: np.ndarray | None = None
    faces: tuple[np.ndarray | None, ...] = ()
    drop: Drop = dataclasses.field(default_factory=dict)
    metric: str = "plain"


@dataclasses.dataclass(frozen=True, eq=False)
class SDPWitness:
    """A proposal: sides for `lower` and `upper`, or a ray (dual: infeasible; primal: unbounded)."""

    primal: PrimalSide | None = None
    dual: DualSide | None = None
    primal_ray: PrimalSide | None = None
    dual_ray: DualSide | None = None
    bounds: np.ndarray | None = None
    produced_by: str = ""


def statement(status: str, lower: float | None, upper: float | None, bounded: bool) -> str:
    """The claim in words, of the real-arithmetic problem defined by the float data."""
    where = " among the y with |y_i| <= bounds_i" if bounded else ""
    if status == "infeasible":
        return f"no y satisfies the constraints{where}"
    if status == "unbounded":
        return "the objective is unbounded below on the feasible set"
    feasible = f"a feasible y near the one given has an objective of at most {upper!r}"
    if status == "optimum":
        return f"the infimum{where} is at least {lower!r}; {feasible}"
    if status == "feasible":
        return feasible
    return f"every feasible y{where} has an objective of at least {lower!r}"


def _number(value: Fraction) -> str:
    """An odd integer times a power of two: the same text for the same dyadic rational."""
    n, power = value.numerator, -(value.denominator.bit_length() - 1)
    shift = (n & -n).bit_length() - 1
    return f"{n >> shift}p{power + shift}"


def digest(sdp: SDP) -> str:
    """SHA-256 of the problem's canonical text (docs/sdp_certificate_format.md).

    It is of the exact entries, however they were written as rank-one terms: two SDPs with the same
    matrices in the same order have the same digest.
    """
    entries = exact_entries(sdp)
    shape = entries.layout
    lines = [f"lmikit-sdp 1 {sdp.variables}"]
    lines += [f"c {i + 1} {_number(Fraction(v))}" for i, v in enumerate(sdp.c.tolist()) if v]
    if sdp.H is not None:
        coo = sdp.H.tocoo()
        upper = sorted(
            (i, j, v)
            for i, j, v in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True)
            if i <= j
        )
        lines += [f"H {i + 1} {j + 1} {_number(Fraction(v))}" for i, j, v in upper]
    names = [f"lmi {n}" for n in shape.psd] + [f"linear {shape.linear}"]
    names += [f"soc {n}" for n in shape.soc] + [f"zero {shape.zero}"]
    for k, (name, part) in enumerate(zip(names, shape.slices, strict=True)):
        lines.append(name)
        block = k < len(shape.psd)
        rows, cols = (
            svec_pairs(shape.psd[k], SvecOrder.UPPER) if block else (np.arange(part.stop - part.start),) * 2
        )
        for j, (row, col) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
            place = f"{row + 1} {col + 1}" if block else f"{row + 1}"
            column = entries.columns[part.start + j]
            lines += [f"{place} {i + 1} {_number(column[i])}" for i in sorted(column)]
    return hashlib.sha256(("\n".join(lines) + "\n").encode("ascii")).hexdigest()
