"""One LMI from a linear fractional form, quadratic constraints and a supply rate.

With z = (x, w), v = V z, y = Y z: find multipliers and theta with

    s(x, Y z; theta) + sum_c sigma_c(V z, w; lam_c) >= 0 for all z.

Every sigma_c is <= 0 on the increments of the network, hence s >= 0 there: the S-procedure as used
by Megretski and Rantzer (IEEE TAC 1997, Theorem 1) for static multipliers.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from ..._errors import InputError
from ...lmi import LMI, SDP, Solution
from ...network import LinearFractional
from .._point import usable_point
from .._signs import nonnegative_rows
from ._constraint import AbstractQuadraticConstraint, terms_of
from ._supply import AbstractSupply, L2Gain

__all__ = ["Dissipation", "Placed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A constraint between the channels v[v_channels] and w[w_channels] (index arrays)."""

    constraint: AbstractQuadraticConstraint
    v_channels: Any
    w_channels: Any

    def __post_init__(self) -> None:
        for name, count in zip(("v_channels", "w_channels"), self.constraint.channels, strict=True):
            indices = np.array(getattr(self, name), dtype=np.int64)
            if indices.shape != (count,):
                raise InputError(
                    f"{name} has shape {indices.shape}; expected ({count},), as the constraint has."
                )
            object.__setattr__(self, name, indices)


@dataclasses.dataclass(frozen=True, eq=False)
class Dissipation:
    """The LMI that shows a supply rate for v = N_vx x + N_vw w, y = N_yx x + N_yw w, w = phi(v).

    `constraints` are `Placed`, or bare constraints that are laid side by side in the order of the
    channels. Several may share channels. An incremental claim needs incremental constraints
    (`SectorBounded` gives claims about the equilibrium only: set `incremental` to False).

    Not checked: that w = phi(v) has a solution for implicit networks; where the w block of the
    LMI is positive definite there is at most one. `estimate` is a solver's number, not a bound.
    """

    form: LinearFractional
    constraints: Sequence[Placed | AbstractQuadraticConstraint]
    supply: AbstractSupply = dataclasses.field(default_factory=L2Gain)
    incremental: bool = True
    partition: tuple[int, ...] | None = None
    theorem: ClassVar[str] = (
        "S-procedure with static multipliers (Megretski, Rantzer, IEEE TAC 1997, Theorem 1; for networks "
        "Fazlyab et al., NeurIPS 2019, Theorem 2); assumes each constraint's obligation, a well-posed loop."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraints", _placed(self.form, self.constraints))
        for placed in self.placed:
            if self.incremental and not placed.constraint.incremental:
                raise InputError(
                    f"{type(placed.constraint).__name__} is not incremental, but the claim is; use slope "
                    "bounds, or set incremental=False for a claim about the equilibrium."
                )

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The constraints with their channels."""
        return tuple(c for c in self.constraints if isinstance(c, Placed))

    def sdp(self, nonnegative: np.ndarray | None = None, tie: sp.sparray | None = None) -> SDP:
        """Minimise -theta; variables (lam_1, ..., lam_K, theta).

        `nonnegative` (k,) overrides which multipliers are constrained to be >= 0: drop those only
        that the LMI itself implies. `tie` (k, j) replaces the multipliers by lam = tie @ mu with
        mu (j,); `nonnegative` is then (j,) and required.
        """
        form = self.form
        inputs = form.N_vx.shape[1]
        size = inputs + form.neurons
        V = sp.csc_array(sp.hstack([form.N_vx, form.N_vw], format="csr").T)  # columns v_a
        Y = sp.csc_array(sp.hstack([form.N_yx, form.N_yw], format="csr").T)
        eye = sp.eye_array(size, format="csc")
        P, Q, E, signs = [], [], [], [np.zeros(0, dtype=bool)]
        for placed in self.placed:
            terms = terms_of(placed.constraint)
            Vc, Wc = V[:, placed.v_channels], eye[:, inputs + placed.w_channels]
            P.append(Vc @ terms.Pv + Wc @ terms.Pw)
            Q.append(Vc @ terms.Qv + Wc @ terms.Qw)
            E.append(terms.E)
            signs.append(terms.nonnegative)
        if tie is not None:
            E = [sp.csc_array(sp.block_diag(E, format="csc") @ tie)]
        supply = self.supply.form(inputs, Y.shape[1])
        ends = sp.hstack([eye[:, :inputs], Y], format="csc")  # (x, y) = ends' z
        F0 = sp.csc_array(ends @ supply.F0 @ ends.T)
        block = LMI(
            sp.csc_array(0.5 * (F0 + F0.T)),
            sp.hstack([*P, ends @ supply.P], format="csc"),
            sp.hstack([*Q, ends @ supply.Q], format="csc"),
            sp.block_diag([*E, supply.E], format="csc"),
            name="dissipation",
            partition=self.partition,
        )
        which = np.concatenate(signs) if nonnegative is None else nonnegative
        G, h = nonnegative_rows(which, block.variables)
        objective = np.zeros(block.variables)
        objective[-1] = -1.0
        return SDP(objective, (block,), G=G, h=h)

    def multipliers(self, solution: Solution) -> tuple[np.ndarray, ...]:
        """lam per constraint; raises SolveFailed where there is no usable point."""
        y = usable_point(solution)
        sizes = [terms_of(placed.constraint).multipliers for placed in self.placed]
        return tuple(np.split(y[:-1], np.cumsum(sizes)[:-1])) if sizes else ()

    def estimate(self, solution: Solution) -> float:
        """The supply's value at the solver's theta (see `supply.claim`); unproven."""
        return self.supply.value(float(usable_point(solution)[-1]))


def _placed(
    form: LinearFractional, constraints: Sequence[Placed | AbstractQuadraticConstraint]
) -> tuple[Placed, ...]:
    if not isinstance(form, LinearFractional):
        raise InputError(
            f"form is a {type(form).__name__}; expected a LinearFractional. linear_fractional(network) makes "
            "one of a Network."
        )
    if isinstance(constraints, Placed | AbstractQuadraticConstraint):
        raise InputError(
            f"constraints is a {type(constraints).__name__}; expected a sequence of them, such as [it]."
        )
    n_v, n_w = form.N_vx.shape[0], form.N_vw.shape[1]
    result: list[Placed] = []
    v = w = 0
    for constraint in constraints:
        if not isinstance(constraint, Placed):
            terms_of(constraint)
            dv, dw = constraint.channels
            constraint = Placed(constraint, np.arange(v, v + dv), np.arange(w, w + dw))
            v, w = v + dv, w + dw
        for name, indices, count in (("v", constraint.v_channels, n_v), ("w", constraint.w_channels, n_w)):
            if indices.size and (indices.min() < 0 or indices.max() >= count):
                raise InputError(
                    f"{type(constraint.constraint).__name__} reaches {name}[{indices.max()}], but the form "
                    f"has {count} such channels; expected indices from 0 to {count - 1}."
                )
        result.append(constraint)
    return tuple(result)
