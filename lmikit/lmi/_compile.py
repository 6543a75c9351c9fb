"""From a hand-written problem to an `SDP` or `ConicProgram`, affine in the parameters.

The form is compiled once with a column for each monomial in parameters and variables; new values of the
parameters are put into it by one sparse product per block.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._assemble import assemble_lmi
from ._cones import ConicProgram, ExponentialCone, PowerCone
from ._constraint import Constraint, Kind
from ._curved import Curved
from ._expression import Expression
from ._lowering import Lowered
from ._parameters import Parameters
from ._sdp import LMI, SDP, SOC
from ._structure import block, vstack

__all__ = ["Added", "MonomialForm", "Place", "compile_form"]

_FIELDS = {
    Kind.LMI: "X",
    Kind.NONNEGATIVE: "z",
    Kind.ZERO: "v",
    Kind.SECOND_ORDER: "s",
    Kind.EXPONENTIAL: "e",
    Kind.POWER: "p",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a constraint went in the compiled SDP: the field of `Dual`, an index or slice, the shape."""

    field: str
    index: int | slice
    shape: tuple[int, int]
    is_complex: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Added:
    """A constraint with its name and margin."""

    constraint: Constraint
    name: str
    margin: float


@dataclasses.dataclass(frozen=True, eq=False)
class MonomialForm:
    """The compiled problem with a column per monomial after the variables.

    `own` entries of y are the user's, `variables` all of them; `pieces` are all places of each constraint,
    the one with its multiplier first; the key None holds those of the objective.
    """

    own: int
    variables: int
    monomials: int
    program: ConicProgram
    squares: tuple[tuple[sp.csc_array, np.ndarray, sp.csc_array], ...]
    pieces: dict[str | None, tuple[Place, ...]]

    def at(self, parameters: Parameters) -> ConicProgram:
        """The program at the present values of the parameters."""
        if not self.monomials:
            return self._with_squares(self.program, None, np.zeros(self.variables))
        S, s = parameters.substitution(self.variables, self.monomials)
        sdp = self.program.sdp
        changed = SDP(
            c=S.T @ sdp.c,
            lmis=tuple(_put(lmi, S, s) for lmi in sdp.lmis),
            G=sdp.G @ S,
            h=sdp.h - sdp.G @ s,
            A=sdp.A @ S,
            b=sdp.b - sdp.A @ s,
            socs=tuple(_put_cone(soc, S, s) for soc in sdp.socs),
        )
        cones = [
            tuple(_put_cone(cone, S, s) for cone in group)
            for group in (self.program.exponentials, self.program.powers)
        ]
        return self._with_squares(ConicProgram(changed, *cones), S, s)

    def _with_squares(self, program: ConicProgram, S: Any, s: np.ndarray) -> ConicProgram:
        if not self.squares:
            return program
        c, H = np.array(program.sdp.c), None
        for C, d, W in self.squares:
            C, d = (C, d) if S is None else (C @ S, d + C @ s)
            c += 2.0 * (C.T @ (W @ d))
            square = C.T @ W @ C  # of 1/2 y'H y, hence (2 S + 2 S')/2
            H = square + square.T if H is None else H + (square + square.T)
        return dataclasses.replace(program, sdp=dataclasses.replace(program.sdp, c=c, H=H))


def _put(lmi: LMI, S: sp.csc_array, s: np.ndarray) -> LMI:
    if not s.any() and lmi.E.shape[1] == S.shape[1]:
        return lmi
    half = (lmi.P @ sp.diags_array(lmi.E @ s)) @ lmi.Q.T
    return dataclasses.replace(lmi, F0=sp.csc_array(lmi.F0 + 0.5 * (half + half.T)), E=lmi.E @ S)


def _put_cone(cone: Any, S: sp.csc_array, s: np.ndarray) -> Any:
    return dataclasses.replace(cone, C=cone.C @ S, d=cone.d + cone.C @ s)


class _Collector:
    """Rows and blocks by kind, in the order in which they come."""

    def __init__(self, parameters: Parameters, variables: int, name: Callable[[int], str]) -> None:
        self.parameters, self.variables, self.name = parameters, variables, name
        self.columns = variables + len(parameters)
        self.lmis: list[LMI] = []
        self.rows: dict[Kind, list[tuple[sp.csc_array, np.ndarray]]] = {Kind.NONNEGATIVE: [], Kind.ZERO: []}
        self.counts = {Kind.NONNEGATIVE: 0, Kind.ZERO: 0}
        self.socs: list[SOC] = []
        self.exponentials: list[ExponentialCone] = []
        self.powers: list[PowerCone] = []

    def map(self, expression: Expression) -> tuple[sp.csc_array, np.ndarray]:
        return expression.expand().with_columns(self.variables).linear_map(self.columns)

    def variable_name(self, index: int) -> str:
        if index < self.variables:
            return self.name(index)
        return self.parameters.label(index - self.variables, self.name)

    def add(self, piece: Constraint, margin: float, name: str) -> Place:
        expression, kind = piece.expression, piece.kind
        shape, imaginary = expression.shape, expression.is_complex
        field = _FIELDS[kind]
        if kind is Kind.LMI:
            if imaginary:
                expression = block([[expression.real, -expression.imag], [expression.imag, expression.real]])
            lmi = assemble_lmi(expression, self.variables, self.columns, name, margin, self.variable_name)
            self.lmis.append(lmi)
            return Place(field, len(self.lmis) - 1, shape, imaginary)
        if kind is Kind.ZERO and imaginary:
            n = shape[0] * shape[1]
            expression = vstack([part.reshape(n, 1) for part in (expression.real, expression.imag)])
        C, d = self.map(expression)
        if kind is Kind.SECOND_ORDER:
            self.socs.append(SOC(C, d - margin * (np.arange(d.size) == 0), name=name))
            return Place(field, len(self.socs) - 1, shape)
        if kind in self.rows:
            self.rows[kind].append((C, d - margin))
            start = self.counts[kind]
            self.counts[kind] += d.size
            return Place(field, slice(start, start + d.size), shape, imaginary)
        return Place(field, self._three(piece, C, d, name), shape)

    def _three(self, piece: Constraint, C: sp.csc_array, d: np.ndarray, name: str) -> slice:
        """Cones of size 3, one per column of the expression."""
        cones: list = self.exponentials if piece.kind is Kind.EXPONENTIAL else self.powers
        start, k = len(cones), piece.expression.shape[1]
        rows = C.tocsr()
        for j in range(k):
            at = np.arange(3) * k + j
            data = (sp.csc_array(rows[at]), d[at])
            if piece.kind is Kind.EXPONENTIAL:
                self.exponentials.append(ExponentialCone(*data, name=name))
            else:
                self.powers.append(PowerCone(*data, exponent=piece.exponent, name=name))
        return slice(start, start + k)

    def stacked(self, kind: Kind) -> tuple[sp.csc_array, np.ndarray]:
        parts = self.rows[kind]
        if not parts:
            return sp.csc_array((0, self.columns)), np.zeros(0)
        if len(parts) == 1:
            return parts[0]
        return sp.csc_array(sp.vstack([C for C, _ in parts], "csc")), np.concatenate([d for _, d in parts])


def compile_form(
    owner: Any, own: int, added: Sequence[Added], objective: Curved, name: Callable[[int], str]
) -> MonomialForm:
    """The form of minimising a convex objective under the constraints; `own` entries of y are the user's."""
    lowered = Lowered(owner, own)
    target, parts = lowered.objective(objective)
    todo: list[tuple[str | None, float, list[Constraint]]] = []
    for item in added:
        curved = item.constraint.function is not None
        pieces = lowered.constraint(item.constraint, item.margin)
        todo.append((item.name, 0.0 if curved else item.margin, pieces))
    todo.append((None, 0.0, parts))
    into = _Collector(owner.parameters, lowered.size, name)
    pieces_of = {
        key: tuple(into.add(piece, margin, key or "objective") for piece in pieces)
        for key, margin, pieces in todo
    }
    (G, h), (A, b) = into.stacked(Kind.NONNEGATIVE), into.stacked(Kind.ZERO)
    c = into.map(target.linear)[0].toarray()[0]
    sdp = SDP(c, tuple(into.lmis), G=-G, h=h, A=A, b=-b, socs=tuple(into.socs))
    squares = tuple((*into.map(e), W) for e, W in target.squares)
    program = ConicProgram(sdp, tuple(into.exponentials), tuple(into.powers))
    return MonomialForm(own, lowered.size, into.columns - lowered.size, program, squares, pieces_of)
