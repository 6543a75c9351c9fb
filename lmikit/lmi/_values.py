"""`Values`: a solution read back in the words of a hand-written problem."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import InputError
from ._atoms import Quadratic
from ._constraint import Constraint
from ._expression import Expression
from ._solution import Solution

if TYPE_CHECKING:
    from ._problem import Problem

__all__ = ["Values"]


@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """Values of variables and expressions and duals of constraints at one `Solution`.

    `values[x]` takes an expression, or a variable's name: a float for (1, 1), an (n,) array for a
    column, a matrix otherwise. `objective` and `bound` have the problem's own sense and offset.
    """

    problem: "Problem"
    solution: Solution

    def _y(self) -> np.ndarray:
        if self.solution.y is None:
            raise InputError(
                f"the solution has no point: {self.solution.status.name}, {self.solution.status.value}."
            )
        return self.solution.y

    def _entries(self, what: Expression) -> np.ndarray:
        """y, padded for variables that are younger than the solution; refused where `what` has one."""
        y = self._y()
        missing = self.problem.size - y.size
        if missing == 0:
            return y
        terms = what.expand()
        if (terms.var >= y.size).any():
            raise InputError("the expression has variables that were added after this solution; solve again.")
        return np.concatenate([y, np.zeros(missing)])

    def __getitem__(self, what: Any) -> Any:
        if isinstance(what, str):
            what = self.problem.variable(what)
        if isinstance(what, Quadratic):
            return what.evaluate(self._y())
        if not isinstance(what, Expression):
            raise InputError(f"values take an expression or a variable's name and got {type(what).__name__}.")
        if what._owner is not None and what._owner is not self.problem:
            raise InputError("the expression belongs to another problem.")
        value = what.evaluate(self._entries(what))
        if value.shape == (1, 1):
            return float(value[0, 0])
        return value[:, 0] if value.shape[1] == 1 else value

    @property
    def objective(self) -> float:
        """The objective that was minimised or maximised, at this point."""
        return float(self[self.problem.objective])

    @property
    def bound(self) -> float:
        """The solver's bound on the optimum, below it when minimising, above when maximising; not proven."""
        sign = 1.0 if self.solution.maximised else self.problem.sign
        return sign * self.solution.bound_on_optimum + self.problem.offset

    def __str__(self) -> str:
        lines = [str(self.solution)]
        if self.solution.y is not None:
            for name, variable in self.problem.variables.items():
                value = np.array2string(np.asarray(self[variable]), precision=6, threshold=20)
                lines.append(f"{name:<17} " + value.replace("\n", "\n" + " " * 18))
        return "\n".join(lines)

    def dual(self, constraint: Constraint | str) -> np.ndarray:
        """The multiplier of a constraint, by itself or by its name, in the shape of its expression.

        LMI: X PSD. >=, <=: nonnegative, of the minimised objective. ==: v with the sign of
        + v'(left - right) in the Lagrangian of the minimised objective. norm: the cone's multiplier.
        """
        if self.solution.dual is None:
            raise InputError(f"the solution carries no duals: {self.solution.status.name}.")
        place = self.problem.place(constraint)
        source = getattr(self.solution.dual, place.field)
        value = (
            source[place.index] if isinstance(place.index, int) else source[place.index].reshape(place.shape)
        )
        return np.asarray(value)
