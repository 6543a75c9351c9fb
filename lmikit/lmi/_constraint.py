"""Constraints of a hand-written LMI problem: what `>>`, `<<`, `>=`, `<=` and `==` return."""

import dataclasses
import enum
from typing import TYPE_CHECKING, NoReturn

from .._errors import InputError

if TYPE_CHECKING:
    from ._expression import Expression

__all__ = ["Constraint", "Kind"]


class Kind(enum.Enum):
    """The cone that the expression of a constraint lies in."""

    LMI = "positive semidefinite"
    NONNEGATIVE = "nonnegative"
    ZERO = "zero"
    SECOND_ORDER = "second-order cone"


@dataclasses.dataclass(frozen=True, eq=False)
class Constraint:
    """`expression` lies in the cone `kind` (norm: a column, first entry >= norm of the rest)."""

    kind: Kind
    expression: "Expression"

    def __bool__(self) -> NoReturn:
        raise InputError(
            "a constraint has no truth value; write a <= x and x <= b as two constraints "
            "instead of a <= x <= b, and pass constraints to Problem.add."
        )
