"""VNN-LIB: the boxes of inputs that a property is about.

Read are assertions (assert (<= X_i c)), (>= ...) with the constant on either side, `and` of them, and
`or` of boxes. Assertions about outputs alone are left out: they are the property, not the box.
"""

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

__all__ = ["InputBox", "read_vnnlib"]

_TOKEN = re.compile(r"[()]|[^\s()]+")
_INPUT = re.compile(r"X_([0-9]{1,9})\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,999}\.?[0-9]{0,999}|\.[0-9]{1,999})([eE][+-]?[0-9]{1,4})?", re.ASCII)
_LARGEST_FILE = 2**26  # bytes
_DEEPEST, _MOST_BOXES, _MOST_LIMITS = 100, 2**14, 2**22
Limits = dict[int, list[Fraction | None]]


@dataclasses.dataclass(frozen=True, eq=False)
class InputBox:
    """{x: lower <= x <= upper}, both of shape (n_0,), read-only float64."""

    lower: np.ndarray
    upper: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """(lower + upper) / 2, shape (n_0,)."""
        return self.lower + (self.upper - self.lower) / 2.0

    @property
    def radius(self) -> float:
        """At least the l2 distance from `centre` to any point of the box."""
        half = np.maximum(self.upper - self.centre, self.centre - self.lower)
        return float(np.nextafter(np.linalg.norm(half) * (1.0 + 1e-12), np.inf)) if half.any() else 0.0


def read_vnnlib(path: str | os.PathLike[str]) -> tuple[InputBox, ...]:
    """The input boxes of a VNN-LIB file, several where it asserts an `or` of boxes.

    Decimal limits are rounded outwards, so each box contains the one that the file states. Raises
    InputError where an input lacks a limit, a limit is not a constant, a box is empty or an
    assertion couples inputs with each other or, outside an `or` of `and`s, with outputs.
    """
    file = pathlib.Path(path)
    with reading(file, "a VNN-LIB file"):
        return _read(file)


def _read(file: pathlib.Path) -> tuple[InputBox, ...]:
    text = read_unpacked(file, _LARGEST_FILE, "VNN-LIB file").decode("utf-8")
    commands = _parse(file.name, re.sub(r";[^\n]*", "", text))
    inputs = sum(_declares_input(c) for c in commands)
    if not inputs:
        raise InputError(f"{file.name} declares no input X_0, X_1, ...; expected a VNN-LIB property.")
    merged: list[Limits] = [{}]
    for command in commands:
        if command and command[0] == "assert":
            if len(command) != 2:
                raise InputError(f"{file.name}: cannot read {_shown(command)}; expected (assert TERM).")
            merged = _product(file.name, merged, _boxes(file.name, command[1]))
    return tuple(_box(file.name, limits, inputs) for limits in merged)


def _product(name: str, boxes: list[Limits], options: list[Limits]) -> list[Limits]:
    """Every box limited further by every option."""
    sizes = sum(map(len, boxes)) * len(options) + sum(map(len, options)) * len(boxes)
    if len(boxes) * len(options) > _MOST_BOXES or sizes > _MOST_LIMITS:
        raise InputError(
            f"{name} asks for {len(boxes)} times {len(options)} boxes; at most {_MOST_BOXES} boxes and "
            f"{_MOST_LIMITS} limits are read: split the property."
        )
    if len(options) == 1:  # most assertions are one limit, which needs no copy of all others
        return [_merge(a, options[0]) for a in boxes]
    return [_merge(_copied(a), b) for a in boxes for b in options]


def _parse(name: str, text: str) -> list[Any]:
    stack: list[list[Any]] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
            if len(stack) > _DEEPEST:
                raise InputError(f"{name} nests parentheses more than {_DEEPEST} deep; expected a box.")
        elif token == ")":
            if len(stack) == 1:
                raise InputError(f"{name} has a closing parenthesis too many.")
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) != 1:
        raise InputError(f"{name} ends inside a parenthesis; the file is cut off.")
    return stack[0]


def _declares_input(command: Any) -> bool:
    declared = isinstance(command, list) and len(command) > 1 and command[0] == "declare-const"
    return declared and isinstance(command[1], str) and bool(_INPUT.match(command[1]))


def _boxes(name: str, term: Any) -> list[Limits]:
    """The alternatives of limits on inputs that a term states; one without limits if it is about outputs."""
    head = term[0] if isinstance(term, list) and term else None
    if head == "and":
        result: list[Limits] = [{}]
        for part in term[1:]:
            result = _product(name, result, _boxes(name, part))
        return result
    if head == "or":
        parts = [box for part in term[1:] for box in _boxes(name, part)]
        if len(parts) > _MOST_BOXES:
            raise InputError(f"{name} has an 'or' of {len(parts)} boxes; at most {_MOST_BOXES} are read.")
        if all(not box for box in parts):
            return [{}]
        if any(not box for box in parts):
            raise InputError(f"{name}: an 'or' of input limits and of outputs alone has no box of inputs.")
        return parts
    if head in ("<=", ">=") and len(term) == 3:
        return [_limit(name, head, term[1], term[2])]
    raise InputError(f"{name}: cannot read {_shown(term)}; expected <=, >=, and, or.")


def _limit(name: str, relation: str, left: Any, right: Any) -> Limits:
    sides = [_INPUT.match(s) if isinstance(s, str) else None for s in (left, right)]
    if not any(sides):
        if _mentions_input([left, right]):
            raise InputError(f"{name}: {_shown([left, right])} is no limit on one input.")
        return {}
    if sides[0] is None:
        return _limit(name, ">=" if relation == "<=" else "<=", right, left)
    index, value = int(sides[0].group(1)), _constant(name, right)
    return {index: [None, value] if relation == "<=" else [value, None]}


def _mentions_input(term: Any) -> bool:
    return "X_" in term if isinstance(term, str) else any(_mentions_input(t) for t in term)


def _constant(name: str, text: Any) -> Fraction:
    if isinstance(text, list) and len(text) == 2 and text[0] == "-":
        return -_constant(name, text[1])
    try:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return Fraction(text)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{name}: {_shown(text)} is not a number; inputs need constant limits.") from error


def _shown(term: Any) -> str:
    shown = term if isinstance(term, str) else "(" + " ".join(_shown(t) for t in term[:8]) + ")"
    return shown if len(shown) <= 120 else shown[:120] + "..."


def _copied(limits: Limits) -> Limits:
    return {k: list(v) for k, v in limits.items()}


def _merge(into: Limits, limits: Limits) -> Limits:
    for index, (low, high) in limits.items():
        pair = into.setdefault(index, [None, None])
        pair[0] = low if pair[0] is None or (low is not None and low > pair[0]) else pair[0]
        pair[1] = high if pair[1] is None or (high is not None and high < pair[1]) else pair[1]
    return into


def _box(name: str, limits: Limits, inputs: int) -> InputBox:
    if sorted(limits) != list(range(inputs)):
        raise InputError(f"{name} limits inputs {sorted(limits)}; expected all of X_0 to X_{inputs - 1}.")
    lower, upper = np.empty(inputs), np.empty(inputs)
    for index, (low, high) in limits.items():
        if low is None or high is None or low > high:
            raise InputError(f"{name}: X_{index} has limits {low} and {high}; expected lower <= upper.")
        lower[index], upper[index] = _rounded(name, low, -math.inf), _rounded(name, high, math.inf)
    for array in (lower, upper):
        array.setflags(write=False)
    return InputBox(lower, upper)


def _rounded(name: str, value: Fraction, towards: float) -> float:
    try:
        nearest = float(value)
    except OverflowError as error:
        raise InputError(f"{name}: a limit is beyond float64.") from error
    beyond = Fraction(nearest) < value if towards > 0 else Fraction(nearest) > value
    return math.nextafter(nearest, towards) if beyond else nearest
