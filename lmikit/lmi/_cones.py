"""`ConicProgram`: an SDP with exponential and power cones beside it, for the solvers that have them.

An `SDP` never holds such cones, so what proves or writes an SDP cannot overlook them.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from .._errors import InputError
from ._sdp import SDP, SOC

__all__ = ["ConicProgram", "ExponentialCone", "PowerCone", "cone_violation", "dual_cone_violation"]


@dataclasses.dataclass(frozen=True, eq=False)
class ExponentialCone:
    """C y + d = (x_1, x_2, x_3) with x_2 exp(x_1 / x_2) <= x_3, x_2 > 0, or in the closure; C (3, m)."""

    C: sp.csc_array
    d: np.ndarray
    name: str = ""

    def __post_init__(self) -> None:
        checked = SOC(self.C, self.d, name=self.name)  # the same data, the same checks
        if checked.d.size != 3:
            raise InputError(f"exponential cone {self.name!r}: d has size {checked.d.size}; expected 3.")
        object.__setattr__(self, "C", checked.C)
        object.__setattr__(self, "d", checked.d)


@dataclasses.dataclass(frozen=True, eq=False)
class PowerCone:
    """C y + d = (x_1, x_2, x_3) with x_1^a x_2^(1 - a) >= |x_3|, x_1, x_2 >= 0, 0 < a < 1; C (3, m)."""

    C: sp.csc_array
    d: np.ndarray
    exponent: float
    name: str = ""

    def __post_init__(self) -> None:
        checked = SOC(self.C, self.d, name=self.name)
        if checked.d.size != 3 or not 0 < self.exponent < 1:
            raise InputError(
                f"power cone {self.name!r}: size {checked.d.size}, exponent {self.exponent}; expected size 3 "
                "and an exponent between 0 and 1."
            )
        object.__setattr__(self, "C", checked.C)
        object.__setattr__(self, "d", checked.d)


@dataclasses.dataclass(frozen=True, eq=False)
class ConicProgram:
    """The problem of `sdp` with more cones: minimise c'y + 1/2 y'Hy over its feasible y in all of them.

    `Dual.e` and `Dual.p` hold the multipliers of the exponential and power cones, in the dual cones, with
    - e_k'(C_k y + d_k) in the Lagrangian.
    """

    sdp: SDP
    exponentials: tuple[ExponentialCone, ...] = ()
    powers: tuple[PowerCone, ...] = ()

    def __post_init__(self) -> None:
        for cone in self.cones:
            if cone.C.shape[1] != self.sdp.variables:
                raise InputError(
                    f"the cone {cone.name!r} has {cone.C.shape[1]} columns; expected {self.sdp.variables}."
                )

    @property
    def cones(self) -> tuple[ExponentialCone | PowerCone, ...]:
        """The exponential cones, then the power cones."""
        return (*self.exponentials, *self.powers)

    def __repr__(self) -> str:
        more = f"{len(self.exponentials)} exponential and {len(self.powers)} power cones"
        return f"<ConicProgram: {more} beside {self.sdp!r}>"


def cone_violation(cone: ExponentialCone | PowerCone, x: np.ndarray) -> float:
    """How much of the third entry is missing at x (3,), 0 in the cone; floating point."""
    if isinstance(cone, PowerCone):
        low = max(0.0, -float(x[:2].min()))
        top, rest = np.maximum(x[:2], 0.0)
        return max(low, abs(float(x[2])) - float(top**cone.exponent * rest ** (1 - cone.exponent)))
    if x[1] > 0:
        with np.errstate(over="ignore"):
            above = float(x[1] * np.exp(x[0] / x[1])) - float(x[2])
        # where exp is steep the distance in x_1 is the smaller one
        gap = float(x[0] - x[1] * np.log(x[2] / x[1])) if x[2] > 0 else np.inf
        return max(0.0, min(above, gap))
    return max(0.0, -float(x[1]), float(x[0]), -float(x[2]))


def dual_cone_violation(cone: ExponentialCone | PowerCone, w: np.ndarray) -> float:
    """How far w (3,) is from the dual cone.

    Exponential: w_1 < 0, -w_1 exp(w_2 / w_1 - 1) <= w_3, or w_1 = 0, w_2, w_3 >= 0. Power:
    (w_1 / a)^a (w_2 / (1 - a))^(1 - a) >= |w_3|.
    """
    if isinstance(cone, PowerCone):
        a = cone.exponent
        return cone_violation(cone, np.array([w[0] / a, w[1] / (1 - a), w[2]]))
    if w[0] < 0:  # with u = -w_1: u exp((w_1 - w_2) / u) <= w_3
        return cone_violation(cone, np.array([w[0] - w[1], -w[0], w[2]]))
    return max(0.0, float(w[0]), -float(w[1]), -float(w[2]))
