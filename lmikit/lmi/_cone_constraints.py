"""Cones written by hand: rotated second-order, exponential and power cones."""

from typing import Any

import numpy as np

from .._convert import as_number
from .._errors import InputError
from ._constraint import Constraint, Kind
from ._expression import Expression
from ._labels import Label
from ._structure import as_expression, hstack, vstack

__all__ = ["exponential_cone", "power_cone", "rotated_cone"]


def _columns(where: str, *values: Any) -> list[Expression]:
    items = [as_expression(value, where) for value in values]
    size = max(item.shape[0] * item.shape[1] for item in items)
    columns = []
    for item in items:
        if item.is_complex:
            raise InputError(f"{where} takes real expressions and got a complex one.")
        count = item.shape[0] * item.shape[1]
        if count not in (1, size):
            raise InputError(
                f"{where} got shapes {[i.shape for i in items]}; expected one shape, or scalars."
            )
        columns.append(item * np.ones((size, 1)) if count == 1 != size else item.reshape(size, 1))
    return columns


def _triples(where: str, *values: Any) -> Expression:
    """(3, k): one cone per column."""
    return hstack(_columns(where, *values)).T


def rotated_cone(x: Any, u: Any, v: Any) -> Constraint:
    """|x|^2 <= u v with u, v >= 0, for scalars u, v and x of any shape."""
    column = as_expression(x, "rotated_cone")
    column = column.reshape(column.shape[0] * column.shape[1], 1)
    if column.is_complex:
        column = vstack([column.real, column.imag])
    first, second = as_expression(u, "rotated_cone"), as_expression(v, "rotated_cone")
    if first.shape != (1, 1) or second.shape != (1, 1):
        raise InputError(f"rotated_cone takes scalars u, v; got shapes {first.shape} and {second.shape}.")
    text = f"‖{column.label.text}‖² ≤ {first.label.within(1)} {second.label.within(1)}"
    cone = vstack([first + second, 2.0 * column, first - second])
    return Constraint(Kind.SECOND_ORDER, cone, label=Label(text))


def exponential_cone(x: Any, y: Any, z: Any) -> Constraint:
    """y exp(x / y) <= z, y > 0 (and the closure), entry by entry for columns of one length."""
    cones = _triples("exponential_cone", x, y, z)
    words = [as_expression(value, "exponential_cone").label for value in (x, y, z)]
    text = f"{words[1].within(1)} exp({words[0].within(1)} / {words[1].within(2)}) ≤ {words[2].text}"
    return Constraint(Kind.EXPONENTIAL, cones, label=Label(text))


def power_cone(x: Any, y: Any, z: Any, exponent: float) -> Constraint:
    """x^a y^(1 - a) >= |z|, x, y >= 0, entry by entry for columns of one length; 0 < a < 1."""
    a = as_number("the exponent of a power cone", exponent)
    if not 0 < a < 1:
        raise InputError(f"the exponent of a power cone is {a}; expected a number between 0 and 1.")
    cones = _triples("power_cone", x, y, z)
    words = [as_expression(value, "power_cone").label for value in (x, y, z)]
    text = f"{words[0].within(2)}^{a:g} {words[1].within(2)}^{1 - a:g} ≥ |{words[2].text}|"
    return Constraint(Kind.POWER, cones, exponent=a, label=Label(text))
