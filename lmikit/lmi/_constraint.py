"""Constraints of a hand-written LMI problem: what `>>`, `<<`, `>=`, `<=` and `==` return."""

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, NoReturn

from .._errors import InputError

if TYPE_CHECKING:
    from ._curved import Curved
    from ._expression import Expression
    from ._labels import Label

__all__ = ["Constraint", "Kind"]


class Kind(enum.Enum):
    """The cone that the expression of a constraint lies in."""

    LMI = "positive semidefinite"
    NONNEGATIVE = "nonnegative"
    ZERO = "zero"
    SECOND_ORDER = "second-order cone"
    EXPONENTIAL = "exponential cone"
    POWER = "power cone"
    CONVEX = "convex"


@dataclasses.dataclass(frozen=True, eq=False)
class Constraint:
    """`expression` lies in the cone `kind` (second-order: a column, first entry >= norm of the rest).

    CONVEX: `function` <= 0. POWER: `exponent` is that of the cone.
    """

    kind: Kind
    expression: "Expression"
    function: "Curved | None" = None
    exponent: float = 0.5
    label: "Label | None" = None

    @property
    def owner(self) -> Any:
        """The problem whose variables occur, None where none does."""
        if self.function is None:
            return self.expression._owner
        return next((e._owner for e in self.function.expressions if e._owner is not None), None)

    @property
    def dual(self) -> Any:
        """The multiplier at the last `problem.solve()`, as `Values.dual` gives it."""
        return self._solved().dual_of(self)

    @property
    def violation(self) -> float:
        """How far the last `problem.solve()` left it violated, 0 where it holds; see `Values.violation`."""
        return float(self._solved().violation_of(self))

    def _solved(self) -> Any:
        if self.owner is None:
            raise InputError("the constraint holds no variable and so has no problem to be solved.")
        return self.owner

    def __bool__(self) -> NoReturn:
        raise InputError(
            "a constraint has no truth value; write a <= x and x <= b as two constraints "
            "instead of a <= x <= b, and pass constraints to Problem.add or Problem.subject_to."
        )

    def __str__(self) -> str:
        if self.label is not None:
            return self.label.text
        relation = {Kind.LMI: "⪰ 0", Kind.NONNEGATIVE: "≥ 0", Kind.ZERO: "= 0"}
        return f"{self.expression.label.text} {relation.get(self.kind, 'in the ' + self.kind.value)}"
