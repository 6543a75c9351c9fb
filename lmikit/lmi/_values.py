"""`Values`: a solution read back in the words of a hand-written problem."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from ._cones import ExponentialCone, PowerCone, cone_violation
from ._constraint import Constraint, Kind
from ._curved import Curved
from ._explain import explained
from ._expression import Expression
from ._printing import table
from ._residuals import minimum_eigenvalue
from ._solution import Solution, Status

if TYPE_CHECKING:
    from ._problem import Problem

__all__ = ["Values"]

_MOST = 20  # constraints in a table


@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """Values of variables and expressions and duals of constraints at one `Solution`.

    `values[x]` takes an expression, a function of expressions or a variable's name: a float for (1, 1), an
    (n,) array for a column, a matrix otherwise. `objective` and `bound` have the problem's own sense and
    offset. Parameters count with their present values. `own` is how many entries of y are the variables'.
    """

    problem: "Problem"
    solution: Solution
    own: int
    target: Expression | Curved  # the objective and its sense when the solution was read
    sense: float
    offset: float

    @property
    def status(self) -> Status:
        """How the solve ended."""
        return self.solution.status

    def _y(self) -> np.ndarray:
        if self.solution.y is None:
            raise InputError(
                f"the solution has no point: {self.solution.status.name}, {self.solution.status.value}."
            )
        return self.solution.y[: self.own]

    def _entries(self, *parts: Expression) -> np.ndarray:
        """y, padded for variables that are younger than the solution; refused where a part has one."""
        y = self._y()
        missing = self.problem.size - y.size
        if missing == 0:
            return y
        if any((self.problem.parameters.variables_in(part.expand().var) >= y.size).any() for part in parts):
            raise InputError("the expression has variables that were added after this solution; solve again.")
        return np.concatenate([y, np.zeros(missing)])

    @staticmethod
    def shaped(value: np.ndarray) -> Any:
        """A float for (1, 1), an (n,) array for a column, a matrix otherwise."""
        if value.shape == (1, 1):
            return value[0, 0].item()
        return value[:, 0] if value.shape[1] == 1 else value

    def __getitem__(self, what: Any) -> Any:
        if isinstance(what, str):
            what = self.problem.variable(what)
        if not isinstance(what, (Expression, Curved)):
            raise InputError(f"values take an expression or a variable's name and got {type(what).__name__}.")
        parts = what.expressions if isinstance(what, Curved) else (what,)
        if any(part._owner is not None and part._owner is not self.problem for part in parts):
            raise InputError("the expression belongs to another problem.")
        y = self._entries(*parts)
        return what.evaluate(y) if isinstance(what, Curved) else self.shaped(what.evaluate(y))

    @property
    def objective(self) -> float:
        """The objective that was minimised or maximised, at this point."""
        return float(self[self.target])

    @property
    def bound(self) -> float:
        """The solver's bound on the optimum, below it when minimising, above when maximising; not proven."""
        sign = 1.0 if self.solution.maximised else self.sense
        return sign * self.solution.bound_on_optimum + self.offset

    def violation(self, constraint: Constraint | str) -> float:
        """How far a constraint, by itself or by its name, is violated; 0 where it holds. Its margin is not
        counted.

        LMI: minus the smallest eigenvalue; >=, <=: the largest shortfall; ==: the largest difference; cones:
        what the bound lacks; functions: the excess.
        """
        item = self.problem.constraints[constraint] if isinstance(constraint, str) else constraint
        if item.function is not None:
            return max(0.0, float(self[item.function]))
        value = item.expression.evaluate(self._entries(item.expression))
        if item.kind is Kind.LMI:
            return max(0.0, -minimum_eigenvalue((value + value.conj().T) / 2))
        if item.kind is Kind.ZERO:
            return float(np.abs(value).max(initial=0.0))
        if item.kind is Kind.NONNEGATIVE:
            return max(0.0, -float(value.min(initial=np.inf)))
        if item.kind is Kind.SECOND_ORDER:
            return max(0.0, float(np.linalg.norm(value[1:]) - value[0, 0]))
        C, d = np.zeros((3, 1)), np.zeros(3)
        cone = ExponentialCone(C, d) if item.kind is Kind.EXPONENTIAL else PowerCone(C, d, item.exponent)
        return max(cone_violation(cone, column) for column in value.T)

    def dual(self, constraint: Constraint | str) -> np.ndarray:
        """The multiplier of a constraint, by itself or by its name, in the shape of its expression.

        LMI: X PSD, Hermitian where the LMI is. >=, <=: nonnegative, of the minimised objective. ==: v with
        the sign of + v'(left - right) in the Lagrangian of the minimised objective, + Re tr(v^H (left -
        right)) where it is complex. norm: the cone's multiplier, whose first entry is that of the bound.
        Functions: X where they are LMIs (lambda_max, lambda_min, sigma_max), of which the multiplier of the
        bound is the trace, else the multiplier of the bound.
        """
        if self.solution.dual is None:
            raise InputError(f"the solution carries no duals: {self.solution.status.name}.")
        place = self.problem.place(constraint)
        source = getattr(self.solution.dual, place.field)
        if place.field in ("e", "p"):
            return np.stack(source[place.index], axis=1)
        if isinstance(place.index, int):
            return _folded(source[place.index]) if place.is_complex else np.asarray(source[place.index])
        value = np.asarray(source[place.index])
        if place.is_complex:
            half = value.size // 2
            value = value[:half] + 1j * value[half:]
        return value.reshape(place.shape)

    def explain(self) -> str:
        """Which constraints contradict each other, or along which variables the objective has no end, in
        words.

        From the ray that the solver found and lmikit checked, largest terms first; in floating point.
        """
        return explained(self.problem, self.solution)

    def __str__(self) -> str:
        lines = [str(self.solution)]
        if self.solution.y is not None and self.solution.status is not Status.UNBOUNDED:
            for name, variable in self.problem.variables.items():
                if self.problem.parameters.variables_in(variable.expand().var).max(initial=0) >= self.own:
                    continue
                value = np.array2string(np.asarray(self[variable]), precision=6, threshold=20)
                lines.append(f"{name:<17} " + value.replace("\n", "\n" + " " * 18))
            lines += self._constraint_table()
        elif self.solution.status in (Status.INFEASIBLE, Status.UNBOUNDED):
            lines.append(self.explain())
        return "\n".join(lines)

    def _constraint_table(self) -> list[str]:
        items = list(self.problem.constraints.items())[:_MOST]
        rows = [["constraint", "violation", "multiplier"]]
        for name, constraint in items:
            try:
                size = "" if self.solution.dual is None else f"{np.abs(self.dual(constraint)).max():.3g}"
                rows.append([name, f"{self.violation(constraint):.1e}", size])
            except (InputError, IndexError):  # added after this solution
                rows.append([name, "", ""])
        return table(rows, indent="") if items else []


def _folded(X: np.ndarray) -> np.ndarray:
    """The Hermitian Z with Re tr(Z F) = <X, [Re F, -Im F; Im F, Re F]> for every Hermitian F."""
    n = X.shape[0] // 2
    skew = X[n:, :n] - X[:n, n:]
    real = X[:n, :n] + X[n:, n:]
    return np.asarray((real + real.T) / 2 + 0.5j * (skew - skew.T))
