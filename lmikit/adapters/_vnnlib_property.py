"""VNN-LIB: the whole property, an `or` of cases: a box of inputs and linear inequalities of the outputs."""

import dataclasses
import math
import os
import pathlib
import re
from fractions import Fraction
from typing import Any

import numpy as np

from .._errors import InputError
from .._files import read_unpacked, reading
from ._vnnlib import (
    _LARGEST_FILE,
    _MOST_BOXES,
    _MOST_LIMITS,
    InputBox,
    Limits,
    _box,
    _constant,
    _copied,
    _declares_input,
    _limit,
    _mentions_input,
    _merge,
    _parse,
    _shown,
)

__all__ = ["OutputLimits", "VnnlibCase", "VnnlibProperty", "read_vnnlib_property"]

_OUTPUT = re.compile(r"Y_([0-9]{1,9})\Z", re.ASCII)
_MOST_OUTPUTS = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class OutputLimits:
    """coefficients @ y <= bounds, row by row, exactly: integers (R, m) as floats, rationals (R,)."""

    coefficients: np.ndarray
    bounds: tuple[Fraction, ...]

    @property
    def offsets(self) -> np.ndarray:
        """-bounds (R,) rounded downwards: coefficients @ y + offsets > 0 refutes that row."""
        return np.array([_rounded_down(-b) for b in self.bounds])


@dataclasses.dataclass(frozen=True, eq=False)
class VnnlibCase:
    """There is an x in `box` whose outputs satisfy every row of one of `alternatives`.

    `box` is rounded outwards; `lower`, `upper` are the limits as the file states them.
    """

    box: InputBox
    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    alternatives: tuple[OutputLimits, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class VnnlibProperty:
    """What a VNN-LIB file asks: is there an input that satisfies one of `cases`?"""

    inputs: int
    outputs: int
    cases: tuple[VnnlibCase, ...]


@dataclasses.dataclass(eq=False)
class _Option:
    """One conjunction: limits of inputs and (coefficients by output, bound) rows."""

    limits: Limits
    rows: list[tuple[dict[int, Fraction], Fraction]]


def read_vnnlib_property(path: str | os.PathLike[str]) -> VnnlibProperty:
    """The property of a VNN-LIB file in disjunctive form.

    Read are assertions of <= and >= between an input and a constant or between linear
    expressions (+, -, * by constants) of outputs, with `and` and `or`. Decimals are meant exactly.
    Raises InputError where an input lacks a limit, a box is empty, an inequality is not linear or
    couples inputs with outputs.
    """
    file = pathlib.Path(path)
    with reading(file, "a VNN-LIB file"):
        text = read_unpacked(file, _LARGEST_FILE, "VNN-LIB file").decode("utf-8")
        return _property(file.name, _parse(file.name, re.sub(r";[^\n]*", "", text)))


def _property(name: str, commands: list[Any]) -> VnnlibProperty:
    inputs, outputs = sum(_declares_input(c) for c in commands), sum(_declares_output(c) for c in commands)
    if not inputs or not 0 < outputs <= _MOST_OUTPUTS:
        raise InputError(f"{name} declares {inputs} inputs X_i and {outputs} outputs Y_j; expected both.")
    options = [_Option({}, [])]
    for command in commands:
        if isinstance(command, list) and command and command[0] == "assert":
            if len(command) != 2:
                raise InputError(f"{name}: cannot read {_shown(command)}; expected (assert TERM).")
            options = _product(name, options, _options(name, command[1], outputs))
    return VnnlibProperty(inputs, outputs, _cases(name, options, inputs, outputs))


def _declares_output(command: Any) -> bool:
    declared = isinstance(command, list) and len(command) > 1 and command[0] == "declare-const"
    return declared and isinstance(command[1], str) and bool(_OUTPUT.match(command[1]))


def _product(name: str, left: list[_Option], right: list[_Option]) -> list[_Option]:
    """Every conjunction of the one with every conjunction of the other."""
    sizes = sum(len(o.limits) + len(o.rows) for o in left) * len(right)
    sizes += sum(len(o.limits) + len(o.rows) for o in right) * len(left)
    if len(left) * len(right) > _MOST_BOXES or sizes > _MOST_LIMITS:
        raise InputError(
            f"{name} asks for {len(left)} times {len(right)} cases; at most {_MOST_BOXES} cases and "
            f"{_MOST_LIMITS} limits are read: split the property."
        )
    if len(right) == 1:
        for option in left:
            _merge(option.limits, right[0].limits)
            option.rows.extend(right[0].rows)
        return left
    return [_Option(_merge(_copied(a.limits), b.limits), a.rows + b.rows) for a in left for b in right]


def _options(name: str, term: Any, outputs: int) -> list[_Option]:
    head = term[0] if isinstance(term, list) and term else None
    if head == "and":
        result = [_Option({}, [])]
        for part in term[1:]:
            result = _product(name, result, _options(name, part, outputs))
        return result
    if head == "or":
        parts = [option for part in term[1:] for option in _options(name, part, outputs)]
        if len(parts) > _MOST_BOXES:
            raise InputError(f"{name} has an 'or' of {len(parts)} cases; at most {_MOST_BOXES} are read.")
        return parts
    if head in ("<=", ">=") and len(term) == 3:
        if _mentions_input(term[1:]):
            limits = _limit(name, head, term[1], term[2])
            return [_Option(_copied(limits), [])]
        return [_Option({}, [_row(name, head, term[1], term[2], outputs)])]
    raise InputError(f"{name}: cannot read {_shown(term)}; expected <=, >=, and, or.")


def _row(
    name: str, relation: str, left: Any, right: Any, outputs: int
) -> tuple[dict[int, Fraction], Fraction]:
    """left <= right as sum_j c_j Y_j <= b."""
    small, large = (left, right) if relation == "<=" else (right, left)
    (a, p), (b, q) = _linear(name, small, outputs), _linear(name, large, outputs)
    total = dict(a)
    for j, value in b.items():
        total[j] = total.get(j, Fraction(0)) - value
    return {j: c for j, c in total.items() if c}, q - p


def _linear(name: str, term: Any, outputs: int) -> tuple[dict[int, Fraction], Fraction]:
    """A linear expression of outputs: coefficients and constant."""
    if isinstance(term, str):
        found = _OUTPUT.match(term)
        if found is None:
            return {}, _constant(name, term)
        if int(found.group(1)) >= outputs:
            raise InputError(f"{name} speaks of {term}; it declares {outputs} outputs.")
        return {int(found.group(1)): Fraction(1)}, Fraction(0)
    head = term[0] if term else None
    parts = [_linear(name, part, outputs) for part in term[1:]] if head in ("+", "-", "*") else []
    if not parts or (head == "*" and sum(bool(c) for c, _ in parts) > 1):
        raise InputError(f"{name}: {_shown(term)} is not a linear expression of outputs.")
    if head == "*":
        factor = math.prod((value for c, value in parts if not c), start=Fraction(1))
        for coefficients, value in parts:
            if coefficients:
                return {j: c * factor for j, c in coefficients.items()}, value * factor
        return {}, factor
    total, constant = dict[int, Fraction](), Fraction(0)
    for index, (coefficients, value) in enumerate(parts):
        sign = -1 if head == "-" and (index or len(parts) == 1) else 1
        constant += sign * value
        for j, c in coefficients.items():
            total[j] = total.get(j, Fraction(0)) + sign * c
    return total, constant


def _cases(name: str, options: list[_Option], inputs: int, outputs: int) -> tuple[VnnlibCase, ...]:
    """Conjunctions by box; those that a constant inequality excludes are left out."""
    found: dict[tuple[Any, ...], tuple[InputBox, list[OutputLimits]]] = {}
    for option in options:
        if any(not c and b < 0 for c, b in option.rows):
            continue
        box = _box(name, option.limits, inputs)
        key = tuple(tuple(option.limits[i]) for i in range(inputs))
        rows = [(c, b) for c, b in option.rows if c]
        found.setdefault(key, (box, []))[1].append(_output_limits(name, rows, outputs))
    return tuple(
        VnnlibCase(box, tuple(p[0] for p in key), tuple(p[1] for p in key), tuple(alternatives))
        for key, (box, alternatives) in found.items()
    )


def _output_limits(name: str, rows: list[tuple[dict[int, Fraction], Fraction]], outputs: int) -> OutputLimits:
    """Rows multiplied by the common denominator of their coefficients, so that floats hold them."""
    matrix, bounds = np.zeros((len(rows), outputs)), []
    for r, (coefficients, bound) in enumerate(rows):
        scale = math.lcm(*(c.denominator for c in coefficients.values()))
        for j, c in coefficients.items():
            if abs(c * scale) > 2**53:
                raise InputError(f"{name}: a coefficient {float(c)!r} has more digits than are held exactly.")
            matrix[r, j] = int(c * scale)
        bounds.append(bound * scale)
    matrix.setflags(write=False)
    return OutputLimits(matrix, tuple(bounds))


def _rounded_down(value: Fraction) -> float:
    try:
        nearest = float(value)
    except OverflowError as error:
        raise InputError("a limit of an output is beyond float64.") from error
    return math.nextafter(nearest, -math.inf) if Fraction(nearest) > value else nearest
