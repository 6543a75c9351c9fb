"""`Problem`: LMIs written by hand, compiled to an `SDP` in time linear in the nonzeros.

problem = Problem()
P = problem.symmetric(n, "P")
problem.add(P >> 0, margin=1e-6)
problem.add(A.T @ P + P @ A << 0, name="Lyapunov")
problem.minimise(P.trace())
problem.solve()
print(P.value)
"""

import importlib
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._convert import as_number
from .._errors import InputError
from ._compile import Added, MonomialForm, Place, compile_form
from ._cones import ConicProgram
from ._constraint import Constraint, Kind
from ._curved import Curved
from ._expression import Expression
from ._printing import printed
from ._sdp import SDP
from ._solution import Solution
from ._triplets import CONSTANT
from ._values import Values
from ._variables import AbstractVariables

__all__ = ["Problem"]


class Problem(AbstractVariables):
    """Variables, parameters, constraints and an objective; `compile` turns them into an `SDP`.

    Constraints keep the order in which they were added: LMIs, linear rows and cones each
    appear in it in the SDP. A problem may be extended, reduced and compiled again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._added: dict[str, Added] = {}
        self._form: MonomialForm | None = None
        self._program: ConicProgram | None = None
        self._layouts: dict[int, int] = {}  # length of y -> how many entries are the variables'
        self._last: Values | None = None
        self.sign = 1.0
        self.objective: Expression | Curved = Expression.of_constant(sp.csc_array((1, 1)))

    def _changed(self) -> None:
        self._form = self._program = None

    def update(self, **values: Any) -> None:
        """Give parameters new values, by name; what was compiled is kept."""
        super().update(**values)

    # constraints and objective

    def add(self, constraint: Constraint, name: str | None = None, margin: float = 0.0) -> Constraint:
        """Add a constraint; with a margin, F - margin I PSD, a - b >= margin, or norm + margin <= bound."""
        if isinstance(constraint, (list, tuple)):
            raise InputError(
                "Problem.add takes one constraint; pass several to Problem.subject_to(*constraints)."
            )
        if not isinstance(constraint, Constraint):
            raise InputError(
                f"Problem.add takes a constraint such as F >> 0 and got {type(constraint).__name__}."
            )
        self._check_owner(constraint)
        margin = as_number(f"the margin of {name or 'a constraint'}", margin)
        cone = constraint.kind in (Kind.ZERO, Kind.EXPONENTIAL, Kind.POWER)
        if margin < 0 or (margin and cone):
            raise InputError(
                f"margin is {margin}; expected a number >= 0, and 0 for an equality or a cone of size 3."
            )
        if name is None:
            name = next(
                n for k in range(len(self._added) + 1) if (n := f"c{len(self._added) + k}") not in self._added
            )
        if name in self._added:
            raise InputError(
                f"a constraint is named {name!r} already; names are unique (Problem.replace changes one)."
            )
        shape = constraint.expression.shape
        if constraint.kind is Kind.LMI and shape[0] != shape[1]:
            raise InputError(f"LMI {name!r} has shape {shape}; expected a square matrix.")
        self._added[name] = Added(constraint, name, margin)
        self._changed()
        return constraint

    def _check_owner(self, constraint: Constraint) -> None:
        owner = constraint.owner
        if owner is not self:
            why = "holds no variable" if owner is None else "belongs to another problem"
            raise InputError(f"the constraint {why}; build it from this problem's variables.")

    def subject_to(self, *constraints: Constraint) -> None:
        """Add several constraints without names or margins."""
        for constraint in constraints:
            self.add(constraint)

    def remove(self, constraint: Constraint | str) -> None:
        """Take a constraint out, by itself or by its name."""
        del self._added[self._name_of(constraint)]
        self._changed()

    def replace(self, name: str, constraint: Constraint, margin: float = 0.0) -> Constraint:
        """Put another constraint in the place of the one with this name."""
        old = self._added.pop(self._name_of(name))
        try:
            self.add(constraint, name, margin)
        except InputError:
            self._added[name] = old
            raise
        return constraint

    @property
    def constraints(self) -> dict[str, Constraint]:
        """The constraints by name."""
        return {name: item.constraint for name, item in self._added.items()}

    def _name_of(self, constraint: Constraint | str) -> str:
        for name, item in self._added.items():
            if item.constraint is constraint or (isinstance(constraint, str) and name == constraint):
                return name
        raise InputError(
            f"no such constraint: {constraint!s}; there are: {', '.join(self._added) or 'none'}."
        )

    def minimise(self, objective: Any) -> None:
        """Minimise a scalar expression or a convex function; replaces the objective."""
        self._set_objective(objective, 1.0)

    def maximise(self, objective: Any) -> None:
        """Maximise a scalar expression or a concave function; replaces the objective."""
        self._set_objective(objective, -1.0)

    minimize = minimise
    maximize = maximise

    def _set_objective(self, objective: Any, sign: float) -> None:
        objective = objective if isinstance(objective, Curved) else Expression.lift(objective)
        if objective is None:
            raise InputError("the objective is not an expression; build it from this problem's variables.")
        parts = objective.expressions if isinstance(objective, Curved) else (objective,)
        if parts[0].shape != (1, 1):
            raise InputError(f"the objective has shape {parts[0].shape}; expected a scalar.")
        if parts[0].is_complex:
            raise InputError("the objective is complex; minimise its .real part.")
        if any(part._owner not in (None, self) for part in parts):
            raise InputError("the objective belongs to another problem.")
        if isinstance(objective, Curved) and not objective.is_affine and objective.sign != sign:
            verb = "minimising" if sign > 0 else "maximising"
            raise InputError(
                f"{verb} {objective.label.text}, which is {objective.kind}, is not a convex problem."
            )
        self.objective, self.sign = objective, sign
        self._changed()

    @property
    def offset(self) -> float:
        """The constant of the objective, which an SDP does not carry."""
        return float(self.exact_offset())

    def exact_offset(self) -> Fraction:
        """The same, summed without rounding."""
        f = self._curved_objective()
        total = sum(self._constants(f.linear).values(), Fraction(0))
        for e, W in f.squares:
            column = {row: value for (row, _), value in self._constants(e).items()}
            coo = W.tocoo()
            for i, j, w in zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True):
                if i in column and j in column:
                    total += Fraction(f.sign) * Fraction(float(w)) * column[i] * column[j]
        return total

    def _constants(self, expression: Expression) -> dict[tuple[int, int], Fraction]:
        """The constant part, entry by entry, at the present parameters."""
        records, found = expression.expand(), dict[tuple[int, int], Fraction]()
        monomials = self.parameters.monomials(np.zeros(self._size))
        if np.isnan(monomials).any():
            self.parameters.require_values()
        lists = (records.row.tolist(), records.col.tolist(), records.var.tolist(), records.val.tolist())
        for row, col, var, val in zip(*lists, strict=True):
            if var > CONSTANT:
                continue
            value = Fraction(val) * (1 if var == CONSTANT else Fraction(float(monomials[-2 - var])))
            found[row, col] = found.get((row, col), Fraction(0)) + value
        return found

    def _curved_objective(self) -> Curved:
        return self.objective if isinstance(self.objective, Curved) else Curved(self.objective)

    # compilation

    def compile(self) -> SDP:
        """The problem as an `SDP` over the stacked entries of the variables, at the present parameters.

        Norms, eigenvalues and the like bring entries of their own after those. Raises InputError where an
        LMI is not symmetric, naming the entry and the variable, and where there are exponential or power
        cones.
        """
        program = self.compile_cones()
        cones = [(len(program.exponentials), "exponential"), (len(program.powers), "power")]
        found = " and ".join(f"{count} {kind}" for count, kind in cones if count)
        if found:
            raise InputError(
                f"the problem has {found} cones, which an SDP does not hold; Problem.solve and lmikit.solve "
                "take it to a solver that has them (Clarabel or SCS), compile_cones() gives its data."
            )
        return program.sdp

    def compile_cones(self) -> ConicProgram:
        """The problem as an SDP with exponential and power cones beside it."""
        form = self._compiled()
        if self._program is None or len(self.parameters):
            self._program = form.at(self.parameters)
        return self._program

    def _compiled(self) -> MonomialForm:
        if not self._size:
            raise InputError("the problem has no variables; create them with scalar, vector, symmetric, ...")
        if self._form is None:
            objective = self._curved_objective() * self.sign
            self._form = compile_form(
                self, self._size, tuple(self._added.values()), objective, self._variable_name
            )
            total = self._form.variables
            self._layouts[total] = min(self._layouts.get(total, self._size), self._size)
        return self._form

    def place(self, constraint: Constraint | str) -> Place:
        """Where the multiplier of a constraint, given by itself or by its name, stands in the compiled
        SDP.
        """
        return self.places(constraint)[0]

    def places(self, constraint: Constraint | str) -> tuple[Place, ...]:
        """Where all that a constraint became stands, its multiplier first."""
        name = self._name_of(constraint)
        return self._compiled().pieces[name]

    # solutions

    def solve(
        self,
        solver: Any = None,
        *,
        time_limit: float | None = None,
        progress: Any = None,
        warm_start: bool = False,
    ) -> Values:
        """Solve as `lmikit.solve` does, remember the values and return them; read `status` before using them.

        `warm_start`: begin at the last solution, where the solver can (SCS: point and multipliers). The
        values are proposals in floating point; `lmikit.prove(problem)` proves.
        """
        last = None if self._last is None or not warm_start else self._last.solution
        start = (
            last
            if last is not None and last.y is not None and last.y.size == self._compiled().variables
            else None
        )
        # solving sits in a higher layer; it is looked up when called
        solve = importlib.import_module("lmikit").solve
        solution = solve(self, solver, time_limit=time_limit, progress=progress, warm_start=start)
        self._last = self.read(solution)
        return self._last

    def read(self, solution: Solution) -> Values:
        """Values of variables and expressions and duals by constraint at a solution of `compile()`."""
        own = self._size if solution.y is None else self._own(solution.y, solution.own)
        return Values(self, solution, own, self.objective, self.sign, self.offset)

    def _own(self, y: np.ndarray, told: int | None) -> int:
        """How many entries of a solution's y belong to variables."""
        known = y.ndim == 1 and (y.size <= self._size or y.size in self._layouts)
        if not known or (told or 0) > self._size:
            raise InputError(f"the solution has {y.shape} entries; this problem has {self._size}.")
        if told is not None:
            return told
        if self._form is not None and y.size == self._form.variables:
            return self._size
        return self._layouts.get(y.size, y.size)

    def _solved(self) -> Values:
        if self._last is None:
            raise InputError("the problem was not solved yet; call problem.solve() first.")
        return self._last

    def value_of(self, expression: Any) -> Any:
        """The value of an expression or function at the last `solve()`."""
        if isinstance(expression, Expression) and self.parameters.alone(expression.expand().var):
            return Values.shaped(expression.evaluate(np.zeros(self._size)))
        return self._solved()[expression]

    def dual_of(self, constraint: Constraint) -> np.ndarray:
        """The multiplier of a constraint at the last `solve()`."""
        return self._solved().dual(constraint)

    def violation_of(self, constraint: Constraint) -> float:
        """How far a constraint is violated at the last `solve()`."""
        return self._solved().violation(constraint)

    def __str__(self) -> str:
        return printed(self.objective, self.sign, self.variables, self.parameters, self._added.values())

    def __repr__(self) -> str:
        kinds = [item.constraint.kind for item in self._added.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind.value}" for kind in Kind if kind in kinds)
        head = f"<Problem: {len(self._variables)} variables ({self._size} entries)"
        return f"{head}; constraints: {counts or 'none'}>"
