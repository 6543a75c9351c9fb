"""`Problem`: LMIs written by hand, compiled to an `SDP` in time linear in the nonzeros.

problem = Problem()
P = problem.symmetric(n, "P")
problem.add(P >> 0, margin=1e-6)
problem.add(A.T @ P + P @ A << 0, name="Lyapunov")
problem.minimise(P.trace())
sdp = problem.compile()
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_number
from .._errors import InputError
from ._assemble import assemble_lmi
from ._atoms import Quadratic
from ._constraint import Constraint, Kind
from ._expression import Expression
from ._sdp import LMI, SDP, SOC
from ._solution import Solution
from ._term import Term
from ._triplets import Columns, Triplets
from ._values import Values

__all__ = ["Place", "Problem"]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a constraint went in the compiled SDP: the field of `Dual`, an index or slice, the shape."""

    field: str
    index: int | slice
    shape: tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class _Added:
    constraint: Constraint
    name: str
    margin: float


class Problem:
    """Variables, constraints and an objective; `compile` turns them into an `SDP`.

    Constraints keep the order in which they were added: LMIs, linear rows and cones each
    appear in it in the SDP. A problem may be extended and compiled again.
    """

    def __init__(self) -> None:
        self._size = 0
        self._variables: dict[str, Expression] = {}
        self._starts: list[tuple[int, str]] = []
        self._added: dict[str, _Added] = {}
        self.sign = 1.0
        self.objective: Expression | Quadratic = Expression.of_constant(sp.csc_array((1, 1)))

    # variables

    def _new(self, name: str | None, count: int) -> tuple[str, int]:
        if count < 1:
            raise InputError(f"a variable needs a positive size and got {count} entries.")
        name = f"x{len(self._variables)}" if name is None else name
        if name in self._variables:
            raise InputError(f"a variable is named {name!r} already; names are unique.")
        start, self._size = self._size, self._size + count
        self._starts.append((start, name))
        return name, start

    def _dense(
        self, name: str | None, row: np.ndarray, col: np.ndarray, index: np.ndarray, count: int
    ) -> Expression:
        name, start = self._new(name, count)
        shape = (int(row.max(initial=-1)) + 1, int(col.max(initial=-1)) + 1)
        entries = Triplets(shape, row, col, start + index, np.ones(row.size))
        self._variables[name] = Expression(shape, self, entries)
        return self._variables[name]

    def scalar(self, name: str | None = None) -> Expression:
        """A (1, 1) variable."""
        return self.matrix(1, 1, name)

    def vector(self, n: int, name: str | None = None) -> Expression:
        """A column (n, 1)."""
        return self.matrix(n, 1, name)

    def matrix(self, rows: int, cols: int, name: str | None = None) -> Expression:
        """A full (rows, cols) matrix, stored row by row."""
        index = np.arange(rows * cols, dtype=np.int32)
        return self._dense(name, index // max(cols, 1), index % max(cols, 1), index, rows * cols)

    def symmetric(self, n: int, name: str | None = None) -> Expression:
        """A symmetric (n, n) matrix; its lower triangle is stored row by row, n(n+1)/2 entries."""
        row, col = np.divmod(np.arange(n * n, dtype=np.int32), np.int32(max(n, 1)))
        high, low = np.maximum(row, col), np.minimum(row, col)
        return self._dense(name, row, col, high * (high + 1) // 2 + low, n * (n + 1) // 2)

    def diagonal(self, n: int, name: str | None = None) -> Expression:
        """A diagonal (n, n) matrix, n entries; products with constants stay rank-one terms."""
        name, start = self._new(name, n)
        index, zero = np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
        eye = Columns.identity(n)
        x = Triplets((n, 1), index, zero, start + index, np.ones(n))
        self._variables[name] = Expression((n, n), self, terms=(Term(eye, eye, x),))
        return self._variables[name]

    def variable(self, name: str) -> Expression:
        """The variable of that name."""
        if name not in self._variables:
            known = ", ".join(self._variables) or "none"
            raise InputError(f"no variable is named {name!r}; there are: {known}.")
        return self._variables[name]

    @property
    def variables(self) -> dict[str, Expression]:
        """The variables by name, in the order of their entries in y."""
        return dict(self._variables)

    def _variable_name(self, index: int) -> str:
        start, name = max((item for item in self._starts if item[0] <= index), key=lambda item: item[0])
        return f"{name}[{index - start}]"

    # constraints and objective

    def add(self, constraint: Constraint, name: str | None = None, margin: float = 0.0) -> Constraint:
        """Add a constraint; with a margin, F - margin I PSD, a - b >= margin, or norm + margin <= bound."""
        if not isinstance(constraint, Constraint):
            raise InputError(
                f"Problem.add takes a constraint such as F >> 0 and got {type(constraint).__name__}."
            )
        if constraint.expression._owner is not self:
            why = (
                "holds no variable" if constraint.expression._owner is None else "belongs to another problem"
            )
            raise InputError(f"the constraint {why}; build it from this problem's variables.")
        margin = as_number(f"the margin of {name or 'a constraint'}", margin)
        if margin < 0 or (margin and constraint.kind is Kind.ZERO):
            raise InputError(f"margin is {margin}; expected a finite number >= 0, and 0 for an equality.")
        name = f"c{len(self._added)}" if name is None else name
        if name in self._added:
            raise InputError(f"a constraint is named {name!r} already; names are unique.")
        if constraint.kind is Kind.LMI and constraint.expression.shape[0] != constraint.expression.shape[1]:
            raise InputError(
                f"LMI {name!r} has shape {constraint.expression.shape}; expected a square matrix."
            )
        self._added[name] = _Added(constraint, name, margin)
        return constraint

    def subject_to(self, *constraints: Constraint) -> None:
        """Add several constraints without names or margins."""
        for constraint in constraints:
            self.add(constraint)

    def minimise(self, objective: Any) -> None:
        """Minimise a scalar expression, or one plus convex quadratics; replaces the objective."""
        self._set_objective(objective, 1.0)

    def maximise(self, objective: Any) -> None:
        """Maximise a scalar affine expression; replaces the objective."""
        if isinstance(objective, Quadratic):
            raise InputError("maximising a convex quadratic is not a convex problem.")
        self._set_objective(objective, -1.0)

    def _set_objective(self, objective: Any, sign: float) -> None:
        objective = objective if isinstance(objective, Quadratic) else Expression.lift(objective)
        if objective is None:
            raise InputError("the objective is not an expression.")
        parts = (
            [objective.linear, *(e for e, _ in objective.squares)]
            if isinstance(objective, Quadratic)
            else [objective]
        )
        if parts[0].shape != (1, 1):
            raise InputError(f"the objective has shape {parts[0].shape}; expected a scalar.")
        if any(part._owner not in (None, self) for part in parts):
            raise InputError("the objective belongs to another problem.")
        self.objective, self.sign = objective, sign

    @property
    def offset(self) -> float:
        """The constant of the objective, which an SDP does not carry."""
        return self._quadratic_data()[2]

    # compilation

    def _quadratic_data(self) -> tuple[np.ndarray, sp.csc_array | None, float]:
        quadratic = self.objective if isinstance(self.objective, Quadratic) else Quadratic(self.objective, ())
        C, d = quadratic.linear.expand().linear_map(self._size)
        c, offset, H = C.toarray()[0], float(d[0]), None
        for e, W in quadratic.squares:
            C, d = e.expand().linear_map(self._size)
            c, offset = c + 2.0 * (C.T @ (W @ d)), offset + float(d @ (W @ d))
            square = C.T @ W @ C  # of 1/2 y'H y, hence (2 S + 2 S')/2
            H = square + square.T if H is None else H + (square + square.T)
        return self.sign * c, H, offset

    def compile(self) -> SDP:
        """The problem as an `SDP` over the stacked entries of the variables.

        Raises InputError where an LMI is not symmetric, naming the entry and the variable.
        """
        if not self._size:
            raise InputError("the problem has no variables; create them with scalar, vector, symmetric, ...")
        lmis: list[LMI] = []
        socs: list[SOC] = []
        rows: dict[Kind, list[tuple[sp.csc_array, np.ndarray]]] = {Kind.NONNEGATIVE: [], Kind.ZERO: []}
        for item in self._added.values():
            expression, kind = item.constraint.expression, item.constraint.kind
            if kind is Kind.LMI:
                lmis.append(assemble_lmi(expression, self._size, item.name, item.margin, self._variable_name))
                continue
            C, d = expression.expand().linear_map(self._size)
            if kind is Kind.SECOND_ORDER:
                d[0] -= item.margin
                socs.append(SOC(C, d, name=item.name))
            else:
                rows[kind].append((C, d - item.margin))
        c, H, _ = self._quadratic_data()
        (G, h), (A, b) = (self._stack(rows[kind]) for kind in (Kind.NONNEGATIVE, Kind.ZERO))
        return SDP(c, tuple(lmis), G=-G, h=h, A=A, b=-b, socs=tuple(socs), H=H)

    def _stack(self, parts: list[tuple[sp.csc_array, np.ndarray]]) -> tuple[sp.csc_array, np.ndarray]:
        if not parts:
            return sp.csc_array((0, self._size)), np.zeros(0)
        return sp.vstack([C for C, _ in parts], "csc"), np.concatenate([d for _, d in parts])

    def place(self, constraint: Constraint | str) -> Place:
        """Where a constraint, given by itself or by its name, stands in the compiled SDP."""
        fields = {Kind.LMI: "X", Kind.NONNEGATIVE: "z", Kind.ZERO: "v", Kind.SECOND_ORDER: "s"}
        counts = dict.fromkeys(fields, 0)
        for item in self._added.values():
            kind, shape = item.constraint.kind, item.constraint.expression.shape
            start = counts[kind]
            linear = kind in (Kind.NONNEGATIVE, Kind.ZERO)
            counts[kind] += shape[0] * shape[1] if linear else 1
            if item.constraint is constraint or item.name == constraint:
                return Place(fields[kind], slice(start, counts[kind]) if linear else start, shape)
        raise InputError(
            f"no such constraint: {constraint!r}; there are: {', '.join(self._added) or 'none'}."
        )

    @property
    def size(self) -> int:
        """The number of entries of y."""
        return self._size

    def read(self, solution: Solution) -> Values:
        """Values of variables and expressions and duals by constraint at a solution of `compile()`."""
        if solution.y is not None and (solution.y.ndim != 1 or solution.y.size > self._size):
            raise InputError(f"the solution has {solution.y.shape} entries; this problem has {self._size}.")
        return Values(self, solution)

    def __repr__(self) -> str:
        kinds = [item.constraint.kind for item in self._added.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind.value}" for kind in Kind if kind in kinds)
        head = f"<Problem: {len(self._variables)} variables ({self._size} entries)"
        return f"{head}; constraints: {counts or 'none'}>"
